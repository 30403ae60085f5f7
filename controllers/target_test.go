package controllers

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

func TestAHandEditIsHealed(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Secret){
		"a value changed": func(s *corev1.Secret) { s.Data["A"] = []byte("mallory") },
		"a key removed":   func(s *corev1.Secret) { delete(s.Data, "B") }, // looks like a key that is new at the server
		"a key added":     func(s *corev1.Secret) { s.Data["X"] = []byte("x") },
		"the label taken": func(s *corev1.Secret) { s.Labels = nil; s.Data["A"] = []byte("mallory") },
	} {
		event := stv1.ReasonHealed
		if name == "a key removed" {
			event = stv1.ReasonUpdated
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.synced()
			secret, err := w.secret("shop-env")
			w.Expect(err).NotTo(HaveOccurred())
			edit(secret)
			w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
			w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "alpha", "B": "beta"}))
			w.Eventually(w.events("shop")).Should(HaveKeyWithValue(event, 1))
		})
	}
	t.Run("the Secret deleted", func(t *testing.T) {
		w := newWorld(t)
		w.synced()
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(w.client.Delete(w.ctx, secret)).To(Succeed())
		w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "alpha", "B": "beta"}))
		w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonHealed, 1))
	})
}

func TestWhoeverEditsForEverIsNotFoughtForEver(t *testing.T) {
	w := newWorld(t)
	w.synced()
	before := len(w.writes.seen())
	edits := 0
	w.Consistently(func() bool {
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		if string(secret.Data["A"]) == "alpha" {
			secret.Data["A"] = []byte("theirs")
			if w.client.Update(w.ctx, secret) == nil {
				edits++
			}
		}
		return true
	}, "5s", "10ms").Should(BeTrue())
	w.Expect(edits).To(BeNumerically(">=", 2), "it is healed")
	w.Expect(len(w.writes.seen())-before).To(BeNumerically("<=", 12), "after 1 s, 2 s, 4 s …; each with a status")
}

func TestAllowEmptyEmptiesTheSecret(t *testing.T) {
	w := newWorld(t)
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.AllowEmpty = true })
	w.project.Delete("prod", "/shop", "A")
	w.project.Delete("prod", "/shop", "B")
	w.Eventually(w.data("shop-env")).Should(BeEmpty())
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
}

func TestDeletionPolicyDeletesOnlyWhatIsConfirmedGone(t *testing.T) {
	w := newWorld(t)
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.project.Delete("prod", "/shop", "A")
	w.project.Delete("prod", "/shop", "B")
	w.refresh("shop")
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSourceEmpty))
	w.Expect(w.data("shop-env")()).To(HaveLen(2), "empty is not gone")
	w.project.DeleteFolder("prod", "/shop")
	w.refresh("shop")
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonPathNotFound))
	w.Eventually(w.data("shop-env")).Should(BeNil())
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonTargetDeleted, 1))
	w.project.Put("prod", "/shop", "A", "again")
	w.refresh("shop")
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "again"}))
}

func TestDeletionPolicySparesTheSecretFromATypo(t *testing.T) {
	w := newWorld(t)
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.Sources[0].Path = "/shpo" })
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonPathNotFound))
	w.Expect(w.data("shop-env")()).To(HaveLen(2), "this source was never there")
}

func TestAnotherTargetLeavesTheOneBefore(t *testing.T) {
	w := newWorld(t)
	w.synced()
	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.Target.Name = "another" })
	w.Eventually(w.data("another")).Should(HaveLen(2))
	w.Eventually(w.events("shop")).Should(And(HaveKeyWithValue(stv1.ReasonTargetLeft, 1), HaveKeyWithValue(stv1.ReasonUpdated, 1), Not(HaveKey(stv1.ReasonHealed))))
	w.Expect(w.data("shop-env")()).To(HaveLen(2))
	w.Expect(w.get("shop").Status.Target).To(Equal("another"))
}

func TestAWriteThatTheAPIServerRefusesIsSaid(t *testing.T) {
	w := newWorld(t)
	w.synced()
	w.refuseUpdates("", "secrets", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "infisical-token"}})
	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonTargetConflict))
	w.Expect(w.message("shop")).To(Equal("the write of Secret " + w.ns + "/shop-env was refused (Invalid) by ValidatingAdmissionPolicy " + w.ns))
	w.Eventually(w.events("shop")).Should(HaveKey(stv1.ReasonTargetConflict))
	w.Expect(w.data("shop-env")()).To(HaveKeyWithValue("A", "alpha"))
}

