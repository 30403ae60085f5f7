package source

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	universalPath  = "/api/v1/auth/universal-auth/login"
	kubernetesPath = "/api/v1/auth/kubernetes-auth/login"
	v4Path         = "/api/v4/secrets"
	projectPath    = "/api/v1/workspace"
)

// identity makes one that may read everything and names its project by the id, unless the spec says otherwise.
func (w *world) identity(spec devserver.IdentitySpec) (Credential, devserver.Identity) {
	w.t.Helper()
	made := w.project.AddIdentity(spec)
	return w.identityOf(made.ClientID, made.ClientSecret, w.project.ID()), made
}

func (w *world) identityOf(clientID, clientSecret, project string) Credential {
	w.t.Helper()
	identity, err := NewUniversalAuth(clientID, clientSecret, project)
	w.Expect(err).NotTo(HaveOccurred())
	return Credential{Server: w.server, Identity: identity}
}

// refusals are how many requests were answered with a 401 since the log was reset.
func (w *world) refusals() (n int) {
	for _, r := range w.backend.Requests() {
		if r.Status == http.StatusUnauthorized {
			n++
		}
	}
	return n
}

func TestAHundredSourcesOfAnIdentityLogInOnce(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	cred, _ := w.identity(devserver.IdentitySpec{})
	const sources = 100
	for i := range sources {
		path := fmt.Sprintf("/%d", i)
		w.project.Put("prod", path, "KEY", "value")
		w.pool.Read(owner(fmt.Sprint(i)), cred, time.Minute, Place{Environment: "prod", Path: path})
	}
	w.expect(asked{login: 1, project: 1, v4: sources})
	w.backend.RevokeAccessTokens("")
	w.forgetNotes()
	_, answer := w.hold(universalPath) // or who is slow to start finds the new access token, and asks once only
	w.pass(time.Minute)
	w.Eventually(w.refusals).Should(Equal(sources))
	answer()
	w.expect(asked{login: 2, project: 1, v4: 3 * sources})
	w.Expect(w.notes()).To(BeEmpty(), "nobody is told of what heals within one attempt")
}

// TestAnIdentityOutlivesItsAccessTokens has the shortest lives there are, and goes far past the maximum to which one could be renewed.
func TestAnIdentityOutlivesItsAccessTokens(t *testing.T) {
	for _, ttl := range []time.Duration{time.Second, 2 * time.Second} {
		w := newWorld(t, 3, devserver.WithV4(true))
		cred, _ := w.identity(devserver.IdentitySpec{TTL: ttl, MaxTTL: 4 * time.Second})
		other := Place{Environment: "prod", Path: "/other"}
		w.project.Put("prod", "/other", "KEY", "value")
		w.values(cred, time.Second, app, map[string]string{"KEY": "value"})
		w.values(cred, time.Second, other, map[string]string{"KEY": "value"})
		w.forgetNotes()
		const steps, step = 200, 100 * time.Millisecond
		for range steps {
			w.pass(step)
		}
		w.rest()
		w.Expect(w.notes()).To(BeEmpty())
		w.Expect(w.refusals()).To(BeZero(), "the server refused an access token that had ended")
		due := time.Duration(loginDue * float64(ttl)) // in steps of the clock, so a little later
		w.Expect(w.asked().login).To(And(BeNumerically("<=", 1+steps*step/due), BeNumerically(">", steps*step/ttl)))
		w.Expect(w.asked().project).To(Equal(1), "a login is no reason to describe anew")
		w.Expect(w.asked().v4).To(BeNumerically(">", 2*15))
		w.Expect(w.last(v4Path).Status).To(Equal(http.StatusNotModified), "ETags outlive access tokens")
		w.project.Put("prod", "/app", "KEY", "changed")
		w.pass(time.Second)
		w.values(cred, time.Second, app, map[string]string{"KEY": "changed"})
	}
}

func TestAnAccessTokenThatEndedUnnoticedIsReplacedBeforeAnythingIsAsked(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	cred, _ := w.identity(devserver.IdentitySpec{TTL: 2 * time.Second})
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.forgetNotes()
	for range 10 {
		w.project.Put("prod", "/app", "OTHER", w.clock.Now().String())
		w.pass(time.Minute) // a machine that slept: both are due at once
		w.rest()
	}
	w.Expect(w.refusals()).To(BeZero())
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 10}), "each time of a change, and never of a failure")
}

