package target

import (
	"context"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The revision of a Secret names the last change of its data. It is stored by the write that makes the change, next to the one that was last
// rolled out, so whoever has something to do after a change finds it undone until it is done, whatever breaks off in between, and does it
// once. What only restores what somebody else changed is no change:
//
//	create                            rolled out: nothing can use it yet
//	create, immutable and Known       due: it may be a replacement that broke off after the deletion
//	adopt, other bytes                rolled out; due if Known: it was adopted with equal bytes, and this is the first change since
//	adopt, equal bytes                no write, and no revision
//	change of data, replacement       due
//	heal, change of metadata          as it was
//	a mark is missing                 rolled out; somebody took it away, or it was not asked for until now
//
// A Merge marks nothing, as the Secret is somebody else's and may have several who merge. What it reports to be due is forgotten when it
// is not done at once.

// marks are what is stored of revisions. These are random: an ordinal could come a second time after a deletion, and anything computed from
// the data would tell of it.
type marks struct{ revision, rolledOut string }

// never is rolledOut where nothing was, for a mark that must not be missing.
const never = "none"

// NewRevision returns the name of a change.
func NewRevision() string { return rand.String(10) }

func (d Desired) tracked() bool { return d.Revision != "" }

// marksIn are those that a Secret has.
func marksIn(secret *corev1.Secret) marks {
	return marks{secret.Annotations[RevisionAnnotation], secret.Annotations[RolledOutAnnotation]}
}

// fit says whether the marks of a Secret need no write.
func (m marks) fit(d Desired) bool {
	if !d.tracked() {
		return m == marks{}
	}
	return m.revision != "" && m.rolledOut != ""
}

// due is the revision that is still to be rolled out, empty when there is none.
func (m marks) due() string {
	if m.revision == m.rolledOut {
		return ""
	}
	return m.revision
}

// first are the marks of a Secret that has none: rolled out, or due.
func (d Desired) first(due bool) marks {
	switch {
	case !d.tracked():
		return marks{}
	case due:
		return marks{d.Revision, never}
	}
	return marks{d.Revision, d.Revision}
}

// next are the marks to store in a Secret of the object's that has some. With news its data changes.
func (d Desired) next(have marks, news bool) marks {
	switch {
	case !d.tracked():
		return marks{}
	case !have.fit(d):
		return d.first(news)
	case news:
		have.revision = d.Revision
	}
	return have
}

// news says whether one of the keys differs for another reason than somebody else's change.
func news(live *corev1.Secret, keys []string) bool {
	touched := touchedSince(live)
	return slices.ContainsFunc(keys, func(key string) bool { return !touched.Has(key) })
}

// stamp puts the marks among the annotations, or takes them out where there are none.
func (m marks) stamp(annotations map[string]string) {
	delete(annotations, RevisionAnnotation)
	delete(annotations, RolledOutAnnotation)
	if m != (marks{}) {
		annotations[RevisionAnnotation], annotations[RolledOutAnnotation] = m.revision, m.rolledOut
	}
}

// RolledOut notes that what was due for a revision (Result.Due) is done. Should the data have changed since, that remains due.
func (w *Writer) RolledOut(ctx context.Context, d Desired, revision string) error {
	d = d.defaulted()
	if d.Policy == Merge {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{RolledOutAnnotation: revision}}})
	if err != nil {
		return err
	}
	object := d.Kind.toSend(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name}})
	err = w.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(rolloutManager))
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return writeError("mark", d.object(), err)
}
