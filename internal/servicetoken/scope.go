package servicetoken

import (
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Scope is one place that a token may read or write: an environment by its slug, and a path, which may be a glob.
type Scope struct {
	Environment string `json:"environment"`
	Path        string `json:"secretPath"`
}

// Scopes are all the places of a token.
type Scopes []Scope

// Allow says whether the server would let a token with these scopes at the path, by the server's own rules: the
// environment matches literally, the path by glob, case-sensitively, where * stays within a segment and matches at least
// one character of it when it stands alone, and ** spans segments only when it stands alone in one.
func (s Scopes) Allow(environment, path string) bool {
	for _, scope := range s {
		if scope.Environment == environment && scope.matchPath(path) {
			return true
		}
	}
	return false
}

// Sole returns the only place of a token that has just one and no glob in it: where such a token reads when the user
// names no source, and where the server's raw endpoint reads whatever was asked.
func (s Scopes) Sole() (Scope, bool) {
	if len(s) != 1 || !s[0].Literal() {
		return Scope{}, false
	}
	return s[0], true
}

// String lists the scopes as environment:path.
func (s Scopes) String() string {
	if len(s) == 0 {
		return "none"
	}
	texts := make([]string, len(s))
	for i, scope := range s {
		texts[i] = scope.Environment + ":" + scope.Path
	}
	return strings.Join(texts, ", ")
}

// Literal says whether the path names one folder, with nothing in it that a glob matcher would interpret.
func (s Scope) Literal() bool { return !strings.ContainsAny(s.Path, `*?[]{}()!\`) }

func (s Scope) matchPath(path string) bool {
	if s.Literal() {
		return s.Path == path
	}
	if strings.ContainsAny(s.Path, `()!`) {
		// Extended globs and negations, which only the server's matcher knows. It is asked, and its answer counts: the trap
		// of a token that silently reads elsewhere exists for literal scopes only.
		return true
	}
	if s.Path == "**" {
		return true
	}
	// A * that is a whole segment needs something to match; doublestar would let it match the empty last segment of "/".
	if path == "/" {
		return strings.HasSuffix(s.Path, "/**") && doublestar.MatchUnvalidated(s.Path, path)
	}
	return doublestar.MatchUnvalidated(s.Path, path)
}
