package infisical

import (
	"context"
	"net/url"
	"strconv"
	"strings"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	routeEncrypted = "GET /api/v3/secrets"
	routePlainV4   = "GET /api/v4/secrets"
	routePlainRaw  = "GET /api/v3/secrets/raw"
	routeImports   = "GET /api/v1/secret-imports"
)

// Query names a folder of a project. Whether the token may read there is to be checked before: the server-decrypted
// route answers a token with one literal scope with that scope's folder, whatever was asked.
type Query struct {
	ProjectID string
	// ProjectSlug is for PlainSecrets where the id is not known, and ProjectID is empty. Of its two routes only the older takes it.
	ProjectSlug string
	Environment string // slug
	Path        string // with its leading slash; a trailing one is dropped; empty means /
	Recursive   bool   // the folders below too
}

// Answer is what a folder holds, or that it has not changed.
type Answer[S any] struct {
	// ETag is for the next request with the same Query and the same token or identity. Empty when the server gave none.
	ETag        string
	NotModified bool // the ETag still holds; nothing else is set
	Secrets     []S  // in the server's order, by id; two can have the same name
	Imports     []Import[S]
}

// Import is one entry of a folder's imports, in the order of their positions: a later one wins over an earlier one, the
// folder's own secrets over all, and within one entry the first of a name. The labels can be wrong when the imported
// folder is missing, so they are no provenance.
type Import[S any] struct {
	Environment, Path string
	Secrets           []S
}

// SealedSecret is a secret as the server stores it.
type SealedSecret struct {
	ID, Environment, Path string // environment and path as the server labels it; imported ones may have no path
	Name, Value           servicetoken.Sealed
	Tags                  []string // slugs, sorted; nil when there are none, as for all imported ones
}

// PlainSecret is a secret that the server decrypted.
type PlainSecret struct {
	ID, Environment, Path string // environment and path as the server labels it; imported ones may have no path
	Name, Value           string
	Tags                  []string // slugs, sorted; nil when there are none, as for all imported ones
}

// EncryptedSecrets reads a folder as it is stored, with its imports. An empty answer is not to be trusted: missing
// folders, missing environments and every project of version 3 give one. etag is that of the answer before, or empty.
func (s *Server) EncryptedSecrets(ctx context.Context, token servicetoken.Token, q Query, etag string) (Answer[SealedSecret], error) {
	r, err := s.encrypted(ctx, token, q, etag)
	if err != nil {
		return Answer[SealedSecret]{}, err
	}
	return decodeAnswer(routeEncrypted, r, q, sealedWire.secret)
}

func (s *Server) encrypted(ctx context.Context, token servicetoken.Token, q Query, etag string) (reply, error) {
	return s.get(ctx, token, request{
		route: routeEncrypted, path: "/api/v3/secrets", query: q.values("workspaceId"), etag: cleanETag(etag),
	})
}

// PlainSecrets reads a folder decrypted by the server, with its imports and with references as they were written. It
// uses the newer of the two routes that the server has, and so may make two requests. An ETag of the one never matches
// on the other: it is a digest of the body, and the bodies differ. An empty answer is not to be trusted here either.
func (s *Server) PlainSecrets(ctx context.Context, auth Authorization, q Query, etag string) (Answer[PlainSecret], error) {
	etag = cleanETag(etag)
	if q.ProjectID != "" {
		query := q.values("projectId")
		query.Set("expandSecretReferences", "false")
		query.Set("viewSecretValue", "true")
		r, err := s.get(ctx, auth, request{route: routePlainV4, path: "/api/v4/secrets", query: query, etag: etag})
		if err == nil {
			return decodeAnswer(routePlainV4, r, q, plainWire.secret)
		}
		if KindOf(err) != KindRouteNotFound {
			return Answer[PlainSecret]{}, err
		}
	}
	query := q.values("workspaceId")
	if q.ProjectID == "" {
		query.Del("workspaceId")
		query.Set("workspaceSlug", q.ProjectSlug)
	}
	query.Set("expandSecretReferences", "false")
	r, err := s.get(ctx, auth, request{route: routePlainRaw, path: "/api/v3/secrets/raw", query: query, etag: etag})
	if err != nil {
		return Answer[PlainSecret]{}, err
	}
	return decodeAnswer(routePlainRaw, r, q, plainWire.secret)
}

// SecretImports asks for a folder's imports, for the one thing that only this route tells: nil means that the folder
// exists, an *Error of KindFolderNotFound that it does not.
func (s *Server) SecretImports(ctx context.Context, auth Authorization, q Query) error {
	r, err := s.get(ctx, auth, request{route: routeImports, path: "/api/v1/secret-imports", query: url.Values{
		"workspaceId": {q.ProjectID},
		"environment": {q.Environment},
		"path":        {cleanPath(q.Path)},
	}})
	if err != nil {
		return err
	}
	var wire struct {
		SecretImports *[]struct{} `json:"secretImports"`
	}
	if err := decode(routeImports, r.body, &wire); err != nil {
		return err
	}
	if wire.SecretImports == nil {
		return badAnswer(routeImports, errIncomplete)
	}
	return nil
}

// values are the query parameters that all routes for secrets share, but for the name of the project's.
func (q Query) values(project string) url.Values {
	v := url.Values{
		project:           {q.ProjectID},
		"environment":     {q.Environment},
		"secretPath":      {cleanPath(q.Path)},
		"include_imports": {"true"},
	}
	if q.Recursive {
		v.Set("recursive", strconv.FormatBool(true))
	}
	return v
}

// covers says whether a secret with these labels can be an answer to the query. A secret without a label can.
func (q Query) covers(environment, path string) bool {
	if environment != "" && environment != q.Environment {
		return false
	}
	asked := cleanPath(q.Path)
	if path == "" || cleanPath(path) == asked {
		return true
	}
	return q.Recursive && strings.HasPrefix(path, strings.TrimSuffix(asked, "/")+"/")
}

// neighbors says whether a secret came along with a recursive query for a reason known: the server compares paths as text, so
// that /db brings /dbx too.
func (q Query) neighbors(environment, path string) bool {
	return q.Recursive && (environment == "" || environment == q.Environment) && strings.HasPrefix(path, cleanPath(q.Path))
}

func cleanPath(path string) string {
	if path = strings.TrimRight(path, "/"); path == "" {
		return "/"
	}
	return path
}
