package target

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Delete removes what the object wrote: the Secret when it is the object's, else the keys that it merged into somebody
// else's. It says whether there was anything to remove. A Secret that was adopted without a write is not the object's yet,
// and stays.
func (w *Writer) Delete(ctx context.Context, namespace, name string, owner metav1.OwnerReference) (bool, error) {
	d := Desired{Namespace: namespace, Name: name, Owner: owner}
	removed := false
	err := retry.OnError(retry.DefaultRetry, lostRace, func() error {
		live := &corev1.Secret{}
		err := w.live.Get(ctx, d.key(), live)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read Secret %s: %w", d.key(), err)
		}
		if !belongsTo(live, owner) {
			removed, err = w.removeMerged(ctx, live, d)
			return err
		}
		err = w.client.Delete(ctx, live, client.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete Secret %s: %w", d.key(), err)
		}
		removed = err == nil
		return nil
	})
	return removed, err
}

// removeMerged takes all of the object's keys, labels and annotations out of the Secret.
func (w *Writer) removeMerged(ctx context.Context, live *corev1.Secret, d Desired) (bool, error) {
	owned := ownedFields(live, mergeManager(d.Owner.Name), metav1.ManagedFieldsOperationApply)
	if owned.data.Len()+owned.labels.Len()+owned.annotations.Len() == 0 {
		return false, nil
	}
	if ptr.Deref(live.Immutable, false) && owned.data.Len() > 0 {
		return false, conflict(d, "it is immutable, so the keys that were merged into it cannot be removed")
	}
	d.Data, d.Labels, d.Annotations = nil, nil, nil
	if err := w.applyMerge(ctx, live, d); err != nil {
		return false, err
	}
	return true, nil
}
