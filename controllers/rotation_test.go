package controllers

import (
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
)

func TestTokenRotationActsWithinASecond(t *testing.T) {
	w := newWorld(t)
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.RefreshInterval = metav1.Duration{Duration: time.Hour} })
	other := w.infisical.AddProject(2)
	other.Put("prod", "/shop", "A", "from the other project")
	w.project = other
	next := w.token()
	start := time.Now()
	w.putToken(next)
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "from the other project"}))
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonTokenRotated, 1))
	w.Expect(w.get("shop").Status.Token.ID).To(Equal(strings.Split(next, ".")[1]))
}

// TestATokenMayBeInASecretThatTheOperatorWrites: one object's target is the next one's token Secret.
func TestATokenMayBeInASecretThatTheOperatorWrites(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/tokens", "token", w.token())
	w.putToken(w.token())
	w.object(func(o *stv1.ServiceTokenSecret) {
		o.Name, o.Spec.Target.Name = "bootstrap", "shop-token"
		o.Spec.Sources = []stv1.Source{{Environment: "prod", Path: "/tokens"}}
	})
	w.Eventually(w.reason("bootstrap")).Should(Equal(stv1.ReasonSynced))
	w.object(func(o *stv1.ServiceTokenSecret) { o.Spec.Auth.ServiceToken.SecretRef.Name = "shop-token" })
	w.Eventually(w.data("shop-env")).Should(HaveLen(2))

	next := w.token()
	w.project.Put("prod", "/tokens", "token", next)
	w.refresh("bootstrap")
	w.Eventually(func() string {
		if token := w.get("shop").Status.Token; token != nil {
			return token.ID
		}
		return ""
	}).Should(Equal(strings.Split(next, ".")[1]))
	w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonSynced))
}

func TestTokenRotationKeepsLastGoodSecretWhenNewTokenIsRejected(t *testing.T) {
	w := newWorld(t)
	first := w.synced()
	parts := strings.Split(w.token(), ".")
	parts[2] = strings.Repeat("f", 32)
	w.putToken(strings.Join(parts, "."))
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonTokenRejected))
	w.Expect(w.data("shop-env")()).To(Equal(map[string]string{"A": "alpha", "B": "beta"}))

	// The one that was taken away is not used any longer.
	w.infisical.ResetLog()
	w.refresh("shop")
	w.Eventually(func() int { return w.infisical.Count("", parts[1]) }).Should(BeNumerically(">", 0))
	w.Expect(w.infisical.Count("", strings.Split(first, ".")[1])).To(BeZero())

	w.putToken(first)
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
}

func TestUsesAreCountedAndTheThresholdIsTold(t *testing.T) {
	w := newWorld(t)
	token := w.token()
	id := strings.Split(token, ".")[1]
	w.putToken(token)
	rotation := func(o *stv1.ServiceTokenSecret) { o.Spec.Rotation = stv1.Rotation{Threshold: 20, WarnAtPercent: 90} }
	w.object(rotation)
	// Two objects on one token count together.
	w.object(rotation, func(o *stv1.ServiceTokenSecret) {
		o.Name, o.Spec.Target.Name = "second", ""
		o.Spec.Sources = []stv1.Source{{Environment: "dev", Path: "/"}}
	})
	w.project.Put("dev", "/", "C", "gamma")
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
	due := func(name string) func() string {
		return func() string {
			w.refresh("shop")
			if c := meta.FindStatusCondition(w.get(name).Status.Conditions, stv1.ConditionRotationDue); c != nil {
				return c.Reason
			}
			return ""
		}
	}
	w.Expect(meta.IsStatusConditionFalse(w.get("shop").Status.Conditions, stv1.ConditionRotationDue)).To(BeTrue())
	w.Eventually(due("shop"), "60s", "300ms").Should(BeElementOf(stv1.ReasonRotationThresholdReached, stv1.ReasonRotationThresholdExceeded))
	w.Eventually(due("shop"), "60s", "300ms").Should(Equal(stv1.ReasonRotationThresholdExceeded))
	for _, name := range []string{"shop", "second"} {
		w.Eventually(w.events(name)).Should(And(
			HaveKeyWithValue(stv1.ReasonRotationThresholdReached, 1), HaveKeyWithValue(stv1.ReasonRotationThresholdExceeded, 1)), name)
	}
	w.Eventually(func() int64 { return w.get("shop").Status.Usage.Percent }).Should(BeNumerically(">=", 100))
	w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonSynced), "a token that is due is still used")

	// The count is what the server saw, and survives the object and the process.
	w.Expect(w.client.DeleteAllOf(w.ctx, &stv1.ServiceTokenSecret{}, client.InNamespace(w.ns))).To(Succeed())
	w.stop()
	seen := int64(w.infisical.Count("", id))
	w.start()
	w.object(rotation)
	w.Eventually(func() *stv1.UsageStatus { return w.get("shop").Status.Usage }).ShouldNot(BeNil())
	w.Expect(w.get("shop").Status.Usage.Count).To(BeNumerically(">=", seen))

	// Another token starts from its own count.
	w.putToken(w.token())
	w.Eventually(func() bool {
		return meta.IsStatusConditionFalse(w.get("shop").Status.Conditions, stv1.ConditionRotationDue)
	}).Should(BeTrue())
	w.Expect(w.get("shop").Status.Usage.Count).To(BeNumerically("<", 20))
}

