package target

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// homeKind is the kind whose objects stand in the namespace of their Secrets.
const homeKind = "ServiceTokenSecret"

// OwnerMark is the value of OwnerAnnotation: the bare name of a ServiceTokenSecret, Kind/name for an owner of another kind. Names
// have no slash, so the two cannot be taken for each other.
func OwnerMark(owner metav1.OwnerReference) string {
	if owner.Kind == homeKind {
		return owner.Name
	}
	return owner.Kind + "/" + owner.Name
}

// marked turns what OwnerMark made into words: kind and name.
func marked(mark string) string {
	kind, name, other := strings.Cut(mark, "/")
	if !other {
		return homeKind + " " + mark
	}
	return kind + " " + name
}

// claim says whether an existing Secret is the object's already (true), or is to be adopted (false). Everything else is a
// *ConflictError.
func claim(live *corev1.Secret, d Desired) (ours bool, err error) {
	if belongsTo(live, d.Owner) {
		return true, nil
	}
	if live.Annotations[AdoptAnnotation] == "true" {
		return false, nil
	}
	const (
		adopt = `set the annotation ` + AdoptAnnotation + `: "true" on it to have it taken over`
		after = ": choose another name, or, when that does not write it any longer, " + adopt
	)
	if ref := metav1.GetControllerOf(live); ref != nil {
		return false, conflict(d, "it belongs to %s %s"+after, ref.Kind, ref.Name)
	}
	if owner := live.Annotations[OwnerAnnotation]; owner != "" {
		return false, conflict(d, "it belongs to %s"+after, marked(owner))
	}
	return false, conflict(d, "it exists and was not made by this operator: choose another name, or "+adopt)
}

// belongsTo says whether the Secret is the object's: controlled by it, or by its annotation where nothing else controls it.
// The annotation counts alone, so that an Orphan finds its object again when that was deleted and made anew, and so that
// a Secret whose label somebody removed heals.
func belongsTo(secret *corev1.Secret, owner metav1.OwnerReference) bool {
	if ref := metav1.GetControllerOf(secret); ref != nil {
		return sameObject(*ref, owner)
	}
	return owner.Name != "" && secret.Annotations[OwnerAnnotation] == OwnerMark(owner)
}

// sameObject compares by UID, and by name for an object that was made anew: its Secret still has the reference to the
// former one.
func sameObject(a, b metav1.OwnerReference) bool {
	return a.UID == b.UID || (a.APIVersion == b.APIVersion && a.Kind == b.Kind && a.Name == b.Name)
}

// controllerRef is the reference for policy Owner. BlockOwnerDeletion stays unset: where the admission plugin
// OwnerReferencesPermissionEnforcement runs, setting it takes permission to update the object's finalizers, and nothing
// here needs the object's deletion to wait for the Secret.
func controllerRef(owner metav1.OwnerReference) metav1.OwnerReference {
	owner.Controller, owner.BlockOwnerDeletion = ptr.To(true), nil
	return owner
}

// ownershipFits says whether the owner references are what the policy asks for: controlled by the object, or by nothing.
func ownershipFits(secret *corev1.Secret, d Desired) bool {
	ref := metav1.GetControllerOfNoCopy(secret)
	if d.Policy == Owner {
		return ref != nil && ref.UID == d.Owner.UID
	}
	return ref == nil && !slices.ContainsFunc(secret.OwnerReferences, func(r metav1.OwnerReference) bool { return sameObject(r, d.Owner) })
}

// setOwnership makes the owner references fit. There is room for one controller, so one that was there before an adoption
// goes: it would take the Secret along when it is deleted, and go on writing to it. Other owners stay.
func setOwnership(secret *corev1.Secret, d Desired) {
	if ownershipFits(secret, d) {
		return
	}
	secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, func(r metav1.OwnerReference) bool {
		return ptr.Deref(r.Controller, false) || sameObject(r, d.Owner)
	})
	if d.Policy == Owner {
		secret.OwnerReferences = append(secret.OwnerReferences, controllerRef(d.Owner))
	}
}

// shape sets everything but the data: ownership, our labels and annotations and the user's, and that it is immutable. Those that
// we set earlier and that are no longer wanted go; everybody else's stay. It says whether that changed the Secret.
func shape(secret *corev1.Secret, d Desired, m marks) bool {
	before := secret.DeepCopy()
	old := metaSetBy(secret)
	secret.Labels = reshape(secret.Labels, old.labels, d.labels())
	secret.Annotations = reshape(secret.Annotations, old.annotations, d.annotations())
	m.stamp(secret.Annotations)
	setOwnership(secret, d)
	return freeze(secret, d) || !apiequality.Semantic.DeepEqual(before.ObjectMeta, secret.ObjectMeta)
}

// drifted says whether what is written now had been changed by somebody else: one of the keys, or our own marks. A key that
// somebody removed leaves no trace in managedFields, and looks like one that is new at the source.
func drifted(live *corev1.Secret, d Desired, keys []string) bool {
	return live.Labels[ManagedByLabel] != ManagedByValue ||
		live.Annotations[OwnerAnnotation] != OwnerMark(d.Owner) ||
		touchedSince(live).HasAny(keys...)
}

func reshape(have map[string]string, set names, want map[string]string) map[string]string {
	shaped := maps.Clone(have)
	if shaped == nil {
		shaped = map[string]string{}
	}
	for name := range set {
		delete(shaped, name)
	}
	maps.Copy(shaped, want)
	return shaped
}
