package target

import (
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const notText = "\xff\xfe"

func (w *world) desiredConfigMap(data ...string) Desired {
	d := w.desired(data...)
	d.Kind = KindConfigMap
	return d
}

func (w *world) configMap() *corev1.ConfigMap {
	w.t.Helper()
	configMap := &corev1.ConfigMap{}
	if err := w.admin.Get(w.t.Context(), types.NamespacedName{Namespace: w.ns, Name: "env"}, configMap); err != nil {
		w.t.Fatal(err)
	}
	return configMap
}

// theirConfigMap is one that somebody else made.
func (w *world) theirConfigMap(change func(*corev1.ConfigMap)) *corev1.ConfigMap {
	w.t.Helper()
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "env"}, Data: map[string]string{"A": "1"}}
	if change != nil {
		change(configMap)
	}
	if err := w.admin.Create(w.t.Context(), configMap, client.FieldOwner("kubectl")); err != nil {
		w.t.Fatal(err)
	}
	return configMap
}

func (w *world) editConfigMap(change func(*corev1.ConfigMap)) {
	w.t.Helper()
	configMap := w.configMap()
	change(configMap)
	if err := w.admin.Update(w.t.Context(), configMap, client.FieldOwner(edited[0])); err != nil {
		w.t.Fatal(err)
	}
}

func TestAConfigMapIsWrittenOnceAndThenOnlyLookedAt(t *testing.T) {
	for _, policy := range []CreationPolicy{Owner, Orphan} {
		t.Run(string(policy), func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			d := w.desiredConfigMap("text", "1", "binary", notText, "empty", "")
			d.Policy, d.Labels, d.Annotations = policy, map[string]string{"team": "web"}, map[string]string{"note": "hello"}
			d.Type = corev1.SecretTypeTLS // means nothing here
			g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Created: true, Keys: []string{"binary", "empty", "text"}}))
			g.Expect(w.requests.take()).To(Equal([]string{"GET", "POST"}))
			g.Expect(w.requests.protobuf).To(BeTrue())

			made := w.configMap()
			g.Expect(made.Data).To(Equal(map[string]string{"text": "1", "empty": ""}))
			g.Expect(made.BinaryData).To(Equal(pairs("binary", notText)))
			g.Expect(made.Labels).To(Equal(map[string]string{"team": "web", ManagedByLabel: ManagedByValue}))
			g.Expect(made.Annotations).To(Equal(map[string]string{"note": "hello", OwnerAnnotation: "shop"}))
			g.Expect(metav1.IsControlledBy(made, &metav1.ObjectMeta{UID: shop().UID})).To(Equal(policy == Owner))

			for range 2 {
				g.Expect(w.apply(d)).To(Equal(Result{}))
				g.Expect(w.requests.take()).To(Equal([]string{"GET"}))
				w.restart()
			}
			g.Expect(apierrors.IsNotFound(w.admin.Get(t.Context(), d.key(), &corev1.Secret{}))).To(BeTrue(), "and no Secret beside it")
		})
	}
}

func TestChangesInAConfigMapAreWrittenAsOneUpdate(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredConfigMap("same", "1", "binary-to-be", "x", "text-to-be", notText, "gone", notText)
	d.Labels = map[string]string{"team": "web"}
	w.apply(d)
	w.editConfigMap(func(c *corev1.ConfigMap) { c.Labels["their"] = "own" })
	w.requests.take()

	d.Data, d.Labels = pairs("same", "1", "binary-to-be", notText, "text-to-be", "x"), nil
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Keys: []string{"binary-to-be", "gone", "text-to-be"}}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET", "PUT"}))
	g.Expect(w.configMap().Data).To(Equal(map[string]string{"same": "1", "text-to-be": "x"}))
	g.Expect(w.configMap().BinaryData).To(Equal(pairs("binary-to-be", notText)))
	g.Expect(w.configMap().Labels).To(Equal(map[string]string{"their": "own", ManagedByLabel: ManagedByValue}))
}

