package infisical

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// failing is a host that can be switched off and on.
type failing struct {
	mu      sync.Mutex
	down    bool
	latency time.Duration
	asked   []time.Time
	answer  func() (*http.Response, error)
}

func (f *failing) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	f.asked = append(f.asked, now())
	down := f.down
	f.mu.Unlock()
	select {
	case <-after(f.latency):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	switch {
	case down && f.answer != nil:
		return f.answer()
	case down:
		return nil, syscall.ECONNREFUSED
	}
	return answerOf(200, emptyList), nil
}

func (f *failing) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *failing) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func noJitter() float64 { return 0 }

// poll sends n requests at once and returns their errors by kind, "" for none.
func poll(t *testing.T, s *Server, n int) map[Kind]int {
	t.Helper()
	var mu sync.Mutex
	kinds := map[Kind]int{}
	var wait sync.WaitGroup
	for range n {
		wait.Go(func() {
			_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
			mu.Lock()
			defer mu.Unlock()
			kinds[KindOf(err)]++
		})
	}
	wait.Wait()
	return kinds
}

func TestFailingHostIsAskedOncePerStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{down: true, latency: 100 * time.Millisecond}
		s := fakeServer(t, Options{Jitter: noJitter}, f.RoundTrip)
		start := now()
		for since(start) < time.Hour {
			kinds := poll(t, s, 10)
			if kinds[KindNetwork] > 1 || kinds[KindNetwork]+kinds[KindHostDown] != 10 {
				t.Fatal(kinds)
			}
			sleep(time.Second)
		}
		// 1 s, 2 s, … 16 s, then every 20 s.
		if got := f.count(); got != 5+178 {
			t.Errorf("asked %d times in an hour", got)
		}
		for i := 1; i < len(f.asked); i++ {
			step := min(time.Second<<min(i-1, 10), 20*time.Second)
			if gap := f.asked[i].Sub(f.asked[i-1]) - f.latency; gap < step || gap > step+2*time.Second {
				t.Errorf("step %d took %v, want about %v", i, gap, step)
			}
		}

		f.set(false)
		sleep(20 * time.Second)
		if kinds := poll(t, s, 50); kinds[""] != 50 {
			t.Errorf("after the recovery: %v", kinds)
		}
		// The reset is a real one: the next failure begins with a second again.
		f.set(true)
		poll(t, s, 1)
		_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		if e := wantKind(t, err, KindHostDown); e.RetryAfter != time.Second {
			t.Errorf("retry after %v", e.RetryAfter)
		}
	})
}

func TestHostDownTextStaysTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{down: true}
		s := fakeServer(t, Options{Jitter: noJitter}, f.RoundTrip)
		_, first := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		wantKind(t, first, KindNetwork)
		sleep(700 * time.Millisecond)
		_, second := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		e := wantKind(t, second, KindHostDown)
		if e.RetryAfter != 300*time.Millisecond || !e.Transient() || e.Route != routeEncrypted || !errors.Is(&e, syscall.ECONNREFUSED) {
			t.Errorf("%+v", &e)
		}
		if first.Error() != second.Error() || first.Error() != "GET /api/v3/secrets at "+s.Host()+": no complete answer: connection refused" {
			t.Errorf("%q, then %q", first, second)
		}
		// Another route of the same host is not asked either.
		_, err := s.ServiceToken(t.Context(), testToken(t))
		if e := wantKind(t, err, KindHostDown); e.Route != routeServiceToken {
			t.Error(&e)
		}
		if f.count() != 1 {
			t.Errorf("asked %d times", f.count())
		}
	})
}

func TestOthersWaitForTheProbe(t *testing.T) {
	for _, recovers := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f := &failing{}
			s := fakeServer(t, Options{Jitter: noJitter}, f.RoundTrip)
			poll(t, s, 1)
			f.set(true)
			poll(t, s, 1)
			sleep(time.Second)
			f.set(!recovers)
			f.latency = 10 * time.Second
			results := make(chan map[Kind]int)
			go func() { results <- poll(t, s, 20) }()
			sleep(9 * time.Second)
			synctest.Wait()
			if f.count() != 3 {
				t.Errorf("%d requests while the probe is out", f.count()-2)
			}
			kinds := <-results
			if recovers && kinds[""] != 20 || !recovers && (kinds[KindNetwork] != 1 || kinds[KindHostDown] != 19) {
				t.Errorf("probe succeeds: %v, results %v", recovers, kinds)
			}
		})
	}
}

func TestCancelledProbeHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{down: true}
		s := fakeServer(t, Options{Jitter: noJitter}, f.RoundTrip)
		poll(t, s, 1)
		sleep(time.Second)
		f.set(false)
		f.latency = 10 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { _, _ = s.EncryptedSecrets(ctx, testToken(t), anyQuery, "") }()
		synctest.Wait()
		if kinds := poll(t, s, 3); kinds[""] != 3 {
			t.Error(kinds)
		}
		if f.count() != 5 {
			t.Errorf("%d requests", f.count())
		}
	})
}

func TestFailuresOnTheirWayCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{}
		s := fakeServer(t, Options{Jitter: noJitter}, f.RoundTrip)
		poll(t, s, 1)
		f.set(true)
		f.latency = 100 * time.Millisecond
		if kinds := poll(t, s, 20); kinds[KindNetwork] != maxConcurrent || kinds[KindHostDown] != 20-maxConcurrent {
			t.Error(kinds)
		}
		_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		if e := wantKind(t, err, KindHostDown); e.RetryAfter != time.Second {
			t.Errorf("%d failures at once make a step of %v", maxConcurrent, e.RetryAfter)
		}
	})
}

