package source

import (
	"bytes"
	"errors"
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
	tokenPath  = "/api/v2/service-token"
	sealedPath = "/api/v3/secrets"
	day        = 24 * time.Hour
)

func TestADescriptionThatStaysTheSameDisturbsNobody(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{ExpiresIn: 100 * day})
	w.pool.Read(alice, cred, day, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	described := w.pool.Read(alice, cred, day, app).Token
	w.forgetNotes()
	w.pass(time.Hour)
	w.expect(asked{token: 2, project: 2, sealed: 1})
	w.Expect(w.notes()).To(BeEmpty())
	w.Expect(w.pool.Read(alice, cred, day, app).Token).To(BeIdenticalTo(described))
}

func TestANewEnvironmentIsHeardOfWithinTheHour(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.pool.Read(alice, cred, day, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.forgetNotes()
	w.project.AddEnvironment("extra")
	w.pass(time.Hour)
	w.expect(asked{token: 2, project: 2, sealed: 2})
	w.Expect(w.notes()).To(Equal(map[Owner]int{alice: 1})) // of the token; the secrets are the same
	w.Expect(w.last(sealedPath).IfNoneMatch).To(BeEmpty())
}

func TestEnvironmentsInAnotherOrderAreTheSame(t *testing.T) {
	w := newWorld(t, 1)
	w.pool.Read(alice, w.credential(devserver.TokenSpec{}), day, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.forgetNotes()
	w.project.DeleteEnvironment("dev")
	w.project.AddEnvironment("dev") // at the end now
	w.pass(time.Hour)
	w.expect(asked{token: 2, project: 2, sealed: 1})
	w.Expect(w.notes()).To(BeEmpty())
}

func TestAFailedHourlyDescriptionDoesNotDisturbSources(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.pool.Read(alice, cred, day, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.forgetNotes()
	w.backend.SetFault(devserver.Fault{Route: tokenPath, Status: http.StatusInternalServerError, Times: 4})
	w.pass(time.Hour)
	want := asked{token: 2, project: 1, sealed: 1}
	w.expect(want)
	for _, wait := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second} {
		w.pass(wait)
		want.token++
		if want.token == 6 {
			want.project++
		}
		w.expect(want)
		r := w.pool.Read(alice, cred, day, app)
		w.Expect(r.Token).NotTo(BeNil())
		w.Expect(r.TokenErr).NotTo(HaveOccurred())
		w.Expect(r.Places[app].Err).NotTo(HaveOccurred())
	}
	w.Expect(w.notes()).To(BeEmpty())
	w.pass(time.Hour)
	w.expect(asked{token: 7, project: 3, sealed: 1})
}

func TestSourcesArePolledWhileTheTokenCannotBeDescribed(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.pool.Read(alice, cred, 40*time.Minute, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	// The rate limit of one route, which says nothing of the others.
	w.backend.SetFault(devserver.Fault{Route: tokenPath, Status: http.StatusTooManyRequests, RetryAfter: 30 * time.Minute})
	w.pass(40 * time.Minute)
	w.pass(20 * time.Minute)
	w.expect(asked{token: 2, project: 1, sealed: 2})
	w.project.Put("prod", "/app", "KEY", "changed")
	w.clock.Step(20 * time.Minute)
	w.values(cred, 40*time.Minute, app, map[string]string{"KEY": "changed"})
}

func TestSourcesReadOnceWhenTheFirstDescriptionComesLate(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.backend.SetFault(devserver.Fault{Route: tokenPath, Status: http.StatusInternalServerError, Times: 1})
	err := w.failure(cred, day, app)
	w.Expect(Transient(err)).To(BeTrue())
	r := w.pool.Read(alice, cred, day, app)
	w.Expect(r.TokenErr).To(MatchError(err))
	w.expect(asked{token: 1})
	w.pass(time.Second)
	w.values(cred, day, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 2, project: 1, sealed: 1})
}

func TestARejectedTokenIsAskedForOnceInTenMinutes(t *testing.T) {
	w := newWorld(t, 1)
	id := w.credential(devserver.TokenSpec{}).Token.ID()
	cred := w.credentialOf("st." + id + ".00000000000000000000000000000000")
	const objects = 20
	_, release := w.hold(tokenPath)
	for i := range objects {
		w.pool.Read(owner(fmt.Sprint(i)), cred, 5*time.Second, app, Place{Environment: "prod", Path: fmt.Sprintf("/%d", i)})
	}
	w.pool.Read(alice, cred, 5*time.Second, app)
	release()
	w.kind(cred, 5*time.Second, app, infisical.KindTokenRejected)
	w.expect(asked{token: 1})
	w.Expect(w.notes()).To(HaveLen(objects + 1))
	w.pass(10*time.Minute - time.Second)
	w.expect(asked{token: 1})
	w.pass(time.Second)
	w.expect(asked{token: 2})
	w.Expect(w.notes()).To(BeEmpty())
}

func TestARevokedTokenIsKnownToAllItsSourcesAfterOneAnswer(t *testing.T) {
	w := newWorld(t, 1)
	w.project.Put("prod", "/", "KEY", "root")
	root := Place{Environment: "prod", Path: "/"}
	raw := w.project.AddToken(devserver.TokenSpec{Scopes: everywhere()})
	cred := w.credentialOf(raw)
	w.pool.Read(alice, cred, time.Minute, app)
	w.pool.Read(bob, cred, day, root)
	w.expect(asked{token: 1, project: 1, sealed: 2})
	w.backend.Revoke(raw)
	w.forgetNotes()
	w.pass(time.Minute)
	w.kind(cred, time.Minute, app, infisical.KindTokenRevoked)
	w.Eventually(func() error { return w.pool.Read(bob, cred, day, root).Places[root].Err }).Should(HaveOccurred())
	w.expect(asked{token: 2, project: 1, sealed: 3})
	w.Expect(w.notes()).To(And(HaveKey(alice), HaveKey(bob)))
	for _, at := range []Place{app, root} {
		result := w.pool.Read(alice, cred, day, at).Places[at]
		w.Expect(infisical.KindOf(result.Err)).To(Equal(infisical.KindTokenRevoked))
		w.Expect(result.Snapshot).NotTo(BeNil(), "the last good one")
	}
}

func TestADescriptionThatHealsWakesItsSources(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	w.pool.Read(alice, cred, day, app)
	w.expect(asked{token: 1, project: 1, sealed: 1})
	w.backend.SetFault(devserver.Fault{Route: tokenPath, Status: http.StatusUnauthorized})
	w.pass(time.Hour)
	w.kind(cred, day, app, infisical.KindTokenRejected)
	w.expect(asked{token: 2, project: 1, sealed: 1})
	w.backend.ClearFaults()
	w.pass(10 * time.Minute)
	w.values(cred, day, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 3, project: 2, sealed: 2})
	w.Expect(w.last(sealedPath).Status).To(Equal(http.StatusNotModified))
}

func TestManyFailingSourcesRenewTheDescriptionOnce(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credential(devserver.TokenSpec{})
	place := func(i int) Place { return Place{Environment: "prod", Path: fmt.Sprintf("/%d", i)} }
	const sources = 6
	for i := range sources {
		w.project.Put("prod", place(i).Path, "KEY", "value")
		w.pool.Read(alice, cred, time.Minute, place(i))
	}
	w.expect(asked{token: 1, project: 1, sealed: sources})
	w.backend.SetFault(devserver.Fault{Route: sealedPath, Status: http.StatusForbidden})
	arrived, release := w.hold(tokenPath)
	w.pass(time.Minute)
	<-arrived
	w.Eventually(w.asked).Should(Equal(asked{token: 1, project: 1, sealed: 2 * sources}))
	release()
	w.kind(cred, time.Minute, place(0), infisical.KindPermissionDenied)
	w.expect(asked{token: 2, project: 2, sealed: 2 * sources})

	w.kind(cred, time.Minute, place(sources), infisical.KindPermissionDenied) // seconds later
	w.expect(asked{token: 2, project: 2, sealed: 2*sources + 1})
	w.pass(sessionRecheck)
	w.kind(cred, time.Minute, place(sources+1), infisical.KindPermissionDenied)
	w.expect(asked{token: 3, project: 3, sealed: 2*sources + 2})
}

func TestAFailedRenewalIsToldInPlaceOfWhatItShouldExplain(t *testing.T) {
	w := newWorld(t, 1)
	raw := w.project.AddToken(devserver.TokenSpec{Scopes: everywhere()})
	cred := w.credentialOf(raw)
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
	w.backend.SetFault(devserver.Fault{Route: tokenPath, Status: http.StatusBadGateway})
	w.backend.SetFault(devserver.Fault{Route: sealedPath, Status: http.StatusUnauthorized})
	w.pass(time.Minute)
	w.expect(asked{token: 2, project: 1, sealed: 2})
	w.Expect(w.see(cred, time.Minute, app).Err).NotTo(HaveOccurred(), "once is tolerated")
	w.backend.ClearFaults()
	w.pass(time.Second)
	w.expect(asked{token: 3, project: 2, sealed: 3})
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
}

func TestAMigratedProjectIsReadFromTheOtherEndpoint(t *testing.T) {
	w := newWorld(t, 2, devserver.WithV4(true))
	cred := w.credential(devserver.TokenSpec{})
	byClient := cred
	byClient.Decryption = Client
	w.pool.Read(bob, byClient, day, app)
	w.values(cred, day, app, map[string]string{"KEY": "value"})
	w.expect(asked{token: 1, project: 1, sealed: 2})
	w.project.Migrate()
	w.project.Put("prod", "/app", "KEY", "changed")
	w.pass(time.Hour)
	w.values(cred, day, app, map[string]string{"KEY": "changed"})
	w.expect(asked{token: 2, project: 2, sealed: 2, v4: 1})
	w.Expect(w.last("/api/v4/secrets").IfNoneMatch).To(BeEmpty())
	result := w.pool.Read(bob, byClient, day, app).Places[app]
	w.Expect(result.Err).To(MatchError(ErrProjectVersion))
	w.Expect(valuesOf(result.Snapshot.Secrets)).To(Equal(map[string]string{"KEY": "value"}))
}

func TestAKeyThatDoesNotOpenMattersToWhomItDecryptsFor(t *testing.T) {
	w := newWorld(t, 1, devserver.WithV4(true))
	raw := withKey(w.project.AddToken(devserver.TokenSpec{Scopes: everywhere()}), "00000000000000000000000000000000")
	cred := w.credentialOf(raw)
	byServer := cred
	byServer.Decryption = Server
	w.pool.Read(bob, byServer, day, app)
	err := w.failure(cred, day, app)
	w.Expect(err).To(MatchError(ErrProjectKey))
	w.Expect(Transient(err)).To(BeFalse())
	w.expect(asked{token: 1, project: 1, v4: 1})
	result := w.pool.Read(bob, byServer, day, app).Places[app]
	w.Expect(result.Err).NotTo(HaveOccurred())
	w.Expect(valuesOf(result.Snapshot.Secrets)).To(Equal(map[string]string{"KEY": "value"}))
	w.pass(10 * time.Minute) // perhaps the server has another by now
	w.expect(asked{token: 2, project: 2, v4: 1})
	w.Expect(w.failure(cred, day, app)).To(MatchError(ErrProjectKey))
}

func TestAnExpiredTokenStaysExpired(t *testing.T) {
	w := newWorld(t, 1)
	root := Place{Environment: "prod", Path: "/"}
	w.project.Put("prod", "/", "KEY", "value")
	cred := w.credential(devserver.TokenSpec{ExpiresIn: 30 * time.Minute})
	w.pool.Read(alice, cred, 20*time.Minute, app, root)
	w.expect(asked{token: 1, project: 1, sealed: 2})
	w.pass(20 * time.Minute)
	w.expect(asked{token: 1, project: 1, sealed: 4})
	w.pass(20 * time.Minute) // one source is told that it has expired, and whoever comes next that there is no such token
	w.kind(cred, 20*time.Minute, app, infisical.KindTokenExpired)
	w.kind(cred, 20*time.Minute, root, infisical.KindTokenExpired)
	w.rest()
	text := w.see(cred, 20*time.Minute, app).Err.Error()
	w.forgetNotes()
	w.pass(10 * time.Minute)
	w.rest()
	w.Expect(w.see(cred, 20*time.Minute, app).Err).To(MatchError(text))
	w.Expect(w.notes()).To(BeEmpty())
}

func TestATokenThatExpiresRightAfterItWasDescribedIsCalledExpired(t *testing.T) {
	w := newWorld(t, 1)
	root := Place{Environment: "prod", Path: "/"}
	w.project.Put("prod", "/", "KEY", "value")
	cred := w.credential(devserver.TokenSpec{ExpiresIn: 5 * time.Second})
	w.pool.Read(alice, cred, 10*time.Second, app, root)
	w.expect(asked{token: 1, project: 1, sealed: 2})
	w.pass(10 * time.Second)
	w.kind(cred, 10*time.Second, app, infisical.KindTokenExpired)
	w.kind(cred, 10*time.Second, root, infisical.KindTokenExpired)
	w.expect(asked{token: 1, project: 1, sealed: 4})
}

func TestOnlyWhatIsKnownToHaveExpiredIsCalledExpired(t *testing.T) {
	now := time.Unix(1000, 0)
	before, after := now.Add(-time.Second), now.Add(time.Second)
	unknown := &infisical.Error{Kind: infisical.KindTokenNotFound, Status: http.StatusNotFound, Route: "GET " + tokenPath}
	said := &infisical.Error{Kind: infisical.KindTokenExpired, Status: http.StatusForbidden, Route: "GET " + tokenPath}
	revoked := &infisical.Error{Kind: infisical.KindTokenRevoked, Status: http.StatusNotFound, Route: "GET " + tokenPath}
	expired := &infisical.Error{Kind: infisical.KindTokenExpired} // in the same words, whichever way it became known
	for name, tc := range map[string]struct {
		token     *Token
		err, want error
	}{
		"said by the server, never described":  {nil, said, expired},
		"said by the server":                   {&Token{ExpiresAt: &after}, said, expired},
		"unknown, never described":             {nil, unknown, unknown},
		"unknown, never expires":               {&Token{}, unknown, revoked},
		"unknown, before its time":             {&Token{ExpiresAt: &after}, unknown, unknown},
		"unknown, at its time":                 {&Token{ExpiresAt: &now}, unknown, expired},
		"unknown, after its time":              {&Token{ExpiresAt: &before}, unknown, expired},
		"something else, after its time":       {&Token{ExpiresAt: &before}, errDown, errDown},
		"no failure, by a server's late clock": {&Token{ExpiresAt: &before}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := tc.token.explain(tc.err, now)
			if tc.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
			} else {
				g.Expect(err).To(Equal(tc.want))
			}
		})
	}
}