func TestWhatSomebodyElseChangedInAConfigMapIsHealed(t *testing.T) {
	tests := map[string]struct {
		change func(*corev1.ConfigMap)
		want   Result
	}{
		"a text":            {func(c *corev1.ConfigMap) { c.Data["text"] = "x" }, Result{Changed: true, Healed: true, By: edited, Keys: []string{"text"}}},
		"a binary value":    {func(c *corev1.ConfigMap) { c.BinaryData["binary"] = []byte("\xfd") }, Result{Changed: true, Healed: true, By: edited, Keys: []string{"binary"}}},
		"a text more":       {func(c *corev1.ConfigMap) { c.Data["more"] = "x" }, Result{Changed: true, Healed: true, By: edited, Keys: []string{"more"}}},
		"our label":         {func(c *corev1.ConfigMap) { delete(c.Labels, ManagedByLabel) }, Result{Changed: true, Healed: true}},
		"the reference":     {func(c *corev1.ConfigMap) { c.OwnerReferences = nil }, Result{Changed: true}},
		"a label of theirs": {func(c *corev1.ConfigMap) { c.Labels["their"] = "own" }, Result{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			d := w.desiredConfigMap("text", "1", "binary", notText)
			w.apply(d)
			before := w.configMap()
			w.editConfigMap(tc.change)
			g.Expect(w.apply(d)).To(Equal(tc.want))
			after := w.configMap()
			g.Expect(after.Data).To(Equal(before.Data))
			g.Expect(after.BinaryData).To(Equal(before.BinaryData))
			g.Expect(after.OwnerReferences).To(Equal(before.OwnerReferences))
		})
	}
}

func TestAConfigMapThatMayNotBeWrittenIsLeftAlone(t *testing.T) {
	tests := map[string]struct {
		exists func(*corev1.ConfigMap)
		policy CreationPolicy
		why    string
	}{
		"made by hand":     {nil, Owner, "was not made by this operator"},
		"another object's": {func(c *corev1.ConfigMap) { c.Annotations = map[string]string{OwnerAnnotation: "blog"} }, Orphan, "belongs to ServiceTokenSecret blog"},
		"adopted, immutable": {func(c *corev1.ConfigMap) {
			c.Annotations, c.Immutable = map[string]string{AdoptAnnotation: "true"}, ptr.To(true)
		}, Owner, "it is immutable"},
		"merged, immutable": {func(c *corev1.ConfigMap) { c.Immutable = ptr.To(true) }, Merge, "it is immutable"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			before := w.theirConfigMap(tc.exists)
			d := w.desiredConfigMap("A", "hunter2")
			d.Policy = tc.policy
			_, err := w.Apply(t.Context(), d)
			var conflict *ConflictError
			g.Expect(errors.As(err, &conflict)).To(BeTrue(), "%v", err)
			g.Expect(conflict.Object).To(Equal(Object{KindConfigMap, d.key()}))
			g.Expect(err).To(MatchError(HavePrefix("ConfigMap " + w.ns + "/env: ")))
			g.Expect(err).To(MatchError(ContainSubstring(tc.why)))
			g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
			g.Expect(w.configMap().ResourceVersion).To(Equal(before.ResourceVersion))
		})
	}
}

func TestAConfigMapIsAdopted(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	before := w.theirConfigMap(func(c *corev1.ConfigMap) {
		c.Annotations, c.BinaryData = map[string]string{AdoptAnnotation: "true"}, pairs("B", notText)
	})
	g.Expect(w.apply(w.desiredConfigMap("A", "1", "B", notText))).To(Equal(Result{}))
	g.Expect(w.configMap().ResourceVersion).To(Equal(before.ResourceVersion), "equal bytes, no write")

	d := w.desiredConfigMap("A", "2", "B", notText)
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Keys: []string{"A"}}))
	g.Expect(w.configMap().Annotations).To(Equal(map[string]string{OwnerAnnotation: "shop"}), "the permission is used up")
	g.Expect(w.apply(d)).To(Equal(Result{}))
}

