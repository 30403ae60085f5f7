package target

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// ConflictError says why a Secret may not be written. It was left as it is.
type ConflictError struct {
	Secret types.NamespacedName
	Why    string // a sentence about the Secret, for its user; holds names, no values
}

func (e *ConflictError) Error() string { return fmt.Sprintf("Secret %s: %s", e.Secret, e.Why) }

func conflict(d Desired, format string, args ...any) *ConflictError {
	return &ConflictError{Secret: d.key(), Why: fmt.Sprintf(format, args...)}
}

// TooLargeError says that the values are more than a Secret may hold. Nothing was sent.
type TooLargeError struct {
	Secret types.NamespacedName
	Size   int // bytes in all values together
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("Secret %s: %d bytes of values are more than the %d that a Secret may hold", e.Secret, e.Size, corev1.MaxSecretSize)
}

// InvalidError says which fields the API server refused. It does not wrap the server's error, whose message may repeat
// what was sent.
type InvalidError struct {
	Secret types.NamespacedName
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
	return fmt.Sprintf("the API server refused Secret %s as invalid: %s", e.Secret, strings.Join(fields, ", "))
}

// RefusedError says that the API server does not let the operator write the Secret: by its roles, a quota or an admission
// policy. It does not wrap the server's error, whose message is whoever's who refused.
type RefusedError struct {
	Secret types.NamespacedName
	Reason string // of the API server, such as Forbidden
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the API server refused the write of Secret %s (%s): its log, the admission policies, quotas and the operator's roles tell why", e.Secret, e.Reason)
}

// writeError sorts the API server's answers to a write: what it found wrong with the Secret, what it does not allow, and what is
// worth trying again.
func writeError(doing string, secret types.NamespacedName, err error) error {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return fmt.Errorf("%s Secret %s: %w", doing, secret, err)
	}
	invalid := &InvalidError{Secret: secret}
	if details := status.Status().Details; details != nil && apierrors.IsInvalid(err) {
		for _, cause := range details.Causes {
			if cause.Field != "" {
				invalid.Fields = append(invalid.Fields, InvalidField{Path: cause.Field, Reason: string(cause.Type)})
			}
		}
	}
	switch {
	case len(invalid.Fields) > 0:
		return invalid
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
	case apierrors.IsForbidden(err), apierrors.IsBadRequest(err), apierrors.IsInvalid(err), apierrors.IsRequestEntityTooLargeError(err):
		return &RefusedError{Secret: secret, Reason: string(apierrors.ReasonForError(err))}
	}
	return fmt.Errorf("%s Secret %s: %w", doing, secret, err)
}
