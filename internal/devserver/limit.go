package devserver

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

// writeRate is how many logins or writes a minute a server lets through that limits requests at all.
const writeRate = 200

// limits counts requests per client address and route, in windows of a minute that start with their first request.
type limits struct {
	secrets, other int // a minute; 0 is no limit
	windows        map[limited]window
}

type limited struct {
	address string
	route   *route
}

// window is one such window, seen from a request in it. The zero window has no limit.
type window struct {
	limit, used int
	left        time.Duration // until it ends
	end         time.Time
}

func (l *limits) count(c *call, now time.Time) window {
	limit := l.other
	switch {
	case c.route.secrets:
		limit = l.secrets
	case c.route.method != http.MethodGet && limit != 0:
		limit = writeRate
	}
	if limit == 0 {
		return window{}
	}
	if l.windows == nil {
		l.windows = map[limited]window{}
	}
	key := limited{c.address(), c.route}
	w, ok := l.windows[key]
	if !ok || !now.Before(w.end) {
		w = window{limit: limit, end: now.Add(time.Minute)}
	}
	w.used++
	w.left = w.end.Sub(now)
	l.windows[key] = w
	return w
}

func (w window) exceeded() bool { return w.used > w.limit }

// announce writes the headers of the limit. Requests that never got as far as being counted have none.
func (w window) announce(h http.Header) {
	if w.limit == 0 {
		return
	}
	left := seconds(w.left)
	h.Set("X-Ratelimit-Limit", strconv.Itoa(w.limit))
	h.Set("X-Ratelimit-Remaining", strconv.Itoa(max(0, w.limit-w.used)))
	h.Set("X-Ratelimit-Reset", left)
	if w.exceeded() {
		h.Set("Retry-After", left)
	}
}

// seconds writes a duration as such headers have it, rounded up.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
