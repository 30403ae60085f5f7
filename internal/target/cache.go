package target

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ownerIndex is the name of the index for OwnedBy.
const ownerIndex = "owner"

// Cache holds the Secrets that carry our label, with digests for data. Reading anything else from it is an error, and
// starts no informer. It is a Runnable; the manager starts it with its own caches, before any controller.
type Cache struct {
	cache.Cache
}

// GetCache is how the manager recognizes a cache.
func (c *Cache) GetCache() cache.Cache { return c.Cache }

// NotManaged selects the Secrets that are not in the Cache, by their labels.
func NotManaged() labels.Selector {
	other, err := labels.NewRequirement(ManagedByLabel, selection.NotEquals, []string{ManagedByValue})
	if err != nil {
		panic(err) // both are constants, and valid
	}
	return labels.NewSelector().Add(*other)
}

// NewCache returns the cache for Writer and for the controller's watch on its Secrets. base gives what else is to be set,
// such as the scheme, the mapper and the namespaces; what it says about single kinds is replaced.
func NewCache(cfg *rest.Config, base cache.Options, d Digester) (*Cache, error) {
	secrets := cache.ByObject{
		Label:     labels.SelectorFromSet(labels.Set{ManagedByLabel: ManagedByValue}),
		Transform: d.Transform,
	}
	base.ByObject = map[client.Object]cache.ByObject{&corev1.Secret{}: secrets}
	base.ReaderFailOnMissingInformer = true
	inner, err := cache.New(cfg, base)
	if err != nil {
		return nil, fmt.Errorf("make the cache of managed Secrets: %w", err)
	}
	// The one informer there is. It is not started by this, so there is nothing to wait for.
	if _, err := inner.GetInformer(context.Background(), &corev1.Secret{}, cache.BlockUntilSynced(false)); err != nil {
		return nil, fmt.Errorf("make the informer of managed Secrets: %w", err)
	}
	if err := inner.IndexField(context.Background(), &corev1.Secret{}, ownerIndex, farOwner); err != nil {
		return nil, fmt.Errorf("index the managed Secrets by their owners: %w", err)
	}
	return &Cache{Cache: inner}, nil
}

// OwnedBy names the Secrets whose OwnerAnnotation names that owner, in whatever namespaces they are, in no order. It is for owners of
// another kind than ServiceTokenSecret, which are not bound to a namespace and have to find what they wrote where they no longer
// write; others are not in the index, and an error. ConfigMaps are in no cache, so they are not among it.
func (c *Cache) OwnedBy(ctx context.Context, owner metav1.OwnerReference) ([]types.NamespacedName, error) {
	if owner.Kind == homeKind {
		return nil, fmt.Errorf("list the Secrets of %s %s: those of this kind are not indexed", owner.Kind, owner.Name)
	}
	secrets := &corev1.SecretList{}
	// Nothing but names is looked at, so there is no need for copies.
	err := c.List(ctx, secrets, client.MatchingFields{ownerIndex: OwnerMark(owner)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list the Secrets of %s %s: %w", owner.Kind, owner.Name, err)
	}
	owned := make([]types.NamespacedName, 0, len(secrets.Items))
	for i := range secrets.Items {
		owned = append(owned, client.ObjectKeyFromObject(&secrets.Items[i]))
	}
	return owned, nil
}

// farOwner is what the index goes by: the owner's mark, unless that is a ServiceTokenSecret's. Those are the most by far, and know
// where their Secret is.
func farOwner(secret client.Object) []string {
	if mark := secret.GetAnnotations()[OwnerAnnotation]; strings.Contains(mark, "/") {
		return []string{mark}
	}
	return nil
}
