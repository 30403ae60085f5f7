package devserver

import (
	"net/http"
	"slices"
	"strings"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// authenticate finds the caller's token, or returns what the server answers instead. A fourth part is ignored, as the
// real server does; the log shows who sent one.
func (s *Server) authenticate(c *call) *answer {
	bearer, ok := strings.CutPrefix(c.request.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return failure(http.StatusUnauthorized, "UnauthorizedError", "Token missing")
	}
	if _, ok := claimsOf(bearer); ok {
		return s.authenticateIdentity(c, bearer)
	}
	parts := strings.Split(bearer, ".")
	if parts[0] != "st" || len(parts) < 2 {
		return failure(http.StatusForbidden, "TokenError",
			"The provided access token is malformed. Please use a valid token or generate a new one and try again.")
	}
	t, failed := s.findToken(parts[1])
	if failed != nil {
		return failed
	}
	if len(parts) < 3 {
		return wentWrong()
	}
	s.work(c)
	if parts[2] != t.secret {
		return failure(http.StatusUnauthorized, "UnauthorizedError", "Invalid service token")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.use(s.clock.Now())
	c.token = t
	return nil
}

// work takes as long as a bcrypt, without the lock: a real server does this on many cores.
func (s *Server) work(c *call) {
	s.mu.Lock()
	latency := s.latency
	s.mu.Unlock()
	s.wait(c.request.Context(), latency)
}

// findToken is the server's look-up. It deletes a token that it finds expired, whether or not the secret is right: what
// was 403 is 404 from then on.
func (s *Server) findToken(id string) (*token, *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[id]
	if t == nil {
		return nil, failure(http.StatusNotFound, "NotFound", "Service token with ID '"+id+"' not found")
	}
	if !t.expires.IsZero() && t.expires.Before(s.clock.Now()) {
		delete(s.tokens, id)
		return nil, failure(http.StatusForbidden, "ForbiddenError", "Service token has expired")
	}
	return t, nil
}

// tokenID names the caller in the log: the id that was sent, whether or not there is such a token. An identity's requests have its
// id, and its logins what it logs in with: its client id, or its id.
func (c *call) tokenID() string {
	if c.caller != "" {
		return c.caller
	}
	authorization := c.request.Header.Get("Authorization")
	if claims, ok := claimsOf(strings.TrimPrefix(authorization, "Bearer ")); ok {
		return claims.IdentityID
	}
	parts := strings.Split(authorization, ".")
	if parts[0] != "Bearer st" || len(parts) < 2 {
		return ""
	}
	return parts[1]
}

// project checks that the caller's token is one of the project that it asks for. How an identity is refused is not among the
// recordings.
func (c *call) project(id string) (*Project, *answer) {
	if c.token.project.id != id && c.token.identity {
		return nil, c.token.project.noneOfItsOwn("ID", id, func(p *Project) bool { return p.id == id })
	}
	if c.token.project.id != id {
		return nil, failure(http.StatusForbidden, "Service token not a part of the specified project with ID "+id,
			"You are not allowed to access this resource")
	}
	return c.token.project, nil
}

// noneOfItsOwn refuses an identity a project that its own is not.
func (p *Project) noneOfItsOwn(by, name string, asked func(*Project) bool) *answer {
	if slices.ContainsFunc(p.server.projects, asked) {
		return failure(http.StatusForbidden, "ForbiddenError", "You are not a member of this project")
	}
	return failure(http.StatusNotFound, "NotFound", "Project with "+by+" '"+name+"' not found")
}

// may checks a permission and the scopes: nil, or the refusal. Actions are read, create, edit and delete; subjects are secrets and
// secret-imports.
func (t *token) may(action, subject, environment, path string) *answer {
	if t.allowed(action, environment, path) {
		return nil
	}
	return notAllowed(action, subject)
}

func notAllowed(action, subject string) *answer {
	return failure(http.StatusForbidden, "PermissionDenied", "You are not allowed to "+action+" on "+subject)
}

// allowed matches as the server does, to which all but reading is writing, and to whom a path without a leading slash is no path, even under the scope **.
func (t *token) allowed(action, environment, path string) bool {
	permission := "write"
	if action == "read" {
		permission = action
	}
	return slices.Contains(t.permissions, permission) && strings.HasPrefix(path, "/") && (t.everywhere || t.scopes.Allow(environment, path))
}

// override is what the server-decrypted endpoints do for a token with one scope that is no glob: whatever it asked, it
// gets that place.
func (t *token) override() (servicetoken.Scope, bool) {
	if t.identity {
		return servicetoken.Scope{}, false
	}
	return t.scopes.Sole()
}
