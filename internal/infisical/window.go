package infisical

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// windowLength is the server's: it counts in fixed windows of a minute, which begin with the first request in them.
	windowLength = time.Minute
	// secondSlack makes up for headers that tell whole seconds.
	secondSlack = time.Second
	// longestWait bounds what a header can ask for, against a gateway that means a date by x-ratelimit-reset.
	longestWait = time.Hour
)

// window is what is known of one route's quota at one host. It is guarded by the host's lock.
//
// Nothing is known before the first answer, nor when a window has ended: others behind the same egress address use the
// same quota. Then one request goes ahead alone, and its answer tells.
type window struct {
	known     bool // an answer of this window was seen
	limited   bool // the server announces limits for this route
	scouting  bool // the request that goes ahead is on its way
	limit     int
	remaining int // counted down when sending, lowered to what answers say, never raised within a window
	// The server's window ends between earliest and latest. An answer tells when in whole seconds, and nothing tells when
	// between sending and receiving the server wrote it.
	earliest, latest time.Time
	number           int // of the window, so that what belonged to another is not given back
}

// admits says whether a request may be sent now.
func (w *window) admits(now time.Time) bool {
	if w.known && w.limited && !now.Before(w.latest) {
		w.known = false
	}
	if !w.known {
		return !w.scouting
	}
	return !w.limited || w.remaining > 0
}

// paced says whether requests wait for the window's end, which is still to come.
func (w *window) paced(now time.Time) bool {
	return w.known && w.limited && w.remaining <= 0 && now.Before(w.latest)
}

func (w *window) take(p *pass) {
	p.scout, p.window = !w.known, w.number
	if p.scout {
		w.scouting = true
	} else {
		w.remaining--
	}
}

// giveBack undoes take for a request that was not sent.
func (w *window) giveBack(p *pass) {
	if p.scout {
		w.scouting = false
	} else if p.window == w.number {
		w.remaining++
	}
}

// learn takes in what came of a request that was sent. others are on their way at the same time, and may not be in the
// server's count yet.
func (w *window) learn(p *pass, a *answerHead, others int) {
	if p.scout {
		w.scouting = false
	}
	switch {
	case a == nil: // no answer, so nothing learned
	case a.status == http.StatusTooManyRequests:
		w.begin(max(a.limit, w.limit), 0, a.arrived.Add(a.retryAfter), a.arrived.Add(a.retryAfter+secondSlack))
	case !p.scout && !w.known:
		// An answer that may still be of the window before; the scout's will tell.
	case a.announced:
		w.adjust(p, a, others)
	case !p.scout || a.status >= 500:
		// An answer of something in between, which says nothing of the server's quota.
	case w.limited && a.status != http.StatusOK:
		// The route is known to be limited, but this answer (a 304, say) does not tell: assume that the window began now.
		w.begin(w.limit, w.limit-1-others, a.sent.Add(windowLength), a.arrived.Add(windowLength+secondSlack))
	default:
		w.known, w.limited = true, false
	}
}

func (w *window) adjust(p *pass, a *answerHead, others int) {
	earliest, latest := a.sent.Add(a.reset-secondSlack), a.arrived.Add(a.reset+secondSlack)
	switch {
	case p.scout, !w.limited, earliest.After(w.latest):
		w.begin(a.limit, a.remaining-others, earliest, latest)
	case latest.Before(w.earliest):
		// Late news of the window before.
	default:
		w.remaining = min(w.remaining, a.remaining)
		w.earliest, w.latest = later(w.earliest, earliest), earlier(w.latest, latest)
	}
}

func (w *window) begin(limit, remaining int, earliest, latest time.Time) {
	*w = window{
		known: true, limited: true, scouting: w.scouting,
		limit: limit, remaining: remaining, earliest: earliest, latest: latest, number: w.number + 1,
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// answerHead is what pacing needs to know of an answer.
type answerHead struct {
	sent, arrived    time.Time
	status           int
	announced        bool // limit, remaining and reset were there
	limit, remaining int
	reset            time.Duration
	retryAfter       time.Duration // of a 429 or 503; for a 429 never 0
}

func newAnswerHead(sent, arrived time.Time, status int, h http.Header) *answerHead {
	a := &answerHead{sent: sent, arrived: arrived, status: status}
	var okLimit, okRemaining bool
	a.limit, okLimit = count(h.Get("X-Ratelimit-Limit"))
	a.remaining, okRemaining = count(h.Get("X-Ratelimit-Remaining"))
	reset, okReset := count(h.Get("X-Ratelimit-Reset"))
	a.announced = okLimit && okRemaining && okReset
	a.reset = seconds(reset)
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		a.retryAfter = retryAfter(h.Get("Retry-After"), arrived)
	}
	if status == http.StatusTooManyRequests && a.retryAfter == 0 {
		a.retryAfter = windowLength
		if okReset && reset > 0 {
			a.retryAfter = a.reset
		}
	}
	return a
}

// retryAfter reads the header in both of its forms (RFC 9110, 10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	if n, ok := count(text); ok {
		return seconds(n)
	}
	if date, err := http.ParseTime(text); err == nil {
		return min(max(date.Sub(now), 0), longestWait)
	}
	return 0
}

func count(text string) (int, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 31)
	return int(n), err == nil
}

func seconds(n int) time.Duration {
	return min(time.Duration(n)*time.Second, longestWait)
}
