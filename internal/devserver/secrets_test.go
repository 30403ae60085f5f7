package devserver

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

func TestMissingPlacesAnswerAnEmptyList(t *testing.T) {
	h := newHarness(t, WithV4(true))
	for version := range 3 {
		p := h.AddProject(version + 1)
		p.Put("dev", "/db", "A", "1")
		p.Put("dev", "/other/deep", "A", "1")
		token := p.AddToken(TokenSpec{Scopes: everywhere})
		p.DeleteFolder("dev", "/other")
		p.RenameEnvironment("staging", "test")
		p.DeleteEnvironment("prod")
		for _, place := range [][2]string{{"dev", "/DB"}, {"dev", "/other"}, {"dev", "/other/deep"}, {"staging", "/"}, {"prod", "/"}} {
			for _, ask := range []func(string, string, string, string, ...string) reply{h.sealed, h.raw, h.v4} {
				for _, more := range [][]string{nil, {"include_imports=true"}, {"recursive=true"}} {
					got := ask(token, p.ID(), place[0], place[1], more...)
					if got.status != http.StatusOK || got.text != `{"secrets":[],"imports":[]}` {
						t.Errorf("version %d, %v %v: %d %s", version+1, place, more, got.status, got.text)
					}
				}
			}
		}
		if got := h.sealed(token, p.ID(), "dev", "/"); got.text != `{"secrets":[]}` {
			t.Errorf("an empty folder: %s", got.text)
		}
		if got := h.raw(token, p.ID(), "dev", "/db/"); len(got.body.Secrets) != 1 {
			t.Errorf("a trailing slash: %s", got.text)
		}
	}
}

func TestScopesAreEnforcedAsObserved(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	paths := []string{"/", "/db", "/db/replica", "/dbx", "/Db", "db"}
	for scope, want := range map[string]string{
		"/": "y.....", "/*": ".y.yy.", "/**": "yyyyy.", "**": "yyyyy.", "/db": ".y....", "/db/": "......", "/db/*": "..y...",
		"/db/**": ".yy...", "/db**": ".y.y..", "/{db,x}/**": ".yy...", "/d?": ".y....", "db": "......",
	} {
		token := p.AddToken(TokenSpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: scope}}})
		for i, path := range paths {
			got := h.sealed(token, p.ID(), "dev", path)
			if want[i] == 'y' {
				if got.status != http.StatusOK {
					t.Errorf("scope %q, path %q: status %d", scope, path, got.status)
				}
			} else {
				got.want(t, http.StatusForbidden, "PermissionDenied", "You are not allowed to read on secrets")
			}
		}
		h.sealed(token, p.ID(), "prod", "/db").want(t, http.StatusForbidden, "PermissionDenied", "You are not allowed to read on secrets")
	}
	writer := p.AddToken(TokenSpec{Scopes: everywhere, Permissions: []string{"write"}})
	h.sealed(writer, p.ID(), "dev", "/").want(t, http.StatusForbidden, "PermissionDenied", "You are not allowed to read on secrets")
	h.get(writer, "/api/v1/secret-imports?environment=dev&workspaceId="+p.ID()).
		want(t, http.StatusForbidden, "PermissionDenied", "You are not allowed to read on secret-imports")
}

func TestAnotherProjectIsRefused(t *testing.T) {
	h := newHarness(t, WithV4(true))
	mine, other := h.AddProject(1), h.AddProject(3)
	token := mine.AddToken(TokenSpec{Scopes: everywhere})
	for _, got := range []reply{
		h.sealed(token, other.ID(), "dev", "/"), h.raw(token, other.ID(), "dev", "/"), h.v4(token, other.ID(), "dev", "/"),
		h.get(token, "/api/v1/workspace/"+other.ID()), h.get(token, "/api/v1/secret-imports?environment=dev&workspaceId="+other.ID()),
	} {
		got.want(t, http.StatusForbidden, "Service token not a part of the specified project with ID "+other.ID(),
			"You are not allowed to access this resource")
	}
}

