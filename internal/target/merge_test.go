package target

import (
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func (w *world) merging(data ...string) Desired {
	d := w.desired(data...)
	d.Policy = Merge
	return d
}

func TestMergeChangesOnlyTheObjectsKeys(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	before := w.theirs(func(s *corev1.Secret) { s.Labels = map[string]string{"their": "own"} }, "theirs", "1", "both", "1")

	d := w.merging("both", "2", "ours", "2", "later gone", "2")
	delete(d.Data, "later gone")
	d.Data["gone"] = []byte("2")
	d.Labels = map[string]string{"team": "web"}
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Keys: []string{"both", "gone", "ours"}}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET", "PATCH"}))
	g.Expect(w.secret().Data).To(Equal(pairs("theirs", "1", "both", "2", "ours", "2", "gone", "2")))

	g.Expect(w.apply(d)).To(Equal(Result{}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET"}), "equal: a look, no apply")
	w.restart()
	g.Expect(w.apply(d)).To(Equal(Result{}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET"}))

	delete(d.Data, "gone")
	d.Labels = nil
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Keys: []string{"gone"}}))
	secret := w.secret()
	g.Expect(secret.Data).To(Equal(pairs("theirs", "1", "both", "2", "ours", "2")))
	g.Expect(secret.Labels).To(Equal(before.Labels), "and no label of the operator's")
	g.Expect(secret.Annotations).To(BeEmpty())
	g.Expect(secret.OwnerReferences).To(BeEmpty())
	g.Expect(secret.UID).To(Equal(before.UID))
}

func TestMergeHealsItsKeysAndLeavesTheOthers(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.theirs(nil, "theirs", "1")
	w.applied(w.merging("A", "1", "B", "1"))
	w.edit(func(s *corev1.Secret) {
		s.Data["A"], s.Data["theirs"], s.Data["new"] = []byte("x"), []byte("2"), []byte("2")
	})
	g.Expect(w.apply(w.merging("A", "1", "B", "1"))).To(Equal(Result{Changed: true, Healed: true, By: edited, Keys: []string{"A"}}))
	g.Expect(w.secret().Data).To(Equal(pairs("theirs", "2", "new", "2", "A", "1", "B", "1")))
	g.Expect(w.apply(w.merging("A", "2", "B", "1"))).To(Equal(Result{Changed: true, Keys: []string{"A"}}), "a change at the source heals nothing")
}

func TestMergeOfEqualBytesWritesNothing(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	before := w.theirs(nil, "A", "1", "B", "2")
	g.Expect(w.apply(w.merging("A", "1"))).To(Equal(Result{}))
	g.Expect(w.secret().ResourceVersion).To(Equal(before.ResourceVersion))
}

func TestTwoObjectsMergeDifferentKeys(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.theirs(nil)
	other := w.merging("B", "2", "same", "0")
	other.Owner = blog()
	other.Owner.Name = strings.Repeat("blog.", 40)
	w.applied(other)
	w.applied(w.merging("A", "1", "same", "0"))
	g.Expect(w.secret().Data).To(Equal(pairs("A", "1", "B", "2", "same", "0")))

	_, err := w.Apply(t.Context(), w.merging("A", "1", "B", "3"))
	var conflict *ConflictError
	g.Expect(errors.As(err, &conflict)).To(BeTrue())
	g.Expect(err).To(MatchError(ContainSubstring("its key B is merged in by")))

	g.Expect(w.apply(w.merging("A", "1")).Changed).To(BeTrue())
	g.Expect(w.secret().Data).To(HaveKey("same"), "the other object still wants it")
}

func TestMergeRefuses(t *testing.T) {
	tests := map[string]struct {
		exists func(*world)
		why    string
	}{
		"a Secret that is not there":  {func(*world) {}, "waits for somebody else to make it"},
		"an immutable one":            {func(w *world) { w.theirs(immutable, "A", "0") }, "it is immutable"},
		"one it made itself":          {func(w *world) { d := w.desired("A", "0"); d.Policy = Orphan; w.applied(d) }, "was made by this object"},
		"one it owns":                 {func(w *world) { w.applied(w.desired("A", "0")) }, "belongs to ServiceTokenSecret shop"},
		"one of another object":       {func(w *world) { w.theirs(controlledBy(blog()), "A", "0") }, "belongs to ServiceTokenSecret blog"},
		"an orphan of another object": {func(w *world) { d := w.desired("A", "0"); d.Policy, d.Owner = Orphan, blog(); w.applied(d) }, "belongs to ServiceTokenSecret blog"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			tc.exists(w)
			w.requests.take()
			_, err := w.Apply(t.Context(), w.merging("A", "1"))
			var conflict *ConflictError
			g.Expect(errors.As(err, &conflict)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(ContainSubstring(tc.why)))
			g.Expect(w.requests.take()).To(Equal([]string{"GET"}))
		})
	}
}

func TestMergeIntoAnImmutableSecretWithEqualBytesIsInSync(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.theirs(immutable, "A", "1")
	g.Expect(w.apply(w.merging("A", "1"))).To(Equal(Result{}))
}

func TestMergeDoesNotBringBackASecretThatWasDeletedMeanwhile(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	stale := w.theirs(nil, "A", "0")
	g.Expect(w.admin.Delete(t.Context(), stale)).To(Succeed())
	w.live = readerFunc(func(client.ObjectKey) (*corev1.Secret, error) { return stale, nil })
	_, err := w.Apply(t.Context(), w.merging("A", "1"))
	g.Expect(apierrors.IsConflict(err)).To(BeTrue(), "%v", err)
	g.Expect(apierrors.IsNotFound(w.admin.Get(t.Context(), w.merging().key(), &corev1.Secret{}))).To(BeTrue())
}

func TestMergeOfWhatTheServerRefusesNamesTheField(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.theirs(nil, "A", "0")
	_, err := w.Apply(t.Context(), w.merging("not a key", "hunter2"))
	var invalid *InvalidError
	g.Expect(errors.As(err, &invalid)).To(BeTrue(), "%v", err)
	g.Expect(err).To(MatchError(ContainSubstring("data[not a key]")))
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
}

func TestTheNameOfAMergeManagerFitsTheLimit(t *testing.T) {
	g := NewWithT(t)
	named := func(kind, name string) metav1.OwnerReference { return metav1.OwnerReference{Kind: kind, Name: name} }
	long := strings.Repeat("a", 253)
	seen := names{}
	for _, kind := range []string{"ServiceTokenSecret", "ClusterServiceTokenSecret"} {
		for _, name := range []string{"shop", long, long[1:]} {
			manager := mergeManager(named(kind, name))
			g.Expect(len(manager)).To(BeNumerically("<=", maxManagerLen))
			g.Expect(seen.Has(manager)).To(BeFalse(), "each has its own")
			seen.Insert(manager)
		}
	}
	g.Expect(mergeManager(shop())).To(Equal("service-token-operator/shop"))
	g.Expect(mergeManager(named("ClusterServiceTokenSecret", long))).To(HavePrefix("service-token-operator/ClusterServiceTokenSecret/"),
		"a conflict names the kind")
}
