// Package devserver is an Infisical that lives in memory, for the demo, the tests and the benchmark. It answers service tokens and
// machine identities as a real server does, its traps included, and is held to that by the recordings in test/contract. It is never
// linked into the operator, keeps nothing on disk, and protects nothing: whoever reaches its Management handler owns it.
package devserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Server is one Infisical: an http.Handler for its API, and methods that do what its users would do in the web
// interface. It is safe for concurrent use. Its methods panic when they are asked for the impossible, such as a secret in
// an environment that does not exist: that is a mistake in the test, not an answer of a server.
type Server struct {
	clock  clock.Clock
	random io.Reader
	newer  bool

	webhooks *deliveries

	mu           sync.Mutex // over all below, and over all projects, tokens and identities
	latency      time.Duration
	limits       limits
	user         account
	projects     []*Project
	tokens       map[string]*token
	identities   []*identity
	accessTokens map[string]*accessToken // by what they are on the wire
	faults       []*Fault
	log          requestLog
}

// Option is a setting of New.
type Option func(*Server)

// WithClock replaces the system's clock, for expiry, rate limits, lastUsed and every wait.
func WithClock(c clock.Clock) Option { return func(s *Server) { s.clock = c } }

// WithLatency makes every login and every request with a known service token wait, as long as a real server works on the bcrypt
// hash of its secret: about 85 ms. SetLatency changes it.
func WithLatency(d time.Duration) Option { return func(s *Server) { s.latency = d } }

// WithRateLimit limits requests per minute, client address and route; 0 is no limit. A self-hosted Infisical has 40 and
// 60. Logins and writes have 200, or no limit where other reads have none. SetRateLimit changes it.
func WithRateLimit(secrets, other int) Option {
	return func(s *Server) { s.limits.secrets, s.limits.other = secrets, other }
}

// WithRandom replaces the system's randomness, for ids, keys and IVs.
func WithRandom(r io.Reader) Option { return func(s *Server) { s.random = r } }

// WithV4 makes it a newer server, which has /api/v4/secrets too.
func WithV4(on bool) Option { return func(s *Server) { s.newer = on } }

// New returns a server without any project.
func New(opts ...Option) *Server {
	s := &Server{clock: clock.RealClock{}, random: rand.Reader, webhooks: newDeliveries(), tokens: map[string]*token{}, accessTokens: map[string]*accessToken{}}
	for _, opt := range opts {
		opt(s)
	}
	s.user = s.newAccount()
	return s
}

// SetLatency is WithLatency, while it runs.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// SetRateLimit is WithRateLimit, while it runs. All windows start anew.
func (s *Server) SetRateLimit(secrets, other int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = limits{secrets: secrets, other: other}
}

// ServeHTTP answers Infisical's API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.newCall(r)
	s.wait(r.Context(), c.fault.Latency)
	a := c.fault.spoil(s.answer(c))
	status := a.status
	if a.matches(r) && !c.fault.CutBody {
		status = http.StatusNotModified
	}
	s.record(c, status) // before the answer, so that whoever has it finds itself in the log
	c.window.announce(w.Header())
	c.fault.announce(w.Header())
	a.write(w, status, c.fault.CutBody)
}

// answer goes through the stages of the real server, in its order: identity, rate limit, schema, and then the route's
// own checks. So a request that fails to authenticate does not count toward the quota, and one that is refused for the
// quota has cost the server its work.
func (s *Server) answer(c *call) *answer {
	if c.fault.Status != 0 {
		return c.fault.answer(c)
	}
	if c.route == nil {
		return noRoute(c.request)
	}
	if c.route.login {
		s.work(c)
	} else if failed := s.authenticate(c); failed != nil {
		return failed
	}
	sent, unreadable := c.sent()
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.window = s.limits.count(c, s.clock.Now()); c.window.exceeded() {
		return failure(http.StatusTooManyRequests, "RateLimitExceeded", "Rate limit exceeded. Please try again in 1 minute")
	}
	if unreadable != nil {
		return unreadable
	}
	query, issues := validate(c.route.params, sent)
	if issues != nil {
		return failure(http.StatusUnauthorized, "ValidationFailure", issues)
	}
	c.query = query
	return c.route.answer(s, c)
}

// wait lets time pass, unless the client gives up.
func (s *Server) wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-s.clock.After(d):
	case <-ctx.Done():
	}
}

// misuseError is what methods panic with.
type misuseError struct{ error }

func wrong(format string, args ...any) misuseError {
	return misuseError{fmt.Errorf("devserver: "+format, args...)}
}

func (s *Server) now() string { return stamp(s.clock.Now()) }

// stamp writes a time as the server does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *Server) bytes(n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.random, b); err != nil {
		panic(wrong("no randomness: %w", err))
	}
	return b
}

// hex returns 2n lower-case hexadecimal characters: keys and the secrets of tokens have 32.
func (s *Server) hex(n int) string { return fmt.Sprintf("%x", s.bytes(n)) }

func (s *Server) uuid() string {
	b := s.bytes(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
