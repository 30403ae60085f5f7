package source

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/utils/clock"
)

// bubble is a poller that counts its attempts, in a synctest bubble: there, time moves on when everybody waits, and so the
// real clock is a fake one.
type bubble struct {
	*poller[int]
	*WithT
	t        *testing.T
	attempts atomic.Int64
	gate     atomic.Value // a channel that attempts wait for
}

func inBubble(t *testing.T, f func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bubble{t: t, WithT: NewWithT(t), poller: newPoller[int](clock.RealClock{}, func() float64 { return 0 })}
		b.same = func(x, y int) bool { return x == y }
		b.interval = func() time.Duration { return time.Minute }
		b.changed = func() {}
		b.fetch = func(ctx context.Context) (int, error) {
			b.attempts.Add(1)
			if gate, ok := b.gate.Load().(chan struct{}); ok {
				select {
				case <-gate:
				case <-ctx.Done():
				}
			}
			return 7, nil
		}
		f(b)
	})
}

// start runs the poller until the test ends.
func (b *bubble) start() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); b.run(ctx) }()
	b.t.Cleanup(func() { cancel(); <-ended })
	synctest.Wait()
}

// hold keeps attempts under way until released.
func (b *bubble) hold() (release func()) {
	gate := make(chan struct{})
	b.gate.Store(gate)
	return func() { close(gate) }
}

func (b *bubble) expectAttempts(n int) {
	synctest.Wait()
	b.ExpectWithOffset(1, b.attempts.Load()).To(BeEquivalentTo(n))
}

// later lets time pass, which takes none.
func later(d time.Duration) {
	<-clock.RealClock{}.After(d)
	synctest.Wait()
}

func TestRenewedIsOneAttemptHoweverManyWaitForIt(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		later(40 * time.Second)
		release := b.hold()
		var waiting sync.WaitGroup
		ask := func() {
			for range 5 {
				waiting.Go(func() {
					value, _, err := b.renewed(b.t.Context(), sessionRecheck)
					b.Expect(err).NotTo(HaveOccurred())
					b.Expect(value).To(Equal(7))
				})
			}
		}
		ask()
		b.expectAttempts(2)
		ask() // while it is under way
		b.expectAttempts(2)
		release()
		waiting.Wait()
		b.expectAttempts(2)
		ask() // it is young
		waiting.Wait()
		b.expectAttempts(2)
		later(59 * time.Second)
		b.expectAttempts(2)
		later(time.Second)
		b.expectAttempts(3)
	})
}

func TestRenewedTakesTheAttemptThatIsUnderWayAnyhow(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.start()
		release := b.hold()
		later(time.Minute)
		b.expectAttempts(2)
		done := make(chan struct{})
		go func() { defer close(done); _, _, _ = b.renewed(b.t.Context(), sessionRecheck) }()
		synctest.Wait()
		release()
		<-done
		b.expectAttempts(2)
	})
}

func TestPokesBeforeAnAttemptAreAnsweredByIt(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.poke()
		b.poke()
		b.start()
		b.expectAttempts(1)
	})
}

func TestPokesDuringAnAttemptLeadToOneMore(t *testing.T) {
	inBubble(t, func(b *bubble) {
		release := b.hold()
		b.start()
		b.poke()
		b.poke()
		release()
		b.expectAttempts(2)
	})
}

func TestAShorterIntervalHurriesThoseWhoWaitOnly(t *testing.T) {
	inBubble(t, func(b *bubble) {
		release := b.hold()
		b.start()
		b.hurry() // the first is under way
		release()
		b.expectAttempts(1)
		b.hurry()
		b.expectAttempts(2)
	})
}

func TestWhatIsOutdatedIsFetchedAnew(t *testing.T) {
	inBubble(t, func(b *bubble) {
		basis := make(chan struct{})
		b.outdated = func() <-chan struct{} { return basis }
		b.start()
		b.expectAttempts(1)
		before := basis
		basis = make(chan struct{})
		close(before)
		b.expectAttempts(2)
		later(59 * time.Second)
		b.expectAttempts(2)
	})
}

func TestAPollerThatIsStoppedBeforeItRunsAsksNothing(t *testing.T) {
	inBubble(t, func(b *bubble) {
		ctx, cancel := context.WithCancel(b.t.Context())
		cancel()
		b.run(ctx)
		b.expectAttempts(0)
	})
}

func TestNewsIsWhatReadersSee(t *testing.T) {
	inBubble(t, func(b *bubble) {
		settled := func(err error) (news bool) {
			before := b.news
			b.settle(7, err)
			select {
			case <-before:
				return true
			default:
				return false
			}
		}
		b.Expect(settled(nil)).To(BeTrue())
		b.Expect(settled(nil)).To(BeFalse())
		b.Expect(settled(errDown)).To(BeFalse())
		b.Expect(settled(errDown)).To(BeTrue())
		b.Expect(settled(errDown)).To(BeFalse())
		b.Expect(settled(nil)).To(BeTrue())
		b.settle(7, errGone)
		_, news, err := b.first(b.t.Context())
		b.Expect(err).To(Equal(errGone))
		b.Expect(news).NotTo(BeClosed())
		b.settle(7, nil)
		b.Expect(news).To(BeClosed())
	})
}

func TestOneLostPacketDoesNotHideWhatLasts(t *testing.T) {
	inBubble(t, func(b *bubble) {
		gone := &NotFoundError{Place: app}
		for range 10 {
			b.settle(0, errDown)
		}
		b.settle(0, gone)
		wait, changed := b.settle(0, errDown)
		_, _, told := b.read()
		b.Expect(told).To(Equal(gone))
		b.Expect(changed).To(BeFalse())
		b.Expect(wait).To(Equal(retryMin), "the failures before were no reason to back off")
		_, changed = b.settle(0, errDown)
		_, _, told = b.read()
		b.Expect(told).To(Equal(errDown))
		b.Expect(changed).To(BeTrue())
	})
}

func TestAPatientPollerKeepsAGoodValueThroughAnyOutage(t *testing.T) {
	inBubble(t, func(b *bubble) {
		b.tolerated = 1 << 30
		_, changed := b.settle(0, errDown)
		b.Expect(changed).To(BeTrue(), "without a value there is nothing to keep")
		b.settle(7, nil)
		for range 100 {
			_, changed = b.settle(0, errDown)
			b.Expect(changed).To(BeFalse())
		}
		value, good, told := b.read()
		b.Expect(value).To(Equal(7))
		b.Expect(good).To(BeTrue())
		b.Expect(told).NotTo(HaveOccurred())
		_, _, err := b.first(b.t.Context())
		b.Expect(err).To(Equal(errDown), "who relies on it knows")
		_, changed = b.settle(0, errGone)
		b.Expect(changed).To(BeTrue())
	})
}
