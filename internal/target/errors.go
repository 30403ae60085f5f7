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
	if len(fields) == 0 {
		return fmt.Sprintf("the API server refused Secret %s as invalid", e.Secret)
	}
	return fmt.Sprintf("the API server refused Secret %s as invalid: %s", e.Secret, strings.Join(fields, ", "))
}

// writeError wraps the API server's answer to a write.
func writeError(doing string, secret types.NamespacedName, err error) error {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) {
		return fmt.Errorf("%s Secret %s: %w", doing, secret, err)
	}
	invalid := &InvalidError{Secret: secret}
	if details := status.Status().Details; details != nil {
		for _, cause := range details.Causes {
			invalid.Fields = append(invalid.Fields, InvalidField{Path: cause.Field, Reason: string(cause.Type)})
		}
	}
	return invalid
}
