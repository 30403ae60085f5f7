package infisical

import (
	"context"
	"net/url"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	routeServiceToken = "GET /api/v2/service-token" //nolint:gosec // a path, no credential
	routeProject      = "GET /api/v1/workspace/{projectID}"
	routeProjectSlug  = "GET /api/v2/workspace/{slug}"
)

// TokenInfo is what the server knows of a service token.
type TokenInfo struct {
	ID, Name, ProjectID string
	Scopes              servicetoken.Scopes
	Permissions         []string   // of read and write; write does not imply read
	ExpiresAt           *time.Time // nil: never
	// ProjectKey is encrypted for the token. It is zero when the server has none for it.
	ProjectKey servicetoken.Sealed
}

// Project is what any valid token may see of its project.
type Project struct {
	ID           string
	Version      int      // 1 and 2 encrypt at the client, 3 at the server
	Environments []string // slugs
}

// ServiceToken asks the server about the token itself. The answer is worth keeping: it changes rarely, though never ends
// in a 304 (the server notes each use in it).
func (s *Server) ServiceToken(ctx context.Context, token servicetoken.Token) (TokenInfo, error) {
	r, err := s.get(ctx, token, request{route: routeServiceToken, path: "/api/v2/service-token"})
	if err != nil {
		return TokenInfo{}, err
	}
	var wire struct {
		ID           string               `json:"id"`
		Name         string               `json:"name"`
		ProjectID    string               `json:"projectId"`
		Workspace    string               `json:"workspace"` // the same, by its older name
		Scopes       *servicetoken.Scopes `json:"scopes"`
		Permissions  *[]string            `json:"permissions"`
		ExpiresAt    *time.Time           `json:"expiresAt"`
		EncryptedKey encoded              `json:"encryptedKey"` // this and the next two can be null
		IV           encoded              `json:"iv"`
		Tag          encoded              `json:"tag"`
	}
	if err := decode(routeServiceToken, r.body, &wire); err != nil {
		return TokenInfo{}, err
	}
	if wire.ProjectID == "" {
		wire.ProjectID = wire.Workspace
	}
	if wire.ID == "" || wire.ProjectID == "" || wire.Scopes == nil || wire.Permissions == nil {
		return TokenInfo{}, badAnswer(routeServiceToken, errIncomplete)
	}
	return TokenInfo{
		ID: wire.ID, Name: wire.Name, ProjectID: wire.ProjectID,
		Scopes: *wire.Scopes, Permissions: *wire.Permissions, ExpiresAt: wire.ExpiresAt,
		ProjectKey: sealed(wire.EncryptedKey, wire.IV, wire.Tag),
	}, nil
}

// Project asks for the version and the environments of a project that the authorization is valid in.
func (s *Server) Project(ctx context.Context, auth Authorization, projectID string) (Project, error) {
	r, err := s.get(ctx, auth, request{route: routeProject, path: "/api/v1/workspace/" + url.PathEscape(projectID)})
	if err != nil {
		return Project{}, err
	}
	var wire struct {
		Workspace projectWire `json:"workspace"`
	}
	if err := decode(routeProject, r.body, &wire); err != nil {
		return Project{}, err
	}
	return wire.Workspace.project(routeProject)
}

// ProjectBySlug is Project for an identity that knows the project by its slug. The route is not among the recorded ones: it was read
// from Infisical's source (October 2024), where it answers users and identities, so be prepared for a server that refuses it.
func (s *Server) ProjectBySlug(ctx context.Context, auth Authorization, slug string) (Project, error) {
	r, err := s.get(ctx, auth, request{route: routeProjectSlug, path: "/api/v2/workspace/" + url.PathEscape(slug)})
	if err != nil {
		return Project{}, err
	}
	var wire projectWire
	if err := decode(routeProjectSlug, r.body, &wire); err != nil {
		return Project{}, err
	}
	return wire.project(routeProjectSlug)
}

type projectWire struct {
	ID           string `json:"id"`
	Version      int    `json:"version"`
	Environments *[]struct {
		Slug string `json:"slug"`
	} `json:"environments"`
}

func (w projectWire) project(route string) (Project, error) {
	if w.ID == "" || w.Version < 1 || w.Environments == nil {
		return Project{}, badAnswer(route, errIncomplete)
	}
	p := Project{ID: w.ID, Version: w.Version, Environments: make([]string, len(*w.Environments))}
	for i, e := range *w.Environments {
		p.Environments[i] = e.Slug
	}
	return p, nil
}