func TestServerDecryptedIgnoresTheQuestionOfATokenWithOneLiteralScope(t *testing.T) {
	h := newHarness(t, WithV4(true))
	p := h.AddProject(3)
	p.Put("dev", "/db", "FROM", "dev:/db")
	p.Put("prod", "/", "FROM", "prod:/")
	one := p.AddToken(TokenSpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/db"}}})
	glob := p.AddToken(TokenSpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/d*"}}})
	two := p.AddToken(TokenSpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/db"}, {Environment: "dev", Path: "/x"}}})
	for _, ask := range []func(string, string, string, string, ...string) reply{h.raw, h.v4} {
		for _, project := range []string{p.ID(), "no-project"} {
			got := ask(one, project, "prod", "/")
			if diff := cmp.Diff(map[string]string{"FROM": "dev:/db"}, values(t, got.body.Secrets)); diff != "" {
				t.Error(diff)
			}
		}
		ask(glob, p.ID(), "prod", "/").want(t, http.StatusForbidden, "PermissionDenied", "You are not allowed to read on secrets")
		ask(two, p.ID(), "prod", "/").want(t, http.StatusForbidden, "PermissionDenied", "You are not allowed to read on secrets")
	}
	h.sealed(one, p.ID(), "prod", "/").want(t, http.StatusForbidden, "PermissionDenied", "You are not allowed to read on secrets")
}

func TestStrictProjectCannotBeDecryptedByTheServer(t *testing.T) {
	h := newHarness(t, WithV4(true))
	p := h.AddStrictProject()
	p.Put("dev", "/", "A", "1")
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	for _, got := range []reply{h.raw(token, p.ID(), "dev", "/"), h.v4(token, p.ID(), "dev", "/")} {
		if got.status != http.StatusNotFound || !strings.HasPrefix(text(got.body.Message), "Project bot not found") {
			t.Errorf("%d %s", got.status, got.text)
		}
	}
	if diff := cmp.Diff([]string{"A=1"}, opened(t, p.Key(), h.sealed(token, p.ID(), "dev", "/").body.Secrets)); diff != "" {
		t.Error(diff)
	}
}

func TestEncryptedEndpointKnowsNothingOfVersion3AndStaleSecretsAfterAMigration(t *testing.T) {
	h := newHarness(t)
	fresh, migrated := h.AddProject(3), h.AddProject(2)
	fresh.Put("dev", "/", "A", "new")
	migrated.Put("dev", "/", "A", "old")
	migrated.Put("dev", "/", "GONE", "old")
	migrated.AddImport("dev", "/x", "dev", "/")
	migrated.Migrate()
	migrated.Put("dev", "/", "A", "new")
	migrated.Put("dev", "/", "B", "new")
	migrated.Delete("dev", "/", "GONE")
	if fresh.Version() != 3 || migrated.Version() != 3 {
		t.Error("versions")
	}
	token := fresh.AddToken(TokenSpec{Scopes: everywhere})
	if got := h.sealed(token, fresh.ID(), "dev", "/"); got.text != `{"secrets":[]}` {
		t.Error(got.text)
	}
	token = migrated.AddToken(TokenSpec{Scopes: everywhere})
	got := opened(t, migrated.Key(), h.sealed(token, migrated.ID(), "dev", "/").body.Secrets)
	slices.Sort(got)
	if diff := cmp.Diff([]string{"A=old", "GONE=old"}, got); diff != "" {
		t.Error(diff)
	}
	if got := h.sealed(token, migrated.ID(), "dev", "/x", "include_imports=true"); len(got.body.Imports) != 1 || len(got.body.Imports[0].Secrets) != 2 {
		t.Errorf("stale imports: %s", got.text)
	}
	if diff := cmp.Diff(map[string]string{"A": "new", "B": "new"}, values(t, h.raw(token, migrated.ID(), "dev", "/").body.Secrets)); diff != "" {
		t.Error(diff)
	}
}

func TestRawTrimsAndEncryptedDoesNot(t *testing.T) {
	h := newHarness(t, WithV4(true))
	for version := range 3 {
		p := h.AddProject(version + 1)
		p.Put("dev", "/", "A", "\ufeff \r\n a b\u0085 \u00a0\t\n")
		token := p.AddToken(TokenSpec{Scopes: everywhere})
		for _, ask := range []func(string, string, string, string, ...string) reply{h.raw, h.v4} {
			if diff := cmp.Diff(map[string]string{"A": "a b\u0085"}, values(t, ask(token, p.ID(), "dev", "/").body.Secrets)); diff != "" {
				t.Error(diff)
			}
		}
		if version+1 == 3 {
			continue
		}
		if diff := cmp.Diff([]string{"A=\ufeff \r\n a b\u0085 \u00a0\t\n"}, opened(t, p.Key(), h.sealed(token, p.ID(), "dev", "/").body.Secrets)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestOnlyVersion3ExpandsReferences(t *testing.T) {
	h := newHarness(t)
	for version := range 3 {
		p := h.AddProject(version + 1)
		literal := map[string]string{
			"A": "a", "SAME": "<${ A }>", "OTHER": "${prod.x.y.B}", "ROOT": "${prod.C}", "CHAIN": "${SAME}", "MISSING": "${NOPE} ${dev.no.NOPE} ${nope.A}",
			"CYCLE": "${CYCLE}", "EMPTY": "${}",
		}
		for name, value := range literal {
			p.Put("dev", "/", name, value)
		}
		p.Put("prod", "/x/y", "B", "b${C}")
		p.Put("prod", "/x/y", "C", "c")
		p.Put("prod", "/", "C", "root")
		token := p.AddToken(TokenSpec{Scopes: everywhere})
		if diff := cmp.Diff(literal, values(t, h.raw(token, p.ID(), "dev", "/").body.Secrets)); diff != "" {
			t.Error(diff)
		}
		want := literal
		if version+1 == 3 {
			want = map[string]string{
				"A": "a", "SAME": "<a>", "OTHER": "bc", "ROOT": "root", "CHAIN": "<a>", "MISSING": literal["MISSING"], "CYCLE": "${CYCLE}", "EMPTY": "${}",
			}
		}
		got := values(t, h.raw(token, p.ID(), "dev", "/", "expandSecretReferences=true").body.Secrets)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("version %d: %s", version+1, diff)
		}
	}
}

func TestRecursiveLeavesOutWhatTheTokenMayNotRead(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	for _, path := range []string{"/", "/db", "/db/replica", "/dbx", "/web"} {
		p.Put("dev", path, "AT", path)
	}
	all := p.AddToken(TokenSpec{Scopes: everywhere})
	db := p.AddToken(TokenSpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/db/**"}}})
	for _, tt := range []struct {
		token, path string
		want        []string
	}{
		{all, "/", []string{"/", "/db", "/db/replica", "/dbx", "/web"}},
		{all, "/db", []string{"/db", "/db/replica", "/dbx"}}, // by the beginning of the text, as on the real server
		{all, "/db/replica", []string{"/db/replica"}},
		{db, "/", []string{"/db", "/db/replica"}},
		{db, "/web", nil},
	} {
		for range 2 { // the second answer is a kept one
			got := h.sealed(tt.token, p.ID(), "dev", tt.path, "recursive=true")
			var paths, ids []string
			for _, s := range got.body.Secrets {
				paths, ids = append(paths, text(s["secretPath"])), append(ids, text(s["id"]))
			}
			if !slices.IsSorted(ids) {
				t.Error("not in the order of ids")
			}
			slices.Sort(paths)
			if diff := cmp.Diff(tt.want, paths); diff != "" || got.status != http.StatusOK {
				t.Errorf("%s: status %d, %s", tt.path, got.status, diff)
			}
		}
	}
}

func TestTagsFilterServerDecryptedSecrets(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(3)
	for _, name := range []string{"A", "B", "C", "D"} {
		p.Put("dev", "/", name, name)
	}
	p.Tag("dev", "/", "A", "one")
	p.Tag("dev", "/", "B", "one", "two")
	p.Tag("dev", "/", "C", "two")
	p.Tag("dev", "/", "C")
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	for list, want := range map[string]map[string]string{
		"": {"A": "A", "B": "B", "C": "C", "D": "D"}, "one": {"A": "A", "B": "B"}, "two": {"B": "B"}, "one,%20two": {"A": "A", "B": "B"}, "no": {},
	} {
		got := h.raw(token, p.ID(), "dev", "/", "tagSlugs="+list)
		if diff := cmp.Diff(want, values(t, got.body.Secrets)); diff != "" {
			t.Errorf("%q: %s", list, diff)
		}
	}
	for _, s := range h.raw(token, p.ID(), "dev", "/", "tagSlugs=two").body.Secrets {
		if tags, ok := s["tags"].([]any); !ok || len(tags) != 2 {
			t.Errorf("tags %v", s["tags"])
		}
	}
}

func TestV4IsForNewerServersAndCanHideValues(t *testing.T) {
	old, newer := newHarness(t), newHarness(t, WithV4(true))
	for _, h := range []*harness{old, newer} {
		p := h.AddProject(3)
		p.Put("dev", "/", "A", "1")
		token := p.AddToken(TokenSpec{Scopes: everywhere})
		got := h.v4(token, p.ID(), "dev", "/", "viewSecretValue=false")
		if h == old {
			got.want(t, http.StatusNotFound, "Not Found",
				"Route GET:/api/v4/secrets?environment=dev&projectId="+p.ID()+"&secretPath=%2F&viewSecretValue=false not found")
			continue
		}
		if s := got.body.Secrets[0]; s["secretValue"] != hiddenValue || s["secretValueHidden"] != true {
			t.Errorf("hidden: %s", got.text)
		}
		if s := h.v4(token, p.ID(), "dev", "/").body.Secrets[0]; s["secretValue"] != "1" || s["secretValueHidden"] != false {
			t.Errorf("shown: %v", s)
		}
		h.get(token, "/api/v4/secrets?environment=dev").want(t, http.StatusBadRequest, "BadRequest", "Missing project id or environment")
		h.get(token, "/api/v3/secrets/raw?environment=dev").want(t, http.StatusBadRequest, "BadRequest", "Missing workspace id or environment")
	}
}

func TestPutChangesAndDeleteDeletesAndEveryChangeShows(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(2)
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	ask := func() []string {
		got := opened(t, p.Key(), h.sealed(token, p.ID(), "dev", "/a/b").body.Secrets)
		slices.Sort(got)
		return got
	}
	p.Put("dev", "/a/b/", "A", "1")
	first := h.sealed(token, p.ID(), "dev", "/a/b")
	p.Put("dev", "/a/b", "A", "1")
	second := h.sealed(token, p.ID(), "dev", "/a/b")
	if was, is := first.body.Secrets[0], second.body.Secrets[0]; was["id"] != is["id"] || is["version"] != 2.0 || was["secretValueIV"] == is["secretValueIV"] {
		t.Error("the same value again: another version with other IVs")
	}
	p.Put("dev", "/a/b", "A", "2")
	p.PutDuplicate("dev", "/a/b", "A", "3")
	p.Put("dev", "/a/b", "B", "")
	if diff := cmp.Diff([]string{"A=2", "A=3", "B="}, ask()); diff != "" {
		t.Error(diff)
	}
	p.Delete("dev", "/a/b", "A")
	if diff := cmp.Diff([]string{"B="}, ask()); diff != "" {
		t.Error(diff)
	}
	p.AddFolder("dev", "/a/c")
	if p.findFolder("dev", "/a") == nil || p.findFolder("dev", "/a/c") == nil || p.findFolder("dev", "/a/b") == nil {
		t.Error("folders in between are missing")
	}
	p.AddEnvironment("qa")
	p.Put("qa", "/", "A", "1")
	p.DeleteFolder("dev", "/a")
	if ask() != nil {
		t.Error("secrets outlive their folder")
	}
}
