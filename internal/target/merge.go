package target

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// merge puts the wanted keys, labels and annotations into a Secret that somebody else made, and takes out those of ours
// that are no longer wanted. Server-side apply keeps the books: what our field manager owns is ours.
//
// The Secret gets neither our label nor an owner reference, so it is in no cache and drift is seen when the object is
// reconciled next, by a live read. A Secret that this object made under another policy is refused: it would be deleted
// with the object, and its keys could not be told apart.
func (w *Writer) merge(ctx context.Context, d Desired) (Result, error) {
	var result Result
	err := retry.OnError(retry.DefaultRetry, lostRace, func() error {
		live := &corev1.Secret{}
		err := w.live.Get(ctx, d.key(), live)
		if apierrors.IsNotFound(err) {
			return conflict(d, "it does not exist, and the policy Merge waits for somebody else to make it")
		}
		if err != nil {
			return fmt.Errorf("read Secret %s: %w", d.key(), err)
		}
		result, err = w.mergeInto(ctx, live, d)
		return err
	})
	return result, err
}

func (w *Writer) mergeInto(ctx context.Context, live *corev1.Secret, d Desired) (Result, error) {
	manager := mergeManager(d.Owner.Name)
	owned := ownedFields(live, manager, metav1.ManagedFieldsOperationApply)
	keys := changesOf(live.Data, owned.data, d.Data, bytes.Equal)
	sameText := func(a, b string) bool { return a == b }
	changed := len(keys) > 0 ||
		len(changesOf(live.Labels, owned.labels, d.Labels, sameText)) > 0 ||
		len(changesOf(live.Annotations, owned.annotations, d.Annotations, sameText)) > 0
	if err := mergeable(live, d, keys); err != nil {
		return Result{}, err
	}
	if !changed {
		return Result{}, nil
	}
	if err := w.applyMerge(ctx, live, d); err != nil {
		return Result{}, err
	}
	return Result{Changed: true, Healed: mergeHealed(live, owned, d, keys), Keys: keys}, nil
}

// applyMerge sends our part of the Secret. The UID makes it fail, and not create, when the Secret is gone.
func (w *Writer) applyMerge(ctx context.Context, live *corev1.Secret, d Desired) error {
	part := corev1apply.Secret(d.Name, d.Namespace).WithUID(live.UID).WithLabels(d.Labels).WithAnnotations(d.Annotations).WithData(d.Data)
	err := w.client.Apply(ctx, part, client.FieldOwner(mergeManager(d.Owner.Name)), client.ForceOwnership)
	if err != nil {
		return writeError("merge into", d.key(), err)
	}
	return nil
}

// mergeable says why keys may not be merged into the Secret, if so.
func mergeable(live *corev1.Secret, d Desired, keys []string) error {
	if ref := metav1.GetControllerOf(live); ref != nil && ref.APIVersion == d.Owner.APIVersion && ref.Kind == d.Owner.Kind {
		return conflict(d, "it belongs to %s %s, which would take out again what is merged in", ref.Kind, ref.Name)
	}
	switch owner := live.Annotations[OwnerAnnotation]; owner {
	case "":
	case d.Owner.Name:
		return conflict(d, "it was made by this object under the policy Owner or Orphan: "+
			"remove its annotation %s and its label %s to hand it over, or delete it", OwnerAnnotation, ManagedByLabel)
	default:
		return conflict(d, "it belongs to %s %s, which would take out again what is merged in", d.Owner.Kind, owner)
	}
	if ptr.Deref(live.Immutable, false) && len(keys) > 0 {
		return conflict(d, "it is immutable and its data differs from what is wanted")
	}
	for other, theirs := range otherMergers(live, mergeManager(d.Owner.Name)) {
		for _, key := range keys {
			if _, wanted := d.Data[key]; wanted && theirs.Has(key) {
				return conflict(d, "its key %s is merged in by %s %s, with another value", key, d.Owner.Kind, other)
			}
		}
	}
	return nil
}

// changesOf names what an apply would change: what is wanted and not there, and what is ours and not wanted.
func changesOf[V any](live map[string]V, owned names, want map[string]V, equal func(a, b V) bool) []string {
	changes := names{}
	for name, value := range want {
		if have, ok := live[name]; !ok || !equal(have, value) {
			changes.Insert(name)
		}
	}
	for name := range owned {
		if _, wanted := want[name]; !wanted {
			changes.Insert(name)
		}
	}
	return sets.List(changes)
}

// mergeHealed says whether a key that was in the Secret, and that we wrote now, was somebody else's by then.
func mergeHealed(live *corev1.Secret, owned fields, d Desired, keys []string) bool {
	if owned.data.Len() == 0 {
		return false // the first time, other values are what was to be replaced
	}
	return slices.ContainsFunc(keys, func(key string) bool {
		_, there := live.Data[key]
		_, wanted := d.Data[key]
		return there && wanted && !owned.data.Has(key)
	})
}
