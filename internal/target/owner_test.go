package target

import (
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// everywhere is an object of another kind that is called like shop, and is bound to no namespace.
func everywhere() metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "servicetoken.io/v1alpha1", Kind: "ClusterServiceTokenSecret", Name: "shop", UID: "uid-of-everywhere"}
}

func (w *world) everywhere(data ...string) Desired {
	d := w.desired(data...)
	d.Owner = everywhere()
	return d
}

func TestTheMarkTellsKindsApart(t *testing.T) {
	g := NewWithT(t)
	g.Expect(OwnerMark(shop())).To(Equal("shop"))
	g.Expect(OwnerMark(everywhere())).To(Equal("ClusterServiceTokenSecret/shop"))
	g.Expect(marked(OwnerMark(shop()))).To(Equal("ServiceTokenSecret shop"))
	g.Expect(marked(OwnerMark(everywhere()))).To(Equal("ClusterServiceTokenSecret shop"))
}

func TestASecretOfAnotherKindCostsNoMoreRequests(t *testing.T) {
	for _, policy := range []CreationPolicy{Owner, Orphan} {
		t.Run(string(policy), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			d := w.everywhere("A", "1")
			d.Policy = policy
			secret := w.applied(d)
			g.Expect(secret.Annotations).To(Equal(map[string]string{OwnerAnnotation: "ClusterServiceTokenSecret/shop"}))
			g.Expect(w.apply(d)).To(Equal(Result{}))
			g.Expect(w.requests.take()).To(BeEmpty())
			g.Expect(w.Delete(t.Context(), d)).To(BeTrue())
		})
	}
}

func TestObjectsOfTwoKindsWithOneNameKeepApart(t *testing.T) {
	tests := map[string]struct {
		first, second func(*world, ...string) Desired
		holder        string
	}{
		"the wide one first": {(*world).everywhere, func(w *world, data ...string) Desired { return w.desired(data...) }, "ClusterServiceTokenSecret shop"},
		"the wide one last":  {func(w *world, data ...string) Desired { return w.desired(data...) }, (*world).everywhere, "ServiceTokenSecret shop"},
	}
	for name, tc := range tests {
		for _, made := range []CreationPolicy{Owner, Orphan} {
			for _, wanted := range []CreationPolicy{Owner, Orphan, Merge} {
				t.Run(name+" "+string(made)+" "+string(wanted), func(t *testing.T) {
					g := NewWithT(t)
					w := newWorld(t)
					d := tc.first(w, "A", "1")
					d.Policy = made
					w.applied(d)
					d = tc.second(w, "A", "2")
					d.Policy = wanted
					_, err := w.Apply(t.Context(), d)
					var conflict *ConflictError
					g.Expect(errors.As(err, &conflict)).To(BeTrue(), "%v", err)
					g.Expect(err).To(MatchError(ContainSubstring("it belongs to " + tc.holder)))
					g.Expect(w.Delete(t.Context(), d)).To(BeFalse())
					g.Expect(w.secret().Data).To(Equal(pairs("A", "1")))
				})
			}
		}
	}
}

func TestObjectsOfTwoKindsWithOneNameMergeTheirOwnKeys(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.theirs(nil, "theirs", "1")
	wide := w.everywhere("A", "1")
	wide.Policy = Merge
	w.applied(wide)
	w.applied(w.merging("B", "1"))
	g.Expect(w.secret().Data).To(Equal(pairs("theirs", "1", "A", "1", "B", "1")))
	_, err := w.Apply(t.Context(), w.merging("A", "2", "B", "1"))
	g.Expect(err).To(MatchError(ContainSubstring("its key A is merged in by ClusterServiceTokenSecret shop, with another value")))
	g.Expect(w.Delete(t.Context(), wide)).To(BeTrue())
	g.Expect(w.secret().Data).To(Equal(pairs("theirs", "1", "B", "1")))
}

func TestSecretsAreFoundByAnOwnerOfAnotherKind(t *testing.T) {
	g := NewWithT(t)
	w, v := newWorld(t), newWorld(t)
	owner := everywhere()
	owner.Name = w.ns // no other test's
	for _, world := range []*world{w, v} {
		d := world.everywhere("A", "1")
		d.Owner = owner
		world.apply(d)
	}
	own, other := w.desired("A", "1"), w.everywhere("A", "1")
	own.Name, other.Name, other.Owner.Name = "own", "other", "blog"
	w.apply(own)
	w.apply(other)
	w.requests.take()

	key := func(w *world) types.NamespacedName { return types.NamespacedName{Namespace: w.ns, Name: "env"} }
	for name, tc := range map[string]struct {
		options cache.Options
		want    []any
	}{
		"in all namespaces": {cache.Options{}, []any{key(w), key(v)}},
		"in two":            {cache.Options{DefaultNamespaces: map[string]cache.Config{w.ns: {}, v.ns: {}}}, []any{key(w), key(v)}},
		"in one":            {cache.Options{DefaultNamespaces: map[string]cache.Config{w.ns: {}}}, []any{key(w)}},
	} {
		c := startCache(t, tc.options, w.digester)
		g.Expect(c.OwnedBy(t.Context(), owner)).To(ConsistOf(tc.want...), name)
	}
	g.Expect(w.requests.take()).To(BeEmpty())

	own.Name, own.Owner = "env", owner
	g.Expect(w.Delete(t.Context(), own)).To(BeTrue())
	g.Eventually(func() ([]types.NamespacedName, error) { return w.cache.OwnedBy(t.Context(), owner) }).Should(BeEmpty())
	_, err := w.cache.OwnedBy(t.Context(), shop())
	g.Expect(err).To(MatchError("list the Secrets of ServiceTokenSecret shop: those of this kind are not indexed"))
}

func TestTheIndexHasNothingOfServiceTokenSecrets(t *testing.T) {
	g := NewWithT(t)
	for mark, want := range map[string][]string{"": nil, "shop": nil, "ClusterServiceTokenSecret/shop": {"ClusterServiceTokenSecret/shop"}} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{OwnerAnnotation: mark}}}
		g.Expect(farOwner(secret)).To(Equal(want))
	}
}
