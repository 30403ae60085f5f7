package servicetoken

import "testing"

// TestScopesAllowAsTheServerDoes is the table observed on a running server.
func TestScopesAllowAsTheServerDoes(t *testing.T) {
	paths := []string{"/", "/db", "/db/replica", "/dbx", "/Db"}
	for scope, want := range map[string]string{
		"/":          "y....",
		"/*":         ".y.yy",
		"/**":        "yyyyy",
		"**":         "yyyyy",
		"/db":        ".y...",
		"/db/":       ".....",
		"/db/*":      "..y..",
		"/db/**":     ".yy..",
		"/db**":      ".y.y.",
		"/{db,x}/**": ".yy..",
		"/d?":        ".y...",
		"db":         ".....",
	} {
		for i, path := range paths {
			got := Scopes{{Environment: "dev", Path: scope}}.Allow("dev", path)
			if got != (want[i] == 'y') {
				t.Errorf("scope %q, path %q: allowed = %v", scope, path, got)
			}
		}
	}
}
