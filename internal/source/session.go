package source

import (
	"context"
	"errors"
	"fmt"
	"math"
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

// Token describes a token and its project, as the server told; or an identity and its project.
type Token struct {
	ID             string
	ExpiresAt      *time.Time          // nil when it never expires, as no identity does
	Scopes         servicetoken.Scopes // none for an identity: what that may read, only the server knows
	ProjectVersion int                 // 0 when the server does not tell an identity
	Identity       bool

	projectID    string
	projectSlug  string   // in place of the id, where the server does not tell that
	environments []string // nil when the server does not tell an identity
	canRead      bool
	canWrite     bool
	hasKey       bool // there is a key to decrypt with, if it opens
	sealedKey    servicetoken.Sealed
	key          servicetoken.ProjectKey // what sealedKey opens to,
	keyErr       error                   // or why it does not: of no concern where the server decrypts
}

// CanRead says whether it may read, as far as that is known: of an identity, only the server knows.
func (t *Token) CanRead() bool { return t.canRead }

// reaches says why a place lies where the token cannot get, if that is known without asking there.
func (t *Token) reaches(place Place) error {
	switch {
	case !t.Identity && !t.Scopes.Allow(place.Environment, place.Path):
		return &ScopeError{Place: place, Scopes: t.Scopes}
	case t.environments != nil && !slices.Contains(t.environments, place.Environment):
		return &NotFoundError{Place: place, Environment: true, Environments: t.environments}
	}
	return nil
}

// query asks for a place of the token's project.
func (t *Token) query(place Place) infisical.Query {
	return infisical.Query{
		ProjectID: t.projectID, ProjectSlug: t.projectSlug, Environment: place.Environment, Path: place.Path, Recursive: place.Recursive,
	}
}

// newSession returns the poller that keeps the description of one token or identity, for all sources read with it.
func (p *Pool) newSession(cred Credential, access *access) *poller[*Token] {
	s := newPoller[*Token](p.clock, p.random)
	// A description stays good while the server cannot be asked for a new one. If it is not, that shows where it is used.
	s.tolerated = math.MaxInt
	s.interval = func() time.Duration { return sessionAge }
	s.same = (*Token).equal
	s.fetch = func(ctx context.Context) (*Token, error) {
		before, _, _ := s.read()
		token, err := describe(ctx, cred, before)
		return token, before.explain(err, p.clock.Now())
	}
	if !cred.Identity.IsZero() {
		var mended <-chan struct{}
		s.outdated = func() <-chan struct{} { return mended }
		s.fetch = func(ctx context.Context) (token *Token, err error) {
			before, _, _ := s.read()
			mended, err = access.use(ctx, func(auth infisical.Authorization) (err error) {
				token, err = describeIdentity(ctx, cred, auth, before)
				return err
			})
			return token, err
		}
	}
	return s
}

// equal says whether sources and their readers can tell t from o, another description of the same token. What the key opens
// to follows from sealedKey.
func (t *Token) equal(o *Token) bool {
	sameExpiry := t.ExpiresAt == o.ExpiresAt || t.ExpiresAt != nil && o.ExpiresAt != nil && t.ExpiresAt.Equal(*o.ExpiresAt)
	return sameExpiry && slices.Equal(t.Scopes, o.Scopes) && t.ProjectVersion == o.ProjectVersion && t.projectID == o.projectID &&
		t.projectSlug == o.projectSlug && slices.Equal(t.environments, o.environments) &&
		t.canRead == o.canRead && t.canWrite == o.canWrite && t.hasKey == o.hasKey && t.sealedKey.Equal(o.sealedKey)
}

// explain makes one error of the two with which the server answers to an expired token: it says so once, deletes the token,
// and does not know it from then on. Of a token that never expires, the second means something else. t is the token as it was described
// last, or nil.
func (t *Token) explain(err error, now time.Time) error {
	kind := infisical.KindOf(err)
	known := t != nil && t.ExpiresAt != nil && !now.Before(*t.ExpiresAt)
	if kind == infisical.KindTokenExpired || kind == infisical.KindTokenNotFound && known {
		return &infisical.Error{Kind: infisical.KindTokenExpired}
	}
	if e, ok := errors.AsType[*infisical.Error](err); ok && kind == infisical.KindTokenNotFound && t != nil && t.ExpiresAt == nil {
		revoked := *e
		revoked.Kind = infisical.KindTokenRevoked
		return &revoked
	}
	return err
}

// describeIdentity asks the server for the project of an identity. That the server does not tell is no failure: what can be read
// can be read without.
func describeIdentity(ctx context.Context, cred Credential, auth infisical.Authorization, before *Token) (*Token, error) {
	t := &Token{ID: cred.Identity.ID(), Identity: true, canRead: true, canWrite: true}
	t.projectID, t.projectSlug = cred.Identity.project()
	var project infisical.Project
	var err error
	if t.projectID != "" {
		project, err = cred.Server.Project(ctx, auth, t.projectID)
	} else {
		project, err = cred.Server.ProjectBySlug(ctx, auth, t.projectSlug)
	}
	switch infisical.KindOf(err) {
	case infisical.KindPermissionDenied, infisical.KindRouteNotFound, infisical.KindNotFound:
		if before != nil {
			return before, nil // it did tell, and may do so again
		}
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(project.Environments) // in any order they are the same
	t.projectID, t.projectSlug, t.ProjectVersion, t.environments = project.ID, "", project.Version, project.Environments
	return t, nil
}

// describe asks the server what a token is. It opens the project key unless before did already.
func describe(ctx context.Context, cred Credential, before *Token) (*Token, error) {
	info, err := cred.Server.ServiceToken(ctx, cred.Token)
	if err != nil {
		return nil, err
	}
	project, err := cred.Server.Project(ctx, cred.Token, info.ProjectID)
	if err != nil {
		return nil, err
	}
	slices.Sort(project.Environments) // in any order they are the same
	t := &Token{
		ID: cred.Token.ID(), ExpiresAt: info.ExpiresAt, Scopes: info.Scopes, ProjectVersion: project.Version,
		projectID: info.ProjectID, environments: project.Environments, canRead: slices.Contains(info.Permissions, "read"), canWrite: slices.Contains(info.Permissions, "write"),
		sealedKey: info.ProjectKey, hasKey: cred.Token.HasKey() && !info.ProjectKey.IsZero(),
	}
	switch {
	case !t.hasKey:
	case before != nil && before.sealedKey.Equal(t.sealedKey):
		t.key, t.keyErr = before.key, before.keyErr
	default:
		t.key, err = cred.Token.OpenProjectKey(t.sealedKey)
		switch {
		case errors.Is(err, servicetoken.ErrOpen):
			t.keyErr = ErrProjectKey // which says all that there is to it
		case err != nil:
			t.keyErr = fmt.Errorf("%w: %w", ErrProjectKey, err)
		}
	}
	return t, nil
}
