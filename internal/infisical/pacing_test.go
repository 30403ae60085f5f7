package infisical

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/onsi/gomega"
)

// Most tests here run in a synctest bubble, whose clock moves when everybody waits for it: nothing in them takes time.

// limiter is a server with the rate limit of a real one: for each route, windows of a minute that begin with a request.
type limiter struct {
	limit   int
	latency time.Duration

	mu      sync.Mutex
	counts  map[string]int
	ends    map[string]time.Time
	order   []string // environments asked for, in the order of arrival
	refused int
	busiest int
	busy    int
}

func newLimiter(limit int, latency time.Duration) *limiter {
	return &limiter{limit: limit, latency: latency, counts: map[string]int{}, ends: map[string]time.Time{}}
}

func (l *limiter) RoundTrip(r *http.Request) (*http.Response, error) {
	left, reset, ok := l.count(r)
	sleep(l.latency)
	l.mu.Lock()
	l.busy--
	l.mu.Unlock()
	headers := []string{"X-Ratelimit-Limit", strconv.Itoa(l.limit), "X-Ratelimit-Remaining", strconv.Itoa(left), "X-Ratelimit-Reset", reset, "Retry-After", reset}
	if !ok {
		return answerOf(429, `{"statusCode":429}`, headers...), nil
	}
	return answerOf(200, emptyList, headers[:6]...), nil
}

func (l *limiter) count(r *http.Request) (left int, reset string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	route, at := r.URL.Path, now()
	if !at.Before(l.ends[route]) {
		l.counts[route], l.ends[route] = 0, at.Add(time.Minute)
	}
	l.counts[route]++
	l.busy++
	l.busiest = max(l.busiest, l.busy)
	l.order = append(l.order, r.URL.Query().Get("environment"))
	if ok = l.counts[route] <= l.limit; !ok {
		l.refused++
	}
	return max(l.limit-l.counts[route], 0), strconv.Itoa(int(math.Ceil(l.ends[route].Sub(at).Seconds()))), ok
}

// seen are the environments asked for so far.
func (l *limiter) seen() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.order)
}

// elsewhere uses up quota as another client behind the same address does.
func (l *limiter) elsewhere(route string, n int) {
	r, _ := http.NewRequest(http.MethodGet, "https://infisical.test"+route, http.NoBody)
	for range n {
		l.count(r)
		l.mu.Lock()
		l.busy--
		l.order = l.order[:len(l.order)-1]
		l.mu.Unlock()
	}
}

func environment(n int) Query {
	q := anyQuery
	q.Environment = fmt.Sprintf("env-%03d", n)
	return q
}

func TestTwoHundredQueuedRequestsNeverMeetTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(40, 85*time.Millisecond)
		s := fakeServer(t, Options{}, l.RoundTrip)
		start := now()
		var wait sync.WaitGroup
		want := make([]string, 200)
		for n := range want {
			want[n] = environment(n).Environment
			wait.Go(func() {
				if _, err := s.EncryptedSecrets(t.Context(), testToken(t), environment(n), ""); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // so that the order of arrival is known
		}
		if until := s.PacedUntil(); !until.IsZero() {
			t.Errorf("paced until %v before the first window is used up", until)
		}
		sleep(30 * time.Second)
		synctest.Wait()
		if got := len(l.seen()); got != 40 {
			t.Errorf("%d requests in the first window", got)
		}
		if until := s.PacedUntil().Sub(start); until < time.Minute || until > time.Minute+2*time.Second {
			t.Errorf("paced until %v after the start", until)
		}
		wait.Wait()
		if l.refused > 0 {
			t.Errorf("%d requests met the limit", l.refused)
		}
		for n, name := range l.seen() {
			// Those who got their turn together may overtake each other on the way.
			if place := slices.Index(want, name); place < n-maxConcurrent || place > n+maxConcurrent {
				t.Errorf("%s was sent as number %d", name, n)
			}
		}
		if l.busiest > maxConcurrent {
			t.Errorf("%d requests at once", l.busiest)
		}
		if took := since(start); took < 4*time.Minute || took > 4*time.Minute+15*time.Second {
			t.Errorf("5 windows' worth took %v", took)
		}
		if until := s.PacedUntil(); !until.IsZero() {
			t.Errorf("paced until %v with nobody waiting", until)
		}
	})
}

func TestNoSourceStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(40, 85*time.Millisecond)
		s := fakeServer(t, Options{}, l.RoundTrip)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		polls := make([]int, 200)
		var wait sync.WaitGroup
		for n := range polls {
			wait.Go(func() {
				for {
					if _, err := s.EncryptedSecrets(ctx, testToken(t), environment(n), ""); ctx.Err() != nil {
						return
					} else if err != nil {
						t.Error(err)
						return
					}
					polls[n]++
					sleep(time.Duration(n) * time.Second) // the eager and the lazy
				}
			})
		}
		wait.Wait()
		if l.refused > 0 {
			t.Errorf("%d requests met the limit", l.refused)
		}
		if fewest := slices.Min(polls); fewest < 7 {
			t.Errorf("one source had %d turns in an hour, the average is 12", fewest)
		}
		if total := len(l.order); total < 56*40 {
			t.Errorf("only %d of 2400 possible requests were made", total)
		}
	})
}

func TestOthersBehindTheSameAddressAreReckonedWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const route = "/api/v3/secrets"
		l := newLimiter(40, 85*time.Millisecond)
		s := fakeServer(t, Options{}, l.RoundTrip)
		for minute := range 5 {
			l.elsewhere(route, 39) // leaves one a window, to which the first request goes ahead alone
			var wait sync.WaitGroup
			for n := range 3 {
				wait.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					defer cancel()
					_, _ = s.EncryptedSecrets(ctx, testToken(t), environment(n), "")
				})
			}
			wait.Wait()
			if got := len(l.seen()); got != minute+1 {
				t.Fatalf("%d requests until minute %d", got, minute)
			}
			sleep(32 * time.Second)
		}
		if l.refused > 0 {
			t.Errorf("%d requests met the limit", l.refused)
		}
	})
}

func TestRoutesAreLimitedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1, time.Second)
		s := fakeServer(t, Options{}, func(r *http.Request) (*http.Response, error) {
			a, err := l.RoundTrip(r)
			if r.URL.Path == "/api/v2/service-token" && a.StatusCode == http.StatusOK {
				a.Body = answerOf(200, `{"id":"i","projectId":"p","scopes":[],"permissions":[]}`).Body
			}
			return a, err
		})
		start := now()
		var wait sync.WaitGroup
		for range 2 {
			wait.Go(func() { _, _ = s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "") })
		}
		sleep(2 * time.Second)
		synctest.Wait()
		if _, err := s.ServiceToken(t.Context(), testToken(t)); err != nil || since(start) != 3*time.Second {
			t.Errorf("%v, after %v", err, since(start))
		}
		wait.Wait()
		if took := since(start); took < time.Minute {
			t.Errorf("the other route's second request was sent after %v", took)
		}
	})
}

func TestWithoutAnnouncedLimitsOnlyConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, busy, busiest := 0, 0, 0
		var mu sync.Mutex
		s := fakeServer(t, Options{}, func(*http.Request) (*http.Response, error) {
			mu.Lock()
			asked++
			busy++
			busiest = max(busiest, busy)
			mu.Unlock()
			sleep(time.Second)
			mu.Lock()
			busy--
			mu.Unlock()
			return answerOf(200, emptyList), nil
		})
		start := now()
		var wait sync.WaitGroup
		for range 81 {
			wait.Go(func() {
				if _, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		mu.Lock()
		if asked != 1 {
			t.Errorf("%d requests before the first answer", asked)
		}
		mu.Unlock()
		wait.Wait()
		if took := since(start); busiest != maxConcurrent || took != 11*time.Second {
			t.Errorf("%d at once, took %v", busiest, took)
		}
	})
}

func TestRateLimitedAnswerStopsTheRouteUntilRetryAfter(t *testing.T) {
	for name, c := range map[string]struct {
		headers []string
		want    time.Duration
	}{
		"retry-after":   {[]string{"Retry-After", "20", "X-Ratelimit-Reset", "59"}, 20 * time.Second},
		"a date":        {[]string{"Retry-After", "Sat, 01 Jan 2000 00:00:30 GMT"}, 30 * time.Second}, // bubbles begin with 2000
		"reset only":    {[]string{"X-Ratelimit-Reset", "5"}, 5 * time.Second},
		"nothing":       {nil, time.Minute},
		"out of bounds": {[]string{"Retry-After", "99999999"}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				s := fakeServer(t, Options{}, func(*http.Request) (*http.Response, error) {
					asked++
					if asked == 1 {
						return answerOf(429, "", c.headers...), nil
					}
					return answerOf(200, emptyList), nil
				})
				start := now()
				_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
				if e := wantKind(t, err, KindRateLimited); e.RetryAfter != c.want {
					t.Errorf("retry after %v, want %v", e.RetryAfter, c.want)
				}
				if _, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
					t.Error(err)
				}
				if took := since(start); took != c.want+secondSlack {
					t.Errorf("sent again after %v, want %v", took, c.want+secondSlack)
				}
			})
		})
	}
}