func TestMergeIntoAConfigMapChangesOnlyTheObjectsKeys(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredConfigMap("ours", "1", "ours.bin", notText)
	d.Policy, d.Labels = Merge, map[string]string{"team": "web"}
	_, err := w.Apply(t.Context(), d)
	g.Expect(err).To(MatchError(ContainSubstring("waits for somebody else to make it")))

	w.theirConfigMap(func(c *corev1.ConfigMap) { c.BinaryData = pairs("their.bin", notText) })
	w.requests.take()
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Keys: []string{"ours", "ours.bin"}}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET", "PATCH"}))
	g.Expect(w.apply(d)).To(Equal(Result{}))
	g.Expect(w.requests.take()).To(Equal([]string{"GET"}), "equal: a look, no apply")
	g.Expect(w.configMap().Labels).To(Equal(d.Labels), "and none of the operator's")

	w.editConfigMap(func(c *corev1.ConfigMap) { c.BinaryData["ours.bin"] = []byte("\xfd") })
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Healed: true, By: edited, Keys: []string{"ours.bin"}}))
	d.Data["ours"] = []byte(notText) // from data to binaryData
	g.Expect(w.apply(d)).To(Equal(Result{Changed: true, Keys: []string{"ours"}}))
	g.Expect(w.configMap().Data).To(Equal(map[string]string{"A": "1"}))
	g.Expect(w.configMap().BinaryData).To(Equal(pairs("their.bin", notText, "ours", notText, "ours.bin", notText)))

	g.Expect(w.Delete(t.Context(), d)).To(BeTrue())
	g.Expect(w.configMap().Data).To(Equal(map[string]string{"A": "1"}))
	g.Expect(w.configMap().BinaryData).To(Equal(pairs("their.bin", notText)))
	g.Expect(w.configMap().Labels).To(BeEmpty())
	g.Expect(w.Delete(t.Context(), d)).To(BeFalse())
}

func TestDeleteOfAConfigMapLeavesTheSecretOfThatName(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredConfigMap("A", "1")
	w.applied(w.desired("A", "1"))
	w.apply(d)
	g.Expect(w.Delete(t.Context(), d)).To(BeTrue())
	g.Expect(apierrors.IsNotFound(w.admin.Get(t.Context(), d.key(), &corev1.ConfigMap{}))).To(BeTrue())
	g.Expect(w.secret().Data).To(Equal(pairs("A", "1")))

	w.theirConfigMap(nil)
	g.Expect(w.Delete(t.Context(), d)).To(BeFalse())
	g.Expect(w.configMap().Data).To(Equal(map[string]string{"A": "1"}), "somebody else's stays")
}

func TestAConfigMapHasTheLimitOfASecret(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	d := w.desiredConfigMap("A", strings.Repeat("x", corev1.MaxSecretSize-2), "B", notText)
	g.Expect(w.apply(d).Created).To(BeTrue(), "as much as the API server takes: values, not names")
	w.requests.take()
	d.Data["B"] = []byte(notText + "x")
	_, err := w.Apply(t.Context(), d)
	g.Expect(err).To(MatchError("ConfigMap " + w.ns + "/env: 1048577 bytes of values are more than the 1048576 that a ConfigMap may hold"))
	g.Expect(w.requests.take()).To(BeEmpty())

	d.Data = pairs("not a key", "hunter2")
	_, err = w.Apply(t.Context(), d)
	var invalid *InvalidError
	g.Expect(errors.As(err, &invalid)).To(BeTrue(), "%v", err)
	g.Expect(err).To(MatchError(ContainSubstring("refused ConfigMap " + w.ns + "/env as invalid: data[not a key]")))
	g.Expect(err.Error()).NotTo(ContainSubstring("hunter2"))
}