func TestATokenThatNobodyKnowsMayHaveBeenRevoked(t *testing.T) {
	w := newWorld(t, 1)
	cred := w.credentialOf("st.00000000-0000-0000-0000-000000000000.00000000000000000000000000000000")
	w.kind(cred, time.Minute, app, infisical.KindTokenNotFound)
	w.expect(asked{token: 1})
}

func TestNothingIsAskedForThatTheTokenMayNotRead(t *testing.T) {
	outside := func(p Place, scopes servicetoken.Scopes) error { return &ScopeError{Place: p, Scopes: scopes} }
	literal := servicetoken.Scopes{{Environment: "dev", Path: "/db"}, {Environment: "prod", Path: "/app/*"}}
	for name, tc := range map[string]struct {
		spec  devserver.TokenSpec
		place Place
		want  error
	}{
		"another environment": {devserver.TokenSpec{Scopes: literal}, Place{Environment: "prod", Path: "/db"}, outside(Place{Environment: "prod", Path: "/db"}, literal)},
		"another path":        {devserver.TokenSpec{Scopes: literal}, app, outside(app, literal)},
		"write only":          {devserver.TokenSpec{Permissions: []string{"write"}}, app, ErrNoRead},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			cred := w.credential(tc.spec)
			w.Expect(w.failure(cred, time.Minute, tc.place)).To(Equal(tc.want))
			w.expect(asked{token: 1, project: 1})
			w.pass(10 * time.Minute)
			w.expect(asked{token: 1, project: 1})
		})
	}
}

