package controllers

import (
	"errors"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
	"github.com/service-token-operator/service-token-operator/internal/usage"
)

func several(targets ...stv1.Target) func(*stv1.ServiceTokenSecret) {
	return func(o *stv1.ServiceTokenSecret) { o.Spec.Target, o.Spec.Targets = stv1.Target{}, targets }
}

func (w *world) putMap(name string, data map[string]string) {
	w.t.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, Data: data}
	if err := w.client.Create(w.ctx, m); !apierrors.IsAlreadyExists(err) {
		w.Expect(err).NotTo(HaveOccurred())
		return
	}
	w.Expect(w.client.Update(w.ctx, m)).To(Succeed())
}

// configMap is the data of a ConfigMap, nil when there is none.
func (w *world) configMap(name string) func() map[string]string {
	return func() map[string]string {
		m := &corev1.ConfigMap{}
		if err := w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, m); err != nil {
			return nil
		}
		return m.Data
	}
}

func TestSeveralTargetsAreWrittenFromOneRead(t *testing.T) {
	w := newWorld(t)
	w.synced(several(
		stv1.Target{Name: "all"},
		stv1.Target{Name: "login", Type: "kubernetes.io/basic-auth", Template: &stv1.Template{Data: map[string]string{"username": "{{ .A }}", "password": "{{ .B }}"}}},
		stv1.Target{Name: "settings", Kind: stv1.TargetKindConfigMap, Keys: []string{"A"}, CreationPolicy: stv1.CreationPolicyOrphan},
	))
	w.Expect(w.data("all")()).To(Equal(map[string]string{"A": "alpha", "B": "beta"}))
	w.Expect(w.data("login")()).To(Equal(map[string]string{"username": "alpha", "password": "beta"}))
	w.Expect(w.configMap("settings")()).To(Equal(map[string]string{"A": "alpha"}))
	status := w.get("shop").Status
	w.Expect(status.Targets).To(Equal([]stv1.TargetReference{{Kind: "Secret", Name: "all"}, {Kind: "Secret", Name: "login"}, {Kind: "ConfigMap", Name: "settings"}}))
	w.Expect(*status.Secrets).To(BeEquivalentTo(5))
	w.Expect(w.message("shop")).To(Equal("Secret all holds 2 keys, Secret login holds 2 keys, ConfigMap settings holds 1 key"))

	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.configMap("settings")).Should(Equal(map[string]string{"A": "changed"}))
	w.Eventually(w.data("login")).Should(HaveKeyWithValue("username", "changed"))
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonUpdated, 1))

	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "settings"}}
	w.Expect(w.client.Patch(w.ctx, settings, client.RawPatch(types.MergePatchType, []byte(`{"data":{"A":"mallory"}}`)))).To(Succeed())
	w.Eventually(w.configMap("settings")).Should(Equal(map[string]string{"A": "changed"}))

	w.change("shop", several(stv1.Target{Name: "all"}))
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonTargetLeft, 1))
	w.Expect(w.configMap("settings")()).To(Equal(map[string]string{"A": "changed"}))
}

func TestATargetThatCannotBeWrittenDoesNotHoldUpTheOthers(t *testing.T) {
	w := newWorld(t)
	w.putSecret("theirs", map[string]string{"MINE": "x"})
	w.putToken(w.token())
	w.object(several(stv1.Target{Name: "theirs"}, stv1.Target{Name: "broken", Template: &stv1.Template{Data: map[string]string{"k": "{{ .NOPE }}"}}}, stv1.Target{Name: "good"}))
	w.Eventually(w.data("good")).Should(Equal(map[string]string{"A": "alpha", "B": "beta"}))
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonTargetConflict))
	w.Expect(w.message("shop")).To(And(ContainSubstring("theirs"), ContainSubstring("broken")))
	w.Expect(w.get("shop").Status.Target).To(Equal("good"))
	w.Expect(w.data("theirs")()).To(Equal(map[string]string{"MINE": "x"}))

	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.data("good")).Should(HaveKeyWithValue("A", "changed"))
	w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonTargetConflict))
}

