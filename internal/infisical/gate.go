package infisical

import "time"

const (
	// firstStep and longestStep bound the steps of the backoff, each failed probe doubling the one before. One request per host
	// and 20 seconds is no load, and whoever waits for a server goes on 20 seconds after it is up.
	firstStep   = time.Second
	longestStep = 20 * time.Second
	// longestAsked bounds the step that a server can ask for with retry-after.
	longestAsked = 5 * time.Minute
)

// gate keeps a thousand callers from knocking a thousand times at what has just failed. A failure closes it for a step;
// when the step is over, one request goes through as the probe, and its result opens the gate or closes it for a longer
// step. It is part of a host and guarded by the host's lock.
type gate struct {
	failures    int // in a row; 0 means open
	closedUntil time.Time
	probe       *pass  // the one request that is trying, if any
	cause       *Error // what closed it; without route, as other routes repeat it
}

// closed says whether requests are refused; afterwards the gate waits for a probe.
func (g *gate) closed(now time.Time) bool { return g.failures > 0 && now.Before(g.closedUntil) }

// busy says whether requests must wait for the result of the probe.
func (g *gate) busy() bool { return g.failures > 0 && g.probe != nil }

// pass notes that a request goes through: the first after a closed step is the probe.
func (g *gate) pass(p *pass) {
	if g.failures > 0 {
		g.probe = p
	}
}

// returned notes that a request is over, and says whether its failure counts: the probe's does, and any that finds the
// gate open. What was on its way when the gate closed tells nothing new. lasting means that the host failed before too:
// a single failure may be of the request and not of the host.
func (g *gate) returned(p *pass) (counts, lasting bool) {
	if g.probe == p {
		g.probe = nil
		return true, true
	}
	return g.failures == 0, false
}

func (g *gate) open() { *g = gate{} }

// close begins a step. jitter in [0,1) shortens it by up to a quarter, so that many operators do not come back at once;
// atLeast is what the server asked for with retry-after.
func (g *gate) close(now time.Time, cause *Error, jitter float64, atLeast time.Duration) {
	step := longestStep
	if g.failures < 5 { // 2^5 s is more than the longest
		step = min(firstStep<<g.failures, longestStep)
	}
	step -= time.Duration(jitter * float64(step) / 4)
	step = max(step, min(atLeast, longestAsked))
	*g = gate{
		failures:    g.failures + 1,
		closedUntil: now.Add(step),
		cause:       &Error{Kind: cause.Kind, Status: cause.Status, Err: cause.Err},
	}
}

func (g *gate) refusal(now time.Time, route string) *Error {
	return &Error{Kind: KindHostDown, Route: route, RetryAfter: g.closedUntil.Sub(now), Err: g.cause}
}
