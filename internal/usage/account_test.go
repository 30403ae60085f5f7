package usage

import (
	"fmt"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	testclock "k8s.io/utils/clock/testing"
)

func TestOwnersHearOfEachPercentOnce(t *testing.T) {
	tests := map[string]struct {
		thresholds []int64
		stored     string
		uses       int
		want       int
	}{
		"each use of twenty is five percent":         {thresholds: []int64{20}, uses: 25, want: 25},
		"one percent is ten uses":                    {thresholds: []int64{1000}, uses: 1000, want: 100},
		"a count read from the store counts at once": {thresholds: []int64{1000}, stored: "500", uses: 1, want: 1},
		"the same threshold twice is told once":      {thresholds: []int64{1000, 1000}, uses: 100, want: 10},
		"two thresholds: each one's percent":         {thresholds: []int64{1000, 700}, uses: 70, want: 7 + 10 - 1}, // together at 70
		"far below one percent":                      {thresholds: []int64{DefaultThreshold}, uses: 100, want: 0},
		"nobody watches":                             {uses: 100, want: 0},
		"no threshold":                               {thresholds: []int64{0}, uses: 100, want: 0},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newCluster()
			if tc.stored != "" {
				c = newCluster(marksMap(map[string]string{tokenA: tc.stored}))
			}
			var told []string
			var l *Ledger
			var mu sync.Mutex
			l = c.ledger(Options{Changed: func(id string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, id)
				l.Count(id) // the lock is free
			}})
			for i, threshold := range tc.thresholds {
				l.Watch(fmt.Sprint("owner", i), tokenA, threshold)
			}
			spend(t, l, tokenA, tc.uses)
			// Callbacks come from the goroutine that stores, perhaps after the use was answered.
			g.Eventually(func() int { mu.Lock(); defer mu.Unlock(); return len(told) }).Should(Equal(tc.want))
			l.commits.Wait()
			g.Expect(told).To(HaveLen(tc.want))
			for _, id := range told {
				g.Expect(id).To(Equal(tokenA))
			}
		})
	}
}

func TestAnOwnerLeavesOrMovesToANewToken(t *testing.T) {
	g := NewWithT(t)
	c := newCluster()
	told := make(chan string, 100)
	l := c.ledger(Options{Changed: func(id string) { told <- id }})
	l.Watch("shop", tokenA, 20)
	l.Watch("shop", tokenA, 20)
	l.Watch("shop", tokenB, 20)
	spend(t, l, tokenA, 3)
	spend(t, l, tokenB, 1)
	g.Eventually(told).Should(Receive(Equal(tokenB)))
	l.Forget("shop")
	l.Forget("shop")
	spend(t, l, tokenB, 3)
	l.commits.Wait()
	g.Expect(told).NotTo(Receive())
	g.Expect(l.Count(tokenB)).To(BeEquivalentTo(4), "the count stays when the object goes")
}

func TestChunksFollowThePace(t *testing.T) {
	tests := map[string]struct {
		threshold int64
		every     time.Duration // one use
		uses      int
		maxWrites int64
		minWrites int64
	}{
		"a poll a minute for a week is a write in hours":       {DefaultThreshold, time.Minute, 7 * 24 * 60, 7 * 24 / 2, 10},
		"four polls a second, for an hour, are a few writes":   {DefaultThreshold, time.Second / 4, 4 * 3600, 5, 4},
		"a hundred thousand uses at once":                      {DefaultThreshold, 0, 100_000, 7, 7},
		"never more than a percent of a small threshold":       {1000, 0, 1000, 100, 100},
		"a use a day goes down to what covers hours: one each": {DefaultThreshold, 24 * time.Hour, 2200, 165, 160},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			clock := testclock.NewFakePassiveClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
			c := newCluster()
			l := c.ledger(Options{Clock: clock})
			l.Watch("shop", tokenA, tc.threshold)
			for range tc.uses {
				spend(t, l, tokenA, 1)
				clock.SetTime(clock.Now().Add(tc.every))
			}
			g.Expect(c.writes.Load()).To(And(BeNumerically("<=", tc.maxWrites), BeNumerically(">=", tc.minWrites)))
		})
	}
}

func TestTokensOfOnePaceAreFilledUpTogether(t *testing.T) {
	g := NewWithT(t)
	clock := testclock.NewFakePassiveClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	c := newCluster()
	l := c.ledger(Options{Clock: clock})
	for range 2 * 24 * 60 { // 50 tokens, each polled once a minute for two days
		for i := range 50 {
			id := fmt.Sprintf("%024x", i)
			l.Watch(id, id, DefaultThreshold)
			spend(t, l, id, 1)
		}
		clock.SetTime(clock.Now().Add(time.Minute))
	}
	g.Expect(c.writes.Load()).To(BeNumerically("<=", 50+24), "50 to begin with, one after another; then one in hours for all of them")
}

func TestPercent(t *testing.T) {
	tests := []struct{ count, threshold, percent, next int64 }{
		{0, 20, 0, 1},
		{1, 20, 5, 2},
		{18, 20, 90, 19},
		{21, 20, 105, 22},
		{0, DefaultThreshold, 0, 42949673},
		{42949672, DefaultThreshold, 0, 42949673},
		{42949673, DefaultThreshold, 1, 85899346},
		{DefaultThreshold, DefaultThreshold, 100, 4337916969},
		{5, 1, 500, 6},
		{1, 3, 33, 2},
		{maxCount, maxCount, 100, maxCount},
		{maxCount, 1, maxCount, maxCount},
		{maxCount / 100, 1, maxCount / 100 * 100, maxCount/100 + 1},
		{5, 0, 0, maxCount},
		{-1, 5, 0, 1},
	}
	for _, tc := range tests {
		if got := Percent(tc.count, tc.threshold); got != tc.percent {
			t.Errorf("Percent(%d, %d) = %d, want %d", tc.count, tc.threshold, got, tc.percent)
		}
		if got := nextPercentAt(tc.count, tc.threshold); got != tc.next {
			t.Errorf("nextPercentAt(%d, %d) = %d, want %d", tc.count, tc.threshold, got, tc.next)
		}
	}
}

func BenchmarkUse(b *testing.B) {
	l := newCluster().ledger(Options{})
	l.Watch("shop", tokenA, DefaultThreshold)
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Use(b.Context(), tokenA); err != nil {
			b.Fatal(err)
		}
	}
}
