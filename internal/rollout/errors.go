package rollout

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// ReasonNoAnswer: the API server was not reached, or did not answer in time.
	ReasonNoAnswer = "NoAnswer"
	// ReasonUnreadableTemplate: the pod template is not one, which only a CRD's schema lets through.
	ReasonUnreadableTemplate = "UnreadableTemplate"

	// listed is how many failures the text of an Error names; it goes into events and conditions.
	listed = 10
)

// Failure is something that was not done. It does not hold the API server's message, which is whoever's who refused, such as an
// admission webhook's.
type Failure struct {
	Workload  string // such as Deployment web; or Deployments, when they could not be listed
	Reason    string // of the API server, such as Forbidden, or one of this package's
	Transient bool   // heals by itself
}

// Error has all failures of one Restart. What is not among them was done.
type Error struct {
	Failures []Failure
}

// Error names the first failures and how many more there are.
func (e *Error) Error() string {
	var names []string
	for _, f := range e.Failures[:min(len(e.Failures), listed)] {
		names = append(names, fmt.Sprintf("%s (%s)", f.Workload, f.Reason))
	}
	text := "restart workloads: " + strings.Join(names, ", ")
	if more := len(e.Failures) - listed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	if e.Forbidden() {
		text += ": the operator's roles lack the permission to restart workloads (the chart's rollout.enabled), or an admission policy forbids it"
	}
	return text
}

// Forbidden says that for at least one of the failures somebody has to allow something.
func (e *Error) Forbidden() bool {
	return slices.ContainsFunc(e.Failures, func(f Failure) bool { return f.Reason == string(metav1.StatusReasonForbidden) })
}

// Transient says that at least one of the failures heals by itself, so that it is worth calling again soon, with the same changes.
func (e *Error) Transient() bool {
	return slices.ContainsFunc(e.Failures, func(f Failure) bool { return f.Transient })
}

var errUnreadableTemplate = errors.New("the pod template cannot be read")

// answers are the API server's that are told apart, by the functions that know an answer by its status code, too: the reason
// itself may be free text of a webhook's, so it is not repeated.
var answers = []struct {
	is        func(error) bool
	reason    metav1.StatusReason
	transient bool
}{
	{apierrors.IsForbidden, metav1.StatusReasonForbidden, false},
	{apierrors.IsInvalid, metav1.StatusReasonInvalid, false},
	{apierrors.IsBadRequest, metav1.StatusReasonBadRequest, false},
	{apierrors.IsMethodNotSupported, metav1.StatusReasonMethodNotAllowed, false},
	{apierrors.IsRequestEntityTooLargeError, metav1.StatusReasonRequestEntityTooLarge, false},
	{apierrors.IsUnauthorized, metav1.StatusReasonUnauthorized, true}, // between two tokens of the operator's own account
	{apierrors.IsConflict, metav1.StatusReasonConflict, true},
	{apierrors.IsResourceExpired, metav1.StatusReasonExpired, true}, // the next page came too late
	{apierrors.IsTooManyRequests, metav1.StatusReasonTooManyRequests, true},
	{apierrors.IsTimeout, metav1.StatusReasonTimeout, true},
	{apierrors.IsServerTimeout, metav1.StatusReasonServerTimeout, true},
	{apierrors.IsServiceUnavailable, metav1.StatusReasonServiceUnavailable, true},
	{apierrors.IsInternalError, metav1.StatusReasonInternalError, true},
}

// failed makes a Failure of an error, without its text.
func failed(workload string, err error) Failure {
	if errors.Is(err, errUnreadableTemplate) {
		return Failure{Workload: workload, Reason: ReasonUnreadableTemplate}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return Failure{Workload: workload, Reason: ReasonNoAnswer, Transient: true}
	}
	for _, answer := range answers {
		if answer.is(err) {
			return Failure{Workload: workload, Reason: string(answer.reason), Transient: answer.transient}
		}
	}
	code := status.Status().Code
	return Failure{Workload: workload, Reason: fmt.Sprintf("status %d", code), Transient: code >= http.StatusInternalServerError}
}
