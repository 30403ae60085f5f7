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
	// retryMin and retryMax bound the back-off of one poller, which is for failures after which nobody told when to ask again.
	// That of a host that is down is the client's.
	retryMin = time.Second
	retryMax = time.Minute
	// brokenMax bounds it for what fails at a host that works: each such attempt keeps all others from the host for a moment.
	brokenMax = 5 * time.Minute
	// slowPace is how often something that only a person can mend is looked at again.
	slowPace = 10 * time.Minute
	// tolerated is how many failures in a row of the kind that heals by itself are kept from readers, unless a poller says
	// otherwise: one lost packet is no reason to change ten thousand statuses.
	tolerated = 1
)

// A poller calls fetch again and again, keeps the last good value, and tells when what its readers see has changed.
type poller[T any] struct {
	clock     clock.Clock
	random    func() float64                   // [0,1)
	fetch     func(context.Context) (T, error) // makes one attempt
	same      func(a, b T) bool                // whether readers can tell a from b
	interval  func() time.Duration             // between good attempts
	changed   func()                           // called, outside of locks, when read answers differently than before
	outdated  func() <-chan struct{}           // closed when what the last attempt relied on has changed: time for another
	ended     func(late time.Duration)         // called, outside of locks, with how long after it was due a good attempt ended
	tolerated int
	poked     chan struct{} // capacity 1

	mu       sync.Mutex
	value    T
	good     bool          // value holds something that was fetched
	current  time.Time     // when the last good attempt was due
	told     error         // what readers are told; nil while value is current
	last     error         // what the last attempt ended with
	failures int           // in a row, of the kind that heals by itself
	untimed  int           // those of them after which nobody told when to ask again
	finished time.Time     // of the last attempt; zero before the first
	due      time.Time     // when the attempt under way, or the last one, was due: it begins then, and waits for its turn
	delay    delay         // from due to finished
	underWay bool          // an attempt is, or the first is about to be
	attempt  chan struct{} // closed when the attempt under way, or else the next one, is over
	news     chan struct{} // closed when read answers differently than it does now
}

func newPoller[T any](c clock.Clock, random func() float64) *poller[T] {
	return &poller[T]{
		clock: c, random: random, outdated: func() <-chan struct{} { return nil }, tolerated: tolerated,
		ended: func(time.Duration) {},
		poked: make(chan struct{}, 1), due: c.Now(), underWay: true, attempt: make(chan struct{}), news: make(chan struct{}),
	}
}

// read returns the last good value, if there is one, and the failure that readers are to know of. Neither means: not yet.
func (p *poller[T]) read() (value T, good bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.value, p.good, p.told
}

// asOf is when the attempt began that the last good value is of, or one that found the same.
func (p *poller[T]) asOf() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// poke makes another attempt start now, or after the one under way.
func (p *poller[T]) poke() {
	select {
	case p.poked <- struct{}{}:
	default: // one is on its way already
	}
}

// hurry is poke, for an interval that became shorter: an attempt that is under way will wait no longer than that anyway.
func (p *poller[T]) hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.underWay {
		p.poke()
	}
}

// first waits for the first attempt to end, and returns what the last one ended with. news is closed when read has
// answered differently since.
func (p *poller[T]) first(ctx context.Context) (value T, news <-chan struct{}, err error) {
	return p.await(ctx, func(finished time.Time) bool { return !finished.IsZero() })
}

// renewed is what an attempt ended with that is not older than maxAge; when there is none it waits for one. However many
// wait, it is one.
func (p *poller[T]) renewed(ctx context.Context, maxAge time.Duration) (value T, news <-chan struct{}, err error) {
	oldest := p.clock.Now().Add(-maxAge)
	recent := func(finished time.Time) bool { return finished.After(oldest) }
	p.mu.Lock()
	if !p.underWay && !recent(p.finished) {
		p.poke()
	}
	p.mu.Unlock()
	return p.await(ctx, recent)
}