func TestCreationPolicies(t *testing.T) {
	t.Run("Owner", func(t *testing.T) {
		w := newWorld(t)
		w.synced()
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(metav1.IsControlledBy(secret, w.get("shop"))).To(BeTrue())
	})
	t.Run("Orphan", func(t *testing.T) {
		w := newWorld(t)
		w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.CreationPolicy = stv1.CreationPolicyOrphan })
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(secret.OwnerReferences).To(BeEmpty())
	})
	t.Run("Merge", func(t *testing.T) {
		w := newWorld(t)
		w.putSecret("shop-env", map[string]string{"MINE": "x"})
		w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.CreationPolicy = stv1.CreationPolicyMerge })
		w.Expect(w.data("shop-env")()).To(Equal(map[string]string{"MINE": "x", "A": "alpha", "B": "beta"}))
		w.project.Delete("prod", "/shop", "B")
		w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"MINE": "x", "A": "alpha"}))
		// Our key is healed, other people's are theirs.
		w.putSecret("shop-env", map[string]string{"MINE": "y", "A": "mallory"})
		w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"MINE": "y", "A": "alpha"}))
	})
	t.Run("a conflict ends when the other Secret goes, or may be adopted", func(t *testing.T) {
		w := newWorld(t)
		w.putSecret("shop-env", map[string]string{"A": "theirs"})
		w.putToken(w.token())
		w.object()
		w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonTargetConflict))
		w.Expect(w.data("shop-env")()).To(Equal(map[string]string{"A": "theirs"}))
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "servicetoken.io/adopt", "true")
		w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
		w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "alpha", "B": "beta"}))
		w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
		secret, err = w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(secret.Annotations).NotTo(HaveKey("servicetoken.io/adopt"), "it allows one taking over")
	})
	t.Run("adopting equal bytes writes nothing", func(t *testing.T) {
		w := newWorld(t)
		w.putSecret("shop-env", map[string]string{"A": "alpha", "B": "beta"})
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "servicetoken.io/adopt", "true")
		w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
		w.synced()
		after, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(after.ResourceVersion).To(Equal(secret.ResourceVersion))
	})
	t.Run("two objects, one Secret", func(t *testing.T) {
		w := newWorld(t)
		w.synced()
		w.object(func(o *stv1.ServiceTokenSecret) { o.Name = "second" })
		w.Eventually(w.reason("second")).Should(Equal(stv1.ReasonTargetConflict))
		w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonSynced))
	})
}

// refuseUpdates has an admission policy refuse all updates of a kind in the test's namespace, until it is told to allow them. It waits until
// the policy acts, which it sees by an object of that kind.
func (w *world) refuseUpdates(group, resource string, probe client.Object) (allow func()) {
	w.t.Helper()
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	policy.Spec.MatchConstraints = &admissionv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.ns}},
		ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Update},
			Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
		}}},
	}
	policy.Spec.Validations = []admissionv1.Validation{{Expression: "false"}}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	binding.Spec = admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: w.ns, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}}
	w.Expect(w.client.Create(w.ctx, policy)).To(Succeed())
	w.Expect(w.client.Create(w.ctx, binding)).To(Succeed())
	remove := func() {
		_ = w.client.Delete(context.Background(), binding)
		_ = w.client.Delete(context.Background(), policy)
	}
	w.t.Cleanup(remove)
	update := func() error {
		return w.client.Patch(w.ctx, probe, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"probe":"x"}}}`)), client.DryRunAll)
	}
	w.Eventually(update).Should(MatchError(ContainSubstring("denied")))
	return func() {
		remove()
		w.Eventually(update).Should(Succeed())
	}
}

// TestAFightOverASecretIsToldOf: whoever undoes each heal has the Secret wrong most of the time, and Ready must not say otherwise.
func TestAFightOverASecretIsToldOf(t *testing.T) {
	w := newWorld(t)
	w.synced()
	edit := func() {
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		if string(secret.Data["A"]) == "alpha" {
			secret.Data["A"] = []byte("theirs")
			_ = w.client.Update(w.ctx, secret, client.FieldOwner("deploy-bot")) // a conflict is as good: it was healed
		}
	}
	w.Eventually(func() string {
		edit()
		return w.reason("shop")()
	}, time.Minute).Should(Equal(stv1.ReasonTargetConflict))
	w.Expect(w.message("shop")).To(HavePrefix("deploy-bot changes Secret shop-env again and again; "))
	w.Expect(w.events("shop")()).To(HaveKey(stv1.ReasonTargetConflict))
	version := w.get("shop").ResourceVersion
	edit()
	w.Consistently(func() string { return w.get("shop").ResourceVersion }, 2*time.Second).Should(Equal(version), "the fight is told once")
	w.Eventually(w.data("shop-env"), time.Minute).Should(HaveKeyWithValue("A", "alpha"))
	w.Eventually(w.reason("shop"), 2*time.Minute).Should(Equal(stv1.ReasonSynced), "when it is over")
}

// TestAnEventTellsRemovedKeysFromOthers: that keys went is no small news to whoever reads it at night.
func TestAnEventTellsRemovedKeysFromOthers(t *testing.T) {
	w := newWorld(t)
	w.synced()
	w.project.Delete("prod", "/shop", "A")
	w.project.Put("prod", "/shop", "C", "new")
	w.refresh("shop")
	w.Eventually(func() (notes []string) {
		var list eventsv1.EventList
		w.Expect(w.client.List(w.ctx, &list, client.InNamespace(w.ns))).To(Succeed())
		for _, e := range list.Items {
			notes = append(notes, e.Note)
		}
		return notes
	}).Should(ContainElement("wrote a change: Secret shop-env, keys C, removed A"))
}
