package source

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
)

// outage is a server that answers with a 503 while it is down, and counts what it is asked meanwhile.
type outage struct {
	mu    sync.Mutex
	down  bool
	asked []time.Time
}

func (w *world) outage() *outage {
	o := &outage{down: true}
	w.interceptWith(func(rw http.ResponseWriter, _ *http.Request) bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.down {
			o.asked = append(o.asked, w.clock.Now())
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		return o.down
	})
	return o
}

func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = false
}

// times are when it was asked; what was on its way together is one.
func (o *outage) times() []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Compact(slices.Clone(o.asked))
}

func (w *world) place(n int) Place {
	p := Place{Environment: "prod", Path: w.path(n)}
	w.project.Put(p.Environment, p.Path, "KEY", "value")
	return p
}

func (w *world) path(n int) string { return fmt.Sprintf("/s%d", n) }

// TestAfterAnOutageAllIsReadWithinAStepOfTheBackOff: a host is down for five minutes, when its sources were read before, and
// when not even their tokens were described.
func TestAfterAnOutageAllIsReadWithinAStepOfTheBackOff(t *testing.T) {
	const sources, tokens, step = 100, 4, 20 * time.Second
	for name, readBefore := range map[string]bool{"of sources that were read before": true, "at the start": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			var places []Place
			var creds []Credential
			for n := range sources {
				places = append(places, w.place(n))
			}
			for range tokens {
				creds = append(creds, w.credential(devserver.TokenSpec{}))
			}
			read := func(n int) Result {
				return w.pool.Read(owner(fmt.Sprint(n)), creds[n%tokens], time.Minute, places[n]).Places[places[n]]
			}
			wrong := func() (n int) {
				for i := range places {
					if r := read(i); r.Err != nil || r.Snapshot == nil {
						n++
					}
				}
				return n
			}
			if readBefore {
				w.Eventually(wrong).Should(BeZero())
				w.pass(time.Hour - 30*time.Second) // so that the tokens' descriptions fall due within the outage
				w.rest()
			}
			o := w.outage()
			start := w.clock.Now()
			wrong() // reads all
			for w.clock.Since(start) < 5*time.Minute {
				w.pass(time.Second)
			}
			w.rest()
			w.Expect(wrong()).To(Equal(sources))
			asked := o.times()
			// 1, 2, 4, 8 and 16 seconds, then every 20.
			w.Expect(len(asked)).To(BeNumerically("<=", 6+int((5*time.Minute-31*time.Second)/step)), "%v", asked)
			for i := 1; i < len(asked); i++ {
				w.Expect(asked[i].Sub(asked[i-1])).To(BeNumerically(">=", min(time.Second<<(i-1), step)), "step %d", i)
			}
			o.end()
			for end := w.clock.Now().Add(step * 11 / 10); w.clock.Now().Before(end); {
				w.pass(time.Second)
			}
			w.Eventually(wrong).Should(BeZero())
		})
	}
}

// TestAfterAMaintenancePageAllIsReadWithinAMinute: what stands in front of the server answers in its place, so that the host counts as up.
func TestAfterAMaintenancePageAllIsReadWithinAMinute(t *testing.T) {
	for name, status := range map[string]int{"with a 200": http.StatusOK, "with a 404": http.StatusNotFound} {
		for when, readBefore := range map[string]bool{"of sources that were read before": true, "at the start": false} {
			t.Run(name+", "+when, func(t *testing.T) {
				w := newWorld(t, 1)
				cred := w.credential(devserver.TokenSpec{})
				other := w.place(0)
				if readBefore {
					w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
					w.values(cred, time.Minute, other, map[string]string{"KEY": "value"})
				}
				w.interceptWith(func(rw http.ResponseWriter, _ *http.Request) bool {
					rw.WriteHeader(status)
					_, _ = rw.Write([]byte("<html>back soon</html>"))
					return true
				})
				w.pool.Read(alice, cred, time.Minute, app, other)
				for range 5 * 60 / 2 {
					w.pass(2 * time.Second)
				}
				w.rest()
				w.Expect(Transient(w.see(cred, time.Minute, app).Err)).To(BeTrue())
				w.interceptWith(nil)
				for range 60 / 2 {
					w.pass(2 * time.Second)
				}
				w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
				w.values(cred, time.Minute, other, map[string]string{"KEY": "value"})
			})
		}
	}
}

// TestOneSourceThatAlwaysFailsIsAskedEverMoreRarely: the host works for the other one, and must not be closed to it all the time.
func TestOneSourceThatAlwaysFailsIsAskedEverMoreRarely(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	broken := w.place(0)
	w.Eventually(func() *Snapshot { return w.pool.Read(bob, cred, 5*time.Second, broken).Places[broken].Snapshot }).ShouldNot(BeNil())
	w.values(cred, 5*time.Second, app, map[string]string{"KEY": "value"})
	var mu sync.Mutex
	asked := 0
	w.interceptWith(func(rw http.ResponseWriter, r *http.Request) bool {
		fails := r.URL.Query().Get("secretPath") == broken.Path
		if fails {
			mu.Lock()
			asked++
			mu.Unlock()
			rw.WriteHeader(http.StatusInternalServerError)
		}
		return fails
	})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return asked
	}
	for range 8 * 60 {
		w.pass(time.Second)
	}
	w.kind(cred, 5*time.Second, broken, infisical.KindServer)
	before := count()
	w.Expect(before).To(BeNumerically("<", 30))
	for range 4 * 60 {
		w.pass(time.Second)
		w.Expect(w.see(cred, 5*time.Second, app).Err).NotTo(HaveOccurred())
	}
	w.Expect(count() - before).To(BeNumerically("<", 4))
}

// TestSourcesGoOnWhenTheirTokenIsDescribedAtLast: what a source was told of the token's failure is no reason to wait once it is over.
func TestSourcesGoOnWhenTheirTokenIsDescribedAtLast(t *testing.T) {
	w := newWorld(t, 1)
	w.backend.SetFault(devserver.Fault{Route: tokenPath, Status: http.StatusTooManyRequests, RetryAfter: 40 * time.Second, Times: 1})
	cred := w.credential(devserver.TokenSpec{})
	w.kind(cred, day, app, infisical.KindRateLimited)
	w.pass(39 * time.Second)
	later := w.place(1) // told now what the session was told then: to wait for 40 s
	w.kind(cred, day, later, infisical.KindRateLimited)
	w.pass(time.Second)
	w.clock.Step(time.Second) // as the 40 were rounded
	w.values(cred, day, app, map[string]string{"KEY": "value"})
	w.values(cred, day, later, map[string]string{"KEY": "value"})
	w.expect(asked{token: 2, project: 1, sealed: 2})
}
