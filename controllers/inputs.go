package controllers

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// inputs turns what an object names in its own namespace, the token Secret and the CA bundle, into a credential.
type inputs struct {
	metadata   client.Reader // the cache, which holds the metadata of Secrets and ConfigMaps and no more
	live       client.Reader // the API server
	api        *infisical.Client
	defaultURL string // of the server, for objects that name none

	mu     sync.Mutex
	tokens map[keyRef]versioned[servicetoken.Token]
}

func newInputs(metadata, live client.Reader, api *infisical.Client, defaultURL string) *inputs {
	return &inputs{metadata: metadata, live: live, api: api, defaultURL: defaultURL, tokens: map[keyRef]versioned[servicetoken.Token]{}}
}

// keyRef is a key of a Secret or ConfigMap.
type keyRef struct {
	kind, namespace, name, key string
}

func (k keyRef) String() string { return fmt.Sprintf("%s %s", k.kind, k.name) }

// versioned is what was read from one version of an object: the API server is asked once per version, not per reconcile.
type versioned[T any] struct {
	uid, version string
	value        T
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
	token, err := in.token(ctx, keyRef{"Secret", obj.Namespace, ref.Name, ref.Key})
	if err != nil {
		return source.Credential{}, err
	}
	var bundle []byte
	if obj.Spec.TLS != nil {
		ca := obj.Spec.TLS.CABundleRef
		if bundle, err = in.read(ctx, keyRef{ca.Kind, obj.Namespace, ca.Name, ca.Key}); err != nil {
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

func (in *inputs) token(ctx context.Context, ref keyRef) (servicetoken.Token, error) {
	meta := metav1.PartialObjectMetadata{}
	meta.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	switch err := in.metadata.Get(ctx, client.ObjectKey{Namespace: ref.namespace, Name: ref.name}, &meta); {
	case apierrors.IsNotFound(err):
		in.forget(ref)
		return servicetoken.Token{}, &inputError{stv1.ReasonTokenSecretNotFound, fmt.Errorf("there is no %s in this namespace", ref)}
	case err != nil:
		return servicetoken.Token{}, fmt.Errorf("reading the metadata of %s: %w", ref, err)
	}
	in.mu.Lock()
	known, ok := in.tokens[ref]
	in.mu.Unlock()
	if ok && known.uid == string(meta.UID) && known.version == meta.ResourceVersion {
		return known.value, nil
	}
	raw, err := in.read(ctx, ref)
	if err != nil {
		return servicetoken.Token{}, err
	}
	token, err := servicetoken.Parse(string(raw))
	if err != nil {
		in.forget(ref)
		return servicetoken.Token{}, &inputError{stv1.ReasonTokenMalformed, fmt.Errorf("key %q of %s: %w", ref.key, ref, err)}
	}
	// The live Secret may be newer than the metadata; then the metadata's event is still to come, and this is read once more.
	in.mu.Lock()
	in.tokens[ref] = versioned[servicetoken.Token]{uid: string(meta.UID), version: meta.ResourceVersion, value: token}
	in.mu.Unlock()
	return token, nil
}

func (in *inputs) forget(ref keyRef) {
	in.mu.Lock()
	defer in.mu.Unlock()
	delete(in.tokens, ref)
}

// read gets one key from the API server itself.
func (in *inputs) read(ctx context.Context, ref keyRef) ([]byte, error) {
	var (
		key   = client.ObjectKey{Namespace: ref.namespace, Name: ref.name}
		value []byte
		ok    bool
		err   error
	)
	if ref.kind == "ConfigMap" {
		var cm corev1.ConfigMap
		if err = in.live.Get(ctx, key, &cm); err == nil {
			var text string
			if text, ok = cm.Data[ref.key]; ok {
				value = []byte(text)
			} else {
				value, ok = cm.BinaryData[ref.key]
			}
		}
	} else {
		var secret corev1.Secret
		if err = in.live.Get(ctx, key, &secret); err == nil {
			value, ok = secret.Data[ref.key]
		}
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, &inputError{stv1.ReasonTokenSecretNotFound, fmt.Errorf("there is no %s in this namespace", ref)}
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	case !ok:
		return nil, &inputError{stv1.ReasonTokenSecretNotFound, fmt.Errorf("%s has no key %q", ref, ref.key)}
	}
	return value, nil
}
