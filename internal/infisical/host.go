package infisical

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// maxConcurrent bounds the requests on the wire to one host. Each costs the server a bcrypt; more would only queue there.
	maxConcurrent = 8
	// missingFor is how long a route stays unasked that a server does not have: until it may have been upgraded.
	missingFor = 24 * time.Hour
)

// host decides when a request to one scheme and host may be sent. Requests wait in one lane for each route, in the order
// of their arrival; a lane moves while its window has quota left, the gate is open, and fewer than maxConcurrent are on
// the wire. It owns no goroutine: callers wait for their turn, and a timer runs only while somebody waits for a window.
type host struct {
	clock  clock.WithDelayedExecution
	jitter func() float64

	mu       sync.Mutex
	gate     gate
	lanes    map[string]*lane // by route
	inFlight int
	arrivals uint64
	alarm    clock.Timer // for the next window to end, if somebody waits for it
	alarmAt  time.Time
}

type lane struct {
	route        string
	queue        []*pass
	inFlight     int
	window       window
	missingUntil time.Time // the server does not have the route
}

// pass is one request's way through a host: a place in a queue, then the right to be on the wire.
type pass struct {
	lane    *lane
	trust   *gate
	arrived uint64
	turn    chan error // gets nil, or why the request is refused; has room for one, so that telling never blocks
	scout   bool       // goes ahead alone to learn the window
	window  int        // the number of the window it was taken from
}

// verdict is what a request on the wire tells about the host.
type verdict int

const (
	unsent    verdict = iota // nothing went out
	abandoned                // the caller gave up
	answered                 // by an answer below 500: the host works
	failed                   // by the network or a 5xx
	untrusted                // by the certificate, which other CA bundles may well accept
	severed                  // by the end of a kept connection, as they all end one day
)

// outcome is what came of a request.
type outcome struct {
	verdict verdict
	cause   *Error      // for failed and untrusted; its RetryAfter is set from the gate
	head    *answerHead // nil without an answer
	missing bool        // the server does not have the route and need not be asked again soon
}

func newHost(c clock.WithDelayedExecution, jitter func() float64) *host {
	return &host{clock: c, jitter: jitter, lanes: map[string]*lane{}}
}

// enter waits until a request may be sent. Who enters must leave. trust is the gate of the server's certificate.
// Errors are *Error of KindHostDown or KindRouteNotFound, or the context's.
func (h *host) enter(ctx context.Context, route string, trust *gate) (*pass, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := h.queue(route, trust)
	if err != nil {
		return nil, err
	}
	select {
	case err := <-p.turn:
		if err != nil {
			return nil, err
		}
		return p, nil
	case <-ctx.Done():
		h.giveUp(p)
		return nil, ctx.Err()
	}
}

// leave notes what came of a request, and lets others go who waited for it.
func (h *host) leave(p *pass, o *outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight--
	p.lane.inFlight--
	now := h.clock.Now()
	h.judge(p, o, now)
	if o.verdict == unsent {
		p.lane.window.giveBack(p)
	} else {
		p.lane.window.learn(p, o.head, p.lane.inFlight)
	}
	if o.missing {
		p.lane.missingUntil = now.Add(missingFor)
		h.refuse(func(q *pass) error {
			if q.lane == p.lane {
				return missing(q.lane.route)
			}
			return nil
		})
	}
	h.admit()
}

// pacedUntil is the latest end of a window that somebody waits for, or zero.
func (h *host) pacedUntil() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock.Now()
	var until time.Time
	for _, l := range h.lanes {
		if len(l.queue) > 0 && l.window.paced(now) {
			until = later(until, l.window.latest)
		}
	}
	return until
}

func (h *host) queue(route string, trust *gate) (*pass, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock.Now()
	l, ok := h.lanes[route]
	if !ok {
		l = &lane{route: route}
		h.lanes[route] = l
	}
	// Refusals are decided here and where a gate closes, so whoever is in a queue is not to be refused.
	switch {
	case now.Before(l.missingUntil):
		return nil, missing(route)
	case trust.closed(now):
		return nil, trust.refusal(now, route)
	case h.gate.closed(now):
		return nil, h.gate.refusal(now, route)
	}
	p := &pass{lane: l, trust: trust, arrived: h.arrivals, turn: make(chan error, 1)}
	h.arrivals++
	l.queue = append(l.queue, p)
	h.admit()
	return p, nil
}

