package devserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// manage asks the management API and decodes the answer into out, unless that is nil.
func (h *harness) manage(status int, request, body string, out any) {
	h.t.Helper()
	method, target, _ := strings.Cut(request, " ")
	w := httptest.NewRecorder()
	h.Management().ServeHTTP(w, httptest.NewRequestWithContext(h.t.Context(), method, target, strings.NewReader(body)))
	if w.Code != status {
		h.t.Errorf("%s: %d %s", request, w.Code, w.Body)
	}
	if out != nil {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			h.t.Fatalf("%s: %v in %s", request, err, w.Body)
		}
	}
}

const (
	fixedProject = "9a05ba10-be1c-442d-b05d-9864b0ff3f38"
	fixedKey     = "e49b27ef99e439fdb5ebe4e56a4d2ceb"
	fixedToken   = "st.116f1af5-f399-4106-8b5d-3493a804f0a5.de1b61d85259529cdfcedc541c2529ab.2e8ed2b8ea09c943e35233e5da049b96"
	fixedSeed    = `{"id": "` + fixedProject + `", "key": "` + fixedKey + `", "version": 1, "environments": ["dev", "prod"],
		"secrets": {"dev": {"/": {"A": "1"}, "/empty": {}}, "prod": {"/db": {"B": "2"}}},
		"imports": [{"environment": "dev", "path": "/", "fromEnvironment": "prod", "fromPath": "/db"}],
		"tokens": [{"name": "x", "token": "` + fixedToken + `", "scopes": [{"environment": "dev", "secretPath": "/**"}], "expiresIn": "1h"}]}`
)

func TestManagementDoesWhatTheGoAPIDoes(t *testing.T) {
	h := newHarness(t)
	var project, again summary
	h.manage(200, "POST /dev/projects", fixedSeed, &project)
	if diff := cmp.Diff(summary{fixedProject, fixedKey, 1, []string{fixedToken}}, project); diff != "" {
		t.Error(diff)
	}
	h.manage(200, "POST /dev/projects", `{"version": 2}`, &again)
	var all []summary
	h.manage(200, "GET /dev/projects", "", &all)
	if len(all) != 2 || all[1].ID != again.ID {
		t.Errorf("%v", all)
	}
	got := h.sealed(fixedToken, fixedProject, "dev", "/", "include_imports=true")
	if diff := cmp.Diff([]string{"A=1"}, opened(t, fixedKey, got.body.Secrets)); diff != "" || len(got.body.Imports[0].Secrets) != 1 {
		t.Error(got.text, diff)
	}
	of := "/dev/projects/" + again.ID
	var made struct{ Token string }
	h.manage(200, "POST "+of+"/tokens", `{"scopes": [{"environment": "qa", "secretPath": "/**"}], "permissions": ["read", "write"]}`, &made)
	h.manage(200, "POST "+of+"/environments", `{"slug": "test"}`, nil)
	h.manage(200, "PATCH "+of+"/environments/test", `{"slug": "qa"}`, nil)
	h.manage(200, "DELETE "+of+"/environments/prod", "", nil)
	h.manage(200, "POST "+of+"/folders", `{"environment": "qa", "path": "/a/b"}`, nil)
	h.manage(200, "DELETE "+of+"/folders", `{"environment": "qa", "path": "/a/b"}`, nil)
	h.manage(200, "PUT "+of+"/secrets", `{"environment": "qa", "path": "/a", "values": {"A": "1", "B": "2"}, "tags": ["t"]}`, nil)
	h.manage(200, "PUT "+of+"/secrets", `{"environment": "qa", "path": "/a", "values": {"A": "3"}, "duplicate": true}`, nil)
	h.manage(200, "DELETE "+of+"/secrets", `{"environment": "qa", "path": "/a", "names": ["B"]}`, nil)
	h.manage(200, "POST "+of+"/imports", `{"environment": "qa", "path": "/", "fromEnvironment": "qa", "fromPath": "/a"}`, nil)
	pairs := opened(t, again.Key, h.sealed(made.Token, again.ID, "qa", "/", "include_imports=true").body.Imports[0].Secrets)
	slices.Sort(pairs)
	if diff := cmp.Diff([]string{"A=1", "A=3"}, pairs); diff != "" {
		t.Error(diff)
	}
	h.manage(200, "POST "+of+"/migrate", "", nil)
	if diff := cmp.Diff(map[string]string{"A": "1"}, values(t, h.raw(made.Token, again.ID, "qa", "/a", "tagSlugs=t").body.Secrets)); diff != "" {
		t.Error(diff)
	}
	h.manage(200, "GET /dev/projects", "", &all)
	if all[1].Version != 3 {
		t.Errorf("%v", all)
	}
	h.manage(200, "DELETE "+of, "", nil)
	h.manage(200, "DELETE /dev/tokens/"+fixedToken, "", nil)
	if got := h.get(fixedToken, tokenRoute); got.status != http.StatusNotFound {
		t.Error("not revoked")
	}
	if got := h.get(made.Token, tokenRoute); got.status != http.StatusNotFound {
		t.Error("not deleted")
	}
}