func TestUsesAreNeverUndercountedAcrossLeaders(t *testing.T) {
	w := newWorld(t)
	token := w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Rotation.Threshold = 1000 })
	id := strings.Split(token, ".")[1]
	const stops = 4
	for range stops - 1 {
		w.refresh("shop")
		w.stop()
		read := w.infisical.Count("/api/v3/secrets", id)
		w.start()
		w.Eventually(func() int { return w.infisical.Count("/api/v3/secrets", id) }).Should(BeNumerically(">", read))
	}
	w.stop()
	var marks corev1.ConfigMap
	w.Expect(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "service-token-operator-usage"}, &marks)).To(Succeed())
	seen := w.infisical.Count("", id)
	w.Expect(marks.Data).To(HaveKey(id))
	mark, err := strconv.Atoi(marks.Data[id])
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(mark).To(BeNumerically(">=", seen))
	w.Expect(mark).To(BeNumerically("<=", seen+stops), "a stop in order gives back what was reserved; it may have kept one request from being sent")
}

func TestExpiryIsTold(t *testing.T) {
	w := newWorld(t)
	w.putToken(w.token(func(s *devserver.TokenSpec) { s.ExpiresIn = 5*24*time.Hour + time.Hour }))
	w.object()
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
	status := w.get("shop").Status
	w.Expect(status.Token.Expires).To(Equal("5d"))
	w.Expect(meta.IsStatusConditionTrue(status.Conditions, stv1.ConditionTokenExpiring)).To(BeTrue())
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonTokenExpiring, 1))

	w.putToken(w.token(func(s *devserver.TokenSpec) { s.ExpiresIn = 171*24*time.Hour + time.Hour }))
	w.Eventually(func() string { return w.get("shop").Status.Token.Expires }).Should(Equal("171d"))
	w.Expect(meta.IsStatusConditionFalse(w.get("shop").Status.Conditions, stv1.ConditionTokenExpiring)).To(BeTrue())
}

// TestExpiredTokenIsCalledExpiredByTheNextProcessToo: the server deletes an expired token at its next use, and answers from then
// on as if it had been revoked.
func TestExpiredTokenIsCalledExpiredByTheNextProcessToo(t *testing.T) {
	w := newWorld(t)
	w.putToken(w.token(func(s *devserver.TokenSpec) { s.ExpiresIn = 3 * time.Second }))
	w.object()
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
	w.Eventually(func() string { w.refresh("shop"); return w.reason("shop")() }, "20s", "500ms").Should(Equal(stv1.ReasonTokenExpired))
	w.refresh("shop")
	w.Consistently(w.reason("shop"), "2s").Should(Equal(stv1.ReasonTokenExpired))
	w.Expect(meta.FindStatusCondition(w.get("shop").Status.Conditions, stv1.ConditionTokenExpiring).Message).To(ContainSubstring(" expired at "))
	w.stop()
	w.infisical.ResetLog()
	w.start()
	w.Eventually(func() int { return w.infisical.Count("", "") }).Should(BeNumerically(">", 0))
	w.Consistently(w.reason("shop"), "2s").Should(Equal(stv1.ReasonTokenExpired))
	w.Expect(w.data("shop-env")()).To(HaveLen(2))
}
