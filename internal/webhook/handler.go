// Package webhook receives what Infisical delivers when secrets were modified, so that the sources that read them are read now
// and not at their next turn. It is a bell and nothing else: a delivery has no names and no values, polls never wait for one, and
// the worst that the best forger could do here is one more poll. Nothing of what it was sent is in a log or an answer.
package webhook

import (
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/utils/clock"
)

// What became of a delivery, for a metric.
const (
	Accepted  = "accepted"  // Modified was called
	Ignored   = "ignored"   // signed, but of another event, such as the test that the web interface offers
	Forged    = "forged"    // signed with none of the secrets, or not at all
	Stale     = "stale"     // signed, but too long ago or too far ahead
	Replayed  = "replayed"  // signed, but here before
	Malformed = "malformed" // signed, but no delivery; or its body never came to an end
	Oversized = "oversized" // a body longer than any delivery
	Elsewhere = "elsewhere" // this replica is not the leader, and reads nothing
)

const (
	// maxBody is a hundred deliveries; what Infisical sends has some hundred bytes.
	maxBody = 64 << 10
	// window is how far a delivery's clock may be from ours, either way. Infisical signs right before it sends and never sends
	// twice, so this is for clocks that differ.
	window = 5 * time.Minute
	// remembered bounds the signatures that are kept against replays. Only signed deliveries get in, so that only Infisical can
	// make them so many that the oldest are forgotten early, and such a one, replayed, costs a poll.
	remembered = 4096
)

// Change is what was modified: a folder, in a project, in an environment. Path has no trailing slash, but for "/" itself.
type Change struct {
	ProjectID, Environment, Path string
}

// Options of a handler.
type Options struct {
	// Secrets returns what deliveries may be signed with. It is called for each that has a signature. Without secrets nothing is
	// accepted.
	Secrets func() [][]byte
	// Modified is called for each accepted delivery, by many at once. It must not block.
	Modified func(Change)
	// Observe is called with what became of each delivery.
	Observe func(outcome string)
	// Leads is closed when this replica is the one that reads sources; nil means that it is.
	Leads <-chan struct{}
	// Clock defaults to the real one.
	Clock clock.Clock
}

// NewHandler returns a handler that takes deliveries at any path. It answers
//   - 204 to what it accepted, 202 to other events;
//   - 401 to what is not signed, too old, too new, or was here before, without saying which;
//   - 400 to what is signed and makes no sense, 413 to what is too long, 405 to all but POST, 503 where it does not lead.
//
// What it remembers against replays is its own: a replica that takes over, or restarts, would poll once more for a delivery that
// is replayed within the window.
func NewHandler(o Options) http.Handler {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return &receiver{Options: o, seen: cache.NewLRUExpireCacheWithClock(remembered, o.Clock)}
}

type receiver struct {
	Options

	mu   sync.Mutex // makes one of looking and remembering
	seen *cache.LRUExpireCache
}

// ServeHTTP counts before it answers, so that whoever has the answer finds itself counted.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost { // no delivery
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	outcome := r.receive(w, req)
	r.Observe(outcome)
	switch outcome {
	case Accepted:
		w.WriteHeader(http.StatusNoContent)
	case Ignored:
		w.WriteHeader(http.StatusAccepted)
	case Elsewhere:
		http.Error(w, "not the leader", http.StatusServiceUnavailable)
	case Oversized:
		http.Error(w, http.StatusText(http.StatusRequestEntityTooLarge), http.StatusRequestEntityTooLarge)
	case Malformed:
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
	default: // one answer for all, or it would tell a forger how far he came
		http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
	}
}

// receive takes a delivery in as far as it deserves: strangers cost a look at two headers, who signs with the wrong secret costs
// one body, and nothing of a body is interpreted before its signature is known to be right.
func (r *receiver) receive(w http.ResponseWriter, req *http.Request) (outcome string) {
	if !r.leads() {
		return Elsewhere
	}
	if req.ContentLength > maxBody {
		return Oversized
	}
	signature, ok := parseSignature(req.Header.Get(signatureHeader))
	if !ok {
		return Forged
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		return Oversized
	} else if err != nil {
		return Malformed
	}
	if !signed(body, signature, r.Secrets()) {
		return Forged
	}
	d, err := parse(body)
	if err != nil {
		return Malformed
	}
	now, sent := r.Clock.Now(), time.UnixMilli(d.Timestamp)
	if now.Sub(sent).Abs() > window {
		return Stale
	}
	if r.replayed(signature, sent.Add(window).Sub(now)) {
		return Replayed
	}
	if d.Event != modified {
		return Ignored
	}
	change, ok := d.change()
	if !ok {
		return Malformed
	}
	r.Modified(change)
	return Accepted
}

func (r *receiver) leads() bool {
	if r.Leads == nil {
		return true
	}
	select {
	case <-r.Leads:
		return true
	default:
		return false
	}
}

// replayed says whether a signature was here before, and remembers it for as long as its delivery is not stale. A signature is
// as good as the body: another body has another one. So two deliveries with the same bytes are one, which loses nothing: they
// bear the same millisecond, and the read that the first began is later than that.
func (r *receiver) replayed(signature [sha256.Size]byte, life time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.seen.Get(signature); ok {
		return true
	}
	r.seen.Add(signature, nil, life)
	return false
}