func (p *poller[T]) await(ctx context.Context, enough func(finished time.Time) bool) (T, <-chan struct{}, error) {
	for {
		p.mu.Lock()
		value, last, finished, attempt, news := p.value, p.last, p.finished, p.attempt, p.news
		p.mu.Unlock()
		if enough(finished) {
			return value, news, last
		}
		select {
		case <-ctx.Done():
			return value, news, ctx.Err()
		case <-attempt:
		}
	}
}

// run polls until ctx ends.
func (p *poller[T]) run(ctx context.Context) {
	for ctx.Err() == nil {
		p.begin()
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
		case <-p.poked:
		case <-p.outdated():
		case <-timer.C():
		}
		timer.Stop()
	}
}

// begin starts an attempt, which is what all who poked before it asked for.
func (p *poller[T]) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.underWay { // the first has been since the start
		p.underWay, p.due = true, p.clock.Now()
	}
	select {
	case <-p.poked:
	default:
	}
}

// settle takes in what an attempt ended with. It returns how long to wait for the next one, and whether readers see a change.
func (p *poller[T]) settle(value T, err error) (wait time.Duration, changed bool) {
	changed, untimed := p.take(value, err)
	// Asked for when the attempt is not under way any more, as hurry relies on, and without p.mu, as it takes its owner's
	// lock, under which read is called.
	wait = p.interval()
	if err == nil {
		changed = p.measure(wait) || changed
	} else {
		switch paceOf(err) {
		case paceInterval:
		case paceSlow:
			wait = slowPace
		case paceRetry:
			if told := retryAfter(err); told > 0 {
				wait = max(told, retryMin) // which may have been told to another, a while ago
			} else {
				wait = min(retryMin<<min(untimed-1, 16), backOffMax(err))
			}
		}
	}
	return p.spread(wait), changed
}

func (p *poller[T]) take(value T, err error) (changed bool, untimed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		same := p.good && p.same(p.value, value)
		changed = !same || p.told != nil
		if !same { // else the old one stays, so that readers who compare pointers see no change
			p.value, p.good = value, true
		}
		p.told, p.failures, p.untimed, p.current = nil, 0, 0, p.due
	} else {
		changed = p.fail(err)
	}
	p.last, p.finished, p.underWay = err, p.clock.Now(), false
	close(p.attempt)
	p.attempt = make(chan struct{})
	if changed {
		close(p.news)
		p.news = make(chan struct{})
	}
	return changed, p.untimed
}

// fail takes in a failure, and says whether readers see a change. p.mu is held.
func (p *poller[T]) fail(err error) (changed bool) {
	if paceOf(err) == paceRetry {
		p.failures++
		if retryAfter(err) == 0 {
			p.untimed++
		}
		// A good value, and a failure that lasts, are both worth keeping for a while.
		if (p.good && p.told == nil || p.told != nil && paceOf(p.told) != paceRetry) && p.failures <= p.tolerated {
			return false
		}
	} else {
		p.failures, p.untimed = 0, 0
	}
	changed = p.told == nil || p.told.Error() != err.Error()
	p.told = err
	return changed
}

// measure takes in how late a good attempt ended, and says whether that changes the period.
func (p *poller[T]) measure(interval time.Duration) (changed bool) {
	p.mu.Lock()
	late := p.finished.Sub(p.due)
	changed = p.delay.add(late, p.finished, interval)
	p.mu.Unlock()
	p.ended(late)
	return changed
}

// period is how long it takes from one good attempt to the next, and whether that is known. Nobody waits to know it of what only a
// person can mend.
func (p *poller[T]) period() (period Period, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.delay.period(), p.delay.known || p.told != nil && !Transient(p.told)
}

// overdue is how long the attempt has been due that has not ended yet, if there is one.
func (p *poller[T]) overdue(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.underWay {
		return 0
	}
	return now.Sub(p.due)
}

// spread lengthens d at random, never shortens it: a wait that the server asked for is kept.
func (p *poller[T]) spread(d time.Duration) time.Duration {
	return d + time.Duration(p.random()*jitter*float64(d))
}
