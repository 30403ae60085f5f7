package controllers

import (
	"net/url"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// TestTwoReleasesDivideANamespaceByLabels has two operators side by side, each with a leader of its own, over objects that read with
// one token.
func TestTwoReleasesDivideANamespaceByLabels(t *testing.T) {
	a, b := newReleases(t, "team=a", "team!=a")
	a.putToken(a.token())
	a.project.Put("prod", "/cart", "C", "gamma")
	team(a, "a", "shop", "/shop")
	team(a, "b", "cart", "/cart")
	a.Eventually(a.data("shop")).Should(Equal(map[string]string{"A": "alpha", "B": "beta"}))
	a.Eventually(a.data("cart")).Should(Equal(map[string]string{"C": "gamma"}))
	a.Eventually(a.reason("shop")).Should(Equal(stv1.ReasonSynced))
	a.Eventually(a.reason("cart")).Should(Equal(stv1.ReasonSynced))
	a.Expect(a.holds("a")).NotTo(Equal(a.holds("b")), "each has its own leader")

	// Each reads and writes what is its own.
	a.Expect(a.asked("/cart")).To(BeZero())
	a.Expect(b.asked("/shop")).To(BeZero())
	a.Expect(a.written()).To(And(ContainElement("POST secrets"), HaveEach(BeElementOf("POST secrets", "PUT servicetokensecrets/shop/status"))))
	a.Expect(b.written()).To(And(ContainElement("POST secrets"), HaveEach(BeElementOf("POST secrets", "PUT servicetokensecrets/cart/status"))))

	// An object that gets another label is the other's, with its Secret and its status as they are.
	secret, err := a.secret("shop")
	a.Expect(err).NotTo(HaveOccurred())
	a.change("shop", func(o *stv1.ServiceTokenSecret) { o.Labels["team"] = "b" })
	status := a.get("shop").ResourceVersion
	a.Eventually(func() int { return b.asked("/shop") }).Should(BeNumerically(">=", 2))
	a.infisical.ResetLog()
	a.Eventually(func() int { return b.asked("/shop") }).Should(BeNumerically(">=", 2), "longer than the interval")
	a.Expect(a.asked("/shop")).To(BeZero())
	after, err := a.secret("shop")
	a.Expect(err).NotTo(HaveOccurred())
	a.Expect(after.ResourceVersion).To(Equal(secret.ResourceVersion))
	a.Expect(a.get("shop").ResourceVersion).To(Equal(status))

	// From now on it is kept right by the other alone.
	before, others := a.written(), len(b.written())
	a.project.Put("prod", "/shop", "A", "changed")
	a.Eventually(a.data("shop")).Should(HaveKeyWithValue("A", "changed"))
	a.Eventually(a.events("shop")).Should(HaveKeyWithValue(stv1.ReasonUpdated, 1))
	a.Expect(a.written()).To(Equal(before))
	a.Expect(b.written()[others:]).To(Equal([]string{"PUT secrets/shop", "PUT servicetokensecrets/shop/status"}))
}

func TestTwoReleasesDivideAClusterByNamespaces(t *testing.T) {
	a, b := newReleases(t, "", "")
	token := a.token()
	for _, w := range []*world{a, b} {
		w.putToken(token)
		w.object()
		w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
		w.Expect(w.data("shop-env")()).To(Equal(map[string]string{"A": "alpha", "B": "beta"}))
	}
	a.Expect(a.writes.seen()).To(HaveEach(ContainSubstring("/" + a.ns + "/")))
	a.Expect(b.writes.seen()).To(HaveEach(Or(ContainSubstring("/"+b.ns+"/"), ContainSubstring("/"+a.ns+"/configmaps"))))
	seen := a.infisical.Count("", idOf(token))
	a.Expect(a.uses(idOf(token))).To(BeNumerically(">=", seen))
}

func TestTwoReleasesCountTheUsesOfATokenTogether(t *testing.T) {
	a, b := newReleases(t, "team=a", "team!=a")
	token := a.token()
	a.putToken(token)
	seen := func() int64 { return int64(a.infisical.Count("", idOf(token))) }
	covered := func() {
		t.Helper()
		before := seen()
		a.Expect(a.uses(idOf(token))).To(BeNumerically(">=", before))
	}
	threshold := func(o *stv1.ServiceTokenSecret) { o.Spec.Rotation.Threshold = 200 }
	team(a, "a", "shop", "/shop", threshold)
	team(a, "b", "cart", "/shop", threshold)
	for _, name := range []string{"shop", "cart"} {
		a.Eventually(a.reason(name)).Should(Equal(stv1.ReasonSynced))
	}
	for _, stop := range []func(){b.stop, a.stop} {
		enough := seen() + 15
		a.Eventually(func() int64 {
			a.refresh("shop")
			a.refresh("cart")
			covered()
			return seen()
		}).Should(BeNumerically(">", enough))
		stop() // gives back what it has reserved and not used, and no more
		covered()
	}
	b.start()
	a.Eventually(func() int64 { a.refresh("cart"); return b.get("cart").Status.Usage.Count }).Should(BeNumerically(">=", seen()))
}

func TestTheStatusOfAnObjectThatHasLeftIsNotWritten(t *testing.T) {
	w := newClusterWorld(t)
	team(w, "a", "shop", "/shop")
	seen := w.get("shop")
	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Labels["team"] = "b" })
	r := &reconciler{selector: labels.SelectorFromSet(labels.Set{"team": "a"}), client: w.client, live: w.client, recorder: events.NewFakeRecorder(9), clock: clock.RealClock{}}
	_, err := r.report(w.ctx, &subject{ServiceTokenSecret: seen}, outcome{reason: stv1.ReasonTokenSecretNotFound})
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(w.get("shop").Status.Conditions).To(BeEmpty())
}

