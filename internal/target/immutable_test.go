package target

import (
	"context"
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func (w *world) desiredImmutable(data ...string) Desired {
	d := w.desired(data...)
	d.Immutable = true
	return d
}

// onCreate does something before each creation that is not a dry run.
func (w *world) onCreate(before func() error) {
	w.client = interceptor.NewClient(w.counted, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			if (&client.CreateOptions{}).ApplyOptions(opts).DryRun == nil {
				if err := before(); err != nil {
					return err
				}
			}
			return c.Create(ctx, o, opts...)
		},
	})
}

func TestAnImmutableSecretIsMadeOnceAndReplacedWhenItsDataChanges(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	first := w.applied(w.desiredImmutable("A", "1", "gone", "1"))
	g.Expect(first.Immutable).To(HaveValue(BeTrue()))
	g.Expect(w.apply(w.desiredImmutable("A", "1", "gone", "1"))).To(Equal(Result{}))
	g.Expect(w.requests.take()).To(BeEmpty())

	d := w.desiredImmutable("A", "2")
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Replaced: true, Keys: []string{"A", "gone"}}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET", "POST dry-run", "DELETE", "POST"}))
	second := w.secret()
	g.Expect(second.UID).NotTo(Equal(first.UID))
	g.Expect(second.Data).To(Equal(pairs("A", "2")))
	g.Expect(second.Immutable).To(HaveValue(BeTrue()))
	g.Expect(second.OwnerReferences).To(Equal(first.OwnerReferences))
	w.waitForCache()
	g.Expect(w.apply(d)).To(Equal(Result{}))
	g.Expect(w.requests.take()).To(BeEmpty())
	secrets := &corev1.SecretList{}
	g.Expect(w.admin.List(t.Context(), secrets, client.InNamespace(w.ns))).To(Succeed())
	g.Expect(secrets.Items).To(HaveLen(1), "the trial left nothing")
}

func TestAnImmutableConfigMapIsReplaced(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredConfigMap("A", "1")
	d.Immutable = true
	w.apply(d)
	g.Expect(w.configMap().Immutable).To(HaveValue(BeTrue()))
	d.Data, d.Labels = pairs("A", notText), map[string]string{"team": "web"}
	w.requests.take()
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Replaced: true, Keys: []string{"A"}}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET", "POST dry-run", "DELETE", "POST"}))
	d.Labels = nil
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true}), "labels may change")
	w.requests.take()
	g.Expect(w.apply(d)).To(Equal(Result{}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET"}))
	g.Expect(w.configMap().BinaryData).To(Equal(d.Data))
}

func TestWhatIsImmutableMayChangeInEverythingElse(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredImmutable("A", "1")
	before := w.applied(d)
	d.Labels, d.Annotations, d.Policy = map[string]string{"team": "web"}, map[string]string{"note": "x"}, Orphan
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET", "PUT"}))
	g.Expect(w.secret().UID).To(Equal(before.UID))
	g.Expect(w.secret().Labels).To(HaveKeyWithValue("team", "web"))
}

func TestASecretOfOursIsMadeImmutableByAnUpdate(t *testing.T) {
	for _, value := range []string{"1", "2"} {
		t.Run(value, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			before := w.applied(w.desired("A", "1"))
			d := w.desiredImmutable("A", value)
			g.Expect(w.apply(d).Replaced).To(BeFalse())
			g.Expect(w.requests.take()).To(Equal([]string{"GET", "PUT"}))
			g.Expect(w.secret().UID).To(Equal(before.UID))
			g.Expect(w.secret().Immutable).To(HaveValue(BeTrue()))
			g.Expect(w.secret().Data).To(Equal(pairs("A", value)))
			w.waitForCache()
			g.Expect(w.apply(d)).To(Equal(Result{}))
			g.Expect(w.requests.take()).To(BeEmpty())
		})
	}
}

func TestToBeImmutableNoMoreIsNoReasonToWrite(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.applied(w.desiredImmutable("A", "1"))
	g.Expect(w.apply(w.desired("A", "1"))).To(Equal(Result{}))
	g.Expect(w.requests.take()).To(BeEmpty())
	g.Expect(w.apply(w.desired("A", "2"))).To(Equal(Result{Changed: true, Replaced: true, Keys: []string{"A"}}), "it was us who made it so")
	g.Expect(w.secret().Immutable).To(BeNil())
}

func TestTheTypeOfAnImmutableSecretChangesByReplacement(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredImmutable("username", "1")
	w.applied(d)
	d.Type = corev1.SecretTypeBasicAuth
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Replaced: true}))
	g.Expect(w.secret().Type).To(Equal(corev1.SecretTypeBasicAuth))

	w = newWorld(t)
	w.applied(w.desired("username", "1"))
	d.Namespace = w.ns
	_, err := w.Apply(t.Context(), d)
	g.Expect(err).To(MatchError(ContainSubstring("the type of a Secret cannot change")), "one that is not immutable yet is not deleted")
}

func TestNothingIsLostToAReplacementThatIsRefused(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	before := w.applied(w.desiredImmutable("A", "1"))
	_, err := w.Apply(t.Context(), w.desiredImmutable("not a key", "hunter2"))
	var invalid *InvalidError
	g.Expect(errors.As(err, &invalid)).To(BeTrue(), "%v", err)
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	g.Expect(w.requests.take()).To(Equal([]string{"GET", "POST dry-run"}))
	g.Expect(w.secret().ResourceVersion).To(Equal(before.ResourceVersion))

	w.client = interceptor.NewClient(w.counted, interceptor.Funcs{
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return apierrors.NewForbidden(corev1.Resource("secrets"), "env", errors.New("a quota, hunter2"))
		},
	})
	_, err = w.Apply(t.Context(), w.desiredImmutable("A", "hunter2"))
	var refused *RefusedError
	g.Expect(errors.As(err, &refused)).To(BeTrue(), "%v", err)
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
	g.Expect(w.secret().ResourceVersion).To(Equal(before.ResourceVersion))
}

