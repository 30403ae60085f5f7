package rollout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestFailuresAreSortedByWhetherTheyHealWithoutTheServersWords(t *testing.T) {
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	because := errors.New("hunter2")
	answered := func(code int32, reason metav1.StatusReason) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: "hunter2"}}
	}
	for name, tc := range map[string]struct {
		err       error
		reason    string
		transient bool
	}{
		"roles":                     {apierrors.NewForbidden(deployments, "web", because), "Forbidden", false},
		"a webhook's own reason":    {answered(403, "hunter2"), "Forbidden", false},
		"an admission policy":       {answered(422, metav1.StatusReasonInvalid), "Invalid", false},
		"a webhook that says 400":   {apierrors.NewBadRequest("hunter2"), "BadRequest", false},
		"a webhook that says 418":   {answered(418, "hunter2"), "status 418", false},
		"a kind without patch":      {apierrors.NewMethodNotSupported(deployments, "patch"), "MethodNotAllowed", false},
		"too large":                 {apierrors.NewRequestEntityTooLargeError("hunter2"), "RequestEntityTooLarge", false},
		"an expired account token":  {apierrors.NewUnauthorized("hunter2"), "Unauthorized", true},
		"a lost race":               {apierrors.NewConflict(deployments, "web", because), "Conflict", true},
		"a page that came too late": {apierrors.NewResourceExpired("hunter2"), "Expired", true},
		"a busy server":             {apierrors.NewTooManyRequests("hunter2", 1), "TooManyRequests", true},
		"a slow server":             {apierrors.NewTimeoutError("hunter2", 1), "Timeout", true},
		"a slow store":              {apierrors.NewServerTimeout(deployments, "patch", 1), "ServerTimeout", true},
		"a server that goes":        {apierrors.NewServiceUnavailable("hunter2"), "ServiceUnavailable", true},
		"a webhook that fails":      {apierrors.NewInternalError(because), "InternalError", true},
		"a proxy in between":        {answered(502, "hunter2"), "status 502", true},
		"no answer":                 {because, "NoAnswer", true},
		"no answer in time":         {fmt.Errorf("hunter2: %w", context.DeadlineExceeded), "NoAnswer", true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f := failed("Deployment web", tc.err)
			g.Expect(f).To(Equal(Failure{Workload: "Deployment web", Reason: tc.reason, Transient: tc.transient}))
			err := &Error{Failures: []Failure{f}}
			g.Expect(err.Transient()).To(Equal(tc.transient))
			g.Expect(err.Forbidden()).To(Equal(tc.reason == "Forbidden"))
			g.Expect(strings.Contains(err.Error(), "the permission to restart workloads")).To(Equal(tc.reason == "Forbidden"))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
		})
	}
}

func TestTheTextNamesTenFailures(t *testing.T) {
	g := NewWithT(t)
	err := &Error{}
	for i := range 10 {
		err.Failures = append(err.Failures, Failure{Workload: fmt.Sprintf("Deployment web-%d", i), Reason: "Invalid"})
	}
	g.Expect(err.Error()).To(HavePrefix("restart workloads: Deployment web-0 (Invalid), Deployment web-1 (Invalid), "))
	g.Expect(err.Error()).To(HaveSuffix("Deployment web-9 (Invalid)"))
	err.Failures = append(err.Failures, Failure{Workload: "StatefulSet db", Reason: "Conflict", Transient: true})
	g.Expect(err.Error()).To(HaveSuffix("Deployment web-9 (Invalid) and 1 more"))
	g.Expect(err.Transient()).To(BeTrue())
}
