package source

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"
	"unique"

	"github.com/service-token-operator/service-token-operator/internal/infisical"
)

// jwtTimeout bounds the wait for a JWTSource, as nothing is read meanwhile that has no access token.
const jwtTimeout = 30 * time.Second

// projectID is a UUID, or 24 hexadecimal characters for projects of old servers, as with the ids of tokens. A slug is neither.
var projectID = regexp.MustCompile(`^(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{24})$`)

// Method is how a machine identity logs in.
type Method string

// The methods.
const (
	UniversalAuth  Method = "universal"
	KubernetesAuth Method = "kubernetes"
)

// JWTSource gives the token of a ServiceAccount for a login. Its dynamic type must be comparable, and equal values stand for the same
// ServiceAccount: they make equal identities, which share a session. Whatever it returns as an error is shown to users.
type JWTSource interface {
	JWT(ctx context.Context) (string, error)
}

// Identity is a machine identity that reads a project, and what it logs in with. Those made of equal parts are equal, so that it can
// be part of a map key; it is as small as a pointer, however many hold it; and it prints itself redacted. The zero value is none.
type Identity struct {
	handle unique.Handle[identity]
}

type identity struct {
	method       Method
	id           string // the client id, or the identity's own
	project      string // an id or a slug
	clientSecret string
	jwts         JWTSource
}

// NewUniversalAuth makes an identity that logs in with a client id and a client secret. project is an id or a slug. White space
// around all of them is ignored, as it comes with `kubectl create secret --from-file`. The error is ErrIdentityIncomplete.
func NewUniversalAuth(clientID, clientSecret, project string) (Identity, error) {
	return newIdentity(identity{method: UniversalAuth, id: clientID, clientSecret: strings.TrimSpace(clientSecret), project: project})
}

// NewKubernetesAuth makes an identity that logs in with the token of a ServiceAccount, a new one each time. The rest is as with
// NewUniversalAuth.
func NewKubernetesAuth(identityID string, jwts JWTSource, project string) (Identity, error) {
	return newIdentity(identity{method: KubernetesAuth, id: identityID, jwts: jwts, project: project})
}

func newIdentity(i identity) (Identity, error) {
	i.id, i.project = strings.TrimSpace(i.id), strings.TrimSpace(i.project)
	if i.id == "" || i.project == "" || i.clientSecret == "" && i.jwts == nil {
		return Identity{}, ErrIdentityIncomplete
	}
	return Identity{unique.Make(i)}, nil
}

// IsZero says whether there is none.
func (i Identity) IsZero() bool { return i == Identity{} }

func (i Identity) parts() identity {
	if i.IsZero() {
		return identity{}
	}
	return i.handle.Value()
}

// Method is how it logs in.
func (i Identity) Method() Method { return i.parts().method }

// ID is what people know it by: its client id for Universal Auth, its own for Kubernetes Auth.
func (i Identity) ID() string { return i.parts().id }

// project is the id or the slug of the project that it reads; the other one is empty.
func (i Identity) project() (id, slug string) {
	project := i.parts().project
	if projectID.MatchString(project) {
		return project, ""
	}
	return "", project
}

// login gets an access token. Errors: *infisical.Error or *JWTError.
func (i Identity) login(ctx context.Context, server *infisical.Server) (infisical.AccessToken, error) {
	parts := i.parts()
	if parts.method == UniversalAuth {
		return server.UniversalAuth(ctx, parts.id, parts.clientSecret)
	}
	timed, cancel := context.WithTimeout(ctx, jwtTimeout)
	defer cancel()
	jwt, err := parts.jwts.JWT(timed)
	if err != nil {
		return infisical.AccessToken{}, &JWTError{err}
	}
	return server.KubernetesAuth(ctx, parts.id, jwt)
}

// String, and every other way in which Go prints a value, shows the method and the id only.
func (i Identity) String() string { return fmt.Sprintf("%s:%s:***", i.Method(), i.ID()) }

// Format covers all verbs of package fmt, %#v and %x among them.
func (i Identity) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(i.String())) }

// MarshalText covers JSON, YAML and text encoders, as a value and as a map key.
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// LogValue covers log/slog.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.String()) }
