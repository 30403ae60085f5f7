package target

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestWhoRefusesAWriteIsNamed has a real API server refuse, as its words are all that tells who it was. What others put into them stays out.
func TestWhoRefusesAWriteIsNamed(t *testing.T) {
	inNamespace := func(w *world) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.ns}}
	}
	create := func(w *world, object client.Object) {
		NewWithT(w.t).Expect(w.admin.Create(w.t.Context(), object)).To(Succeed())
		w.t.Cleanup(func() { _ = w.admin.Delete(context.Background(), object) })
	}
	secrets := registrationv1.RuleWithOperations{
		Operations: []registrationv1.OperationType{registrationv1.Create},
		Rule:       registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
	}
	for name, refuse := range map[string]func(w *world) (by string){
		"roles": func(w *world) string {
			nobody := rest.CopyConfig(controlPlane)
			nobody.Impersonate.UserName = "hunter2"
			w.live, w.client = newClient(w.t, controlPlane), newClient(w.t, nobody)
			return "the operator's roles, which lack that permission"
		},
		"quota": func(w *world) string {
			quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "none-at-all"}}
			quota.Spec.Hard = corev1.ResourceList{"count/secrets": resource.MustParse("0")}
			create(w, quota)
			quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: quota.Spec.Hard}
			NewWithT(w.t).Expect(w.admin.Status().Update(w.t.Context(), quota)).To(Succeed()) // which its controller does elsewhere
			return "ResourceQuota none-at-all, requested: count/secrets=1, used: count/secrets=0, limited: count/secrets=0"
		},
		"policy": func(w *world) string {
			policy := &registrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
			policy.Spec.MatchConstraints = &registrationv1.MatchResources{
				NamespaceSelector: inNamespace(w), ResourceRules: []registrationv1.NamedRuleWithOperations{{RuleWithOperations: secrets}},
			}
			policy.Spec.Validations = []registrationv1.Validation{{Expression: "false", MessageExpression: "'hunter2'"}}
			create(w, policy)
			binding := &registrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
			binding.Spec = registrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: w.ns, ValidationActions: []registrationv1.ValidationAction{registrationv1.Deny}}
			create(w, binding)
			return "ValidatingAdmissionPolicy " + w.ns
		},
		"webhook": func(w *world) string {
			server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				var review admissionv1.AdmissionReview
				_ = json.NewDecoder(r.Body).Decode(&review)
				review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Result: &metav1.Status{
					Message: `hunter2, and secrets "x" is forbidden: exceeded quota: none,`, Reason: "hunter2", Code: http.StatusForbidden,
				}}
				_ = json.NewEncoder(rw).Encode(review)
			}))
			w.t.Cleanup(server.Close)
			hook := &registrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: w.ns}, Webhooks: []registrationv1.ValidatingWebhook{{
				Name: "no.secrets.example", NamespaceSelector: inNamespace(w), Rules: []registrationv1.RuleWithOperations{secrets},
				ClientConfig: registrationv1.WebhookClientConfig{
					URL: &server.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
				},
				SideEffects: ptr.To(registrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
			}}}
			create(w, hook)
			return "the admission webhook no.secrets.example"
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			by := refuse(w)
			var refused *RefusedError
			tries := 0
			g.Eventually(func() error { // a policy and a webhook take a moment to act
				d := w.desired("A", "1")
				tries++
				d.Name = fmt.Sprint("env-", tries)
				_, err := w.Apply(t.Context(), d)
				return err
			}, 20*time.Second, 100*time.Millisecond).Should(Satisfy(func(err error) bool { return errors.As(err, &refused) }))
			g.Expect(refused.By).To(Equal(by))
			g.Expect(refused.Error()).To(HaveSuffix(") by " + by))
			g.Expect(refused.Error()).NotTo(ContainSubstring("hunter2"))
		})
	}
}
