package infisical

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	routeUniversalAuth  = "POST /api/v1/auth/universal-auth/login"
	routeKubernetesAuth = "POST /api/v1/auth/kubernetes-auth/login"
)

// longestLife bounds what expiresIn can say, so that it can be counted in nanoseconds.
const longestLife = 10 * 365 * 24 * time.Hour

var errBearer = errors.New("the access token in it cannot be sent in a header")

// Authorization is what a request is authenticated with: a servicetoken.Token, or the AccessToken of a machine identity.
type Authorization interface {
	// Bearer is what goes on the wire.
	Bearer() string
}

// AccessToken is what a machine identity gets for logging in. It is comparable, and prints itself redacted. The zero value is
// none.
type AccessToken struct {
	bearer string
	// Since is when the login was sent: the server counts from then, or a little later.
	Since time.Time
	// Until is when the server takes it no longer. Zero: as long as nobody revokes it.
	Until time.Time
}

// Bearer is what goes on the wire: all of it.
func (t AccessToken) Bearer() string { return t.bearer }

// IsZero says whether there is none.
func (t AccessToken) IsZero() bool { return t == AccessToken{} }

// Ended says whether its time is over. It may be refused before, when somebody revoked it or the server lost it.
func (t AccessToken) Ended(now time.Time) bool { return !t.Until.IsZero() && !now.Before(t.Until) }

// Life is from Since to Until, 0 without an end.
func (t AccessToken) Life() time.Duration {
	if t.Until.IsZero() {
		return 0
	}
	return t.Until.Sub(t.Since)
}

// String, and every other way in which Go prints a value, shows nothing of it: no part of it is a name that people know.
func (t AccessToken) String() string { return "access token ***" }

// Format covers all verbs of package fmt, %#v and %x among them.
func (t AccessToken) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// MarshalText covers JSON, YAML and text encoders, as a value and as a map key.
func (t AccessToken) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// LogValue covers log/slog.
func (t AccessToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// UniversalAuth logs a machine identity in with its client id and one of its client secrets. A refusal is an *Error of
// KindIdentityRejected or KindIdentityNotFound. It is no use of a service token, and not metered.
func (s *Server) UniversalAuth(ctx context.Context, clientID, clientSecret string) (AccessToken, error) {
	return s.login(ctx, routeUniversalAuth, "/api/v1/auth/universal-auth/login", map[string]string{"clientId": clientID, "clientSecret": clientSecret})
}

// KubernetesAuth logs a machine identity in with the token of a ServiceAccount that the server can have reviewed by the
// cluster. Refusals are those of UniversalAuth.
func (s *Server) KubernetesAuth(ctx context.Context, identityID, jwt string) (AccessToken, error) {
	return s.login(ctx, routeKubernetesAuth, "/api/v1/auth/kubernetes-auth/login", map[string]string{"identityId": identityID, "jwt": jwt})
}

func (s *Server) login(ctx context.Context, route, path string, credentials map[string]string) (AccessToken, error) {
	body, err := json.Marshal(credentials)
	if err != nil {
		return AccessToken{}, fmt.Errorf("%s: %w", route, err) // which texts cannot cause
	}
	r, err := s.do(ctx, request{route: route, path: path, body: body})
	if err != nil {
		return AccessToken{}, err
	}
	// What else it has, accessTokenMaxTTL and the exp in the token, is about renewing, which ends there. A new login does not.
	var wire struct {
		AccessToken string   `json:"accessToken"`
		ExpiresIn   *float64 `json:"expiresIn"` // seconds; 0 is an identity whose tokens do not end by themselves
	}
	if err := decode(route, r.body, &wire); err != nil {
		return AccessToken{}, err
	}
	switch {
	case wire.AccessToken == "" || wire.ExpiresIn == nil || *wire.ExpiresIn < 0:
		return AccessToken{}, badAnswer(route, errIncomplete)
	case !printable(wire.AccessToken):
		return AccessToken{}, badAnswer(route, errBearer)
	}
	token := AccessToken{bearer: wire.AccessToken, Since: r.sent}
	if life := *wire.ExpiresIn; life > 0 {
		token.Until = r.sent.Add(time.Duration(min(life, longestLife.Seconds()) * float64(time.Second)))
	}
	return token, nil
}

// printable says whether a text can be the value of a header, without a space in it.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
