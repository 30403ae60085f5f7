package usage

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

func TestAThresholdOfTwentyIsCountedExactlyEvenOverACrash(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	for day := range 20 {
		l := c.ledger(Options{}) // a new process each time, and none stops gracefully
		l.Watch("shop", tokenA, 20)
		spend(t, l, tokenA, 1)
		g.Expect(l.Count(tokenA)).To(BeEquivalentTo(day + 1))
	}
	g.Expect(c.marks(t)).To(HaveKeyWithValue(tokenA, "20"))
}

func TestUsesAreStoredBeforeTheyHappen(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	l := c.ledger(Options{})
	l.Watch("shop", tokenA, DefaultThreshold)
	spend(t, l, tokenA, 3)
	g.Expect(c.marks(t)).To(HaveKeyWithValue(tokenA, "1024"))
	g.Expect(l.Count(tokenA)).To(BeEquivalentTo(3))
	spend(t, l, tokenA, 1021)
	g.Expect(c.writes.Load()).To(BeEquivalentTo(1))
	spend(t, l, tokenA, 1)
	g.Expect(c.writes.Load()).To(BeEquivalentTo(2))

	crashed := c.ledger(Options{})
	g.Expect(crashed.Loaded()).To(BeFalse())
	g.Expect(crashed.Count(tokenA)).To(BeZero())
	spend(t, crashed, tokenB, 1)
	g.Expect(crashed.Loaded()).To(BeTrue())
	g.Expect(crashed.Count(tokenA)).To(BeNumerically(">=", 1025))
	g.Expect(crashed.Count(tokenA)).To(BeNumerically("<=", 1024+2048))
}

func TestMarksOfForgottenTokensMakeRoomBeforeTheConfigMapIsFull(t *testing.T) {
	g := NewWithT(t)
	old := map[string]string{tokenA: "70", tokenB: "80", "note": "by hand"}
	for i := range maxMarks {
		old[fmt.Sprintf("%024x", i)] = "1"
	}
	c := newCluster(marksMap(old))
	l := c.ledger(Options{})
	l.Watch("shop", tokenA, 20)
	spend(t, l, tokenA, 1)
	g.Expect(c.marks(t)).To(Equal(map[string]string{tokenA: "71", "note": "by hand"}))
	spend(t, l, tokenB, 1)
	g.Expect(l.Count(tokenB)).To(BeEquivalentTo(1), "nobody watched it, so it starts anew")
}

func TestAGracefulStopGivesBackWhatWasNotUsed(t *testing.T) {
	g := NewWithT(t)
	c := newCluster(marksMap(map[string]string{tokenB: "7", "note": "by hand"}))
	l := c.ledger(Options{})
	stop := run(t, l)
	l.Watch("shop", tokenA, DefaultThreshold)
	spend(t, l, tokenA, 5)
	stop()
	g.Expect(c.marks(t)).To(Equal(map[string]string{tokenA: "5", tokenB: "7", "note": "by hand"}))
	g.Expect(l.Use(t.Context(), tokenA)).To(MatchError(ErrStopped), "what was given back covers nothing")

	next := c.ledger(Options{})
	spend(t, next, tokenA, 1)
	g.Expect(next.Count(tokenA)).To(BeEquivalentTo(6))
}

func TestAGracefulStopRaisesAMarkThatWasLoweredByHand(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	l := c.ledger(Options{})
	stop := run(t, l)
	l.Watch("shop", tokenA, 1000)
	spend(t, l, tokenA, 5)
	c.edit(t, func(cm *corev1.ConfigMap) { cm.Data[tokenA] = "2" })
	spend(t, l, tokenB, 1) // a conflict, so the ledger sees it
	stop()
	g.Expect(c.marks(t)).To(Equal(map[string]string{tokenA: "5", tokenB: "1"}))
}

func TestAStopWithNothingToGiveBackWritesNothing(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	l := c.ledger(Options{})
	run(t, l)()
	g.Expect(c.writes.Load()).To(BeZero())
	g.Expect(l.NeedLeaderElection()).To(BeTrue())

	l = c.ledger(Options{})
	stop := run(t, l)
	spend(t, l, tokenA, 1) // nobody watches: one by one
	stop()
	g.Expect(c.writes.Load()).To(BeEquivalentTo(1))
}

func TestTheMarksAreReadWhenTheLedgerStarts(t *testing.T) {
	g := NewWithT(t)
	l := newCluster(marksMap(map[string]string{tokenA: "41"})).ledger(Options{})
	defer run(t, l)()
	g.Eventually(func() int64 { return l.Count(tokenA) }).Should(BeEquivalentTo(41))
}

