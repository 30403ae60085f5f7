package source

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/service-token-operator/service-token-operator/internal/infisical"
)

var (
	errDown = &infisical.Error{Kind: infisical.KindServer, Status: 500}
	errGone = &infisical.Error{Kind: infisical.KindTokenNotFound, Status: 404}
)

// newTestPoller returns a poller of ints that has not been started.
func newTestPoller(c *clocktesting.FakeClock) *poller[int] {
	p := newPoller[int](c, func() float64 { return 0 })
	p.same = func(a, b int) bool { return a == b }
	p.interval = func() time.Duration { return time.Minute }
	return p
}

func TestSettleDecidesWhatReadersSeeAndWhenToTryAgain(t *testing.T) {
	type attempt struct {
		value   int
		err     error
		wait    time.Duration
		changed bool
		told    error // to readers, afterwards
	}
	damaged := &DecryptionError{Err: errors.New("damaged")}
	wait := &infisical.Error{Kind: infisical.KindRateLimited, RetryAfter: 40 * time.Second}
	refused := &infisical.Error{Kind: infisical.KindHostDown, RetryAfter: 30 * time.Second}
	refusedLately := &infisical.Error{Kind: infisical.KindHostDown, RetryAfter: time.Millisecond}
	for name, attempts := range map[string][]attempt{
		"good, the same, another": {
			{1, nil, time.Minute, true, nil}, {1, nil, time.Minute, false, nil}, {2, nil, time.Minute, true, nil},
		},
		"the first failure of a first read is told": {
			{0, errDown, time.Second, true, errDown}, {0, errDown, 2 * time.Second, false, errDown}, {1, nil, time.Minute, true, nil},
		},
		"one lost packet is not told": {
			{1, nil, time.Minute, true, nil}, {0, errDown, time.Second, false, nil}, {1, nil, time.Minute, false, nil},
		},
		"two are, and so is the end": {
			{1, nil, time.Minute, true, nil}, {0, errDown, time.Second, false, nil}, {0, errDown, 2 * time.Second, true, errDown},
			{0, errDown, 4 * time.Second, false, errDown}, {1, nil, time.Minute, true, nil},
		},
		"what a person must mend is told at once, and looked at rarely": {
			{1, nil, time.Minute, true, nil}, {0, errGone, slowPace, true, errGone}, {0, errGone, slowPace, false, errGone},
		},
		"what a person mends at the server is looked at like any change": {
			{1, nil, time.Minute, true, nil}, {0, damaged, time.Minute, true, damaged},
		},
		"the server says when": {
			{0, wait, 40 * time.Second, true, wait},
		},
		"the host is down: whoever waits for it waits no longer": {
			{1, nil, time.Minute, true, nil}, {0, errDown, time.Second, false, nil}, {0, refused, 30 * time.Second, true, refused},
			{0, refused, 30 * time.Second, false, refused}, {0, refused, 30 * time.Second, false, refused}, {1, nil, time.Minute, true, nil},
		},
		"the host works: whoever fails there comes back ever later": {
			{0, errDown, time.Second, true, errDown}, {0, refused, 30 * time.Second, true, refused}, {0, errDown, 2 * time.Second, true, errDown},
		},
		"the time that was told is nearly over": {
			{0, refusedLately, retryMin, true, refusedLately},
		},
		"another failure is told": {
			{0, errDown, time.Second, true, errDown}, {0, errGone, slowPace, true, errGone},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := newTestPoller(clocktesting.NewFakeClock(time.Unix(0, 0)))
			for i, a := range attempts {
				wait, changed := p.settle(a.value, a.err)
				_, _, told := p.read()
				g.Expect(wait).To(Equal(a.wait), "wait after attempt %d", i)
				g.Expect(changed).To(Equal(a.changed), "change at attempt %d", i)
				if a.told == nil {
					g.Expect(told).NotTo(HaveOccurred(), "after attempt %d", i)
				} else {
					g.Expect(told).To(Equal(a.told), "after attempt %d", i)
				}
			}
		})
	}
}

func TestAFailureKeepsTheLastGoodValue(t *testing.T) {
	g := NewWithT(t)
	p := newTestPoller(clocktesting.NewFakeClock(time.Unix(0, 0)))
	p.settle(7, nil)
	p.settle(0, errGone)
	value, good, err := p.read()
	g.Expect(value).To(Equal(7))
	g.Expect(good).To(BeTrue())
	g.Expect(err).To(Equal(errGone))
}

func TestBackOffIsBounded(t *testing.T) {
	g := NewWithT(t)
	p := newTestPoller(clocktesting.NewFakeClock(time.Unix(0, 0)))
	for err, want := range map[error]time.Duration{errDown: brokenMax, &infisical.Error{Kind: infisical.KindBadAnswer}: retryMax, errors.New("not counted"): retryMax} {
		var wait time.Duration
		for range 100 {
			wait, _ = p.settle(0, err)
		}
		g.Expect(wait).To(Equal(want))
	}
}

func TestSpreadNeverComesEarlier(t *testing.T) {
	g := NewWithT(t)
	for _, random := range []float64{0, 0.5, 0.999} {
		p := newPoller[int](clocktesting.NewFakeClock(time.Unix(0, 0)), func() float64 { return random })
		d := p.spread(time.Minute)
		g.Expect(d).To(BeNumerically(">=", time.Minute))
		g.Expect(d).To(BeNumerically("<=", 66*time.Second))
	}
}

// running starts a poller whose attempts are counted.
func running(t *testing.T, c *clocktesting.FakeClock) (*poller[int], *atomic.Int64) {
	t.Helper()
	var attempts atomic.Int64
	p := newTestPoller(c)
	p.fetch = func(context.Context) (int, error) { return int(attempts.Add(1)), nil }
	p.changed = func() {}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return p, &attempts
}

func TestRunPollsAtItsIntervalAndWhenPoked(t *testing.T) {
	g := NewWithT(t)
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	p, attempts := running(t, c)
	g.Eventually(c.HasWaiters).Should(BeTrue())
	g.Expect(attempts.Load()).To(BeEquivalentTo(1))
	c.Step(time.Minute)
	g.Eventually(attempts.Load).Should(BeEquivalentTo(2))
	p.poke()
	g.Eventually(attempts.Load).Should(BeEquivalentTo(3))
}

func TestFirstWaitsForTheFirstAttemptOnly(t *testing.T) {
	g := NewWithT(t)
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	p, attempts := running(t, c)
	value, _, err := p.first(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(value).To(Equal(1))
	value, _, err = p.first(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(value).To(Equal(1))
	g.Expect(attempts.Load()).To(BeEquivalentTo(1))
}

func TestRenewedTakesWhatIsYoungEnough(t *testing.T) {
	g := NewWithT(t)
	c := clocktesting.NewFakeClock(time.Unix(0, 0))
	p, _ := running(t, c)
	value, _, err := p.renewed(t.Context(), sessionRecheck)
	g.Expect(err).NotTo(HaveOccurred())
	first := value
	g.Eventually(c.HasWaiters).Should(BeTrue())
	c.Step(sessionRecheck - time.Second)
	value, _, err = p.renewed(t.Context(), sessionRecheck)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(value).To(Equal(first))
	c.Step(sessionRecheck + time.Second)
	value, _, err = p.renewed(t.Context(), sessionRecheck)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(value).To(BeNumerically(">", first))
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	p := newTestPoller(clocktesting.NewFakeClock(time.Unix(0, 0))) // never started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := p.first(ctx)
	g.Expect(err).To(MatchError(context.Canceled))
}