// TestAWriteThatFailsForAWhileIsSaid has the API server fail one of two targets: while that may pass, the object stays what it was.
func TestAWriteThatFailsForAWhileIsSaid(t *testing.T) {
	w := newWorld(t)
	w.synced(several(stv1.Target{Name: "good"}, stv1.Target{Name: "bad"}))
	w.stop()
	now := clocktesting.NewFakePassiveClock(time.Now())
	r := &reconciler{
		selector: labels.Everything(), client: w.client, live: w.client, recorder: events.NewFakeRecorder(9), clock: now, counters: newCounters(),
		ledger: usage.NewLedger(usage.Options{}), pool: source.NewPool(source.Options{}),
	}
	look := func() (outcome, error) {
		s := &subject{ServiceTokenSecret: w.get("shop")}
		out, err := r.summary(s, []placed{
			{namespace: w.ns, target: stv1.TargetReference{Kind: "Secret", Name: "good"}},
			{namespace: w.ns, target: stv1.TargetReference{Kind: "Secret", Name: "bad"}, err: apierrors.NewInternalError(errors.New("hunter2"))},
		}, nil)
		if out.reason != "" {
			_, reported := r.report(w.ctx, s, out)
			w.Expect(reported).NotTo(HaveOccurred())
		}
		return out, err
	}
	out, err := look()
	w.Expect(err).To(HaveOccurred(), "it is tried again")
	w.Expect(out.reason).To(BeEmpty())
	now.SetTime(now.Now().Add(lastingAfter))
	_, err = look()
	w.Expect(err).To(HaveOccurred())
	w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonWriteFailed))
	w.Expect(w.message("shop")).To(And(ContainSubstring("500"), Not(ContainSubstring("hunter2"))))
	w.start()
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
}

func TestTroublesLastFromTheFirstToTheLast(t *testing.T) {
	g := NewWithT(t)
	var known troubles
	now := time.Now()
	g.Expect(known.lasting("a", now)).To(BeFalse())
	g.Expect(known.lasting("a", now.Add(lastingAfter-1))).To(BeFalse())
	g.Expect(known.lasting("a", now.Add(lastingAfter))).To(BeTrue())
	known.over("a")
	g.Expect(known.lasting("a", now.Add(lastingAfter))).To(BeFalse())
	g.Expect(known.lasting("b", now.Add(2*forgottenAfter))).To(BeFalse())
	g.Expect(known.known).To(HaveLen(1), "what nobody met for long is forgotten")
}

func TestATargetThatIsFoughtForDoesNotHoldUpTheOthers(t *testing.T) {
	w := newWorld(t)
	w.synced(several(stv1.Target{Name: "fought"}, stv1.Target{Name: "quiet"}))
	edit := func() {
		secret, err := w.secret("fought")
		w.Expect(err).NotTo(HaveOccurred())
		secret.Data["A"] = []byte("theirs")
		w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
	}
	for range 3 { // of which each makes the next heal come later
		edit()
		w.Eventually(w.data("fought")).Should(HaveKeyWithValue("A", "alpha"))
	}
	edit()
	w.project.Put("prod", "/shop", "A", "changed")
	w.refresh("shop")
	w.Eventually(w.data("quiet")).Should(HaveKeyWithValue("A", "changed"))
	w.Eventually(w.data("fought")).Should(HaveKeyWithValue("A", "changed"))
	w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonSynced))
}

func TestAnImmutableSecretIsMadeAnewForAChange(t *testing.T) {
	w := newWorld(t)
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.Immutable = true })
	before, err := w.secret("shop-env")
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(before.Immutable).To(HaveValue(BeTrue()))
	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "changed", "B": "beta"}))
	after, err := w.secret("shop-env")
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(after.UID).NotTo(Equal(before.UID))
	w.Expect(after.Immutable).To(HaveValue(BeTrue()))
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
}

func TestOnlyTheTargetsWhosePolicySaysSoGoWithTheirSources(t *testing.T) {
	w := newWorld(t)
	w.synced(several(stv1.Target{Name: "goes", DeletionPolicy: stv1.DeletionPolicyDelete}, stv1.Target{Name: "stays"}))
	w.project.DeleteFolder("prod", "/shop")
	w.refresh("shop")
	w.Eventually(w.data("goes")).Should(BeNil())
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonPathNotFound))
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonTargetDeleted, 1))
	w.Expect(w.data("stays")()).To(Equal(map[string]string{"A": "alpha", "B": "beta"}))
}