func TestTheOldLeaderDoesNotGiveBackWhatTheNewOneCountsOn(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	old := c.ledger(Options{})
	stopOld := run(t, old)
	old.Watch("shop", tokenA, DefaultThreshold)
	spend(t, old, tokenA, 10)

	leader := c.ledger(Options{})
	leader.Watch("shop", tokenA, DefaultThreshold)
	spend(t, leader, tokenA, 10)
	stopOld()
	g.Expect(c.marks(t)).To(HaveKeyWithValue(tokenA, "2048"))
	g.Expect(leader.Count(tokenA)).To(BeNumerically(">=", 20))

	crashed := c.ledger(Options{})
	spend(t, crashed, tokenA, 1)
	g.Expect(crashed.Count(tokenA)).To(BeNumerically(">=", 21))
}

func TestTwoLedgersOnOneStoreNeverUndercountTogether(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	one, two := c.ledger(Options{}), c.ledger(Options{})
	one.Watch("shop", tokenA, 1000)
	two.Watch("shop", tokenA, 1000)
	var wg sync.WaitGroup
	var used atomic.Int64
	for _, l := range []*Ledger{one, two} {
		for range 4 {
			wg.Go(func() {
				for range 50 {
					if l.Use(t.Context(), tokenA) == nil {
						used.Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	crashed := c.ledger(Options{})
	spend(t, crashed, tokenB, 1)
	g.Expect(used.Load()).To(BeNumerically(">", 300))
	g.Expect(crashed.Count(tokenA)).To(BeNumerically(">=", used.Load()))
}

func TestAGiveBackBetweenReadAndWriteIsNotLostAndNotBelieved(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	old := c.ledger(Options{})
	stopOld := run(t, old)
	old.Watch("shop", tokenA, DefaultThreshold)
	spend(t, old, tokenA, 10)

	leader := c.ledger(Options{})
	c.beforeWrite = stopOld
	spend(t, leader, tokenA, 1)
	g.Expect(leader.Count(tokenA)).To(BeNumerically(">=", 11))
	spend(t, leader, tokenA, 1)
	crashed := c.ledger(Options{})
	spend(t, crashed, tokenB, 1)
	g.Expect(crashed.Count(tokenA)).To(BeNumerically(">=", 12))
}

func TestManyTokensThatStartTogetherShareAFewWrites(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	l := c.ledger(Options{})
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 200 {
		id := fmt.Sprintf("%024x", i)
		l.Watch(id, id, DefaultThreshold)
		wg.Go(func() {
			<-start
			if err := l.Use(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	c.beforeWrite = func() { // the first write is slow, as at a real server, so that everybody is in the queue behind it
		close(start)
		g.Eventually(func() int { l.mu.Lock(); defer l.mu.Unlock(); return len(l.waiting) }).Should(Equal(201))
	}
	spend(t, l, tokenA, 1)
	wg.Wait()
	g.Expect(c.reads.Load()).To(BeEquivalentTo(1))
	g.Expect(c.writes.Load()).To(BeEquivalentTo(2))
	g.Expect(c.marks(t)).To(HaveLen(201))
}

func TestUsesOfOneTokenThatWaitTogetherAreReservedTogether(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	l := c.ledger(Options{})
	l.Watch("shop", tokenA, 20)
	var wg sync.WaitGroup
	c.beforeWrite = func() {
		for range 7 {
			wg.Go(func() { spend(t, l, tokenA, 1) })
		}
		g.Eventually(func() int { l.mu.Lock(); defer l.mu.Unlock(); return len(l.waiting) }).Should(Equal(8))
	}
	spend(t, l, tokenA, 1)
	wg.Wait()
	g.Expect(c.writes.Load()).To(BeEquivalentTo(2))
	g.Expect(c.marks(t)).To(HaveKeyWithValue(tokenA, "8"))
	g.Expect(l.Count(tokenA)).To(BeEquivalentTo(8))
}

func TestWhoGivesUpWaitingIsNotCounted(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	l := c.ledger(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan struct{})
	c.beforeWrite = func() { cancel(); <-released }
	err := l.Use(ctx, tokenA)
	close(released)
	g.Expect(err).To(MatchError(context.Canceled))
	g.Expect(l.Use(ctx, tokenA)).To(MatchError(context.Canceled))
	spend(t, l, tokenA, 1)
	g.Expect(l.Count(tokenA)).To(BeEquivalentTo(1))
	g.Expect(c.marks(t)).To(HaveKeyWithValue(tokenA, "1"), "the reservation of the first served the second")
}

func TestLeavingAfterBeingCoveredIsAUse(t *testing.T) {
	l := newCluster().ledger(Options{})
	if err := l.leave(&use{covered: true, settled: true}, context.Canceled); err != nil {
		t.Error(err)
	}
}

func TestWhoWaitsWhenTheLedgerStopsIsNotCovered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		c := newCluster()
		l := c.ledger(Options{})
		stop := run(t, l)
		waiting := make(chan error, 1)
		c.beforeWrite = func() {
			go func() { waiting <- l.Use(t.Context(), tokenB) }()
			go stop()
			synctest.Wait()
		}
		spend(t, l, tokenA, 1)
		g.Expect(<-waiting).To(MatchError(ErrStopped))
	})
}
