package target

import (
	"context"
	"fmt"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Kind is what is written.
type Kind string

const (
	KindSecret Kind = "Secret"
	// KindConfigMap is for what is no secret. A ConfigMap has no type, and is in no cache: like a Merge it is decided about by a
	// live read each time.
	KindConfigMap Kind = "ConfigMap"
)

// Object names a Secret or a ConfigMap.
type Object struct {
	Kind Kind
	types.NamespacedName
}

// String is the form in messages, such as "Secret ns/name".
func (o Object) String() string { return string(o.Kind) + " " + o.NamespacedName.String() }

// get reads an object from the API server. Here and in all that follows a ConfigMap is the Secret that would hold the same, so
// that there is one set of rules.
func (w *Writer) get(ctx context.Context, o Object) (*corev1.Secret, error) {
	secret, configMap := &corev1.Secret{}, &corev1.ConfigMap{}
	var into client.Object = secret
	if o.Kind == KindConfigMap {
		into = configMap
	}
	if err := w.live.Get(ctx, o.NamespacedName, into); err != nil {
		return nil, fmt.Errorf("read %s: %w", o, err)
	}
	if o.Kind == KindConfigMap {
		return asSecret(configMap), nil
	}
	return secret, nil
}

// toSend is what goes to the API server for it.
func (k Kind) toSend(secret *corev1.Secret) client.Object {
	if k == KindConfigMap {
		return asConfigMap(secret)
	}
	return secret
}

// partToApply is what a Merge sends: what is wanted, and nothing of what else is there.
func (d Desired) partToApply(uid types.UID) runtime.ApplyConfiguration {
	if d.Kind == KindConfigMap {
		text, binary := split(d.Data)
		return corev1apply.ConfigMap(d.Name, d.Namespace).WithUID(uid).
			WithLabels(d.Labels).WithAnnotations(d.Annotations).WithData(text).WithBinaryData(binary)
	}
	return corev1apply.Secret(d.Name, d.Namespace).WithUID(uid).WithLabels(d.Labels).WithAnnotations(d.Annotations).WithData(d.Data)
}

func asSecret(configMap *corev1.ConfigMap) *corev1.Secret {
	data := make(map[string][]byte, len(configMap.Data)+len(configMap.BinaryData))
	for key, value := range configMap.Data {
		data[key] = []byte(value)
	}
	for key, value := range configMap.BinaryData {
		data[key] = value
	}
	return &corev1.Secret{ObjectMeta: configMap.ObjectMeta, Immutable: configMap.Immutable, Data: data}
}

func asConfigMap(secret *corev1.Secret) *corev1.ConfigMap {
	text, binary := split(secret.Data)
	return &corev1.ConfigMap{ObjectMeta: secret.ObjectMeta, Immutable: secret.Immutable, Data: text, BinaryData: binary}
}

// split sorts values by where a ConfigMap keeps them: text in data, which alone can become environment variables, and what is
// not UTF-8 in binaryData.
func split(data map[string][]byte) (text map[string]string, binary map[string][]byte) {
	text, binary = map[string]string{}, map[string][]byte{}
	for key, value := range data {
		if utf8.Valid(value) {
			text[key] = string(value)
		} else {
			binary[key] = value
		}
	}
	return text, binary
}
