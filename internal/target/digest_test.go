package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

func newDigester(t testing.TB) Digester {
	t.Helper()
	d, err := NewDigester()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func applyLabels(ctx context.Context, w *world, labels map[string]any) error {
	part := corev1apply.Secret("env", w.ns)
	for key, value := range labels {
		part.WithLabels(map[string]string{key: fmt.Sprint(value)})
	}
	return w.admin.Apply(ctx, part, client.FieldOwner("argocd"))
}

func secretOf(data map[string][]byte) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "env"}, Data: data}
}

func TestDigestsTellDataApart(t *testing.T) {
	d := newDigester(t)
	distinct := []map[string][]byte{
		nil,
		pairs("", ""),
		pairs("a", ""),
		pairs("a", "bc"),
		pairs("ab", "c"),
		pairs("a", "b", "c", ""),
		pairs("a", "", "b", "c"),
		pairs("a", "b"),
		pairs("a", "B"),
	}
	seen := map[digest]int{}
	for i, data := range distinct {
		if j, ok := seen[d.sum(data)]; ok {
			t.Errorf("%d and %d have the same digest", i, j)
		}
		seen[d.sum(data)] = i
	}
	if d.sum(nil) != d.sum(map[string][]byte{}) || d.sum(pairs("a", "1", "b", "2")) != d.sum(pairs("b", "2", "a", "1")) {
		t.Error("the same data has two digests")
	}
	if d.sum(nil) == newDigester(t).sum(nil) {
		t.Error("two processes have the same key")
	}
}

func TestTransformKeepsNoValue(t *testing.T) {
	g := NewWithT(t)
	d := newDigester(t)
	secret := secretOf(pairs("PASSWORD", "hunter2"))
	secret.StringData = map[string]string{"PASSWORD": "hunter2"}
	secret.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: `{"stringData":{"PASSWORD":"hunter2"}}`, "note": "x"}
	secret.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	want := d.sum(secret.Data)

	out, err := d.Transform(secret)
	g.Expect(err).NotTo(HaveOccurred())
	once, ok := out.(*corev1.Secret)
	g.Expect(ok).To(BeTrue())
	text := fmt.Sprintf("%q", once)
	g.Expect(text).NotTo(Or(ContainSubstring("hunter2"), ContainSubstring("PASSWORD"), ContainSubstring("kubectl")))
	g.Expect(once.Annotations).To(Equal(map[string]string{"note": "x"}))
	g.Expect(d.of(once)).To(Equal(want))

	first := once.DeepCopy()
	twice, err := d.Transform(once)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(twice).To(Equal(first), "the informer may call it again")
}

func TestOtherObjectsPassTheTransform(t *testing.T) {
	g := NewWithT(t)
	tombstone := toolscache.DeletedFinalStateUnknown{Key: "ns/env"}
	out, err := newDigester(t).Transform(tombstone)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(Equal(tombstone))
}

func TestARecordCannotBeForged(t *testing.T) {
	d := newDigester(t)
	sum := d.sum(pairs("A", "wanted"))
	genuine := secretOf(pairs("A", "wanted"))
	if _, err := d.Transform(genuine); err != nil {
		t.Fatal(err)
	}
	moved := genuine.DeepCopy()
	moved.Name = "another"
	withMore := genuine.DeepCopy()
	withMore.Data["A"] = []byte("x")
	longer := genuine.DeepCopy()
	longer.Data[recordKey] = append(longer.Data[recordKey], "team\n"...)
	foreign := secretOf(pairs("A", "wanted"))
	if _, err := newDigester(t).Transform(foreign); err != nil {
		t.Fatal(err)
	}
	tests := map[string]*corev1.Secret{
		"made up":                   secretOf(map[string][]byte{recordKey: append(make([]byte, sumLen), sum[:]...)}),
		"short":                     secretOf(map[string][]byte{recordKey: sum[:]}),
		"empty":                     secretOf(map[string][]byte{recordKey: nil}),
		"of another Secret":         moved,
		"with data beside it":       withMore,
		"with metadata changed":     longer,
		"of another process's make": foreign,
	}
	for name, secret := range tests {
		t.Run(name, func(t *testing.T) {
			if d.of(secret) == sum {
				t.Error("is taken for the wanted data")
			}
			if _, err := d.Transform(secret); err != nil {
				t.Fatal(err)
			}
			if d.of(secret) == sum || len(secret.Data[recordKey]) != 2*sumLen {
				t.Error("the transform let it pass")
			}
		})
	}
	if d.of(genuine) != sum {
		t.Error("the genuine one is not known")
	}
}