func TestALoginIsDueAtFourFifthsOfALife(t *testing.T) {
	g := NewWithT(t)
	since := time.Unix(1000, 0)
	life := func(d time.Duration) infisical.AccessToken {
		return infisical.AccessToken{Since: since, Until: since.Add(d)}
	}
	g.Expect(untilDue(life(10*time.Hour), since)).To(Equal(8 * time.Hour))
	g.Expect(untilDue(life(10*time.Hour), since.Add(time.Hour))).To(Equal(7 * time.Hour))
	g.Expect(untilDue(life(time.Second), since.Add(100*time.Millisecond))).To(Equal(700 * time.Millisecond))
	g.Expect(untilDue(life(time.Second), since.Add(5*time.Second))).To(Equal(100 * time.Millisecond))
	g.Expect(untilDue(infisical.AccessToken{Since: since}, since)).To(Equal(24 * time.Hour))
}

func TestARevokedAccessTokenIsReplacedAtOnce(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	cred, made := w.identity(devserver.IdentitySpec{})
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.expect(asked{login: 1, project: 1, v4: 1})
	w.forgetNotes()
	w.backend.RevokeAccessTokens(made.ClientID)
	w.pass(time.Minute)
	w.expect(asked{login: 2, project: 1, v4: 3})
	w.Expect(w.last(v4Path).Status).To(Equal(http.StatusNotModified))
	w.Expect(w.notes()).To(BeEmpty())
	w.Expect(w.see(cred, time.Minute, app).Err).NotTo(HaveOccurred())
}

func TestAnAccessTokenThatIsRevokedAgainAndAgainIsReplacedOnceInHalfAMinute(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	cred, made := w.identity(devserver.IdentitySpec{})
	w.values(cred, 10*time.Second, app, map[string]string{"KEY": "value"})
	w.backend.RevokeAccessTokens(made.ClientID)
	w.rest()
	const seconds = 120
	for range seconds {
		w.pass(time.Second)
		w.rest()
		w.backend.RevokeAccessTokens(made.ClientID)
	}
	w.Expect(w.asked().login).To(And(BeNumerically(">=", 3), BeNumerically("<=", 1+seconds/30)))
	result := w.see(cred, 10*time.Second, app)
	w.Expect(infisical.KindOf(result.Err)).To(Equal(infisical.KindAccessTokenRejected))
	w.Expect(Transient(result.Err)).To(BeTrue())
	w.Expect(valuesOf(result.Snapshot.Secrets)).To(Equal(map[string]string{"KEY": "value"}))
	w.interceptWith(nil)
	w.Eventually(func() error { // within half a minute from the last
		w.clock.Step(time.Second)
		return w.see(cred, 10*time.Second, app).Err
	}).Should(Succeed())
}

// TestAServerThatRestartsAndForgetsIsReadOn has access tokens that end while it is down, too.
func TestAServerThatRestartsAndForgetsIsReadOn(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"long life": time.Hour, "life that ends meanwhile": 70 * time.Second} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, devserver.WithV4(true))
			cred, _ := w.identity(devserver.IdentitySpec{TTL: ttl})
			const sources = 10
			place := func(i int) Place { return Place{Environment: "prod", Path: fmt.Sprintf("/%d", i)} }
			for i := range sources {
				w.project.Put("prod", place(i).Path, "KEY", "value")
				w.pool.Read(alice, cred, 30*time.Second, place(i))
			}
			w.expect(asked{login: 1, project: 1, v4: sources})
			o := w.outage()
			for range 90 {
				w.pass(time.Second)
			}
			w.backend.RevokeAccessTokens("")
			for i := range sources {
				w.project.Put("prod", place(i).Path, "KEY", "changed")
			}
			logins := w.asked().login
			o.end()
			// The longest step of the host's back-off, and of a source's.
			for range 60 {
				w.pass(time.Second)
			}
			for i := range sources {
				result := w.see(cred, 30*time.Second, place(i))
				w.Expect(result.Err).NotTo(HaveOccurred())
				w.Expect(valuesOf(result.Snapshot.Secrets)).To(Equal(map[string]string{"KEY": "changed"}))
			}
			w.Expect(w.asked().login - logins).To(BeNumerically("<=", 2))
		})
	}
}

