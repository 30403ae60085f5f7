package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/bmatcuk/doublestar/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/target"
)

// fanout knows the namespaces of ClusterServiceTokenSecrets: which they select, and which they may touch. A nil one is for where that
// kind is off. What it takes from the API server is in config/cluster-secrets/role.yaml, apart from the operator's own role.
type fanout struct {
	cache     client.Reader // the metadata of namespaces and ConfigMaps
	managed   *target.Cache
	forbidden []string // globs
}

// forbiddenError says that a namespace may not be used.
type forbiddenError struct{ namespace string }

func (e *forbiddenError) Error() string {
	return fmt.Sprintf("spec.namespace: the operator's --forbidden-namespaces covers %s", e.namespace)
}

// open is the one gate to namespaces: it is asked before anything is read from one, or written to one.
func (f *fanout) open(namespace string) bool {
	return !slices.ContainsFunc(f.forbidden, func(glob string) bool {
		covers, err := doublestar.Match(glob, namespace)
		return err != nil || covers
	})
}

// allows says whether the subject may read in its home.
func (f *fanout) allows(s *subject) error {
	if s.cluster != nil && !f.open(s.home()) {
		return &forbiddenError{s.home()}
	}
	return nil
}

// selectorOf is the selector of an object's namespaces.
func selectorOf(c *stv1.ClusterServiceTokenSecret) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(&c.Spec.NamespaceSelector)
	if err != nil {
		return nil, &specError{"spec.namespaceSelector", err}
	}
	return selector, nil
}

// selected are the namespaces that an object writes to, sorted: those that its selector matches, that are not forbidden, and not about
// to be deleted.
func (f *fanout) selected(ctx context.Context, c *stv1.ClusterServiceTokenSecret) ([]string, error) {
	selector, err := selectorOf(c)
	if err != nil {
		return nil, err
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(metadataOf("NamespaceList").GroupVersionKind())
	if err := f.cache.List(ctx, list, client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing namespaces: %w", err)
	}
	var names []string
	for i := range list.Items {
		if ns := &list.Items[i]; ns.DeletionTimestamp.IsZero() && f.open(ns.Name) {
			names = append(names, ns.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// leave deletes the targets in namespaces that are not selected any longer, where their deletion policy says so. Elsewhere they stay as
// they are. What cannot be deleted does not stop the rest.
func (f *fanout) leave(ctx context.Context, targets *target.Writer, s *subject, selected []string) (deleted []placed, err error) {
	for _, t := range targetsOf(s.ServiceTokenSecret) {
		if t.DeletionPolicy != stv1.DeletionPolicyDelete {
			continue
		}
		ref := referenceOf(s.ServiceTokenSecret, &t)
		namespaces, failed := f.holders(ctx, s, ref)
		err = errors.Join(err, failed)
		for _, namespace := range namespaces {
			if _, in := slices.BinarySearch(selected, namespace); in || !f.open(namespace) || !f.stays(ctx, namespace) {
				continue
			}
			gone, failed := targets.Delete(ctx, s.placement(namespace, &t))
			err = errors.Join(err, failed)
			if gone {
				deleted = append(deleted, placed{namespace: namespace, target: ref})
			}
		}
	}
	return deleted, err
}

// stays says whether a namespace is there and not about to be deleted, with all that is in it.
func (f *fanout) stays(ctx context.Context, namespace string) bool {
	ns := metadataOf("Namespace")
	return f.cache.Get(ctx, client.ObjectKey{Name: namespace}, ns) == nil && ns.DeletionTimestamp.IsZero()
}

// holders are the namespaces that have the target, as the caches know them.
func (f *fanout) holders(ctx context.Context, s *subject, ref stv1.TargetReference) ([]string, error) {
	var namespaces []string
	if ref.Kind == stv1.TargetKindSecret {
		secrets, err := f.managed.OwnedBy(ctx, s.owner())
		for _, secret := range secrets {
			if secret.Name == ref.Name {
				namespaces = append(namespaces, secret.Namespace)
			}
		}
		return namespaces, err
	}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(metadataOf("ConfigMapList").GroupVersionKind())
	err := f.cache.List(ctx, list, client.MatchingFields{indexOwner: target.OwnerMark(s.owner())}, client.UnsafeDisableDeepCopy)
	for i := range list.Items {
		if list.Items[i].Name == ref.Name {
			namespaces = append(namespaces, list.Items[i].Namespace)
		}
	}
	return namespaces, err
}
