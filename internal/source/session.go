package source

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	// sessionAge is how often a token's description is read anew while all is well.
	sessionAge = time.Hour
	// sessionRecheck is how old a description may be when a source's failure asks for a new one, so that many failing sources
	// of one token do not multiply their requests.
	sessionRecheck = 30 * time.Second
)

// Token describes a token and its project, as the server told.
type Token struct {
	ID             string
	ExpiresAt      *time.Time // nil when it never expires
	Scopes         servicetoken.Scopes
	ProjectVersion int

	projectID    string
	environments []string
	canRead      bool
	key          servicetoken.ProjectKey
	hasKey       bool
	sealedKey    servicetoken.Sealed // what key was opened from: a new one means a new key
}

// newSession returns the poller that keeps the description of one token, for all sources read with it.
func (p *Pool) newSession(cred Credential) *poller[*Token] {
	s := newPoller[*Token](p.clock, p.random)
	s.interval = func() time.Duration { return sessionAge }
	s.same = func(a, b *Token) bool { return reflect.DeepEqual(a.visible(), b.visible()) }
	s.fetch = func(ctx context.Context) (*Token, error) {
		before, _, _ := s.read()
		token, err := describe(ctx, cred, before)
		if infisical.KindOf(err) == infisical.KindTokenNotFound && before != nil && before.ExpiresAt != nil && !p.clock.Now().Before(*before.ExpiresAt) {
			// The server deletes an expired token at its first use and does not know it from then on.
			return nil, &infisical.Error{Kind: infisical.KindTokenExpired}
		}
		return token, err
	}
	return s
}

// visible is what a change of must reach the sources and their readers.
func (t *Token) visible() any {
	return struct {
		A *time.Time
		B servicetoken.Scopes
		C int
		D []string
		E bool
		F servicetoken.Sealed
	}{t.ExpiresAt, t.Scopes, t.ProjectVersion, t.environments, t.canRead, t.sealedKey}
}

// describe asks the server what a token is. It opens the project key unless before holds it already.
func describe(ctx context.Context, cred Credential, before *Token) (*Token, error) {
	info, err := cred.Server.ServiceToken(ctx, cred.Token)
	if err != nil {
		return nil, err
	}
	project, err := cred.Server.Project(ctx, cred.Token, info.ProjectID)
	if err != nil {
		return nil, err
	}
	t := &Token{
		ID: cred.Token.ID(), ExpiresAt: info.ExpiresAt, Scopes: info.Scopes, ProjectVersion: project.Version,
		projectID: info.ProjectID, environments: project.Environments, canRead: slices.Contains(info.Permissions, "read"),
		sealedKey: info.ProjectKey,
	}
	switch {
	case !cred.Token.HasKey() || info.ProjectKey.IsZero():
	case before != nil && before.hasKey && before.sealedKey == info.ProjectKey:
		t.key, t.hasKey = before.key, true
	default:
		key, err := cred.Token.OpenProjectKey(info.ProjectKey)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrProjectKey, err)
		}
		t.key, t.hasKey = key, true
	}
	return t, nil
}
