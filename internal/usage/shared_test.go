package usage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
)

// TestMarksCoverAllUsesInWhateverOrderLedgersComeAndGo has up to four ledgers on one ConfigMap start, count, look, stop and crash
// in many orders. At any time a token's mark is to cover what was used, and what each of them may still use without asking.
func TestMarksCoverAllUsesInWhateverOrderLedgersComeAndGo(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { comeAndGo(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func comeAndGo(t *testing.T, random *rand.Rand) {
	t.Helper()
	g := NewWithT(t)
	c := newCluster()
	ids, used := []string{tokenA, tokenB}, map[string]int64{}
	var running []*Ledger
	for range 60 {
		switch step, one := random.IntN(16), random.IntN(max(1, len(running))); {
		case len(running) == 0, step == 0 && len(running) < 4:
			l := c.ledger(Options{Shared: true})
			for _, id := range ids {
				l.Watch(id, id, []int64{400, 1000, DefaultThreshold}[random.IntN(3)])
			}
			running = append(running, l)
		case step == 1:
			stopNow(t, running[one])
			running = slices.Delete(running, one, one+1)
		case step == 2: // a crash
			running = slices.Delete(running, one, one+1)
		case step == 3:
			running[one].look(t.Context())
		default:
			id, times := ids[random.IntN(2)], 1+random.IntN(12)
			spend(t, running[one], id, times)
			used[id] += int64(times)
		}
		for _, id := range ids {
			covered := used[id]
			for _, l := range running {
				l.commits.Wait()
				covered += l.accounts[id].reserved - l.accounts[id].used
			}
			g.Expect(c.mark(t, id)).To(BeNumerically(">=", covered))
		}
	}
}

func TestLedgersInUseNeverUndercountWhenOneOfThemStops(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	var used atomic.Int64
	var using sync.WaitGroup
	var stops []func()
	for range 2 {
		l := c.ledger(Options{Shared: true})
		stops = append(stops, run(t, l))
		l.Watch("shop", tokenA, 1000)
		for range 4 {
			using.Go(func() {
				for range 100 {
					if l.Use(t.Context(), tokenA) == nil {
						used.Add(1)
					}
				}
			})
		}
	}
	covers := func() {
		t.Helper()
		before := used.Load()
		g.Expect(c.mark(t, tokenA)).To(BeNumerically(">=", before))
	}
	g.Eventually(used.Load).Should(BeNumerically(">", 50))
	covers()
	stops[0]()
	covers()
	using.Wait()
	covers()
	stops[1]()
	covers()
	next := c.ledger(Options{})
	spend(t, next, tokenA, 1)
	g.Expect(next.Count(tokenA)).To(BeNumerically(">", used.Load()))
}

func TestAStopGivesBackWhatOthersDoNotCountOn(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	one, two := c.ledger(Options{Shared: true}), c.ledger(Options{Shared: true})
	one.Watch("shop", tokenA, DefaultThreshold)
	spend(t, one, tokenA, 5)
	two.Watch("shop", tokenB, DefaultThreshold)
	spend(t, two, tokenB, 7)
	one.look(t.Context())
	one.commits.Wait()
	stopNow(t, one)
	g.Expect(c.marks(t)).To(Equal(map[string]string{tokenA: "5", tokenB: "1024"}))
	two.look(t.Context())
	two.commits.Wait()
	stopNow(t, two)
	g.Expect(c.marks(t)).To(Equal(map[string]string{tokenA: "5", tokenB: "7"}))
}

func TestWhatOthersReserveIsToldWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		c := newCluster()
		told := make(chan string, 100)
		l := c.ledger(Options{Shared: true, Changed: func(id string) { told <- id }})
		defer run(t, l)()
		synctest.Wait()
		l.Watch("shop", tokenA, 1000)
		spend(t, l, tokenA, 1)
		c.edit(t, func(cm *corev1.ConfigMap) { setMark(cm, tokenA, c.mark(t, tokenA)+299) })
		g.Expect(l.Count(tokenA)).To(BeEquivalentTo(1))
		ctx, cancel := context.WithTimeout(t.Context(), lookEvery+time.Second)
		defer cancel()
		select {
		case id := <-told:
			g.Expect(id).To(Equal(tokenA))
			g.Expect(l.Count(tokenA)).To(BeEquivalentTo(300))
		case <-ctx.Done():
			t.Error("nothing was told")
		}
	})
}

func TestALedgerOfItsOwnReadsTheMarksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		c := newCluster()
		defer run(t, c.ledger(Options{}))()
		synctest.Wait()
		g.Consistently(c.reads.Load).WithTimeout(time.Hour).WithPolling(lookEvery).Should(BeEquivalentTo(1))
	})
}

func TestASharedLedgerDropsNoMarksAndTakesNoNewTokenWhenItIsFull(t *testing.T) {
	g := NewWithT(t)
	old := map[string]string{tokenA: "70", "note": "by hand"}
	for i := range maxMarks {
		old[fmt.Sprintf("%024x", i)] = "1"
	}
	c := newCluster(marksMap(old))
	l := c.ledger(Options{Shared: true})
	l.Watch("shop", tokenA, 20)
	spend(t, l, tokenA, 1)
	old[tokenA] = "71"
	g.Expect(c.marks(t)).To(Equal(old))

	err := l.Use(t.Context(), tokenB)
	var full *FullError
	g.Expect(errors.As(err, &full)).To(BeTrue())
	g.Expect(full.ConfigMap).To(Equal("ops/" + DefaultName))
	g.Expect(l.Count(tokenB)).To(BeZero())
	spend(t, l, tokenA, 1)

	c.edit(t, func(cm *corev1.ConfigMap) {
		for i := range 3 {
			delete(cm.Data, fmt.Sprintf("%024x", i))
		}
	})
	spend(t, l, tokenB, 1)
	g.Expect(c.marks(t)).To(And(HaveKeyWithValue(tokenA, "72"), HaveKeyWithValue(tokenB, "1")))
}

func (c *cluster) mark(t *testing.T, id string) int64 {
	t.Helper()
	text, found := c.marks(t)[id]
	if !found {
		return 0
	}
	mark, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mark
}

// stopNow stops a ledger gracefully that was not started.
func stopNow(t *testing.T, l *Ledger) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Start(ctx); err != nil {
		t.Errorf("Start: %v", err)
	}
}
