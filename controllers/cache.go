package controllers

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/target"
)

// CacheOptions is what the manager's cache must be made with: it keeps the objects to work on, and of ConfigMaps and of the Secrets
// that are not managed here as much metadata as is looked at, and refuses to be asked for what nobody watches. Managed Secrets are
// in a cache of their own; here too they would be sent and kept twice.
func (o Options) CacheOptions() cache.Options {
	c := o.baseCache()
	c.ByObject = map[client.Object]cache.ByObject{
		&stv1.ServiceTokenSecret{}: {Label: o.Selector, Transform: stripObject},
		metadataOf("Secret"):       {Label: target.NotManaged(), Transform: stripMetadata},
		metadataOf("ConfigMap"):    {Transform: stripMetadata},
	}
	if o.Push {
		c.ByObject[&stv1.ServiceTokenPush{}] = cache.ByObject{Label: o.Selector}
	}
	if o.ClusterSecrets {
		c.ByObject[&stv1.ClusterServiceTokenSecret{}] = cache.ByObject{Label: o.Selector}
		c.ByObject[metadataOf("Namespace")] = cache.ByObject{Transform: stripNamespace}
	}
	return c
}

// partial says that objects may be left to other releases of the operator, which use tokens that are not seen here.
func (o Options) partial() bool {
	return len(o.Namespaces) > 0 || (o.Selector != nil && !o.Selector.Empty())
}

// ClientOptions is what the manager's client must be made with: an object is not looked at before the cache has seen what was last
// written to its status, or the same would be decided, and refused as a conflict, once more.
func ClientOptions() client.Options {
	return client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: ptr.To(true)}}
}

// baseCache is what all caches have in common.
func (o Options) baseCache() cache.Options {
	c := cache.Options{ReaderFailOnMissingInformer: true, DefaultTransform: cache.TransformStripManagedFields()}
	for _, ns := range o.Namespaces {
		if c.DefaultNamespaces == nil {
			c.DefaultNamespaces = map[string]cache.Config{}
		}
		c.DefaultNamespaces[ns] = cache.Config{}
	}
	return c
}

func metadataOf(kind string) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return m
}

// stripObject takes out of an object what is not looked at, and lets it have in common with others what most of them have: among
// ten thousand there are few different namespaces, reasons and messages. Nothing in a cache is ever changed, and what is missing is
// not missed by a write, as the API server takes nothing but the status from it.
func stripObject(in any) (any, error) {
	obj, ok := in.(*stv1.ServiceTokenSecret)
	if !ok {
		return in, nil // a tombstone of the informer
	}
	obj.ManagedFields = nil
	delete(obj.Annotations, corev1.LastAppliedConfigAnnotation)
	spec, status := &obj.Spec, &obj.Status
	for _, text := range []*string{&obj.APIVersion, &obj.Kind, &obj.Namespace, &spec.HostURL, &spec.Target.Type} {
		share(text)
	}
	share(&spec.KeyConflicts)
	share(&spec.UnresolvedReferences)
	share(&spec.InvalidKeys)
	share(&spec.Decryption)
	share(&spec.Target.Kind)
	share(&spec.Target.CreationPolicy)
	share(&spec.Target.DeletionPolicy)
	if st := spec.Auth.ServiceToken; st != nil {
		share(&st.SecretRef.Name)
		share(&st.SecretRef.Key)
	}
	for i := range spec.Sources {
		share(&spec.Sources[i].Environment)
	}
	for i := range status.Conditions {
		c := &status.Conditions[i]
		share(&c.Type)
		share(&c.Status)
		share(&c.Reason)
		if c.Type != stv1.ConditionReady { // whose message names the object's own Secret
			share(&c.Message)
		}
	}
	if status.Token != nil {
		share(&status.Token.ID)
		share(&status.Token.Expires)
	}
	if status.Usage != nil {
		share(&status.Usage.Used)
	}
	return obj, nil
}

// share makes equal texts one in memory. For a text that no other object has it costs more than it saves.
func share[T ~string](text *T) { *text = unique.Make(*text).Value() }

// stripMetadata keeps of an object what is looked at: which one it is, and in which version.
func stripMetadata(in any) (any, error) {
	m, ok := in.(*metav1.PartialObjectMetadata)
	if !ok {
		return in, nil // a tombstone of the informer
	}
	kept := metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
	if owner := m.Annotations[target.OwnerAnnotation]; owner != "" && m.Kind == "ConfigMap" {
		kept.Annotations = map[string]string{target.OwnerAnnotation: owner}
	}
	return &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: kept}, nil
}

// stripNamespace keeps of a namespace its labels as well, and whether it is about to go.
func stripNamespace(in any) (any, error) {
	m, ok := in.(*metav1.PartialObjectMetadata)
	if !ok {
		return in, nil // a tombstone of the informer
	}
	kept := metav1.ObjectMeta{Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels, DeletionTimestamp: m.DeletionTimestamp}
	return &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: kept}, nil
}
