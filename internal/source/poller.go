package source

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Pace of the attempts that do not follow the interval which readers want.
const (
	// jitter spreads the polls of sources that started together, as a share of the interval.
	jitter = 0.1
	// retryMin and retryMax bound the back-off of one poller. That of a host that is down is the client's.
	retryMin = time.Second
	retryMax = 5 * time.Minute
	// slowPace is how often something that only a person can mend is looked at again.
	slowPace = 10 * time.Minute
	// tolerated is how many failures in a row of the kind that heals by itself are kept from readers who have a good value:
	// one lost packet is no reason to change ten thousand statuses.
	tolerated = 1
)

// A poller calls fetch again and again, keeps the last good value, and tells when what its readers see has changed.
type poller[T any] struct {
	clock    clock.Clock
	random   func() float64                   // [0,1)
	fetch    func(context.Context) (T, error) // makes one attempt
	same     func(a, b T) bool                // whether readers can tell a from b
	interval func() time.Duration             // between good attempts
	changed  func()                           // called, outside of locks, when read answers differently than before
	poked    chan struct{}                    // capacity 1

	mu       sync.Mutex
	value    T
	good     bool          // value holds something that was fetched
	told     error         // what readers are told; nil while value is current
	last     error         // what the last attempt ended with
	failures int           // in a row
	finished time.Time     // of the last attempt; zero before the first
	attempt  chan struct{} // closed when the attempt under way, or else the next one, is over
}

func newPoller[T any](c clock.Clock, random func() float64) *poller[T] {
	return &poller[T]{clock: c, random: random, poked: make(chan struct{}, 1), attempt: make(chan struct{})}
}

// read returns the last good value, if there is one, and the failure that readers are to know of. Neither means: not yet.
func (p *poller[T]) read() (value T, good bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.value, p.good, p.told
}

// poke makes the next attempt start now.
func (p *poller[T]) poke() {
	select {
	case p.poked <- struct{}{}:
	default: // one is on its way already
	}
}

// first waits for the first attempt to end, and returns what the last one ended with.
func (p *poller[T]) first(ctx context.Context) (T, error) {
	return p.await(ctx, func(finished time.Time) bool { return !finished.IsZero() })
}

// renewed is what an attempt ended with that is not older than maxAge; when there is none it pokes, and waits for it.
func (p *poller[T]) renewed(ctx context.Context, maxAge time.Duration) (T, error) {
	oldest := p.clock.Now().Add(-maxAge)
	recent := func(finished time.Time) bool { return finished.After(oldest) }
	p.mu.Lock()
	stale := !p.finished.IsZero() && !recent(p.finished) // before the first attempt has ended, it is under way
	p.mu.Unlock()
	if stale {
		p.poke()
	}
	return p.await(ctx, recent)
}

func (p *poller[T]) await(ctx context.Context, enough func(finished time.Time) bool) (T, error) {
	for {
		p.mu.Lock()
		value, last, finished, attempt := p.value, p.last, p.finished, p.attempt
		p.mu.Unlock()
		if enough(finished) {
			return value, last
		}
		select {
		case <-ctx.Done():
			return value, ctx.Err()
		case <-attempt:
		}
	}
}

// run polls until ctx ends.
func (p *poller[T]) run(ctx context.Context) {
	for {
		value, err := p.fetch(ctx)
		if ctx.Err() != nil {
			return
		}
		wait, changed := p.settle(value, err)
		if changed {
			p.changed()
		}
		timer := p.clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-p.poked:
			timer.Stop()
		case <-timer.C():
		}
	}
}

// settle takes in what an attempt ended with. It returns how long to wait for the next one, and whether readers see a change.
func (p *poller[T]) settle(value T, err error) (wait time.Duration, changed bool) {
	interval := p.interval() // takes its owner's lock, under which read is called: never both at once
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() {
		p.finished = p.clock.Now()
		close(p.attempt)
		p.attempt = make(chan struct{})
	}()
	p.last = err
	if err == nil {
		same := p.good && p.same(p.value, value)
		changed = !same || p.told != nil
		if !same { // else the old one stays, so that readers who compare pointers see no change
			p.value, p.good = value, true
		}
		p.told, p.failures = nil, 0
		return p.spread(interval), changed
	}
	p.failures++
	pace := paceOf(err)
	if !p.good || p.told != nil || pace != paceRetry || p.failures > tolerated {
		changed = p.told == nil || p.told.Error() != err.Error()
		p.told = err
	}
	switch pace {
	case paceSlow:
		return p.spread(slowPace), changed
	case paceInterval:
		return p.spread(interval), changed
	default:
		backoff := min(retryMin<<min(p.failures-1, 16), retryMax)
		return p.spread(max(backoff, retryAfter(err))), changed
	}
}

// spread lengthens d at random, never shortens it: a wait that the server asked for is kept.
func (p *poller[T]) spread(d time.Duration) time.Duration {
	return d + time.Duration(p.random()*jitter*float64(d))
}
