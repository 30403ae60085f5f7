package target

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// IncompleteError says which keys the type of a Secret asks for and does not get. Nothing was sent.
type IncompleteError struct {
	Object  Object
	Type    corev1.SecretType
	Missing []string // keys, in the order that the type names them; empty when there is only a value at fault
	Why     string   // goes on from the type: what it needs and what is wrong; holds names, no values
}

func (e *IncompleteError) Error() string {
	return fmt.Sprintf("%s: type %s %s", e.Object, e.Type, e.Why)
}

// requirement is what a type asks of the data.
type requirement struct {
	keys        []string
	oneIsEnough bool
	filled      bool // an empty value is none
	json        bool // the value is a JSON object
}

// requirements are ValidateSecret's, of k8s.io/kubernetes/pkg/apis/core/validation. They are repeated here so that a user is told in
// words, and before a Secret that is to be replaced is gone.
var requirements = map[corev1.SecretType]requirement{
	corev1.SecretTypeTLS:              {keys: []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey}},
	corev1.SecretTypeDockerConfigJson: {keys: []string{corev1.DockerConfigJsonKey}, json: true},
	corev1.SecretTypeDockercfg:        {keys: []string{corev1.DockerConfigKey}, json: true},
	corev1.SecretTypeBasicAuth:        {keys: []string{corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey}, oneIsEnough: true},
	corev1.SecretTypeSSHAuth:          {keys: []string{corev1.SSHAuthPrivateKey}, filled: true},
}

// checkType refuses, before anything is sent, what the type of a Secret does not go with.
func checkType(d Desired) error {
	if d.Type == corev1.SecretTypeServiceAccountToken {
		return conflict(d, "its type may not be %s: Kubernetes itself would put the token of a ServiceAccount into it, "+
			"for whoever may describe a Secret here to read", d.Type)
	}
	asks, some := requirements[d.Type]
	if !some {
		return nil
	}
	var missing []string
	for _, key := range asks.keys {
		if _, ok := d.Data[key]; !ok {
			missing = append(missing, key)
		}
	}
	switch first := d.Data[asks.keys[0]]; {
	case len(missing) == 0 && asks.filled && len(first) == 0:
		return &IncompleteError{Object: d.object(), Type: d.Type, Why: asks.String() + ", which is empty"}
	case len(missing) == 0 && asks.json && !isJSONObject(first):
		return &IncompleteError{Object: d.object(), Type: d.Type, Why: asks.String() + " to be a JSON object, which it is not"}
	case len(missing) == 0, asks.oneIsEnough && len(missing) < len(asks.keys):
		return nil
	}
	why := asks.String() + "; missing: " + strings.Join(missing, ", ")
	return &IncompleteError{Object: d.object(), Type: d.Type, Missing: missing, Why: why}
}

// String is such as "needs the keys tls.crt and tls.key".
func (r requirement) String() string {
	switch {
	case len(r.keys) == 1:
		return "needs the key " + r.keys[0]
	case r.oneIsEnough:
		return "needs the key " + strings.Join(r.keys, " or ")
	}
	return "needs the keys " + strings.Join(r.keys, " and ")
}

func isJSONObject(value []byte) bool {
	return json.Valid(value) && bytes.HasPrefix(bytes.TrimLeft(value, " \t\r\n"), []byte("{"))
}
