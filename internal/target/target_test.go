package target

import (
	"context"
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestANewSecretIsMadeWithOneRequest(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desired("B", "2", "A", "1")
	d.Labels = map[string]string{"team": "web", ManagedByLabel: "somebody"}
	d.Annotations = map[string]string{"note": "hello"}
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Created: true, Keys: []string{"A", "B"}}))
	g.Expect(w.requests.take()).To(Equal([]string{"POST"}))
	g.Expect(w.requests.protobuf).To(BeTrue())

	secret := w.secret()
	g.Expect(secret.Type).To(Equal(corev1.SecretTypeOpaque))
	g.Expect(secret.Data).To(Equal(pairs("A", "1", "B", "2")))
	g.Expect(secret.Labels).To(Equal(map[string]string{"team": "web", ManagedByLabel: ManagedByValue}))
	g.Expect(secret.Annotations).To(Equal(map[string]string{"note": "hello", OwnerAnnotation: "shop"}))
	ref := shop()
	ref.Controller = ptr.To(true)
	g.Expect(secret.OwnerReferences).To(Equal([]metav1.OwnerReference{ref}))
}

func TestEqualDataCostsNoRequest(t *testing.T) {
	for _, policy := range []CreationPolicy{"", Owner, Orphan} {
		t.Run(string(policy), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			d := w.desired("A", "1")
			d.Policy, d.Labels = policy, map[string]string{"team": "web"}
			w.applied(d)
			g.Expect(w.apply(d)).To(Equal(Result{}))
			g.Expect(w.requests.take()).To(BeEmpty())

			w.restart() // another digest key, another cache
			g.Expect(w.apply(d)).To(Equal(Result{}))
			g.Expect(w.requests.take()).To(BeEmpty())
		})
	}
}

func TestACacheThatLagsBehindCausesNoSecondWrite(t *testing.T) {
	notYet := apierrors.NewNotFound(corev1.Resource("secrets"), "env")
	tests := map[string]struct {
		cached func(before *corev1.Secret) (*corev1.Secret, error)
		want   []string
	}{
		"behind the creation": {func(*corev1.Secret) (*corev1.Secret, error) { return nil, notYet }, []string{"POST", "GET"}},
		"behind an update":    {func(before *corev1.Secret) (*corev1.Secret, error) { return before, nil }, []string{"GET"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			before := w.applied(w.desired("A", "1"))
			w.applied(w.desired("A", "2"))
			w.managed = readerFunc(func(client.ObjectKey) (*corev1.Secret, error) { return tc.cached(before) })
			g.Expect(w.apply(w.desired("A", "2"))).To(Equal(Result{}))
			g.Expect(w.requests.take()).To(Equal(tc.want))
		})
	}
}

func TestACacheThatStillShowsADeletedSecretDoesNotHideThat(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	before := w.applied(w.desired("A", "1"))
	g.Expect(w.admin.Delete(t.Context(), w.secret())).To(Succeed())
	w.managed = readerFunc(func(client.ObjectKey) (*corev1.Secret, error) { return before, nil })
	g.Expect(w.apply(w.desired("A", "2"))).To(Equal(Result{Changed: true, Created: true, Keys: []string{"A"}}))
}