func (h *host) giveUp(p *pass) {
	h.mu.Lock()
	queued := p.lane.drop(p)
	if queued {
		h.admit() // nobody may be left to need the alarm
	}
	h.mu.Unlock()
	if queued {
		return
	}
	// The turn came at the same moment.
	if err := <-p.turn; err == nil {
		h.leave(p, &outcome{})
	}
}

// judge lets a request's outcome open or close the gates.
func (h *host) judge(p *pass, o *outcome, now time.Time) {
	hostCounts, lasting := h.gate.returned(p)
	trustCounts, _ := p.trust.returned(p)
	switch o.verdict {
	case unsent, abandoned, severed: // nothing to learn
	case answered:
		h.gate.open()
		p.trust.open()
	case failed:
		var atLeast time.Duration
		if o.head != nil {
			p.trust.open()
			atLeast = o.head.retryAfter
		}
		if hostCounts {
			h.gate.close(now, o.cause, h.jitter(), atLeast)
			h.refuse(func(q *pass) error { return h.gate.refusal(now, q.lane.route) })
		}
		if lasting || atLeast > 0 { // else whoever asked may ask for what only fails, and is to back off by itself
			o.cause.RetryAfter = max(h.gate.closedUntil.Sub(now), 0)
		}
	case untrusted:
		if trustCounts {
			p.trust.close(now, o.cause, h.jitter(), 0)
			h.refuse(func(q *pass) error {
				if q.trust == p.trust {
					return p.trust.refusal(now, q.lane.route)
				}
				return nil
			})
		}
		o.cause.RetryAfter = max(p.trust.closedUntil.Sub(now), 0)
	}
}

// refuse sends away those who wait and for whom why returns an error.
func (h *host) refuse(why func(*pass) error) {
	for _, l := range h.lanes {
		l.queue = slices.DeleteFunc(l.queue, func(p *pass) bool {
			err := why(p)
			if err != nil {
				p.turn <- err
			}
			return err != nil
		})
	}
}

// admit gives a turn to all who can have one now, and sets the alarm for those who wait for a window.
func (h *host) admit() {
	now := h.clock.Now()
	for h.inFlight < maxConcurrent {
		p := h.next(now)
		if p == nil {
			break
		}
		p.lane.drop(p)
		p.lane.inFlight++
		h.inFlight++
		p.lane.window.take(p)
		h.gate.pass(p)
		p.trust.pass(p)
		p.turn <- nil
	}
	h.setAlarm(now)
}

// next is the one who waits longest of those who may go.
func (h *host) next(now time.Time) *pass {
	if h.gate.busy() {
		return nil
	}
	var first *pass
	for _, l := range h.lanes {
		if len(l.queue) == 0 || !l.window.admits(now) {
			continue
		}
		for _, p := range l.queue {
			if p.trust.busy() {
				continue // its certificate is being tried; the others of the lane need not wait for that
			}
			if first == nil || p.arrived < first.arrived {
				first = p
			}
			break
		}
	}
	return first
}

func (h *host) setAlarm(now time.Time) {
	var at time.Time
	for _, l := range h.lanes {
		if len(l.queue) > 0 && l.window.paced(now) && (at.IsZero() || l.window.latest.Before(at)) {
			at = l.window.latest
		}
	}
	if at.Equal(h.alarmAt) {
		return
	}
	if h.alarm != nil {
		h.alarm.Stop()
		h.alarm = nil
	}
	h.alarmAt = at
	if !at.IsZero() {
		// In a goroutine of its own, as a fake clock calls back with its lock held.
		h.alarm = h.clock.AfterFunc(at.Sub(now), func() { go h.wake() })
	}
}

func (h *host) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.clock.Now().Before(h.alarmAt) {
		h.alarm, h.alarmAt = nil, time.Time{}
	}
	h.admit()
}

// drop takes a pass out of the queue and says whether it was there.
func (l *lane) drop(p *pass) bool {
	i := slices.Index(l.queue, p)
	if i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
	}
	return i >= 0
}

func missing(route string) *Error {
	return &Error{Kind: KindRouteNotFound, Status: http.StatusNotFound, Route: route}
}
