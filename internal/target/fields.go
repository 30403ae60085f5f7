package target

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// maxManagerLen is what the API server allows for the name of a field manager.
const maxManagerLen = 128

// mergePrefix is what all field managers of a Merge begin with.
const mergePrefix = fieldManager + "/"

type names = sets.Set[string]

// fields are names of what a field manager owns in a Secret.
type fields struct {
	data, labels, annotations names
}

func noFields() fields { return fields{data: names{}, labels: names{}, annotations: names{}} }

// ownedFields reads from managedFields what the manager owns by that operation. Ownership moves with each change of a
// value, so what somebody else changed since is not among it.
func ownedFields(secret *corev1.Secret, manager string, operation metav1.ManagedFieldsOperationType) fields {
	owned := noFields()
	for _, entry := range secret.ManagedFields {
		if entry.Manager == manager && entry.Operation == operation && entry.Subresource == "" {
			owned.add(entry)
		}
	}
	return owned
}

// add takes over what one entry lists. An entry that cannot be read is none: then less is known to be ours, and less is
// removed.
func (f fields) add(entry metav1.ManagedFieldsEntry) {
	if entry.FieldsV1 == nil {
		return
	}
	set := &fieldpath.Set{}
	if err := set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
		return
	}
	for path := range set.All() {
		switch {
		case matches(path, "data"), matches(path, "binaryData"):
			f.data.Insert(*path[1].FieldName)
		case matches(path, "metadata", "labels"):
			f.labels.Insert(*path[2].FieldName)
		case matches(path, "metadata", "annotations"):
			f.annotations.Insert(*path[2].FieldName)
		}
	}
}

// frozenByUs says whether it was our write that made a Secret immutable.
func frozenByUs(secret *corev1.Secret) bool {
	for _, entry := range secret.ManagedFields {
		set := &fieldpath.Set{}
		if entry.Manager == fieldManager && entry.FieldsV1 != nil && set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())) == nil &&
			set.Has(fieldpath.MakePathOrDie("immutable")) {
			return true
		}
	}
	return false
}

// matches says whether the path is a field directly under the parents.
func matches(path fieldpath.Path, parents ...string) bool {
	if len(path) != len(parents)+1 {
		return false
	}
	for i, element := range path {
		if element.FieldName == nil || (i < len(parents) && *element.FieldName != parents[i]) {
			return false
		}
	}
	return true
}

// metaSetBy names the labels and annotations that we set on a Secret, besides our own, and nobody else did.
func metaSetBy(secret *corev1.Secret) meta {
	if only(secret.Labels, ManagedByLabel) && only(secret.Annotations, OwnerAnnotation, RevisionAnnotation, RolledOutAnnotation) {
		return meta{} // as in most Secrets; reading managedFields costs more than all else that is done with one
	}
	owned := ownedFields(secret, fieldManager, metav1.ManagedFieldsOperationUpdate)
	for _, entry := range secret.ManagedFields {
		if entry.Manager != fieldManager && owned.labels.Len()+owned.annotations.Len() > 0 {
			others := noFields()
			others.add(entry)
			owned.labels = owned.labels.Difference(others.labels)
			owned.annotations = owned.annotations.Difference(others.annotations)
		}
	}
	return meta{labels: owned.labels.Delete(ManagedByLabel), annotations: owned.annotations.Delete(OwnerAnnotation, RevisionAnnotation, RolledOutAnnotation)}
}

// only says whether there is nothing in m but, maybe, those keys.
func only(m map[string]string, keys ...string) bool {
	rest := len(m)
	for _, key := range keys {
		if _, has := m[key]; has {
			rest--
		}
	}
	return rest == 0
}

// touchedSince names the keys that somebody else added or changed after our last write. What is older was there when we
// took the Secret over.
func touchedSince(live *corev1.Secret) names {
	touched := noFields()
	for _, entry := range othersSince(live) {
		touched.add(entry)
	}
	return touched.data
}

// healing adds to the result of a heal who had changed or added one of the keys.
func healing(live *corev1.Secret, keys []string, result Result) Result {
	if !result.Healed {
		return result
	}
	managers := names{}
	for _, entry := range othersSince(live) {
		touched := noFields()
		if touched.add(entry); touched.data.HasAny(keys...) {
			managers.Insert(entry.Manager)
		}
	}
	if managers.Len() > 0 {
		result.By = sets.List(managers)
	}
	return result
}

// othersSince are what others have written after our last write, a Merge's own writes among them.
func othersSince(live *corev1.Secret) []metav1.ManagedFieldsEntry {
	var last metav1.Time
	for _, entry := range live.ManagedFields {
		if entry.Manager == fieldManager && last.Before(entry.Time) {
			last = *entry.Time
		}
	}
	var others []metav1.ManagedFieldsEntry
	for _, entry := range live.ManagedFields {
		if entry.Manager != fieldManager && entry.Time != nil && !entry.Time.Before(&last) {
			others = append(others, entry)
		}
	}
	return others
}

// mergeManager is the field manager of one object's Merge. Each object has its own, so that what one no longer wants
// is told from what another still does.
func mergeManager(owner metav1.OwnerReference) string {
	if manager := mergePrefix + OwnerMark(owner); len(manager) <= maxManagerLen {
		return manager
	}
	sum := sha256.Sum256([]byte(owner.Name))
	owner.Name = hex.EncodeToString(sum[:])
	return mergePrefix + OwnerMark(owner)
}

// otherMergers returns who else merges keys into the Secret, by the owner's mark, with the keys.
func otherMergers(live *corev1.Secret, manager string) map[string]names {
	mergers := map[string]names{}
	for _, entry := range live.ManagedFields {
		if entry.Manager == manager || entry.Operation != metav1.ManagedFieldsOperationApply {
			continue
		}
		if mark, is := strings.CutPrefix(entry.Manager, mergePrefix); is {
			mergers[mark] = ownedFields(live, entry.Manager, entry.Operation).data
		}
	}
	return mergers
}