func TestAnyAnswerBelow500OpensTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{down: true, answer: func() (*http.Response, error) { return answerOf(502, "<html>"), nil }}
		s := fakeServer(t, Options{Jitter: noJitter}, f.RoundTrip)
		_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		if e := wantKind(t, err, KindServer); e.Status != 502 {
			t.Errorf("%+v", &e)
		}
		sleep(time.Second)
		f.answer = func() (*http.Response, error) { return answerOf(403, `{"error":"PermissionDenied"}`), nil }
		if kinds := poll(t, s, 5); kinds[KindPermissionDenied] != 5 {
			t.Error(kinds)
		}
	})
}

// TestOnlyAFailureThatLastsTellsWhenToComeBack: whoever asks first may ask for what only fails, and is to back off by itself
// while the host works for the others; the one who asks again for all tells that it is the host.
func TestOnlyAFailureThatLastsTellsWhenToComeBack(t *testing.T) {
	for _, after := range []string{"", "0"} {
		synctest.Test(t, func(t *testing.T) {
			s := fakeServer(t, Options{Jitter: noJitter}, func(*http.Request) (*http.Response, error) {
				return answerOf(503, "", "Retry-After", after), nil
			})
			for i, want := range []time.Duration{0, 2 * time.Second, 4 * time.Second} {
				_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
				if e := wantKind(t, err, KindServer); e.RetryAfter != want {
					t.Errorf("failure %d: retry after %v, want %v", i, e.RetryAfter, want)
				}
				_, err = s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
				e := wantKind(t, err, KindHostDown)
				if e.RetryAfter != time.Second<<i {
					t.Errorf("refusal %d: retry after %v", i, e.RetryAfter)
				}
				sleep(e.RetryAfter)
			}
		})
	}
}

func TestServerCanAskForALongerStep(t *testing.T) {
	for after, want := range map[string]time.Duration{"45": 45 * time.Second, "86400": 5 * time.Minute} {
		s := fakeServer(t, Options{Jitter: noJitter}, func(*http.Request) (*http.Response, error) {
			return answerOf(503, "", "Retry-After", after), nil
		})
		_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		if e := wantKind(t, err, KindServer); e.RetryAfter > want || e.RetryAfter < want-500*time.Millisecond {
			t.Errorf("retry-after %q: a step of %v, want %v", after, e.RetryAfter, want)
		}
	}
}

func TestJitterShortensStepsByUpToAQuarter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		failures int
		jitter   float64
		want     time.Duration
	}{
		{0, 0, time.Second}, {0, 0.5, 875 * time.Millisecond}, {3, 0.999999999, 6 * time.Second},
		{4, 0, 16 * time.Second}, {5, 0, 20 * time.Second}, {1000, 0, 20 * time.Second},
	} {
		g := gate{failures: c.failures}
		g.close(now, &Error{Kind: KindServer}, c.jitter, 0)
		if got := g.closedUntil.Sub(now).Round(time.Millisecond); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestCertificateGateKeepsTheLaneMoving: while one CA bundle's certificate is being tried again, requests with another
// bundle on the same route go on.
func TestCertificateGateKeepsTheLaneMoving(t *testing.T) {
	clock := newFakeClock()
	h := newHost(clock, noJitter)
	var doubtful, good gate
	cause := &Error{Kind: KindNetwork, Err: errUntrusted}
	enter := func(g *gate) *pass {
		t.Helper()
		p, err := h.queue("r", g)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	learned := enter(&good)
	h.leave(learned, &outcome{verdict: answered, head: &answerHead{status: 200}})

	probe, queued, other := enter(&doubtful), enter(&doubtful), enter(&good)
	if len(probe.turn) != 1 || len(queued.turn) != 1 || len(other.turn) != 1 {
		t.Fatal("an open gate held somebody up")
	}
	for _, p := range []*pass{probe, queued, other} {
		h.leave(p, &outcome{verdict: untrusted, cause: cause})
	}
	good = gate{}
	clock.Step(time.Second)
	probe, queued, other = enter(&doubtful), enter(&doubtful), enter(&good)
	if len(probe.turn) != 1 || len(queued.turn) != 0 || len(other.turn) != 1 {
		t.Fatal("want one probe, one waiting for it, and the other one sent")
	}
	h.leave(probe, &outcome{verdict: untrusted, cause: cause})
	if err := <-queued.turn; KindOf(<-probe.turn) != "" || KindOf(err) != KindHostDown {
		t.Errorf("who waited for the probe got %v", err)
	}
	if doubtful.failures != 2 || !doubtful.closed(clock.Now()) {
		t.Errorf("%+v", doubtful)
	}
	// A 5xx has passed the certificate.
	clock.Step(2 * time.Second)
	probe = enter(&doubtful)
	h.leave(probe, &outcome{verdict: failed, cause: &Error{Kind: KindServer}, head: &answerHead{status: 500}})
	if doubtful.failures != 0 || h.gate.failures != 1 {
		t.Errorf("trust %+v, host %+v", doubtful, h.gate)
	}
}

// TestWaitersForAMissingRouteAreSentOnTogether: one request finds out that v4 is missing, the others do not repeat it.
func TestWaitersForAMissingRouteAreSentOnTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := map[string]int{}
		s := fakeServer(t, Options{}, func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			asked[r.URL.Path]++
			mu.Unlock()
			sleep(time.Second)
			if r.URL.Path == "/api/v4/secrets" {
				return answerOf(404, `{"message":"Route GET:/api/v4/secrets not found","error":"Not Found"}`), nil
			}
			return answerOf(200, emptyList), nil
		})
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				if _, err := s.PlainSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if asked["/api/v4/secrets"] != 1 || asked["/api/v3/secrets/raw"] != 100 {
			t.Error(asked)
		}
	})
}