// newReleases starts two operators with one home, over one namespace if they have selectors, else over two.
func newReleases(t *testing.T, selectorOfA, selectorOfB string) (a, b *world) {
	t.Helper()
	a = newWorld(t)
	a.stop()
	beside := *a
	b = &beside
	if selectorOfB == "" {
		b.ns = newClusterWorld(t).ns
	}
	a.release, b.release = "a", "b"
	for w, selector := range map[*world]string{a: selectorOfA, b: selectorOfB} {
		w.writes, w.home = &requestCounter{}, a.ns
		var err error
		w.selector, err = labels.Parse(selector)
		w.Expect(err).NotTo(HaveOccurred())
		w.start()
	}
	return a, b
}

// team makes an object of a team that writes the Secret of its own name.
func team(w *world, team, name, path string, change ...func(*stv1.ServiceTokenSecret)) {
	w.t.Helper()
	w.object(append(change, func(o *stv1.ServiceTokenSecret) {
		o.Name, o.Labels = name, map[string]string{"team": team}
		o.Spec.Sources[0].Path, o.Spec.Target.Name = path, ""
	})...)
}

// asked is how often the release has asked for a folder.
func (w *world) asked(path string) int {
	times := 0
	for _, r := range w.infisical.Requests() {
		if strings.HasSuffix(r.UserAgent, "/"+w.release) && strings.Contains(r.Query, url.QueryEscape(path)) {
			times++
		}
	}
	return times
}

// written are the release's writes in the namespace, without those of the uses of tokens.
func (w *world) written() []string {
	var written []string
	for _, write := range w.writes.seen() {
		method, path, _ := strings.Cut(write, " ")
		_, path, _ = strings.Cut(path, w.ns+"/")
		if !strings.HasPrefix(path, "configmaps") {
			written = append(written, method+" "+path)
		}
	}
	return written
}

// holds is who holds a lease.
func (w *world) holds(lease string) string {
	w.t.Helper()
	held := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: lease}}
	w.Expect(w.client.Get(w.ctx, client.ObjectKeyFromObject(held), held)).To(Succeed())
	return *held.Spec.HolderIdentity
}

// uses is the count of a token in the ConfigMap.
func (w *world) uses(id string) int64 {
	w.t.Helper()
	var marks corev1.ConfigMap
	w.Expect(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.home, Name: "service-token-operator-usage"}, &marks)).To(Succeed())
	uses, err := strconv.ParseInt(marks.Data[id], 10, 64)
	w.Expect(err).NotTo(HaveOccurred())
	return uses
}

func idOf(token string) string { return strings.Split(token, ".")[1] }
