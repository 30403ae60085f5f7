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
)

func TestAnOwnerIsToldOfTheRarestOfItsSources(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	_, known := w.pool.Period(alice)
	w.Expect(known).To(BeFalse(), "who reads nothing is not told that all is in time")
	w.pool.Read(bob, cred, 10*time.Minute, app)
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	_, known = w.pool.Period(alice)
	w.Expect(known).To(BeFalse())

	late := w.pool.sources[Key{Credential: cred, Place: app}]
	late.mu.Lock()
	late.delay = delay{known: true, class: 3, interval: time.Minute}
	late.mu.Unlock()
	period, known := w.pool.Period(alice)
	w.Expect(known).To(BeTrue())
	w.Expect(period).To(Equal(Period{Min: 5 * time.Minute, Max: 9 * time.Minute}))
	period, known = w.pool.Period(bob)
	w.Expect(known).To(BeTrue())
	w.Expect(period).To(BeZero(), "bob wants no more than he gets")

	nowhere := Place{Environment: "prod", Path: "/nowhere"}
	w.pool.Read(bob, cred, 10*time.Minute, nowhere)
	w.Eventually(func() error { return w.pool.Read(bob, cred, 10*time.Minute, nowhere).Places[nowhere].Err }).Should(HaveOccurred())
	_, known = w.pool.Period(bob)
	w.Expect(known).To(BeTrue(), "what is not there is not late")
	other := w.place(1)
	w.pool.Read(alice, cred, time.Minute, other)
	w.pool.Read(bob, cred, 10*time.Minute, other)
	_, known = w.pool.Period(alice)
	w.Expect(known).To(BeTrue(), "one is late, whatever the others are")
	_, known = w.pool.Period(bob)
	w.Expect(known).To(BeFalse())
}

func TestAHostIsForgottenWithItsLastSource(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	arrived, release := w.hold(sealedPath)
	w.pool.Read(alice, cred, time.Minute, app, w.place(1))
	w.pool.Read(bob, cred, time.Minute, app)
	<-arrived
	w.clock.Step(40 * time.Second)
	w.Expect(w.pool.Load()).To(HaveKeyWithValue(w.server.Host(), And(
		HaveField("Sources", 2), HaveField("Overdue", 40*time.Second), HaveField("Polls", BeZero()))))
	release()
	w.rest()
	w.Expect(w.pool.Load()).To(HaveKeyWithValue(w.server.Host(), And(
		HaveField("Sources", 2), HaveField("Overdue", BeZero()), HaveField("Polls", BeEquivalentTo(2)), HaveField("Late", BeNumerically("==", 80)))))
	w.Expect(w.pool.Load()).To(HaveKeyWithValue(w.server.Host(), And(HaveField("Readers", 3), HaveField("Saved", BeNumerically("~", 1, 1e-9)))))
	w.pool.Leave(alice)
	w.Expect(w.pool.Load()).To(HaveKeyWithValue(w.server.Host(), And(HaveField("Sources", 1), HaveField("Readers", 1))))
	w.pool.Leave(bob)
	w.Expect(w.pool.Load()).To(BeEmpty())
	w.pool.polled(w.server.Host(), nil, time.Second) // by a poll that was on its way
	w.pool.undecryptable(w.server.Host(), 1)
	w.Expect(w.pool.Load()).To(BeEmpty())
}

// TestSourcesAreReadInTurnUnderARateLimit has 200 sources that want to be read every minute, at a server that allows 40 reads a
// minute: none meets the limit, none starves, and each is known to be late, once.
func TestSourcesAreReadInTurnUnderARateLimit(t *testing.T) {
	const sources, limit, turns = 200, 40, 10
	w := newWorld(t, 1, devserver.WithRateLimit(limit, 60))
	var mu sync.Mutex
	reads := map[string]int{}
	total := 0
	w.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		total++
		if path := r.URL.Query().Get("secretPath"); path != "" {
			reads[path]++
		}
		return false
	})
	// pass lets time pass, and what falls due be done as far as the server allows.
	pass := func(d time.Duration) {
		w.clock.Step(d)
		last, calm := 0, 0
		w.Eventually(func() int {
			mu.Lock()
			defer mu.Unlock()
			calm++
			if now := total*1000 + w.clock.Waiters(); now != last {
				last, calm = now, 0
			}
			return calm
		}).Should(BeNumerically(">", 4))
	}
	cred := w.credential(devserver.TokenSpec{})
	for n := range sources {
		w.pool.Read(owner(fmt.Sprint(n)), cred, time.Minute, w.place(n))
	}
	for turn := range turns {
		for range sources / limit * 7 { // a window of a minute ends up to a second later, and is seen to at the next step
			pass(10 * time.Second)
		}
		mu.Lock()
		var counts []int
		for n := range sources {
			counts = append(counts, reads[w.path(n)])
		}
		mu.Unlock()
		w.Expect(slices.Max(counts)-slices.Min(counts)).To(BeNumerically("<=", 1), "turn %d: %v", turn, counts)
		w.Expect(slices.Min(counts)).To(BeNumerically(">=", turn), "turn %d", turn)
		if turn == 2 {
			w.notes()
		}
	}
	for _, r := range w.backend.Requests() {
		w.Expect(r.Status).To(BeElementOf(http.StatusOK, http.StatusNotModified))
	}
	w.Expect(w.notes()).To(BeEmpty(), "nobody is told twice that the sources are late")
	for n := range sources {
		period, known := w.pool.Period(owner(fmt.Sprint(n)))
		w.Expect(known).To(BeTrue())
		w.Expect(period).To(Equal(Period{Min: 5 * time.Minute, Max: 9 * time.Minute}))
	}
	load := w.pool.Load()[w.server.Host()]
	w.Expect(load.Sources).To(Equal(sources))
	w.Expect(load.Overdue).To(BeNumerically("~", 4*time.Minute, time.Minute))
	w.Expect(load.Polls).To(BeNumerically(">=", (turns-1)*sources))
	w.Expect(load.Late / float64(load.Polls)).To(BeNumerically("~", 270, 60))
	w.Expect(load.Buckets[300] - load.Buckets[120]).To(BeNumerically(">", load.Polls/2))
}