func TestAReplacementThatBrokeOffIsFinishedByTheNextApply(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredImmutable("A", "1")
	d.Revision = "first"
	w.applied(d)
	w.onCreate(func() error { return apierrors.NewServiceUnavailable("etcd is away") })
	d.Data, d.Known = pairs("A", "hunter2"), true
	result, err := w.Apply(t.Context(), d)
	g.Expect(apierrors.IsServiceUnavailable(err)).To(BeTrue(), "to be tried again: %v", err)
	g.Expect(err.Error()).To(And(HavePrefix("create again Secret "), Not(ContainSubstring("hunter2"))))
	g.Expect(result).To(Equal(Result{}))
	g.Expect(apierrors.IsNotFound(w.admin.Get(t.Context(), d.key(), &corev1.Secret{}))).To(BeTrue())

	for range 2 { // the second time with nothing to do
		w.restart()
		result = w.apply(d)
		g.Expect(result.Due).NotTo(BeEmpty(), "the change that the first attempt did not get through counts")
	}
	g.Expect(result).To(Equal(Result{Due: result.Due}))
	g.Expect(w.secret().Data).To(Equal(d.Data))
}

func TestAReplacementIsFinishedWhenTheProcessIsToEnd(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.applied(w.desiredImmutable("A", "1"))
	ctx, cancel := context.WithCancel(t.Context())
	w.onCreate(func() error { cancel(); return nil })
	result, err := w.Apply(ctx, w.desiredImmutable("A", "2"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Replaced).To(BeTrue())
	g.Expect(w.secret().Data).To(Equal(pairs("A", "2")))
}

func TestAReplacementDeletesWhatItSawAndTakesNobodysPlace(t *testing.T) {
	tests := map[string]struct {
		meanwhile func(*world) error // once, before the deletion
		check     func(Gomega, *world, error)
	}{
		"changed": {
			func(w *world) error {
				w.edit(func(s *corev1.Secret) { s.Annotations[OwnerAnnotation], s.OwnerReferences = "blog", nil })
				return nil
			},
			func(g Gomega, w *world, err error) {
				g.Expect(err).To(MatchError(ContainSubstring("belongs to ServiceTokenSecret blog")))
				g.Expect(w.secret().Data).To(Equal(pairs("A", "1")))
			},
		},
		"deleted": {
			func(w *world) error { return w.admin.Delete(w.t.Context(), w.secret()) },
			func(g Gomega, w *world, err error) {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(w.secret().Data).To(Equal(pairs("A", "2")))
			},
		},
		"deleted and made anew by somebody else": {
			func(w *world) error {
				err := w.admin.Delete(w.t.Context(), w.secret())
				w.theirs(nil, "their", "own")
				return err
			},
			func(g Gomega, w *world, err error) {
				g.Expect(err).To(MatchError(ContainSubstring("was not made by this operator")))
				g.Expect(w.secret().Data).To(Equal(pairs("their", "own")))
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.applied(w.desiredImmutable("A", "1"))
			done := false
			w.client = interceptor.NewClient(w.counted, interceptor.Funcs{
				Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
					if !done {
						done = true
						g.Expect(tc.meanwhile(w)).To(Succeed())
					}
					return c.Delete(ctx, o, opts...)
				},
			})
			_, err := w.Apply(t.Context(), w.desiredImmutable("A", "2"))
			tc.check(g, w, err)
		})
	}
}

func TestOnlyTheObjectsOwnSecretIsReplaced(t *testing.T) {
	tests := map[string]struct {
		policy CreationPolicy
		exists func(*corev1.Secret)
		why    string
		want   []string
	}{
		"to be adopted":    {Owner, func(s *corev1.Secret) { adopt(s); immutable(s) }, "it is immutable", []string{"POST", "GET"}},
		"another object's": {Owner, func(s *corev1.Secret) { controlledBy(blog())(s); immutable(s) }, "belongs to", []string{"POST", "GET"}},
		"merged into":      {Merge, nil, "it cannot be made immutable by an object that merges into it", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			before := w.theirs(tc.exists, "A", "1")
			d := w.desiredImmutable("A", "2")
			d.Policy = tc.policy
			_, err := w.Apply(t.Context(), d)
			var conflict *ConflictError
			g.Expect(errors.As(err, &conflict)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(ContainSubstring(tc.why)))
			g.Expect(w.requests.take()).To(Equal(tc.want))
			g.Expect(w.secret().ResourceVersion).To(Equal(before.ResourceVersion))
		})
	}
}

func TestAdoptionOfEqualBytesDoesNotMakeImmutable(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	before := w.theirs(adopt, "A", "1")
	g.Expect(w.apply(w.desiredImmutable("A", "1"))).To(Equal(Result{}))
	g.Expect(w.secret().ResourceVersion).To(Equal(before.ResourceVersion))
	g.Expect(w.apply(w.desiredImmutable("A", "2"))).To(Equal(Result{Changed: true, Keys: []string{"A"}}))
	g.Expect(w.secret().Immutable).To(HaveValue(BeTrue()))
}

func TestASecretWithTheLongestNameIsReplaced(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredImmutable("A", "1")
	d.Name = strings.Repeat("a.", 126) + "a"
	w.apply(d)
	d.Data = pairs("A", "2")
	g.Expect(w.apply(d).Replaced).To(BeTrue())
	made := &corev1.Secret{}
	g.Expect(w.admin.Get(t.Context(), d.key(), made)).To(Succeed())
	g.Expect(made.Immutable).To(Equal(ptr.To(true)))
}
