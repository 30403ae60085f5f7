package target

import (
	"bytes"
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// merge puts the wanted keys, labels and annotations into a Secret that somebody else made, and takes out those of ours
// that are no longer wanted. Server-side apply keeps the books: what our field manager owns is ours.
//
// The Secret gets neither our label nor an owner reference, so it is in no cache and drift is seen when the object is
// reconciled next, by a live read. A Secret that this object made under another policy is refused: it would be deleted
// with the object, and its keys could not be told apart.
func (w *Writer) merge(ctx context.Context, d Desired) (Result, error) {
	if d.Immutable {
		return Result{}, conflict(d, "it cannot be made immutable by an object that merges into it: "+
			"whoever else writes to it could do so no more, and to change it would be to replace what is theirs")
	}
	var result Result
	err := retry.OnError(retry.DefaultRetry, lostRace, func() error {
		live, err := w.get(ctx, d.object())
		if apierrors.IsNotFound(err) {
			return conflict(d, "it does not exist, and the policy Merge waits for somebody else to make it")
		}
		if err != nil {
			return err
		}
		result, err = w.mergeInto(ctx, live, d)
		return err
	})
	return result, err
}

func (w *Writer) mergeInto(ctx context.Context, live *corev1.Secret, d Desired) (Result, error) {
	owned := ownedFields(live, mergeManager(d.Owner), metav1.ManagedFieldsOperationApply)
	keys := changesOf(live.Data, owned.data, d.Data, bytes.Equal)
	sameText := func(a, b string) bool { return a == b }
	changed := len(keys) > 0 ||
		len(changesOf(live.Labels, owned.labels, d.Labels, sameText)) > 0 ||
		len(changesOf(live.Annotations, owned.annotations, d.Annotations, sameText)) > 0
	if err := mergeable(live, d, keys); err != nil {
		return Result{}, err
	}
	healed := healedKeys(live, owned, d, keys)
	if !changed {
		return Result{}, nil
	}
	if err := w.applyMerge(ctx, live, d); err != nil {
		return Result{}, err
	}
	result := healing(live, healed, Result{Changed: true, Healed: len(healed) > 0, Keys: keys})
	if d.Known && len(keys) > len(healed) {
		result.Due = d.Revision
	}
	return result, nil
}

// applyMerge sends our part of the Secret. The UID makes it fail, and not create, when the Secret is gone.
func (w *Writer) applyMerge(ctx context.Context, live *corev1.Secret, d Desired) error {
	err := w.client.Apply(ctx, d.partToApply(live.UID), client.FieldOwner(mergeManager(d.Owner)), client.ForceOwnership)
	if err != nil {
		return writeError("merge into", d.object(), err)
	}
	return nil
}

// mergeable says why keys may not be merged into the Secret, if so.
func mergeable(live *corev1.Secret, d Desired, keys []string) error {
	if ref := metav1.GetControllerOf(live); ref != nil && ref.APIVersion == d.Owner.APIVersion {
		return conflict(d, "it belongs to %s %s, which would take out again what is merged in", ref.Kind, ref.Name)
	}
	switch owner := live.Annotations[OwnerAnnotation]; owner {
	case "":
	case OwnerMark(d.Owner):
		return conflict(d, "it was made by this object under the policy Owner or Orphan: "+
			"remove its annotation %s and its label %s to hand it over, or delete it", OwnerAnnotation, ManagedByLabel)
	default:
		return conflict(d, "it belongs to %s, which would take out again what is merged in", marked(owner))
	}
	if frozen(live) && len(keys) > 0 {
		return conflict(d, "it is immutable and its data differs from what is wanted")
	}
	for other, theirs := range otherMergers(live, mergeManager(d.Owner)) {
		for _, key := range keys {
			if _, wanted := d.Data[key]; wanted && theirs.Has(key) {
				return conflict(d, "its key %s is merged in by %s, with another value", key, marked(other))
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

// healedKeys are those of the keys that were in the Secret, and that we write now, but that were somebody else's by then.
func healedKeys(live *corev1.Secret, owned fields, d Desired, keys []string) []string {
	if owned.data.Len() == 0 {
		return nil // the first time, other values are what was to be replaced
	}
	var healed []string
	for _, key := range keys {
		_, there := live.Data[key]
		_, wanted := d.Data[key]
		if there && wanted && !owned.data.Has(key) {
			healed = append(healed, key)
		}
	}
	return healed
}