func TestChangesAtTheSourceAreWrittenAsOneUpdate(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.applied(w.desired("same", "1", "changed", "1", "gone", "1"))
	g.Expect(w.apply(w.desired("same", "1", "changed", "2", "new", "2"))).To(Equal(Result{Changed: true, Keys: []string{"changed", "gone", "new"}}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET", "PUT"}))
	g.Expect(w.secret().Data).To(Equal(pairs("same", "1", "changed", "2", "new", "2")))
}

func TestWhatSomebodyElseChangedIsHealed(t *testing.T) {
	tests := map[string]struct {
		change func(*corev1.Secret)
		want   Result
	}{
		"a value":           {func(s *corev1.Secret) { s.Data["A"] = []byte("x") }, Result{Changed: true, Healed: true, By: edited, Keys: []string{"A"}}},
		"a key more":        {func(s *corev1.Secret) { s.Data["C"] = []byte("x") }, Result{Changed: true, Healed: true, By: edited, Keys: []string{"C"}}},
		"a key less":        {func(s *corev1.Secret) { delete(s.Data, "A") }, Result{Changed: true, Keys: []string{"A"}}}, // leaves no trace
		"our label":         {func(s *corev1.Secret) { delete(s.Labels, ManagedByLabel) }, Result{Changed: true, Healed: true}},
		"our annotation":    {func(s *corev1.Secret) { s.Annotations[OwnerAnnotation] = "blog" }, Result{Changed: true, Healed: true}},
		"the user's label":  {func(s *corev1.Secret) { s.Labels["team"] = "db" }, Result{Changed: true}},
		"the reference":     {func(s *corev1.Secret) { s.OwnerReferences = nil }, Result{Changed: true}},
		"a label of theirs": {func(s *corev1.Secret) { s.Labels["their"] = "own" }, Result{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			d := w.desired("A", "1", "B", "2")
			d.Labels = map[string]string{"team": "web"}
			before := w.applied(d)
			w.edit(tc.change)
			if w.secret().Labels[ManagedByLabel] != "" {
				w.waitForCache()
			} else {
				g.Eventually(func() bool {
					return apierrors.IsNotFound(w.cache.Get(t.Context(), d.key(), &corev1.Secret{}))
				}).Should(BeTrue())
			}
			g.Expect(w.apply(d)).To(Equal(tc.want))
			after := w.secret()
			g.Expect(after.Data).To(Equal(before.Data))
			g.Expect(after.OwnerReferences).To(Equal(before.OwnerReferences))
			for key, value := range before.Labels {
				g.Expect(after.Labels).To(HaveKeyWithValue(key, value))
			}
		})
	}
}

func TestLabelsThatAreNoLongerWantedGoAndTheirsStay(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desired("A", "1")
	d.Labels = map[string]string{"team": "web", "tier": "front", "shared": "x"}
	d.Annotations = map[string]string{"note": "hello"}
	w.applied(d)
	w.edit(func(s *corev1.Secret) { s.Labels["their"], s.Labels["tier"] = "own", "back" })
	other := map[string]any{"shared": "x"}
	g.Expect(applyLabels(t.Context(), w, other)).To(Succeed()) // now theirs as well
	w.waitForCache()

	d.Labels, d.Annotations = nil, nil
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true}))
	g.Expect(w.secret().Labels).To(Equal(map[string]string{ManagedByLabel: ManagedByValue, "their": "own", "tier": "back", "shared": "x"}))
	g.Expect(w.secret().Annotations).To(Equal(map[string]string{OwnerAnnotation: "shop"}))
	w.waitForCache()
	w.requests.take()
	g.Expect(w.apply(d)).To(Equal(Result{}))
	g.Expect(w.requests.take()).To(BeEmpty())
}

func TestTheReferenceFollowsThePolicy(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desired("A", "1")
	for _, policy := range []CreationPolicy{Owner, Orphan, Owner} {
		d.Policy = policy
		secret := w.applied(d)
		g.Expect(metav1.IsControlledBy(secret, &metav1.ObjectMeta{UID: shop().UID})).To(Equal(policy == Owner))
		g.Expect(secret.Annotations).To(HaveKeyWithValue(OwnerAnnotation, "shop"))
	}
}

func TestAnObjectMadeAnewFindsItsSecretAgain(t *testing.T) {
	for _, policy := range []CreationPolicy{Owner, Orphan} {
		t.Run(string(policy), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			d := w.desired("A", "1")
			d.Policy = policy
			w.applied(d)
			d.Owner.UID = "another"
			g.Expect(w.apply(d)).To(Equal(Result{Changed: policy == Owner}))
			g.Expect(w.secret().OwnerReferences).To(HaveLen(map[CreationPolicy]int{Owner: 1, Orphan: 0}[policy]))
			if policy == Owner {
				g.Expect(w.secret().OwnerReferences[0].UID).To(BeEquivalentTo("another"))
			}
		})
	}
}

