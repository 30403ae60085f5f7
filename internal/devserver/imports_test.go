package devserver

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// imported writes entries as label=names.
func imported(t *testing.T, p *Project, r reply) (entries []string) {
	t.Helper()
	for _, i := range r.body.Imports {
		text := i.Environment + ":" + i.SecretPath + " ="
		for _, s := range i.Secrets {
			if name, ok := s["secretKey"]; ok {
				text += fmt.Sprintf(" %s:%s", name, s["secretValue"])
			} else {
				text += " " + open(t, p.Key(), s, "secretKey") + ":" + open(t, p.Key(), s, "secretValue")
			}
		}
		entries = append(entries, text)
	}
	return entries
}

func TestImportsComeInOrderWithNestedOnesAppendedAndFromOutsideTheScopes(t *testing.T) {
	h := newHarness(t)
	for version := range 3 {
		p := h.AddProject(version + 1)
		p.Put("dev", "/b", "NAME", "b")
		p.Put("prod", "/a", "NAME", "a")
		p.Put("prod", "/nested", "NAME", "nested")
		p.Put("prod", "/second", "NAME2", "second")
		p.AddImport("dev", "/", "prod", "/a")
		p.AddImport("dev", "/", "dev", "/b")
		p.AddImport("dev", "/b", "prod", "/nested")
		p.AddImport("dev", "/b", "prod", "/second")
		p.AddImport("prod", "/nested", "dev", "/") // a cycle
		token := p.AddToken(TokenSpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/"}, {Environment: "dev", Path: "/x"}}})

		if version+1 < 3 {
			got := imported(t, p, h.sealed(token, p.ID(), "dev", "/", "include_imports=true"))
			if diff := cmp.Diff([]string{"prod:/a = NAME:a", "dev:/b = NAME:b NAME:nested"}, got); diff != "" {
				t.Errorf("version %d: %s", version+1, diff)
			}
		}
		got := imported(t, p, h.raw(token, p.ID(), "dev", "/", "include_imports=true"))
		if diff := cmp.Diff([]string{"prod:/a = NAME:a", "dev:/b = NAME:b"}, got); diff != "" {
			t.Errorf("version %d: %s", version+1, diff)
		}
		if got := imported(t, p, h.raw(token, p.ID(), "dev", "/")); got != nil {
			t.Errorf("not asked for: %v", got)
		}
	}
}

func TestAMissingImportSourceShiftsTheLabels(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	p.Put("prod", "/b", "B", "b")
	p.Put("prod", "/c", "C", "c")
	p.AddFolder("prod", "/a")
	for _, path := range []string{"/a", "/b", "/c"} {
		p.AddImport("dev", "/", "prod", path)
	}
	p.DeleteFolder("prod", "/a")
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	got := h.sealed(token, p.ID(), "dev", "/", "include_imports=true")
	if diff := cmp.Diff([]string{"prod:/a = B:b", "prod:/b = C:c", "prod:/c ="}, imported(t, p, got)); diff != "" {
		t.Error(diff)
	}
	if last := got.body.Imports[2]; last.FolderID != "" {
		t.Errorf("the last entry has folder %s", last.FolderID)
	}
	p.DeleteFolder("prod", "/b")
	p.DeleteFolder("prod", "/c")
	if got := h.sealed(token, p.ID(), "dev", "/", "include_imports=true"); got.text != `{"secrets":[],"imports":[]}` {
		t.Errorf("with no source left: %s", got.text)
	}
}

func TestSecretImportsTellMissingFromEmpty(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(3)
	p.AddFolder("dev", "/empty")
	p.AddImport("dev", "/", "prod", "/a")
	p.AddImport("dev", "/", "staging", "/b")
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	ask := func(environment, path string) reply {
		return h.get(token, "/api/v1/secret-imports?workspaceId="+p.ID()+"&environment="+environment+"&path="+path)
	}
	if got := ask("dev", "/empty/"); got.status != http.StatusOK || len(got.body.SecretImports) != 0 {
		t.Errorf("empty: %s", got.text)
	}
	ask("dev", "/nope").want(t, http.StatusNotFound, "NotFound", "Folder with path '/nope' in environment with slug 'dev' not found")
	got := ask("dev", "/").body.SecretImports
	if len(got) != 2 || got[0].ImportPath != "/a" || got[1].ImportEnv.Slug != "staging" || got[1].Position != 2 {
		t.Errorf("%+v", got)
	}
	p.RenameEnvironment("prod", "live")
	p.DeleteEnvironment("staging")
	got = ask("dev", "/").body.SecretImports
	if len(got) != 1 || got[0].ImportEnv.Slug != "live" {
		t.Errorf("after a rename and a deletion: %+v", got)
	}
	ask("staging", "/").want(t, http.StatusNotFound, "NotFound", "Folder with path '/' in environment with slug 'staging' not found")
}
