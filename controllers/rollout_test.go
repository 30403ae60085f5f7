package controllers

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/rollout"
	"github.com/service-token-operator/service-token-operator/internal/target"
)

func rolling(mode stv1.RolloutMode) func(*stv1.ServiceTokenSecret) {
	return func(o *stv1.ServiceTokenSecret) { o.Spec.Rollout = &stv1.Rollout{Mode: mode} }
}

// deploy makes a Deployment whose pod has its environment from a Secret.
func (w *world) deploy(namespace, name, secret string, change ...func(*appsv1.Deployment)) {
	w.t.Helper()
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels = labels
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "i", EnvFrom: []corev1.EnvFromSource{{
		SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}},
	}}}}
	for _, c := range change {
		c(d)
	}
	w.Expect(w.client.Create(w.ctx, d)).To(Succeed())
}

// mark is what a Deployment was restarted for.
func (w *world) mark(namespace, name string) func() string {
	return func() string {
		d := &appsv1.Deployment{}
		w.Expect(w.client.Get(w.ctx, client.ObjectKey{Namespace: namespace, Name: name}, d)).To(Succeed())
		return d.Spec.Template.Annotations[rollout.MarkOf("shop")]
	}
}

func TestAChangeRestartsWhatUsesTheSecretOnce(t *testing.T) {
	w := newWorld(t)
	other := newClusterWorld(t)
	w.deploy(w.ns, "user", "shop-env")
	w.deploy(w.ns, "stranger", "another")
	other.deploy(other.ns, "elsewhere", "shop-env")
	w.synced(rolling(stv1.RolloutReferencing))
	w.Consistently(w.mark(w.ns, "user"), "1s").Should(BeEmpty(), "a Secret that is made restarts nothing")

	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.mark(w.ns, "user")).Should(Not(BeEmpty()))
	first := w.mark(w.ns, "user")()
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonRestarted, 1))

	// An edit that is undone, and a start of the operator, are no changes.
	secret, err := w.secret("shop-env")
	w.Expect(err).NotTo(HaveOccurred())
	secret.Data["A"] = []byte("mallory")
	w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
	w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("A", "changed"))
	w.stop()
	w.start()
	w.refresh("shop")
	w.Eventually(func() string { return w.get("shop").Status.LastHandledRefresh }).ShouldNot(BeEmpty())
	w.Consistently(w.mark(w.ns, "user"), "1s").Should(Equal(first))

	w.project.Put("prod", "/shop", "A", "again")
	w.Eventually(w.mark(w.ns, "user")).ShouldNot(Equal(first))
	w.Expect(w.mark(w.ns, "stranger")()).To(BeEmpty())
	w.Expect(w.mark(other.ns, "elsewhere")()).To(BeEmpty(), "references do not leave the namespace")
	w.Eventually(func() bool {
		return meta.IsStatusConditionTrue(w.get("shop").Status.Conditions, stv1.ConditionRolledOut)
	}).Should(BeTrue())
}

func TestWhatUsesSeveralTargetsIsRestartedOnceForAChange(t *testing.T) {
	w := newWorld(t)
	w.deploy(w.ns, "user", "one", func(d *appsv1.Deployment) {
		c := &d.Spec.Template.Spec.Containers[0]
		c.EnvFrom = append(c.EnvFrom,
			corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "two"}}},
			corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "three"}}})
	})
	w.synced(several(stv1.Target{Name: "one"}, stv1.Target{Name: "two"}, stv1.Target{Name: "three", Kind: stv1.TargetKindConfigMap, Keys: []string{"A"}}),
		rolling(stv1.RolloutReferencing))
	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.mark(w.ns, "user")).ShouldNot(BeEmpty())
	w.Eventually(w.configMap("three")).Should(HaveKeyWithValue("A", "changed"))
	w.Consistently(func() int64 {
		d := &appsv1.Deployment{}
		w.Expect(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "user"}, d)).To(Succeed())
		return d.Generation
	}, "1s").Should(BeEquivalentTo(2))
}

func TestAChangeRestartsWhatIsAnnotated(t *testing.T) {
	w := newWorld(t)
	w.deploy(w.ns, "user", "shop-env")
	w.deploy(w.ns, "asks", "another", func(d *appsv1.Deployment) { d.Annotations = map[string]string{rollout.RestartAnnotation: "true"} })
	w.synced(rolling(stv1.RolloutAnnotated))
	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.mark(w.ns, "asks")).ShouldNot(BeEmpty())
	w.Expect(w.mark(w.ns, "user")()).To(BeEmpty())
}

