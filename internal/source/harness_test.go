package source

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// world is a server with one project, and a pool that reads it, both at a time that only tests move on.
type world struct {
	*WithT
	t       *testing.T
	clock   *clocktesting.FakeClock
	project *devserver.Project
	server  *infisical.Server
	pool    *Pool

	mu        sync.Mutex
	backend   *devserver.Server                             // changed by replace only
	intercept func(http.ResponseWriter, *http.Request) bool // answers requests itself, or lets them pass
	told      map[Owner]int
}

// newWorld has a project of a version with KEY=value in prod:/app.
func newWorld(t *testing.T, version int, opts ...devserver.Option) *world {
	t.Helper()
	w := &world{
		WithT: NewWithT(t), t: t, told: map[Owner]int{},
		clock: clocktesting.NewFakeClock(time.Date(2026, time.November, 23, 15, 0, 0, 0, time.UTC)),
	}
	w.SetDefaultEventuallyTimeout(20 * time.Second)
	w.SetDefaultEventuallyPollingInterval(time.Millisecond)
	w.backend = devserver.New(append([]devserver.Option{devserver.WithClock(w.clock)}, opts...)...)
	w.project = w.backend.AddProject(version)
	w.project.Put("prod", "/app", "KEY", "value")
	front := httptest.NewServer(w)
	t.Cleanup(front.Close)
	never := func() float64 { return 0 }
	var err error
	w.server, err = infisical.NewClient(infisical.Options{AllowHTTP: true, Clock: w.clock, Jitter: never}).Server(front.URL, nil)
	w.Expect(err).NotTo(HaveOccurred())
	w.pool = NewPool(Options{Clock: w.clock, Random: never, Notify: func(o Owner) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told[o]++
	}})
	t.Cleanup(w.pool.Close)
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	intercept, backend := w.intercept, w.backend
	w.mu.Unlock()
	if intercept == nil || !intercept(rw, r) {
		backend.ServeHTTP(rw, r)
	}
}

// replace puts another server where the one before was.
func (w *world) replace(backend *devserver.Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backend = backend
}

// interceptWith lets f answer requests from now on; nil lets all pass.
func (w *world) interceptWith(f func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.intercept = f
}

// hold keeps requests of a path waiting, the first of which arrived is told of, until released.
func (w *world) hold(path string) (arrived <-chan struct{}, release func()) {
	came, free := make(chan struct{}), make(chan struct{})
	var first, last sync.Once
	w.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == path {
			first.Do(func() { close(came) })
			<-free
		}
		return false
	})
	release = func() { last.Do(func() { close(free) }) }
	w.t.Cleanup(release)
	return came, release
}

// everywhere is a token's scopes.
func everywhere() servicetoken.Scopes {
	return servicetoken.Scopes{{Environment: "dev", Path: "/**"}, {Environment: "prod", Path: "/**"}}
}

// credential makes a token that may read everywhere, unless the spec says otherwise.
func (w *world) credential(spec devserver.TokenSpec) Credential {
	w.t.Helper()
	if spec.Scopes == nil {
		spec.Scopes = everywhere()
	}
	return w.credentialOf(w.project.AddToken(spec))
}

func (w *world) credentialOf(raw string) Credential {
	w.t.Helper()
	token, err := servicetoken.Parse(raw)
	w.Expect(err).NotTo(HaveOccurred())
	return Credential{Server: w.server, Token: token}
}

func owner(name string) Owner { return Owner{Namespace: "ns", Name: name} }

var (
	alice, bob = owner("alice"), owner("bob")
	app        = Place{Environment: "prod", Path: "/app"}
)

// see is what alice knows of a place, to be polled.
func (w *world) see(cred Credential, interval time.Duration, place Place) Result {
	return w.pool.Read(alice, cred, interval, place).Places[place]
}

