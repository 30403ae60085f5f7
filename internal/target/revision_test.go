package target

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func (w *world) tracked(data ...string) Desired {
	d := w.desired(data...)
	d.Revision, d.Known = NewRevision(), true
	return d
}

// apart takes what is due out of a result, which can then be compared.
func apart(r Result) (rest Result, due bool) {
	due = r.Due != ""
	r.Due = ""
	return r, due
}

func TestAChangeOfTheDataIsDueUntilItIsRolledOut(t *testing.T) {
	setA := func(s *corev1.Secret) { s.Data["A"] = []byte("x") }
	label := func(d Desired) Desired { d.Labels = map[string]string{"team": "web"}; return d }
	without := func(annotation string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { delete(s.Annotations, annotation) }
	}
	tests := map[string]struct {
		before bool // the Secret is from before it was asked for revisions
		edit   func(*corev1.Secret)
		data   []string
		change func(Desired) Desired
		want   Result
		due    bool
	}{
		"equal":                        {false, nil, []string{"A", "1", "B", "1"}, nil, Result{}, false},
		"changed":                      {false, nil, []string{"A", "2", "B", "1"}, nil, Result{Changed: true, Keys: []string{"A"}}, true},
		"a key less":                   {false, nil, []string{"A", "1"}, nil, Result{Changed: true, Keys: []string{"B"}}, true},
		"a label":                      {false, nil, []string{"A", "1", "B", "1"}, label, Result{Changed: true}, false},
		"healed":                       {false, setA, []string{"A", "1", "B", "1"}, nil, Result{Changed: true, Healed: true, By: edited, Keys: []string{"A"}}, false},
		"healed and changed":           {false, setA, []string{"A", "1", "B", "2"}, nil, Result{Changed: true, Healed: true, By: edited, Keys: []string{"A", "B"}}, true},
		"from before":                  {true, nil, []string{"A", "1", "B", "1"}, nil, Result{Changed: true}, false},
		"from before, and changed":     {true, nil, []string{"A", "2", "B", "1"}, nil, Result{Changed: true, Keys: []string{"A"}}, true},
		"the revision was taken away":  {false, without(RevisionAnnotation), []string{"A", "1", "B", "1"}, nil, Result{Changed: true}, false},
		"the rolled-out was taken":     {false, without(RolledOutAnnotation), []string{"A", "1", "B", "1"}, nil, Result{Changed: true}, false},
		"somebody asks for it by hand": {false, func(s *corev1.Secret) { s.Annotations[RolledOutAnnotation] = "x" }, []string{"A", "1", "B", "1"}, nil, Result{}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			first := w.tracked("A", "1", "B", "1")
			first.Known = false
			if tc.before {
				first.Revision = ""
			}
			w.applied(first)
			if tc.edit != nil {
				w.edit(tc.edit)
				w.waitForCache()
			}
			d := w.tracked(tc.data...)
			if tc.change != nil {
				d = tc.change(d)
			}
			result := w.apply(d)
			rest, due := apart(result)
			g.Expect(rest).To(Equal(tc.want))
			g.Expect(due).To(Equal(tc.due))

			w.waitForCache()
			w.requests.take()
			g.Expect(w.apply(d)).To(Equal(Result{Due: result.Due}), "it stays due, and costs no request")
			g.Expect(w.requests.take()).To(BeEmpty())
			if !due {
				return
			}
			g.Expect(w.RolledOut(t.Context(), d, result.Due)).To(Succeed())
			w.waitForCache()
			w.requests.take()
			g.Expect(w.apply(d)).To(Equal(Result{}))
			g.Expect(w.requests.take()).To(BeEmpty())
		})
	}
}

func TestANewSecretIsRolledOut(t *testing.T) {
	for name, tc := range map[string]struct {
		known, immutable, due bool
	}{
		"never written":                               {false, false, false},
		"deleted by hand":                             {true, false, false},
		"never written, immutable":                    {false, true, false},
		"immutable, its replacement may be cut short": {true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			d := w.tracked("A", "1")
			d.Known, d.Immutable = tc.known, tc.immutable
			rest, due := apart(w.apply(d))
			g.Expect(rest).To(Equal(Result{Changed: true, Created: true, Keys: []string{"A"}}))
			g.Expect(due).To(Equal(tc.due))
			g.Expect(w.requests.take()).To(Equal([]string{"POST"}))
		})
	}
}

func TestAReplacementIsDueAsTheChangeThatItIs(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.tracked("A", "1")
	d.Immutable, d.Known = true, false
	w.applied(d)
	d.Known, d.Revision = true, "second"
	d.Data = pairs("A", "2")
	rest, due := apart(w.apply(d))
	g.Expect(rest).To(Equal(Result{Changed: true, Replaced: true, Keys: []string{"A"}}))
	g.Expect(due).To(BeTrue())
	w.waitForCache()
	g.Expect(w.RolledOut(t.Context(), d, w.apply(d).Due)).To(Succeed(), "the marks of an immutable Secret can change")
	w.waitForCache()
	g.Expect(w.apply(d)).To(Equal(Result{}))
}

