package controllers

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// delayed is the condition RefreshDelayed, nil when there is none.
func (w *world) delayed(name string) *metav1.Condition {
	return meta.FindStatusCondition(w.get(name).Status.Conditions, stv1.ConditionRefreshDelayed)
}

// delayReason is that condition's reason.
func (w *world) delayReason(name string) func() string {
	return func() string {
		if c := w.delayed(name); c != nil {
			return c.Reason
		}
		return ""
	}
}

// metric is one series of the test's server: a gauge's value, or the sum of a histogram and how many are in it.
func (w *world) metric(name string) (value float64, count uint64, there bool) {
	w.t.Helper()
	families, err := w.metrics.Gather()
	w.Expect(err).NotTo(HaveOccurred())
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && "http://"+m.GetLabel()[0].GetValue() == w.url {
				return m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum(), m.GetHistogram().GetSampleCount(), true
			}
		}
	}
	return 0, 0, false
}

// TestReadsThatComeLateAreToldWhileTheyDo has a server that allows one read a minute, and an object that wants one every five seconds.
func TestReadsThatComeLateAreToldWhileTheyDo(t *testing.T) {
	w := newWorld(t)
	w.infisical.SetRateLimit(1, 0)
	w.synced()
	sources, _, _ := w.metric("servicetoken_sources")
	w.Expect(sources).To(BeEquivalentTo(1))
	w.Eventually(func() float64 { overdue, _, _ := w.metric("servicetoken_poll_overdue_seconds"); return overdue }).Should(BeNumerically(">", 10))
	w.Expect(w.delayed("shop")).To(BeNil(), "a condition that was never True is not there")

	w.Eventually(w.delayReason("shop"), "90s").Should(Equal(stv1.ReasonPollsLate))
	late := w.delayed("shop")
	w.Expect(late.Status).To(Equal(metav1.ConditionTrue))
	w.Expect(late.Message).To(HavePrefix("a source is read every 45s to 1m25s instead of every 5s: the server's rate limit"))
	w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonSynced), "what is late is right nevertheless")
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonPollsLate, 1))
	delays, polls, _ := w.metric("servicetoken_poll_delay_seconds")
	w.Expect(polls).To(BeEquivalentTo(2))
	w.Expect(delays).To(BeNumerically(">", 40))
	for _, r := range w.infisical.Requests() {
		w.Expect(r.Status).To(BeNumerically("<", 400), r.Route)
	}

	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.RefreshInterval = metav1.Duration{Duration: 5 * time.Minute} })
	w.Eventually(w.delayReason("shop")).Should(Equal(stv1.ReasonPollsOnTime))
	w.Expect(w.delayed("shop").Status).To(Equal(metav1.ConditionFalse))
	w.Expect(w.events("shop")()).To(HaveKeyWithValue(stv1.ReasonPollsLate, 1))

	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.Suspend = true })
	w.Eventually(w.delayReason("shop")).Should(BeEmpty(), "nothing is read, so nothing is late or on time")
	w.Eventually(func() bool { _, _, there := w.metric("servicetoken_sources"); return there }).Should(BeFalse(), "the host has no source any more")
}

// TestRestartKeepsToItselfThatReadsAreLate: the first reads of a process tell nothing of the later ones.
func TestRestartKeepsToItselfThatReadsAreLate(t *testing.T) {
	w := newWorld(t)
	w.synced()
	w.stop()
	obj := w.get("shop")
	before := obj.DeepCopy()
	setCondition(obj, stv1.ConditionRefreshDelayed, metav1.ConditionTrue, stv1.ReasonPollsLate, "late", metav1.Now())
	w.Expect(w.client.Status().Patch(w.ctx, obj, client.MergeFrom(before))).To(Succeed())
	asked := w.infisical.Count("/api/v3/secrets", "")
	w.start()
	w.Eventually(func() int { return w.infisical.Count("/api/v3/secrets", "") }).Should(BeNumerically(">=", asked+3))
	w.Expect(w.get("shop").ResourceVersion).To(Equal(obj.ResourceVersion))
	w.Eventually(w.delayReason("shop"), "90s").Should(Equal(stv1.ReasonPollsOnTime))
	w.Expect(w.events("shop")()).NotTo(HaveKey(stv1.ReasonPollsLate))
}
