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

func TestScopesOfOtherEnvironmentsDoNotCount(t *testing.T) {
	scopes := Scopes{{Environment: "dev", Path: "/**"}, {Environment: "prod", Path: "/db"}}
	for place, want := range map[[2]string]bool{{"dev", "/x"}: true, {"prod", "/db"}: true, {"prod", "/x"}: false, {"Dev", "/x"}: false, {"*", "/db"}: false} {
		if got := scopes.Allow(place[0], place[1]); got != want {
			t.Errorf("%v: allowed = %v", place, got)
		}
	}
	if (Scopes{}).Allow("dev", "/") {
		t.Error("a token without scopes is allowed something")
	}
}

// TestWhatOnlyTheServersMatcherKnowsIsLeftToIt: the server refuses what such a scope does not match.
func TestWhatOnlyTheServersMatcherKnowsIsLeftToIt(t *testing.T) {
	for _, path := range []string{"/+(db|x)", "/!(db)", "!/db"} {
		scopes := Scopes{{Environment: "dev", Path: path}}
		if !scopes.Allow("dev", "/anything") {
			t.Errorf("%s: refused here", path)
		}
		if _, ok := scopes.Sole(); ok {
			t.Errorf("%s: taken for a literal path", path)
		}
	}
}

func TestSoleIsTheOneScopeWithoutAGlob(t *testing.T) {
	one := Scope{Environment: "dev", Path: "/db"}
	if got, ok := (Scopes{one}).Sole(); !ok || got != one {
		t.Errorf("got %v, %v", got, ok)
	}
	for _, scopes := range []Scopes{nil, {one, one}, {{Environment: "dev", Path: "/**"}}, {{Environment: "dev", Path: "/d?"}}, {{Environment: "dev", Path: "/{a,b}"}}} {
		if _, ok := scopes.Sole(); ok {
			t.Errorf("%v has one", scopes)
		}
	}
}

func TestScopesAreListedForPeople(t *testing.T) {
	if got := (Scopes{{"dev", "/db"}, {"prod", "/**"}}).String(); got != "dev:/db, prod:/**" {
		t.Error(got)
	}
	if got := (Scopes{}).String(); got != "none" {
		t.Error(got)
	}
}