func TestALostRaceIsRunAgain(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.applied(w.desired("A", "1"))
	w.client = interceptor.NewClient(w.counted, interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if o.GetLabels()["their"] == "" {
				w.edit(func(s *corev1.Secret) { s.Labels["their"] = "own" })
			}
			return c.Update(ctx, o, opts...)
		},
	})
	g.Expect(w.apply(w.desired("A", "2"))).To(Equal(Result{Changed: true, Keys: []string{"A"}}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET", "PUT", "GET", "PUT"}))
	g.Expect(w.secret().Labels).To(HaveKeyWithValue("their", "own"))
}

func TestTooLargeIsRefusedBeforeAnyRequest(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desired("A", strings.Repeat("x", corev1.MaxSecretSize-1), "B", "x")
	g.Expect(w.apply(d).Created).To(BeTrue(), "as much as the API server takes")
	w.requests.take()
	for _, policy := range []CreationPolicy{Owner, Orphan, Merge} {
		d.Policy, d.Data["B"] = policy, []byte("xx")
		_, err := w.Apply(t.Context(), d)
		var tooLarge *TooLargeError
		g.Expect(errors.As(err, &tooLarge)).To(BeTrue())
		g.Expect(tooLarge.Size).To(Equal(corev1.MaxSecretSize + 1))
		g.Expect(err).To(MatchError(ContainSubstring("1048577 bytes")))
	}
	g.Expect(w.requests.take()).To(BeEmpty())
}

func TestWhatTheServerRefusesIsNamedWithoutValues(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desired("not a key", "hunter2-certificate")
	d.Labels = map[string]string{"team": "not a hunter2 label"}
	_, err := w.Apply(t.Context(), d)
	var invalid *InvalidError
	g.Expect(errors.As(err, &invalid)).To(BeTrue())
	g.Expect(invalid.Fields).To(ConsistOf(
		InvalidField{Path: "metadata.labels", Reason: "FieldValueInvalid"},
		InvalidField{Path: "data[not a key]", Reason: "FieldValueInvalid"},
	))
	g.Expect(err).To(MatchError(ContainSubstring("data[not a key]: FieldValueInvalid")))
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	g.Expect(errors.Unwrap(err)).NotTo(HaveOccurred(), "the server's own message is out of reach")

	d.Data, d.Labels = pairs("A", "hunter2", "B", "hunter2"), nil
	w.applied(d)
	d.Data = pairs("not a key", "hunter3")
	_, err = w.Apply(t.Context(), d)
	g.Expect(errors.As(err, &invalid)).To(BeTrue())
	g.Expect(w.secret().Data).To(HaveLen(2), "the last good state stays")
}

func TestErrorsOfTheServerPassThrough(t *testing.T) {
	t.Run("no such namespace", func(t *testing.T) {
		g := NewWithT(t)
		w := newWorld(t)
		d := w.desired("A", "1")
		d.Namespace = "nowhere"
		w.managed = readerFunc(func(client.ObjectKey) (*corev1.Secret, error) {
			return nil, apierrors.NewNotFound(corev1.Resource("secrets"), "env")
		})
		_, err := w.Apply(t.Context(), d)
		g.Expect(apierrors.IsNotFound(err)).To(BeTrue())
		g.Expect(err).To(MatchError(HavePrefix("create Secret nowhere/env: ")))
	})
	t.Run("namespace on its way out", func(t *testing.T) {
		g := NewWithT(t)
		w := newWorld(t)
		g.Expect(w.admin.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}})).To(Succeed())
		_, err := w.Apply(t.Context(), w.desired("A", "1"))
		g.Expect(apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)).To(BeTrue())
	})
	t.Run("reading", func(t *testing.T) {
		g := NewWithT(t)
		w := newWorld(t)
		down := apierrors.NewServiceUnavailable("etcd is away")
		failing := readerFunc(func(client.ObjectKey) (*corev1.Secret, error) { return nil, down })
		w.applied(w.desired("A", "1"))

		w.live = failing
		_, err := w.Apply(t.Context(), w.desired("A", "2"))
		g.Expect(apierrors.IsServiceUnavailable(err)).To(BeTrue())
		merge := w.desired("A", "1")
		merge.Policy = Merge
		_, err = w.Apply(t.Context(), merge)
		g.Expect(apierrors.IsServiceUnavailable(err)).To(BeTrue())
		_, err = w.Delete(t.Context(), w.desired())
		g.Expect(apierrors.IsServiceUnavailable(err)).To(BeTrue())

		w.managed = failing
		_, err = w.Apply(t.Context(), w.desired("A", "1"))
		g.Expect(apierrors.IsServiceUnavailable(err)).To(BeTrue())
	})
}
