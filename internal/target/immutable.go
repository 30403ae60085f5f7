package target

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// replaceTimeout limits deletion and creation, which do not end with the caller's context.
const replaceTimeout = 15 * time.Second

func frozen(secret *corev1.Secret) bool { return ptr.Deref(secret.Immutable, false) }

// freeze makes a Secret immutable where that is wanted, and says whether it was not.
func freeze(secret *corev1.Secret, d Desired) bool {
	if !d.Immutable || frozen(secret) {
		return false
	}
	secret.Immutable = ptr.To(true)
	return true
}

// toReplace says whether what is wanted cannot be had by an update: the type of a Secret never changes, the data of an
// immutable one no more. Only one that is the object's own and immutable, as it is or was wanted to be, is replaced for that; else
// it is a *ConflictError: whoever made it immutable meant that.
func toReplace(live *corev1.Secret, d Desired, ours bool, keys []string) (bool, error) {
	otherType, otherData := live.Type != d.Type, frozen(live) && len(keys) > 0
	switch {
	case ours && frozen(live) && (d.Immutable || frozenByUs(live)):
		return otherType || otherData, nil
	case otherType:
		return false, conflict(d, "its type is %s, not %s, and the type of a Secret cannot change: delete it, or choose another name",
			live.Type, d.Type)
	case otherData:
		return false, conflict(d, "it is immutable and its data differs from what is wanted: delete it, or choose another name")
	}
	return false, nil
}

// replace deletes the Secret and makes it anew, in that order, as a name is there once. What could refuse the new one is asked
// first, by a dry run under a generated name, so that the last good state is not given up for nothing: validation, admission, and
// a quota, which still counts the old one. The new one has nothing of what others put on the old one.
//
// When the creation fails all the same, or the process ends in between, the Secret is missing, and the next Apply creates it.
func (w *Writer) replace(ctx context.Context, live *corev1.Secret, d Desired, m marks) error {
	trial := d.secret(m)
	trial.Name, trial.GenerateName = "", d.Name // no dash at its end: the name may be as long as a name can be
	if err := w.client.Create(ctx, d.Kind.toSend(trial), client.DryRunAll, client.FieldOwner(fieldManager)); err != nil {
		return writeError("try to replace", d.object(), err)
	}
	// To stop between the two, because the process is to end, would leave nothing behind.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replaceTimeout)
	defer cancel()
	if err := w.remove(ctx, live, d); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err := w.client.Create(ctx, d.Kind.toSend(d.secret(m)), client.FieldOwner(fieldManager)); err != nil {
		return writeError("create again", d.object(), err)
	}
	return nil
}
