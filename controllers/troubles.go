package controllers

import (
	"maps"
	"sync"
	"time"
)

// troubles tell a failure of a server that passes, which is nobody's business, from one that lasts, which status is to tell of. It
// is lost with the process; then a failure takes a while again to be told.
type troubles struct {
	mu    sync.Mutex
	known map[string]trouble
}

type trouble struct{ first, last time.Time }

const (
	// lastingAfter is how long a failure is kept to oneself: longer than an API server takes to start.
	lastingAfter = time.Minute
	// forgottenAfter is how long one is remembered that nobody meets any longer, as its object is gone.
	forgottenAfter = time.Hour
)

// lasting notes that something failed now, and says whether it has failed for a while.
func (t *troubles) lasting(id string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = map[string]trouble{}
	}
	is, known := t.known[id]
	if !known {
		maps.DeleteFunc(t.known, func(_ string, other trouble) bool { return now.Sub(other.last) > forgottenAfter })
		is.first = now
	}
	is.last = now
	t.known[id] = is
	return now.Sub(is.first) >= lastingAfter
}

// over notes that it does not fail.
func (t *troubles) over(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, id)
}