func TestTheRecordNamesTheMetadataThatWeSet(t *testing.T) {
	g := NewWithT(t)
	d := newDigester(t)
	secret := secretOf(pairs("A", "1"))
	secret.Labels = map[string]string{"example.com/team": "a", "shared": "b", ManagedByLabel: ManagedByValue}
	secret.Annotations = map[string]string{"note": "c", OwnerAnnotation: "shop"}
	secret.ManagedFields = []metav1.ManagedFieldsEntry{
		entry(fieldManager, metav1.ManagedFieldsOperationUpdate, time.Time{},
			`{"f:data":{".":{},"f:A":{}},"f:metadata":{"f:labels":{".":{},"f:example.com/team":{},"f:shared":{},"f:app.kubernetes.io/managed-by":{}},"f:annotations":{"f:note":{},"f:servicetoken.io/owned-by":{}},"f:ownerReferences":{"k:{\"uid\":\"x\"}":{}}},"f:type":{}}`),
		entry("argocd", metav1.ManagedFieldsOperationApply, time.Time{}, `{"f:metadata":{"f:labels":{"f:shared":{}}}}`),
		entry(fieldManager, metav1.ManagedFieldsOperationUpdate, time.Time{}, `{"f:metadata":`),
		{Manager: fieldManager, Operation: metav1.ManagedFieldsOperationUpdate},
	}
	want := meta{labels: names{}.Insert("example.com/team"), annotations: names{}.Insert("note")}
	g.Expect(d.metaOf(secret)).To(Equal(want))
	_, err := d.Transform(secret)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.metaOf(secret)).To(Equal(want))
}

func entry(manager string, op metav1.ManagedFieldsOperationType, at time.Time, set string) metav1.ManagedFieldsEntry {
	fieldsV1 := metav1.NewFieldsV1(set)
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: op, Time: &metav1.Time{Time: at}, FieldsV1: fieldsV1}
}

func TestOnlyWhatChangedAfterOurWriteIsDrift(t *testing.T) {
	adoption := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const setsA = `{"f:data":{"f:A":{}}}`
	tests := map[string]struct {
		entries []metav1.ManagedFieldsEntry
		want    bool
	}{
		"theirs from before we took it over": {[]metav1.ManagedFieldsEntry{entry("kubectl", "Update", adoption.Add(-time.Hour), setsA), entry(fieldManager, "Update", adoption, `{}`)}, false},
		"theirs since":                       {[]metav1.ManagedFieldsEntry{entry("kubectl", "Update", adoption.Add(time.Hour), setsA), entry(fieldManager, "Update", adoption, `{}`)}, true},
		"ours":                               {[]metav1.ManagedFieldsEntry{entry(fieldManager, "Update", adoption, setsA)}, false},
		"none of ours left":                  {[]metav1.ManagedFieldsEntry{entry("kubectl", "Update", adoption, setsA)}, true},
		"nobody's":                           {nil, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			secret := secretOf(nil)
			secret.ManagedFields = tc.entries
			if got := touchedSince(secret).Has("A"); got != tc.want {
				t.Errorf("touched: %v, want %v", got, tc.want)
			}
		})
	}
}

func TestTheCacheHoldsOurSecretsAndNoValue(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	foreign := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "foreign"}, Data: pairs("A", "hunter2")}
	g.Expect(w.admin.Create(t.Context(), foreign)).To(Succeed())
	w.applied(w.desired("PASSWORD", "hunter2"))

	secrets := &corev1.SecretList{}
	g.Expect(w.cache.List(t.Context(), secrets)).To(Succeed())
	g.Expect(secrets.Items).To(HaveLen(1))
	cached := secrets.Items[0]
	g.Expect(cached.Name).To(Equal("env"))
	g.Expect(cached.ManagedFields).To(BeEmpty())
	g.Expect(cached.Data).To(HaveLen(1))
	for _, value := range cached.Data {
		g.Expect(bytes.Contains(value, []byte("hunter2"))).To(BeFalse())
	}
	g.Expect(w.digester.of(&cached)).To(Equal(w.digester.sum(pairs("PASSWORD", "hunter2"))))
}

func TestReadingAnythingElseFromTheCacheFailsAndStartsNoInformer(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	var notCached *cache.ErrResourceNotCached
	err := w.cache.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "kube-root-ca.crt"}, &corev1.ConfigMap{})
	g.Expect(errors.As(err, &notCached)).To(BeTrue(), "%v", err)
	err = w.cache.List(t.Context(), &corev1.ServiceList{})
	g.Expect(errors.As(err, &notCached)).To(BeTrue(), "%v", err)
}

func TestTheCacheSeesEveryNamespaceUnlessTold(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.applied(w.desired("A", "1"))
	all := startCache(t, cache.Options{}, w.digester)
	g.Expect(all.Get(t.Context(), w.desired().key(), &corev1.Secret{})).To(Succeed())
}

func TestTheManagerTakesTheCacheForOne(t *testing.T) {
	var c any = &Cache{}
	if _, ok := c.(interface {
		manager.Runnable
		GetCache() cache.Cache
	}); !ok {
		t.Error("the manager would start it with the controllers, or only on the leader")
	}
	if (&Cache{}).GetCache() != nil {
		t.Error("GetCache is not the cache inside")
	}
}

func BenchmarkInSync(b *testing.B) {
	d := newDigester(b)
	data := map[string][]byte{}
	for i := range 10 {
		data[fmt.Sprintf("KEY_%d", i)] = bytes.Repeat([]byte("x"), 64)
	}
	want := Desired{Namespace: "ns", Name: "env", Owner: shop(), Policy: Owner, Type: corev1.SecretTypeOpaque, Data: data}
	secret := secretOf(data)
	secret.Type, secret.Labels, secret.Annotations = want.Type, want.labels(), want.annotations()
	setOwnership(secret, want)
	if _, err := d.Transform(secret); err != nil {
		b.Fatal(err)
	}
	w := NewWriter(nil, nil, nil, d)
	b.ReportAllocs()
	for b.Loop() {
		if !w.inSync(secret, want) {
			b.Fatal("not in sync")
		}
	}
}
