package source

import (
	"context"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	// loginDue is the part of an access token's life after which its successor is asked for. The poller's jitter comes on top, and what
	// is left after it is for a server that cannot be reached just then.
	loginDue = 0.8
	// endlessLogin is how often an identity logs in whose access tokens do not end.
	endlessLogin = 24 * time.Hour
)

// access is what all requests of one session are authenticated with: the service token, or the access token that an identity has
// at the time. It is not part of the session's description, so that a login is no news to those who read with it.
type access struct {
	token servicetoken.Token
	login *poller[infisical.AccessToken] // nil for a service token
}

// newAccess returns the access of a credential. Its login, if it has one, is still to be run.
func (p *Pool) newAccess(cred Credential) *access {
	if cred.Identity.IsZero() {
		return &access{token: cred.Token}
	}
	l := newPoller[infisical.AccessToken](p.clock, p.random)
	// Whoever looks at a failure has no access token that is good, and waits for the end of the failure: tell both at once.
	l.tolerated = 0
	l.same = func(a, b infisical.AccessToken) bool { return a == b }
	l.changed = func() {} // who waits for it watches for news
	l.interval = func() time.Duration {
		token, _, _ := l.read()
		return untilDue(token, p.clock.Now())
	}
	l.fetch = func(ctx context.Context) (infisical.AccessToken, error) { return cred.Identity.login(ctx, cred.Server) }
	return &access{login: l}
}

// untilDue is how long to wait for the next login. It is never renewing, which a server allows up to a maximum only.
func untilDue(t infisical.AccessToken, now time.Time) time.Duration {
	life := t.Life()
	if life == 0 {
		return endlessLogin
	}
	due := t.Since.Add(time.Duration(loginDue * float64(life)))
	return max(due.Sub(now), life/10) // which is what follows where the answer took most of a life
}

// use calls do with what to authenticate with, and once more with a new access token where the server refuses the one it got. When it
// fails for lack of an access token, mended is closed when there may be one.
func (a *access) use(ctx context.Context, do func(infisical.Authorization) error) (mended <-chan struct{}, err error) {
	if a.login == nil {
		return nil, do(a.token)
	}
	token, news, err := a.current(ctx)
	if err != nil {
		return news, err
	}
	if err = do(token); !refused(err) {
		return nil, err
	}
	again, news, loginErr := a.login.renewed(ctx, sessionRecheck)
	if loginErr != nil {
		return news, loginErr
	}
	if again == token {
		return nil, err
	}
	return nil, do(again)
}

// current is the access token of the last good login, as long as it lives, whatever came of the logins after it.
func (a *access) current(ctx context.Context) (token infisical.AccessToken, news <-chan struct{}, err error) {
	token, news, err = a.login.first(ctx)
	if !token.IsZero() && !token.Ended(a.login.clock.Now()) {
		return token, news, nil
	}
	if err != nil {
		return token, news, err // and it is tried again at the pace of that error, not at that of all who ask
	}
	// The next login was due, and is as late as this is: it is waited for.
	return a.login.renewed(ctx, max(a.login.clock.Since(token.Until), time.Nanosecond))
}

// refused says whether another access token could help: this one has ended early, or the identity may do more by now.
func refused(err error) bool {
	kind := infisical.KindOf(err)
	return kind == infisical.KindAccessTokenRejected || kind == infisical.KindPermissionDenied
}

// retry makes a login that failed be tried again now.
func (a *access) retry() {
	if a.login == nil {
		return
	}
	if _, _, err := a.login.read(); err != nil {
		a.login.poke()
	}
}
