package target

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Delete removes what the object wrote: the Secret when it is the object's, else the keys that it merged into somebody
// else's. It says whether there was anything to remove. A Secret that was adopted without a write is not the object's yet,
// and stays. Of what is desired, only Kind, Namespace, Name and Owner are looked at.
func (w *Writer) Delete(ctx context.Context, desired Desired) (bool, error) {
	d := Desired{Kind: desired.Kind, Namespace: desired.Namespace, Name: desired.Name, Owner: desired.Owner}.defaulted()
	removed := false
	err := retry.OnError(retry.DefaultRetry, lostRace, func() error {
		live, err := w.get(ctx, d.object())
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if !belongsTo(live, d.Owner) {
			removed, err = w.removeMerged(ctx, live, d)
			return err
		}
		err = w.remove(ctx, live, d)
		removed = err == nil
		return client.IgnoreNotFound(err)
	})
	return removed, err
}

// remove deletes what was read, and nothing that it has become since.
func (w *Writer) remove(ctx context.Context, live *corev1.Secret, d Desired) error {
	err := w.client.Delete(ctx, d.Kind.toSend(live), client.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion})
	if err != nil {
		return writeError("delete", d.object(), err)
	}
	return nil
}

// removeMerged takes all of the object's keys, labels and annotations out of the Secret.
func (w *Writer) removeMerged(ctx context.Context, live *corev1.Secret, d Desired) (bool, error) {
	owned := ownedFields(live, mergeManager(d.Owner), metav1.ManagedFieldsOperationApply)
	if owned.data.Len()+owned.labels.Len()+owned.annotations.Len() == 0 {
		return false, nil
	}
	if frozen(live) && owned.data.Len() > 0 {
		return false, conflict(d, "it is immutable, so the keys that were merged into it cannot be removed")
	}
	if err := w.applyMerge(ctx, live, d); err != nil {
		return false, err
	}
	return true, nil
}
