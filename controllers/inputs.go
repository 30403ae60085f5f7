package controllers

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"unique"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// inputs turns what an object names in its own namespace, the token Secret and the CA bundle, into a credential.
type inputs struct {
	metadata   client.Reader // the cache of the metadata of ConfigMaps, and of Secrets that are not managed here
	managed    client.Reader // the cache of the Secrets that are
	live       client.Reader // the API server
	api        *infisical.Client
	defaultURL string // of the server, for objects that name none

	mu    sync.Mutex
	known map[holder]contents
}

// holder is a Secret or ConfigMap that holds an input.
type holder struct {
	kind, namespace, name string
}

func (h holder) String() string { return h.kind + " " + h.name }

// contents are the keys that were read of one version of a holder: the API server is asked once per version, not per reconcile.
type contents struct {
	uid     types.UID
	version string
	keys    map[string][]byte
}

func newInputs(metadata, managed, live client.Reader, api *infisical.Client, defaultURL string) *inputs {
	return &inputs{metadata: metadata, managed: managed, live: live, api: api, defaultURL: defaultURL, known: map[holder]contents{}}
}

// changed forgets a holder: it has another version, or is gone.
func (in *inputs) changed(kind string, obj client.Object) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.known, holder{kind, obj.GetNamespace(), obj.GetName()})
}

// inputError says that something the object names is not there, or is not what it should be. The user mends it, and the watch
// on it tells.
type inputError struct {
	reason string
	err    error
}

func (e *inputError) Error() string { return e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

// credential reads the token and the CA bundle. Errors: *inputError, *infisical.Error, or one of the API server's, which is
// worth another try.
func (in *inputs) credential(ctx context.Context, obj *stv1.ServiceTokenSecret) (source.Credential, error) {
	ref := obj.Spec.Auth.ServiceToken.SecretRef
	secret := holder{"Secret", obj.Namespace, ref.Name}
	raw, err := in.read(ctx, secret, ref.Key)
	if err != nil {
		return source.Credential{}, err
	}
	token, err := servicetoken.Parse(unique.Make(string(raw)).Value()) // a token is in memory once, however many objects use it
	if err != nil {
		return source.Credential{}, &inputError{stv1.ReasonTokenMalformed, fmt.Errorf("key %q of %s: %w", ref.Key, secret, err)}
	}
	var bundle []byte
	if obj.Spec.TLS != nil {
		ca := obj.Spec.TLS.CABundleRef
		if bundle, err = in.read(ctx, holder{ca.Kind, obj.Namespace, ca.Name}, ca.Key); err != nil {
			return source.Credential{}, err
		}
	}
	url := obj.Spec.HostURL
	if url == "" {
		url = in.defaultURL
	}
	server, err := in.api.Server(url, bundle)
	if err != nil {
		return source.Credential{}, err
	}
	cred := source.Credential{Server: server, Token: token}
	if obj.Spec.Decryption != stv1.DecryptionAuto {
		cred.Decryption = source.Decryption(obj.Spec.Decryption)
	}
	return cred, nil
}

// read returns one key of a holder, from the API server if this version of it was not read before.
func (in *inputs) read(ctx context.Context, from holder, key string) ([]byte, error) {
	seen, err := in.version(ctx, from)
	if apierrors.IsNotFound(err) {
		// It is in no cache, or between the two: what somebody has just put our label on, or taken it off, leaves the one before it
		// comes to the other. Only the API server knows that it is missing.
		return in.fetch(ctx, from, key)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the metadata of %s: %w", from, err)
	}
	in.mu.Lock()
	known, ok := in.known[from]
	in.mu.Unlock()
	if !ok || known.uid != seen.GetUID() || known.version != seen.GetResourceVersion() {
		known = contents{uid: seen.GetUID(), version: seen.GetResourceVersion()}
	}
	if value, ok := known.keys[key]; ok {
		return value, nil
	}
	value, err := in.fetch(ctx, from, key)
	if err != nil {
		return nil, err
	}
	// The live object may be newer than the metadata; then the metadata's event is still to come, and it is read once more.
	in.mu.Lock()
	defer in.mu.Unlock()
	keys := map[string][]byte{key: value}
	maps.Copy(keys, known.keys)
	known.keys = keys
	in.known[from] = known
	return value, nil
}

// version is a holder as the caches have it: its metadata at least.
func (in *inputs) version(ctx context.Context, from holder) (client.Object, error) {
	name := client.ObjectKey{Namespace: from.namespace, Name: from.name}
	metadata := metadataOf(from.kind)
	err := in.metadata.Get(ctx, name, metadata)
	if !apierrors.IsNotFound(err) || from.kind != "Secret" {
		return metadata, err
	}
	secret := &corev1.Secret{}
	return secret, in.managed.Get(ctx, name, secret)
}

// fetch gets one key from the API server itself.
func (in *inputs) fetch(ctx context.Context, from holder, key string) ([]byte, error) {
	var (
		name  = client.ObjectKey{Namespace: from.namespace, Name: from.name}
		value []byte
		ok    bool
		err   error
	)
	if from.kind == "ConfigMap" {
		var cm corev1.ConfigMap
		if err = in.live.Get(ctx, name, &cm); err == nil {
			var text string
			if text, ok = cm.Data[key]; ok {
				value = []byte(text)
			} else {
				value, ok = cm.BinaryData[key]
			}
		}
	} else {
		var secret corev1.Secret
		if err = in.live.Get(ctx, name, &secret); err == nil {
			value, ok = secret.Data[key]
		}
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, missing("there is no %s in this namespace", from)
	case apierrors.IsForbidden(err):
		return nil, missing("the operator's roles do not let it read %s", from)
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", from, err)
	case !ok:
		return nil, missing("%s has no key %q", from, key)
	}
	return value, nil
}

func missing(format string, args ...any) error {
	return &inputError{stv1.ReasonTokenSecretNotFound, fmt.Errorf(format, args...)}
}
