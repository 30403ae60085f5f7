package target

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

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
	return &Cache{Cache: inner}, nil
}
