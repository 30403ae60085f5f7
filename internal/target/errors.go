package target

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConflictError says why a Secret may not be written. It was left as it is.
type ConflictError struct {
	Object Object
	Why    string // a sentence about the Secret, for its user; holds names, no values
}

func (e *ConflictError) Error() string { return fmt.Sprintf("%s: %s", e.Object, e.Why) }

func conflict(d Desired, format string, args ...any) *ConflictError {
	return &ConflictError{Object: d.object(), Why: fmt.Sprintf(format, args...)}
}

// TooLargeError says that the values are more than a Secret may hold. Nothing was sent.
type TooLargeError struct {
	Object Object
	Size   int // bytes in all values together
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s: %d bytes of values are more than the %d that a %s may hold", e.Object, e.Size, corev1.MaxSecretSize, e.Object.Kind)
}

// InvalidError says which fields the API server refused. It does not wrap the server's error, whose message may repeat
// what was sent.
type InvalidError struct {
	Object Object
	Fields []InvalidField
}

// InvalidField is a field path, such as data[tls.crt], and what kind of fault it has, such as FieldValueRequired.
type InvalidField struct {
	Path, Reason string
}

func (e *InvalidError) Error() string {
	var fields []string
	for _, f := range e.Fields {
		fields = append(fields, f.Path+": "+f.Reason)
	}
	return fmt.Sprintf("the API server refused %s as invalid: %s", e.Object, strings.Join(fields, ", "))
}

// RefusedError says that the API server does not let the operator write the Secret: by its roles, a quota or an admission
// policy. It does not wrap the server's error, whose message is whoever's who refused.
type RefusedError struct {
	Object Object
	Reason metav1.StatusReason // one of Kubernetes' own: an admission webhook can put any words into what it answers
	By     string              // what refuses, such as ResourceQuota small; empty where that is not known
}

func (e *RefusedError) Error() string {
	by := e.By
	if by == "" {
		by = "the API server: its log, the admission policies, quotas and the operator's roles tell why"
	}
	return fmt.Sprintf("the write of %s was refused (%s) by %s", e.Object, e.Reason, by)
}

// refusers are how the API server begins its messages when one of these refuses a write, with the name of who does, and the numbers of a
// quota. What comes after the names of the others is words of theirs.
var refusers = []struct {
	message *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`^\S+(?: "\S+")? is forbidden: User "\S+" cannot \S+ resource "`), "the operator's roles, which lack that permission"},
	{regexp.MustCompile(`^\S+ "\S+" is forbidden: exceeded quota: ([a-z0-9.-]+(?:, requested: [\w./=,-]+, used: [\w./=,-]+, limited: [\w./=,-]+$)?)`), "ResourceQuota "},
	{regexp.MustCompile(`^\S+ "\S+" is forbidden: ValidatingAdmissionPolicy '([a-z0-9.-]+)' with binding '`), "ValidatingAdmissionPolicy "},
	{regexp.MustCompile(`^admission webhook "([a-z0-9.-]+)" denied the request`), "the admission webhook "},
}

// refuser is what refused a write, as far as the API server's own words tell.
func refuser(message string) string {
	for _, r := range refusers {
		if found := r.message.FindStringSubmatch(message); found != nil {
			return r.by + strings.Join(found[1:], "")
		}
	}
	return ""
}

// writeError sorts the API server's answers to a write: what it found wrong with the Secret, what it does not allow, and what is
// worth trying again.
func writeError(doing string, object Object, err error) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return fmt.Errorf("%s %s: %w", doing, object, err)
	}
	invalid := &InvalidError{Object: object}
	if details := status.Status().Details; details != nil && apierrors.IsInvalid(err) {
		for _, cause := range details.Causes {
			if cause.Field != "" {
				invalid.Fields = append(invalid.Fields, InvalidField{Path: cause.Field, Reason: string(cause.Type)})
			}
		}
	}
	refused := func(reason metav1.StatusReason) error {
		return &RefusedError{Object: object, Reason: reason, By: refuser(status.Status().Message)}
	}
	switch {
	case len(invalid.Fields) > 0:
		return invalid
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
	case apierrors.IsForbidden(err):
		return refused(metav1.StatusReasonForbidden)
	case apierrors.IsBadRequest(err):
		return refused(metav1.StatusReasonBadRequest)
	case apierrors.IsInvalid(err):
		return refused(metav1.StatusReasonInvalid)
	case apierrors.IsRequestEntityTooLargeError(err):
		return refused(metav1.StatusReasonRequestEntityTooLarge)
	}
	return fmt.Errorf("%s %s: %w", doing, object, err)
}