func TestAdoptionIsNoChangeButTheFirstOneAfterItIs(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	before := w.theirs(func(s *corev1.Secret) { adopt(s); s.Annotations[RevisionAnnotation] = "another operator's" }, "A", "1")
	d := w.tracked("A", "1")
	d.Known = false
	g.Expect(w.apply(d)).To(Equal(Result{}))
	d.Known = true
	g.Expect(w.apply(d)).To(Equal(Result{}))
	g.Expect(w.secret().ResourceVersion).To(Equal(before.ResourceVersion), "equal bytes, no write")
	rest, due := apart(w.apply(w.tracked("A", "2")))
	g.Expect(rest).To(Equal(Result{Changed: true, Keys: []string{"A"}}))
	g.Expect(due).To(BeTrue())

	w = newWorld(t)
	w.theirs(adopt, "A", "1")
	d = w.tracked("A", "2")
	d.Known = false
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Keys: []string{"A"}}))
}

func TestWhatChangesWhileItIsRolledOutRemainsDue(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.tracked("A", "1")
	w.applied(d)
	d.Data, d.Revision = pairs("A", "2"), "second"
	first := w.apply(d).Due
	g.Expect(first).To(Equal("second"))
	d.Data, d.Revision = pairs("A", "3"), "third"
	w.waitForCache()
	second := w.apply(d).Due
	g.Expect(second).NotTo(Or(BeEmpty(), Equal(first)))
	g.Expect(w.RolledOut(t.Context(), d, first)).To(Succeed())
	w.waitForCache()
	g.Expect(w.apply(d).Due).To(Equal(second))
	d.Name = "gone"
	g.Expect(w.RolledOut(t.Context(), d, second)).To(Succeed(), "nothing uses it any longer")
}

func TestWithoutTrackingThereAreNoMarks(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	secret := w.applied(w.tracked("A", "1"))
	g.Expect(secret.Annotations).To(And(HaveKey(RevisionAnnotation), HaveKey(RolledOutAnnotation)))
	g.Expect(ownedFields(secret, fieldManager, metav1.ManagedFieldsOperationUpdate).annotations.Has(RevisionAnnotation)).To(BeTrue())
	g.Expect(metaSetBy(secret)).To(Equal(meta{}), "they are no annotations of the user's")
	d := w.desired("A", "1")
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true}), "they go")
	g.Expect(w.secret().Annotations).To(Equal(map[string]string{OwnerAnnotation: "shop"}))
	w.waitForCache()
	w.requests.take()
	g.Expect(w.apply(d)).To(Equal(Result{}))
	g.Expect(w.requests.take()).To(BeEmpty())
}

func TestTheMarksOfAConfigMap(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredConfigMap("A", "1", "B", notText)
	d.Revision = "first"
	g.Expect(w.apply(d).Due).To(BeEmpty())
	w.editConfigMap(func(c *corev1.ConfigMap) { c.BinaryData["B"] = []byte("\xfd") })
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Healed: true, By: edited, Keys: []string{"B"}}))
	d.Data["B"], d.Revision = []byte("\xfd"), "second"
	due := w.apply(d).Due
	g.Expect(due).To(Equal("second"))
	w.requests.take()
	g.Expect(w.apply(d)).To(Equal(Result{Due: due}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET"}))
	g.Expect(w.RolledOut(t.Context(), d, due)).To(Succeed())
	g.Expect(w.apply(d)).To(Equal(Result{}))
}

func TestAMergeReportsWhatIsDueOnce(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.theirs(nil, "same", "1")
	merging := func(known bool, data ...string) Desired {
		d := w.merging(data...)
		d.Revision, d.Known = "next", known
		return d
	}
	g.Expect(w.apply(merging(false, "same", "1", "A", "1"))).To(Equal(Result{Changed: true, Keys: []string{"A"}}), "the first time it is no change")
	rest, due := apart(w.apply(merging(true, "same", "1", "A", "2")))
	g.Expect(rest).To(Equal(Result{Changed: true, Keys: []string{"A"}}))
	g.Expect(due).To(BeTrue())
	g.Expect(w.apply(merging(true, "same", "1", "A", "2"))).To(Equal(Result{}))
	w.edit(func(s *corev1.Secret) { s.Data["A"] = []byte("x") })
	g.Expect(w.apply(merging(true, "same", "1", "A", "2"))).To(Equal(Result{Changed: true, Healed: true, By: edited, Keys: []string{"A"}}))
	w.requests.take()
	g.Expect(w.RolledOut(t.Context(), merging(true), "x")).To(Succeed())
	g.Expect(w.requests.take()).To(BeEmpty(), "somebody else's Secret gets no marks")
	g.Expect(w.secret().Annotations).To(BeEmpty())
}