func TestNothingIsRestartedUnlessAskedFor(t *testing.T) {
	for name, change := range map[string]func(*stv1.ServiceTokenSecret){"by default": func(*stv1.ServiceTokenSecret) {}, "Never": rolling(stv1.RolloutNever)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.deploy(w.ns, "user", "shop-env")
			w.synced(change)
			w.project.Put("prod", "/shop", "A", "changed")
			w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("A", "changed"))
			w.Consistently(w.mark(w.ns, "user"), "1s").Should(BeEmpty())
			secret, err := w.secret("shop-env")
			w.Expect(err).NotTo(HaveOccurred())
			w.Expect(secret.Annotations).NotTo(Or(HaveKey(target.RevisionAnnotation), HaveKey(target.RolledOutAnnotation)))
		})
	}
}

// TestAnAdoptedSecretRestartsNothingUntilItChanges takes over a Secret that pods use already.
func TestAnAdoptedSecretRestartsNothingUntilItChanges(t *testing.T) {
	for name, data := range map[string]map[string]string{
		"equal":     {"A": "alpha", "B": "beta"},
		"different": {"A": "old"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.deploy(w.ns, "user", "shop-env")
			w.Expect(w.client.Create(w.ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "shop-env", Annotations: map[string]string{target.AdoptAnnotation: "true"}}, StringData: data,
			})).To(Succeed())
			w.synced(rolling(stv1.RolloutReferencing))
			w.Consistently(w.mark(w.ns, "user"), "1s").Should(BeEmpty())
			w.project.Put("prod", "/shop", "A", "changed")
			w.Eventually(w.mark(w.ns, "user")).ShouldNot(BeEmpty())
		})
	}
}

// TestARestartForAMergeThatWasNotDoneStaysSaid knows nothing of it later, as somebody else's Secret carries no marks.
func TestARestartForAMergeThatWasNotDoneStaysSaid(t *testing.T) {
	w := newWorld(t)
	w.deploy(w.ns, "user", "shop-env")
	w.putSecret("shop-env", map[string]string{"MINE": "x"})
	allow := w.refuseUpdates("apps", "deployments", &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "user"}})
	w.synced(rolling(stv1.RolloutReferencing), func(o *stv1.ServiceTokenSecret) { o.Spec.Target.CreationPolicy = stv1.CreationPolicyMerge })
	w.project.Put("prod", "/shop", "A", "changed")
	failed := func() bool {
		return meta.IsStatusConditionFalse(w.get("shop").Status.Conditions, stv1.ConditionRolledOut)
	}
	w.Eventually(failed).Should(BeTrue())
	allow()
	w.refresh("shop")
	w.Consistently(failed, "1s").Should(BeTrue())
	w.project.Put("prod", "/shop", "A", "again")
	w.Eventually(failed).Should(BeFalse())
	w.Expect(w.mark(w.ns, "user")()).NotTo(BeEmpty())
}

// TestARestartThatWasNotDoneIsDoneLater has an admission policy refuse it, as a process that ends in between would leave it: the
// Secret is right, the condition says what is missing, and it is done once it can be.
func TestARestartThatWasNotDoneIsDoneLater(t *testing.T) {
	w := newWorld(t)
	w.deploy(w.ns, "user", "shop-env")
	allow := w.refuseUpdates("apps", "deployments", &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "user"}})
	w.synced(rolling(stv1.RolloutReferencing))
	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(func() bool {
		return meta.IsStatusConditionFalse(w.get("shop").Status.Conditions, stv1.ConditionRolledOut)
	}).Should(BeTrue())
	condition := meta.FindStatusCondition(w.get("shop").Status.Conditions, stv1.ConditionRolledOut)
	w.Expect(condition.Reason).To(Equal(stv1.ReasonRolloutFailed))
	w.Expect(condition.Message).To(ContainSubstring("Deployment user"))
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonRolloutFailed, 1))
	w.Expect(w.data("shop-env")()).To(HaveKeyWithValue("A", "changed"))
	w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonSynced))
	before := w.get("shop").ResourceVersion
	token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "infisical-token"}}
	w.Expect(w.client.Patch(w.ctx, token, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"look":"again"}}}`)))).To(Succeed())
	w.Consistently(func() string { return w.get("shop").ResourceVersion }, "1s").Should(Equal(before), "what is still not done is no news")
	w.stop()
	allow()
	w.start()
	w.Eventually(w.mark(w.ns, "user")).ShouldNot(BeEmpty())
	w.Eventually(func() bool {
		return meta.IsStatusConditionTrue(w.get("shop").Status.Conditions, stv1.ConditionRolledOut)
	}).Should(BeTrue())
}