func TestManagementSetsFaultsAndLimitsAndReadsTheLog(t *testing.T) {
	h := newHarness(t)
	h.manage(200, "POST /dev/projects", fixedSeed, nil)
	h.manage(200, "PUT /dev/faults", `{"route": "/api/v2", "status": 429, "retryAfter": "3s", "times": 1}`, nil)
	if got := h.get(fixedToken, tokenRoute); got.status != 429 || got.header.Get("Retry-After") != "3" {
		t.Errorf("%d %v", got.status, got.header)
	}
	h.manage(200, "PUT /dev/faults", `{"latency": "1h"}`, nil)
	if h.faults[0].Latency != time.Hour {
		t.Error(h.faults[0])
	}
	h.manage(200, "DELETE /dev/faults", "", nil)
	h.manage(200, "PUT /dev/settings", `{"latency": "85ms", "rateLimit": [40, 60]}`, nil)
	if h.latency != 85*time.Millisecond || h.limits.secrets != 40 || h.limits.other != 60 {
		t.Error(h.latency, h.limits)
	}
	h.manage(200, "PUT /dev/settings", `{"latency": "0s"}`, nil)
	if got := h.get(fixedToken, tokenRoute); got.header.Get("x-ratelimit-limit") != "60" {
		t.Error(got.header)
	}
	var requests []Request
	h.manage(200, "GET /dev/requests", "", &requests)
	if len(requests) != 2 || requests[0].Status != 429 || requests[1].Authorization != "Bearer "+fixedToken {
		t.Errorf("%+v", requests)
	}
	var counts struct {
		Count  int
		Counts []Count
	}
	h.manage(200, "GET /dev/counts?route=/nope", "", &counts)
	if counts.Count != 0 || len(counts.Counts) != 1 || counts.Counts[0].Count != 2 {
		t.Errorf("%+v", counts)
	}
	h.manage(200, "DELETE /dev/requests", "", nil)
	if h.Count("", "") != 0 {
		t.Error("not reset")
	}
}

func TestManagementSaysWhatIsWrong(t *testing.T) {
	h := newHarness(t)
	h.manage(200, "POST /dev/projects", fixedSeed, nil)
	of := "/dev/projects/" + fixedProject
	for _, tt := range []struct{ request, body, want string }{
		{"POST /dev/projects", fixedSeed, "already"},
		{"POST /dev/projects", `{"version": 9}`, "version"},
		{"POST /dev/projects", `{"version": 1, "key": "short"}`, "32 bytes"},
		{"POST /dev/projects", `{"version": 1, "secrets": {"qa": {"/": {"A": "1"}}}}`, `"qa"`},
		{"POST /dev/projects", `{"version": 1, "tokens": [{"expires": "1h"}]}`, "unknown field"},
		{"POST /dev/projects", `{"version": 1, "tokens": [{"expiresIn": "soon"}]}`, "duration"},
		{"POST /dev/projects", `{"version": 1} {}`, "more than one"},
		{"PUT " + of + "/secrets", `{"environment": "qa", "values": {"A": "1"}}`, `"qa"`},
		{"DELETE " + of + "/secrets", `{"environment": "dev", "path": "/", "names": ["NOPE"]}`, "no secret NOPE"},
		{"POST /dev/projects/nope/migrate", "", "no project nope"},
		{"PUT /dev/settings", `{"rateLimit": [1]}`, "two numbers"},
		{"PUT /dev/faults", `{"status": "x"}`, "cannot unmarshal"},
	} {
		var out struct{ Error string }
		h.manage(http.StatusBadRequest, tt.request, tt.body, &out)
		if !strings.Contains(out.Error, tt.want) {
			t.Errorf("%s %s: %s", tt.request, tt.body, out.Error)
		}
	}
	var all []summary
	h.manage(200, "GET /dev/projects", "", &all)
	if len(all) != 1 {
		t.Errorf("something is left of what failed: %v", all)
	}
}
