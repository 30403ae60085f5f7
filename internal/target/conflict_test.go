package target

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// externalSecret is the owner of a Secret that a user moves over from.
func externalSecret() metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Name: "shop", UID: "uid-of-external"}
}

func TestASecretThatMayNotBeWrittenIsLeftAlone(t *testing.T) {
	ours := func(s *corev1.Secret) {
		s.Labels = map[string]string{ManagedByLabel: ManagedByValue}
		s.Annotations = map[string]string{OwnerAnnotation: "shop"}
	}
	tests := map[string]struct {
		exists func(*corev1.Secret)
		kind   corev1.SecretType
		why    string
	}{
		"made by hand":              {exists: nil, why: `was not made by this operator`},
		"adoption refused":          {exists: func(s *corev1.Secret) { s.Annotations = map[string]string{AdoptAnnotation: "false"} }, why: `servicetoken.io/adopt: "true"`},
		"another object's":          {exists: controlledBy(blog()), why: "belongs to ServiceTokenSecret blog"},
		"another object's orphan":   {exists: func(s *corev1.Secret) { s.Annotations = map[string]string{OwnerAnnotation: "blog"} }, why: "belongs to ServiceTokenSecret blog"},
		"another operator's":        {exists: controlledBy(externalSecret()), why: "belongs to ExternalSecret shop"},
		"taken from us":             {exists: func(s *corev1.Secret) { ours(s); controlledBy(externalSecret())(s) }, why: "belongs to ExternalSecret shop"},
		"ours, of another type":     {exists: ours, kind: corev1.SecretTypeBasicAuth, why: "its type is Opaque, not kubernetes.io/basic-auth"},
		"to adopt, of another type": {exists: adopt, kind: corev1.SecretTypeBasicAuth, why: "its type is Opaque"},
		"ours, immutable":           {exists: func(s *corev1.Secret) { ours(s); immutable(s) }, why: "it is immutable"},
		"to adopt, immutable":       {exists: func(s *corev1.Secret) { adopt(s); immutable(s) }, why: "it is immutable"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			before := w.theirs(tc.exists, "username", "hunter2")
			d := w.desired("username", "hunter3", "password", "hunter3")
			d.Type = tc.kind
			_, err := w.Apply(t.Context(), d)
			var conflict *ConflictError
			g.Expect(errors.As(err, &conflict)).To(BeTrue(), "%v", err)
			g.Expect(conflict.Object).To(Equal(Object{KindSecret, d.key()}))
			g.Expect(err).To(MatchError(ContainSubstring(tc.why)))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter"))
			g.Expect(w.secret().ResourceVersion).To(Equal(before.ResourceVersion))
		})
	}
}

func TestAnImmutableSecretOfOursWithTheRightDataIsInSync(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.applied(w.desired("A", "1"))
	w.edit(immutable)
	w.waitForCache()
	d := w.desired("A", "1")
	g.Expect(w.apply(d)).To(Equal(Result{}))
	d.Labels = map[string]string{"team": "web"}
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true}), "labels may change")
}

func TestAdoptionOfEqualBytesWritesNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	before := w.theirs(func(s *corev1.Secret) { adopt(s); controlledBy(externalSecret())(s) }, "A", "1")
	for range 2 {
		g.Expect(w.apply(w.desired("A", "1"))).To(Equal(Result{}))
		w.restart()
	}
	g.Expect(w.requests.take()).NotTo(ContainElements("PUT", "PATCH", "DELETE"))
	g.Expect(w.secret().ResourceVersion).To(Equal(before.ResourceVersion))
}