func TestARateLimitedDescriptionIsWaitedFor(t *testing.T) {
	w := newWorld(t, 1)
	w.backend.SetFault(devserver.Fault{Route: tokenPath, Status: http.StatusTooManyRequests, RetryAfter: 40 * time.Second, Times: 1})
	cred := w.credential(devserver.TokenSpec{})
	w.kind(cred, time.Minute, app, infisical.KindRateLimited)
	w.Expect(w.see(cred, time.Minute, app).Snapshot).To(BeNil())
	w.Eventually(func() asked { // the source looks again and again, at what is known
		w.clock.Step(time.Second)
		return w.asked()
	}).Should(Equal(asked{token: 2, project: 1, sealed: 1}))
	w.values(cred, time.Minute, app, map[string]string{"KEY": "value"})
}

func TestTokensAreEqualWhateverTheirKeysAreOpenedTo(t *testing.T) {
	g := NewWithT(t)
	at, sooner := time.Unix(100, 0), time.Unix(50, 0)
	part := func(filling byte) []byte { return bytes.Repeat([]byte{filling}, 16) }
	sealed := func() servicetoken.Sealed { return servicetoken.NewSealed(part('c'), part('i'), part('t')) }
	token := Token{
		ID: "1", ExpiresAt: &at, Scopes: everywhere(), ProjectVersion: 1, projectID: "p", environments: []string{"dev"}, canRead: true, hasKey: true, sealedKey: sealed(),
	}
	again := token
	again.sealedKey, again.keyErr = sealed(), errors.New("does not open")
	sameTime := at
	again.ExpiresAt = &sameTime
	g.Expect(token.equal(&again)).To(BeTrue())
	again.ExpiresAt, token.ExpiresAt = nil, nil
	g.Expect(token.equal(&again)).To(BeTrue())
	token.ExpiresAt = &at
	for name, change := range map[string]func(*Token){
		"expiry":       func(t *Token) { t.ExpiresAt = &sooner },
		"no expiry":    func(t *Token) { t.ExpiresAt = nil },
		"scopes":       func(t *Token) { t.Scopes = nil },
		"version":      func(t *Token) { t.ProjectVersion = 3 },
		"project":      func(t *Token) { t.projectID = "q" },
		"slug":         func(t *Token) { t.projectSlug = "q" },
		"environments": func(t *Token) { t.environments = []string{"prod"} },
		"permission":   func(t *Token) { t.canRead = false },
		"key":          func(t *Token) { t.sealedKey = servicetoken.NewSealed(part('c'), part('i'), part('u')) },
	} {
		other := token
		change(&other)
		g.Expect(token.equal(&other)).To(BeFalse(), name)
	}
}
