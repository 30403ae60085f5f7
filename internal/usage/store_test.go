package usage

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestNothingIsCoveredWhileTheStoreFails(t *testing.T) {
	down := error(apierrors.NewServiceUnavailable("etcd is away"))
	tests := map[string]struct {
		fail func(*cluster) *atomic.Pointer[error]
	}{
		"reading": {func(c *cluster) *atomic.Pointer[error] { return &c.failRead }},
		"writing": {func(c *cluster) *atomic.Pointer[error] { return &c.failWrite }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newCluster()
			l := c.ledger(Options{})
			l.Watch("shop", tokenA, 20)
			tc.fail(c).Store(&down)
			err := l.Use(t.Context(), tokenA)
			var notCovered *NotCoveredError
			g.Expect(errors.As(err, &notCovered)).To(BeTrue())
			g.Expect(notCovered.TokenID).To(Equal(tokenA))
			g.Expect(apierrors.IsServiceUnavailable(err)).To(BeTrue())
			g.Expect(err).To(MatchError(ContainSubstring("ops/" + DefaultName)))
			g.Expect(l.Count(tokenA)).To(BeZero())

			tc.fail(c).Store(nil)
			spend(t, l, tokenA, 2)
			g.Expect(l.Count(tokenA)).To(BeEquivalentTo(2))
			g.Expect(c.marks(t)).To(HaveKeyWithValue(tokenA, "2"))
		})
	}
}

func TestAWriteThatWasStoredButReportedAsFailedIsNotForgotten(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	l := c.ledger(Options{})
	l.Watch("shop", tokenA, DefaultThreshold)
	timeout := error(apierrors.NewTimeoutError("no answer", 1))
	c.loseAnswer.Store(&timeout)
	g.Expect(l.Use(t.Context(), tokenA)).NotTo(Succeed())
	g.Expect(c.marks(t)).To(HaveKeyWithValue(tokenA, "1024"))
	c.loseAnswer.Store(nil)
	spend(t, l, tokenA, 1)
	g.Expect(l.Count(tokenA)).To(BeEquivalentTo(1025), "it might have been another process's reservation")
}

func TestNothingIsGivenBackWhenItIsUnknownWhatIsStored(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	l := c.ledger(Options{})
	stop := run(t, l)
	l.Watch("shop", tokenA, DefaultThreshold)
	spend(t, l, tokenA, 1)
	down := error(apierrors.NewServiceUnavailable("etcd is away"))
	c.failWrite.Store(&down)
	g.Expect(l.Use(t.Context(), tokenB)).NotTo(Succeed())
	c.failWrite.Store(nil)
	stop()
	g.Expect(c.marks(t)).To(HaveKeyWithValue(tokenA, "1024"))
}

func TestOnlyIdsEnterTheLedger(t *testing.T) {
	for _, id := range []string{"", "st.64b7c1f2e4b0a1a2b3c4d5e6.secret", "64b7c1f2e4b0a1a2b3c4d5e6.secret", "../x", tokenA + "0"} {
		g := NewWithT(t)
		c := newCluster()
		err := c.ledger(Options{}).Use(t.Context(), id)
		g.Expect(err).To(MatchError(errID))
		g.Expect(err.Error()).NotTo(ContainSubstring("64b7"))
		g.Expect(c.marks(t)).To(BeEmpty())
	}
}

func TestACorruptEntryIsKeptAndNamedAndStopsOnlyItsToken(t *testing.T) {
	for _, text := range []string{"many", "", "-3", "99999999999999999999", "1.5"} {
		t.Run(text, func(t *testing.T) {
			g := NewWithT(t)
			c := newCluster(marksMap(map[string]string{tokenA: text, "unknown": "x"}))
			l := c.ledger(Options{})
			l.Watch("shop", tokenA, 20)
			spend(t, l, tokenB, 1)
			err := l.Use(t.Context(), tokenA)
			var corrupt *CorruptError
			g.Expect(errors.As(err, &corrupt)).To(BeTrue())
			g.Expect(err).To(MatchError(ContainSubstring(tokenA)))
			g.Expect(corrupt.ConfigMap).To(Equal("ops/" + DefaultName))
			spend(t, l, tokenB, 1)
			g.Expect(c.marks(t)).To(Equal(map[string]string{tokenA: text, "unknown": "x", tokenB: "2"}))

			c.edit(t, func(cm *corev1.ConfigMap) { cm.Data[tokenA] = " 12\n" })
			spend(t, l, tokenA, 1)
			g.Expect(l.Count(tokenA)).To(BeEquivalentTo(13))
		})
	}
}

func TestWhatSomebodyLoweredOrDeletedIsPutBack(t *testing.T) {
	tests := map[string]func(*testing.T, *cluster){
		"lowered": func(t *testing.T, c *cluster) {
			c.edit(t, func(cm *corev1.ConfigMap) { cm.Data[tokenA] = "3" })
		},
		"entry deleted": func(t *testing.T, c *cluster) {
			c.edit(t, func(cm *corev1.ConfigMap) { delete(cm.Data, tokenA) })
		},
		"deleted": func(t *testing.T, c *cluster) {
			if err := c.Delete(t.Context(), marksMap(nil)); err != nil {
				t.Fatal(err)
			}
		},
		"deleted and made anew": func(t *testing.T, c *cluster) {
			if err := c.Delete(t.Context(), marksMap(nil)); err != nil {
				t.Fatal(err)
			}
			if err := c.Create(t.Context(), marksMap(map[string]string{tokenA: "1", tokenB: "100"})); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, tamper := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newCluster(marksMap(map[string]string{tokenA: "30", tokenB: "100"}))
			l := c.ledger(Options{})
			l.Watch("shop", tokenA, 1000)
			spend(t, l, tokenA, 1)
			tamper(t, c)
			other := fmt.Sprintf("%024x", 1)
			spend(t, l, other, 1)
			g.Expect(c.marks(t)).To(Equal(map[string]string{tokenA: "40", tokenB: "100", other: "1"}))
			g.Expect(l.Count(tokenA)).To(BeEquivalentTo(31))
		})
	}
}

func TestAMissingNamespaceIsNotARaceToRetry(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	gone := error(apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "ops"))
	c.failWrite.Store(&gone)
	g.Expect(c.ledger(Options{}).Use(t.Context(), tokenA)).To(MatchError(ContainSubstring("namespaces")))
	g.Expect(c.writes.Load()).To(BeEquivalentTo(1))
}