func TestAdoptionOfOtherBytesTakesTheSecretOver(t *testing.T) {
	tests := map[string]struct {
		policy CreationPolicy
		exists func(*corev1.Secret)
	}{
		"made by hand, to own":           {Owner, nil},
		"made by hand, not to own":       {Orphan, nil},
		"another operator's, to own":     {Owner, controlledBy(externalSecret())},
		"another operator's, orphaned":   {Orphan, controlledBy(externalSecret())},
		"another object's, to own":       {Owner, controlledBy(blog())},
		"with another owner beside":      {Owner, func(s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{blog()} }},
		"with ours, but not controlling": {Owner, func(s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{shop()} }},
		"with ours, to be orphaned":      {Orphan, func(s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{shop()} }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.theirs(func(s *corev1.Secret) {
				if tc.exists != nil {
					tc.exists(s)
				}
				s.Annotations = map[string]string{AdoptAnnotation: "true", "their": "own"}
				s.Labels = map[string]string{"their": "own", ManagedByLabel: "Helm"}
			}, "A", "1", "B", "2")
			d := w.desired("A", "1", "C", "3")
			d.Policy = tc.policy
			g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Keys: []string{"B", "C"}}))
			secret := w.secret()
			g.Expect(secret.Data).To(Equal(d.Data))
			g.Expect(secret.Labels).To(Equal(map[string]string{"their": "own", ManagedByLabel: ManagedByValue}))
			g.Expect(secret.Annotations).To(Equal(map[string]string{"their": "own", OwnerAnnotation: "shop"}), "the permission is used up")
			if tc.policy == Owner {
				g.Expect(metav1.GetControllerOf(secret)).To(HaveValue(Equal(controllerRef(shop()))))
			} else {
				g.Expect(secret.OwnerReferences).To(BeEmpty())
			}
			if name == "with another owner beside" {
				g.Expect(secret.OwnerReferences).To(ContainElement(blog()))
			}
			w.waitForCache()
			w.requests.take()
			g.Expect(w.apply(d)).To(Equal(Result{}))
			g.Expect(w.requests.take()).To(BeEmpty(), "from now on it is ours")
		})
	}
}

func TestDeleteRemovesOnlyWhatIsTheObjects(t *testing.T) {
	tests := map[string]struct {
		make    func(*world)
		removed bool
		left    map[string][]byte // nil when the Secret is gone
	}{
		"nothing there":           {func(*world) {}, false, nil},
		"owned":                   {func(w *world) { w.applied(w.desired("A", "1")) }, true, nil},
		"orphan":                  {func(w *world) { d := w.desired("A", "1"); d.Policy = Orphan; w.applied(d) }, true, nil},
		"somebody else's":         {func(w *world) { w.theirs(nil, "A", "1") }, false, pairs("A", "1")},
		"another object's":        {func(w *world) { d := w.desired("A", "1"); d.Owner = blog(); w.applied(d) }, false, pairs("A", "1")},
		"adopted without a write": {func(w *world) { w.theirs(adopt, "A", "1"); w.apply(w.desired("A", "1")) }, false, pairs("A", "1")},
		"merged": {func(w *world) {
			w.theirs(nil, "A", "1")
			d := w.desired("B", "2")
			d.Policy, d.Labels = Merge, map[string]string{"team": "web"}
			w.applied(d)
		}, true, pairs("A", "1")},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			tc.make(w)
			removed, err := w.Delete(t.Context(), w.desired())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(removed).To(Equal(tc.removed))
			secrets := &corev1.SecretList{}
			g.Expect(w.admin.List(t.Context(), secrets, client.InNamespace(w.ns))).To(Succeed())
			if tc.left == nil {
				g.Expect(secrets.Items).To(BeEmpty())
				return
			}
			g.Expect(secrets.Items).To(HaveLen(1))
			g.Expect(secrets.Items[0].Data).To(Equal(tc.left))
			g.Expect(secrets.Items[0].Labels).NotTo(HaveKey("team"))
		})
	}
}

func TestDeleteDoesNotRemoveWhatItDidNotSee(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	stale := w.applied(w.desired("A", "1"))
	w.edit(func(s *corev1.Secret) { s.Annotations = nil; s.OwnerReferences = nil })
	w.live = readerFunc(func(client.ObjectKey) (*corev1.Secret, error) { return stale, nil })
	_, err := w.Delete(t.Context(), w.desired())
	g.Expect(err).To(MatchError(ContainSubstring("delete Secret")))
	g.Expect(w.secret().Data).To(Equal(pairs("A", "1")))
}

func TestMergedKeysOfAnImmutableSecretCannotBeRemoved(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.theirs(nil, "A", "1")
	d := w.desired("B", "2")
	d.Policy = Merge
	w.applied(d)
	w.edit(immutable)
	_, err := w.Delete(t.Context(), w.desired())
	var conflict *ConflictError
	g.Expect(errors.As(err, &conflict)).To(BeTrue())
}