func TestWaitingEndsWithItsContextAndGivesThePlaceUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(1, time.Second)
		s := fakeServer(t, Options{}, l.RoundTrip)
		if _, err := s.EncryptedSecrets(t.Context(), testToken(t), environment(0), ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := s.EncryptedSecrets(ctx, testToken(t), environment(1), "")
		if err == nil || ctx.Err() == nil || KindOf(err) != "" {
			t.Error(err)
		}
		if s.host.alarm != nil || !s.PacedUntil().IsZero() || len(s.host.lanes[routeEncrypted].queue) != 0 {
			t.Error("something is left of a request that was given up")
		}
	})
}

// TestTurnThatComesTogetherWithTheEndOfTheContextIsPassedOn exercises the race between the two by its parts.
func TestTurnThatComesTogetherWithTheEndOfTheContextIsPassedOn(t *testing.T) {
	h := newHost(newFakeClock(), func() float64 { return 0 })
	var trust gate
	p, err := h.queue("r", &trust)
	if err != nil || h.inFlight != 1 {
		t.Fatal(err, h.inFlight)
	}
	h.giveUp(p)
	if h.inFlight != 0 || h.lanes["r"].inFlight != 0 || h.lanes["r"].window.scouting {
		t.Error("the turn is lost")
	}
	// The same with a refusal in the place of a turn.
	p, _ = h.queue("r", &trust)
	q, _ := h.queue("r", &trust)
	h.leave(p, &outcome{verdict: failed, cause: &Error{Kind: KindServer}})
	h.giveUp(q)
	if h.inFlight != 0 {
		t.Error("a refusal was taken for a turn")
	}
}

func TestUnsentRequestsCostNoQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(2, time.Second)
		meter := &countingMeter{}
		s := fakeServer(t, Options{Meter: meter}, l.RoundTrip)
		read := func() error {
			_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
			return err
		}
		if err := read(); err != nil {
			t.Fatal(err)
		}
		meter.refuse = 1
		start := now()
		for range 5 {
			if err := read(); err == nil {
				t.Fatal("sent without the meter's consent")
			}
		}
		meter.refuse = 0
		if err := read(); err != nil || since(start) != time.Second {
			t.Errorf("%v after %v", err, since(start))
		}
	})
}

func TestWhoWaitsLongestGoesFirstWhateverTheRoute(t *testing.T) {
	for range 20 { // lanes are in a map, whose order is by chance
		h := newHost(newFakeClock(), noJitter)
		var trust gate
		queue := func(route string) *pass {
			p, err := h.queue(route, &trust)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		fine := &outcome{verdict: answered, head: &answerHead{status: http.StatusOK}}
		h.leave(queue("busy"), fine)
		busy := make([]*pass, maxConcurrent)
		for i := range busy {
			busy[i] = queue("busy")
		}
		waiting := []*pass{queue("a"), queue("b"), queue("c"), queue("busy")}
		for i := range waiting {
			h.leave(busy[i], fine)
			for j, p := range waiting {
				if got := len(p.turn) == 1; got != (j <= i) {
					t.Fatalf("after %d left, number %d has its turn: %v", i+1, j+1, got)
				}
			}
		}
	}
}

// TestPacingOnAFakeClock is for those who inject one: the alarm must not need the clock while the clock holds its lock.
func TestPacingOnAFakeClock(t *testing.T) {
	g := gomega.NewWithT(t)
	g.SetDefaultEventuallyTimeout(10 * time.Second)
	clock := newFakeClock()
	s := serve(t, Options{Clock: clock}, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Ratelimit-Limit", "1")
		w.Header().Set("X-Ratelimit-Remaining", "0")
		w.Header().Set("X-Ratelimit-Reset", "60")
		_, _ = io.WriteString(w, emptyList)
	})
	results := make(chan error, 1)
	read := func() {
		_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		results <- err
	}
	read()
	g.Expect(<-results).To(gomega.Succeed())
	go read()
	g.Eventually(s.PacedUntil).Should(gomega.Equal(clock.Now().Add(61 * time.Second)))
	clock.Step(60 * time.Second)
	g.Consistently(results, "50ms").ShouldNot(gomega.Receive())
	clock.Step(time.Second)
	g.Eventually(results).Should(gomega.Receive(gomega.BeNil()))
}