// values waits until alice sees these values at the place and no failure.
func (w *world) values(cred Credential, interval time.Duration, place Place, want map[string]string) *Snapshot {
	w.t.Helper()
	var got Result
	w.Eventually(func(g Gomega) {
		got = w.see(cred, interval, place)
		g.Expect(got.Err).NotTo(HaveOccurred())
		g.Expect(got.Snapshot).NotTo(BeNil())
		g.Expect(valuesOf(got.Snapshot.Secrets)).To(Equal(want))
	}).Should(Succeed())
	return got.Snapshot
}

func valuesOf(secrets []Secret) map[string]string {
	values := map[string]string{}
	for _, s := range secrets {
		values[s.Name] = string(s.Value)
	}
	return values
}

// failure waits until alice sees a failure at the place.
func (w *world) failure(cred Credential, interval time.Duration, place Place) error {
	w.t.Helper()
	var err error
	w.Eventually(func() error { err = w.see(cred, interval, place).Err; return err }).Should(HaveOccurred())
	return err
}

// kind waits until alice sees a failure of that kind at the place.
func (w *world) kind(cred Credential, interval time.Duration, place Place, want infisical.Kind) {
	w.t.Helper()
	w.Eventually(func() infisical.Kind { return infisical.KindOf(w.see(cred, interval, place).Err) }).Should(Equal(want))
}

// asked counts requests by route.
type asked struct{ token, project, sealed, raw, v4, imports, login, slug int }

func (w *world) asked() asked {
	count := func(route string) int { return w.backend.Count(route, "") }
	return asked{
		token: count("/api/v2/service-token"), project: count("/api/v1/workspace/:workspaceId"), sealed: count("/api/v3/secrets"),
		raw: count("/api/v3/secrets/raw"), v4: count("/api/v4/secrets"), imports: count("/api/v1/secret-imports"),
		login: count(universalPath) + count(kubernetesPath), slug: count("/api/v2/workspace/:slug"),
	}
}

// expect waits until these and no more requests were made since the start, and nothing is under way.
func (w *world) expect(want asked) {
	w.t.Helper()
	w.Eventually(w.asked).Should(Equal(want))
	w.rest()
	w.Expect(w.asked()).To(Equal(want))
}

// rest waits until all pollers wait for their next turn, and go on to.
func (w *world) rest() {
	w.t.Helper()
	calm := 0
	w.Eventually(func() int {
		calm++
		if !w.idle() {
			calm = 0
		}
		return calm
	}).Should(BeNumerically(">", 4))
}

func (w *world) idle() bool {
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	pollers := len(w.pool.sessions) + len(w.pool.sources)
	for _, e := range w.pool.sessions {
		if !e.waiting() {
			return false
		}
		if login := e.access.login; login != nil {
			pollers++
			if !login.waiting() {
				return false
			}
		}
	}
	for _, e := range w.pool.sources {
		if !e.waiting() {
			return false
		}
	}
	return w.clock.Waiters() == pollers
}

// waiting says whether the poller has nothing to do before its next turn.
func (p *poller[T]) waiting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.underWay && len(p.poked) == 0
}

// pass lets time pass, once all pollers wait.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	w.rest()
	w.clock.Step(d)
}

// notes are how often owners were told since the last call.
func (w *world) notes() map[Owner]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := maps.Clone(w.told)
	clear(w.told)
	return told
}

// forgetNotes waits until all that owners are to be told of was told; what is known can be read before.
func (w *world) forgetNotes() {
	w.t.Helper()
	w.rest()
	w.notes()
}

// last is the latest request of a route.
func (w *world) last(route string) devserver.Request {
	w.t.Helper()
	requests := w.backend.Requests()
	for i := len(requests) - 1; i >= 0; i-- {
		if requests[i].Route == route {
			return requests[i]
		}
	}
	w.t.Fatalf("no request of %s", route)
	return devserver.Request{}
}

// withKey is a token with another fourth part.
func withKey(raw, key string) string { return raw[:strings.LastIndexByte(raw, '.')+1] + key }
