package target

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestAnswersToAWriteAreSortedByWhatCanBeDone(t *testing.T) {
	secrets, kind := corev1.Resource("secrets"), corev1.SchemeGroupVersion.WithKind("Secret").GroupKind()
	terminating := apierrors.NewForbidden(secrets, "env", errors.New("the namespace ends"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	policy := apierrors.NewInvalid(kind, "env", nil)
	policy.ErrStatus.Details.Causes = []metav1.StatusCause{{Message: "denied: hunter2"}}
	for name, tt := range map[string]struct {
		err  error
		want string // RefusedError, InvalidError or other
	}{
		"roles, a quota, a webhook": {apierrors.NewForbidden(secrets, "env", errors.New("hunter2")), "refused"},
		"a webhook that says 400":   {apierrors.NewBadRequest("hunter2"), "refused"},
		"an admission policy":       {policy, "refused"},
		"too much for etcd":         {apierrors.NewRequestEntityTooLargeError("hunter2"), "refused"},
		"a field":                   {apierrors.NewInvalid(kind, "env", field.ErrorList{field.Required(field.NewPath("data[tls.crt]"), "hunter2")}), "invalid"},
		"a namespace that ends":     {terminating, "other"},
		"a lost race":               {apierrors.NewConflict(secrets, "env", errors.New("changed")), "other"},
		"a server that is busy":     {apierrors.NewTooManyRequests("later", 1), "other"},
		"no answer":                 {errors.New("connection refused"), "other"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := writeError("update", Object{KindSecret, types.NamespacedName{Namespace: "ns", Name: "env"}}, tt.err)
			var (
				refused *RefusedError
				invalid *InvalidError
			)
			got := "other"
			if errors.As(err, &refused) {
				got = "refused"
			} else if errors.As(err, &invalid) {
				got = "invalid"
			}
			g.Expect(got).To(Equal(tt.want))
			g.Expect(err.Error()).To(ContainSubstring("Secret ns/env"))
			if got == "other" {
				g.Expect(errors.Is(err, tt.err)).To(BeTrue())
			} else {
				g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"), "whose message it is, is not known")
			}
		})
	}
}
