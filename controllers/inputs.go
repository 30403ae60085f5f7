package controllers

import (
	"cmp"
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

// inputs reads what an object names in its own namespace: the token Secret and the CA bundle, which make a credential, and ConfigMaps
// with templates.
type inputs struct {
	metadata   client.Reader // the cache of the metadata of ConfigMaps, and of Secrets that are not managed here
	managed    client.Reader // the cache of the Secrets that are
	live       client.Reader // the API server
	accounts   client.Client // for tokens of ServiceAccounts
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
	whole   bool // keys are all that there are
}

func newInputs(metadata, managed client.Reader, live client.Client, api *infisical.Client, defaultURL string) *inputs {
	return &inputs{metadata: metadata, managed: managed, live: live, accounts: live, api: api, defaultURL: defaultURL, known: map[holder]contents{}}
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

// connection is how a spec of any kind gets to its server.
type connection struct {
	auth       *stv1.Auth
	hostURL    string
	tls        *stv1.TLS
	decryption stv1.Decryption
}

func connectionOf(spec *stv1.ServiceTokenSecretSpec) connection {
	return connection{&spec.Auth, spec.HostURL, spec.TLS, spec.Decryption}
}

// credential reads the token, or what an identity logs in with, and the CA bundle that a spec names, in the namespace home. Errors:
// *inputError, *infisical.Error, or one of the API server's, which is worth another try.
func (in *inputs) credential(ctx context.Context, home string, to connection) (source.Credential, error) {
	var cred source.Credential
	var err error
	switch auth := to.auth; {
	case auth.ServiceToken != nil:
		cred.Token, err = in.token(ctx, home, auth.ServiceToken)
	case auth.UniversalAuth != nil:
		cred.Identity, err = in.universal(ctx, home, auth.UniversalAuth)
	default:
		account := serviceAccount{in.accounts, client.ObjectKey{Namespace: home, Name: auth.KubernetesAuth.ServiceAccountRef.Name}}
		cred.Identity, err = source.NewKubernetesAuth(auth.KubernetesAuth.IdentityID, account, auth.KubernetesAuth.Project)
	}
	if err != nil {
		return source.Credential{}, err
	}
	var bundle []byte
	if to.tls != nil {
		ca := to.tls.CABundleRef
		if bundle, err = in.key(ctx, holder{ca.Kind, home, ca.Name}, ca.Key, stv1.ReasonTokenSecretNotFound); err != nil {
			return source.Credential{}, err
		}
	}
	url := to.hostURL
	if url == "" {
		url = in.defaultURL
	}
	if cred.Server, err = in.api.Server(url, bundle); err != nil {
		return source.Credential{}, err
	}
	if to.decryption != stv1.DecryptionAuto {
		cred.Decryption = source.Decryption(to.decryption)
	}
	return cred, nil
}

// token reads a service token.
func (in *inputs) token(ctx context.Context, home string, auth *stv1.ServiceTokenAuth) (servicetoken.Token, error) {
	secret := holder{"Secret", home, auth.SecretRef.Name}
	raw, err := in.key(ctx, secret, auth.SecretRef.Key, stv1.ReasonTokenSecretNotFound)
	if err != nil {
		return servicetoken.Token{}, err
	}
	token, err := servicetoken.Parse(unique.Make(string(raw)).Value()) // a token is in memory once, however many objects use it
	if err != nil {
		return servicetoken.Token{}, &inputError{stv1.ReasonTokenMalformed, fmt.Errorf("key %q of %s: %w", auth.SecretRef.Key, secret, err)}
	}
	return token, nil
}

// universal reads what an identity of Universal Auth logs in with.
func (in *inputs) universal(ctx context.Context, home string, auth *stv1.UniversalAuth) (source.Identity, error) {
	secret := holder{"Secret", home, auth.SecretRef.Name}
	id, err := in.key(ctx, secret, auth.SecretRef.ClientIDKey, stv1.ReasonTokenSecretNotFound)
	if err != nil {
		return source.Identity{}, err
	}
	clientSecret, err := in.key(ctx, secret, auth.SecretRef.ClientSecretKey, stv1.ReasonTokenSecretNotFound)
	if err != nil {
		return source.Identity{}, err
	}
	identity, err := source.NewUniversalAuth(string(id), string(clientSecret), auth.Project)
	if err != nil {
		return source.Identity{}, &inputError{stv1.ReasonTokenMalformed, fmt.Errorf("%s: %w", secret, err)}
	}
	return identity, nil
}

// templates reads ConfigMaps of the namespace home whose keys are templates. It returns them by the key of the target that each makes.
func (in *inputs) templates(ctx context.Context, home string, sources []stv1.TemplateSource) (map[string]string, error) {
	templates := map[string]string{}
	for _, s := range sources {
		from := holder{"ConfigMap", home, s.ConfigMap.Name}
		if len(s.ConfigMap.Items) == 0 {
			all, err := in.read(ctx, from, "", stv1.ReasonTemplateFailed)
			if err != nil {
				return nil, err
			}
			for key, text := range all {
				templates[key] = string(text)
			}
		}
		for _, item := range s.ConfigMap.Items {
			text, err := in.key(ctx, from, item.Key, stv1.ReasonTemplateFailed)
			if err != nil {
				return nil, err
			}
			templates[cmp.Or(item.As, item.Key)] = string(text)
		}
	}
	return templates, nil
}

// key returns one key of a holder.
func (in *inputs) key(ctx context.Context, from holder, key, reason string) ([]byte, error) {
	keys, err := in.read(ctx, from, key, reason)
	return keys[key], err
}

// read returns one key of a holder at least, or all where key is empty, from the API server if this version of it was not read before.
// That something is missing is an *inputError with the reason.
func (in *inputs) read(ctx context.Context, from holder, key, reason string) (map[string][]byte, error) {
	seen, err := in.version(ctx, from)
	if apierrors.IsNotFound(err) {
		// It is in no cache, or between the two: what somebody has just put our label on, or taken it off, leaves the one before it
		// comes to the other. Only the API server knows that it is missing.
		return in.fetch(ctx, from, key, reason)
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
	if _, ok := known.keys[key]; ok || known.whole {
		if !ok && key != "" {
			return nil, missing(reason, "%s has no key %q", from, key)
		}
		return known.keys, nil
	}
	fetched, err := in.fetch(ctx, from, key, reason)
	if err != nil {
		return nil, err
	}
	// The live object may be newer than the metadata; then the metadata's event is still to come, and it is read once more.
	in.mu.Lock()
	defer in.mu.Unlock()
	keys := maps.Clone(known.keys)
	if keys == nil {
		keys = map[string][]byte{}
	}
	maps.Copy(keys, fetched)
	known.keys, known.whole = keys, key == ""
	in.known[from] = known
	return keys, nil
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

// fetch gets one key from the API server itself, or all where key is empty.
func (in *inputs) fetch(ctx context.Context, from holder, key, reason string) (map[string][]byte, error) {
	var (
		name = client.ObjectKey{Namespace: from.namespace, Name: from.name}
		all  map[string][]byte
		err  error
	)
	if from.kind == "ConfigMap" {
		var cm corev1.ConfigMap
		err = in.live.Get(ctx, name, &cm)
		all = make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
		maps.Copy(all, cm.BinaryData)
		for key, text := range cm.Data {
			all[key] = []byte(text)
		}
	} else {
		var secret corev1.Secret
		err = in.live.Get(ctx, name, &secret)
		all = secret.Data
	}
	value, ok := all[key]
	switch {
	case apierrors.IsNotFound(err):
		return nil, missing(reason, "there is no %s in namespace %s", from, from.namespace)
	case apierrors.IsForbidden(err):
		return nil, missing(reason, "the operator's roles do not let it read %s in namespace %s", from, from.namespace)
	case err != nil:
		return nil, fmt.Errorf("reading %s: %w", from, err)
	case key == "":
		return all, nil
	case !ok:
		return nil, missing(reason, "%s has no key %q", from, key)
	}
	return map[string][]byte{key: value}, nil
}

func missing(reason, format string, args ...any) error {
	return &inputError{reason, fmt.Errorf(format, args...)}
}