func TestARotatedClientSecretIsFeltWhenTheAccessTokenEnds(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	cred, made := w.identity(devserver.IdentitySpec{TTL: 10 * time.Minute})
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	rotated := w.backend.RotateClientSecret(made.ClientID)
	w.forgetNotes()
	for range 9 {
		w.pass(time.Minute)
	}
	w.project.Put("prod", "/app", "KEY", "changed")
	w.pass(30 * time.Second)
	w.rest()
	w.Expect(w.asked().login).To(Equal(2), "refused at 8 minutes")
	w.Expect(w.see(cred, time.Minute, app).Err).NotTo(HaveOccurred())
	w.pass(30 * time.Second)
	w.kind(cred, time.Minute, app, infisical.KindIdentityRejected)
	result := w.see(cred, time.Minute, app)
	w.Expect(Transient(result.Err)).To(BeFalse())
	w.Expect(result.Err.Error()).To(Equal("POST " + universalPath + " at " + cred.Server.Host() + ": the server rejected the machine identity's login: its client secret, " +
		"or the ServiceAccount and the token of it (status 401)"))
	w.Expect(result.Snapshot).NotTo(BeNil(), "the last good one")
	w.forgetNotes()
	for range 60 {
		w.pass(time.Minute)
	}
	w.rest()
	w.Expect(w.asked().login).To(BeNumerically("<=", 2+7), "once in ten minutes")
	w.Expect(w.notes()).To(BeEmpty(), "nothing new")

	other := w.identityOf(made.ClientID, rotated, w.project.ID())
	w.Expect(other).NotTo(Equal(cred))
	w.values(other, time.Minute, app, map[string]string{"KEY": "changed"})
}

func TestALoginThatWorksAgainWakesWhoWaitedForIt(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		wait   time.Duration
	}{
		"refused":     {http.StatusUnauthorized, slowPace},
		"unavailable": {http.StatusInternalServerError, brokenMax},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, devserver.WithV4(true))
			cred, _ := w.identity(devserver.IdentitySpec{TTL: time.Minute})
			root := Place{Environment: "prod", Path: "/"}
			w.project.Put("prod", "/", "KEY", "root")
			w.pool.Read(alice, cred, 30*time.Second, app)
			w.pool.Read(bob, cred, day, root) // not due for long when the login works again
			w.expect(asked{login: 1, project: 1, v4: 2})
			w.backend.SetFault(devserver.Fault{Route: universalPath, Status: tc.status})
			for range 4 {
				w.pass(30 * time.Second)
			}
			w.rest()
			w.Expect(w.see(cred, 30*time.Second, app).Err).To(HaveOccurred())
			w.pool.Refresh(bob)
			w.Eventually(func() error {
				w.clock.Step(time.Second) // one failure of the kind that heals is not told
				return w.pool.Read(bob, cred, day, root).Places[root].Err
			}).Should(HaveOccurred())
			w.project.Put("prod", "/app", "KEY", "changed")
			w.backend.ClearFaults()
			w.pass(tc.wait)
			w.values(cred, 30*time.Second, app, map[string]string{"KEY": "changed"})
			w.Eventually(func() error { return w.pool.Read(bob, cred, day, root).Places[root].Err }).Should(Succeed())
		})
	}
}

func TestRefreshTriesALoginThatFailed(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	cred, _ := w.identity(devserver.IdentitySpec{})
	w.backend.SetFault(devserver.Fault{Route: universalPath, Status: http.StatusUnauthorized})
	w.kind(cred, time.Minute, app, infisical.KindIdentityRejected)
	w.expect(asked{login: 1})
	w.Expect(infisical.KindOf(w.pool.Read(alice, cred, time.Minute).TokenErr)).To(Equal(infisical.KindIdentityRejected))
	w.backend.ClearFaults()
	w.pool.Refresh(alice)
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.rest()
	w.Expect(w.asked().login).To(Equal(2))
	w.pool.Refresh(alice)
	w.rest()
	w.Expect(w.asked().login).To(Equal(2), "one that is good stays")
}

func TestWhatAnIdentityMayNotReadCostsOneLoginInTenMinutes(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	cred, _ := w.identity(devserver.IdentitySpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/**"}}})
	w.kind(cred, time.Minute, app, infisical.KindPermissionDenied)
	w.expect(asked{login: 1, project: 1, v4: 1})
	w.pass(slowPace)
	w.expect(asked{login: 2, project: 2, v4: 3})
	w.Expect(Transient(w.see(cred, time.Minute, app).Err)).To(BeFalse())
}

func TestLeavingAnIdentityEndsItsLogins(t *testing.T) {
	w := newWorld(t, 3, devserver.WithV4(true))
	cred, _ := w.identity(devserver.IdentitySpec{TTL: time.Second})
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.pool.Leave(alice)
	w.Eventually(w.clock.Waiters).Should(BeZero())
	w.clock.Step(time.Minute)
	w.expect(asked{login: 1, project: 1, v4: 1})
}
