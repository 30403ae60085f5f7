package devserver

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

var readWrite = []string{"read", "write"}

// written is the secret in the answer to a write.
func (r reply) written(t *testing.T) map[string]any {
	t.Helper()
	var body struct{ Secret map[string]any }
	if err := json.Unmarshal([]byte(r.text), &body); err != nil || r.status != http.StatusOK || body.Secret == nil {
		t.Fatalf("%d %s", r.status, r.text)
	}
	return body.Secret
}

// write sends a body with the parameters that all writes to dev:/db have, and with more.
func (h *harness) write(request, token string, p *Project, more ...map[string]string) reply {
	h.t.Helper()
	body := map[string]string{"workspaceId": p.ID(), "environment": "dev", "secretPath": "/db", "type": "shared"}
	for _, m := range more {
		for name, value := range m {
			body[name] = value
		}
	}
	text, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	method, target, _ := strings.Cut(request, " ")
	return h.send(method, token, target, string(text))
}

// sealedFor encrypts a field for a project.
func sealedFor(t *testing.T, p *Project, field, plain string) map[string]string {
	t.Helper()
	sealed, err := p.cipher.Seal([]byte(plain), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e := encryptedOf(sealed)
	return map[string]string{field + "Ciphertext": *e.ciphertext, field + "IV": *e.iv, field + "Tag": *e.tag}
}

// secrets is what the raw endpoint answers for dev:/db, by name.
func (h *harness) secrets(token string, p *Project) map[string]string {
	h.t.Helper()
	return values(h.t, h.raw(token, p.ID(), "dev", "/db").body.Secrets)
}

// TestWritesAreAnsweredAsRecorded repeats all recorded writes in the order in which they were made, at the times at which they were
// made. What creates something is given the id that it had.
func TestWritesAreAnsweredAsRecorded(t *testing.T) {
	h := recorded(t)
	names := []string{
		"read-only-token", "encrypted-create", "encrypted-create-again", "encrypted-update", "encrypted-update-missing", "encrypted-delete",
		"encrypted-on-v3", "raw-create", "raw-create-again", "raw-update", "raw-delete", "raw-missing-folder",
	}
	if files, err := filepath.Glob(filepath.Join(contract, "recorded", "write-*.json")); err != nil || len(files) != len(names) {
		t.Errorf("%d recorded writes, %v", len(files), err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			h.t = t
			var want recording
			load(t, "recorded/write-"+name+".json", &want)
			var was struct {
				Secret *struct {
					ID        string
					UpdatedAt time.Time
				}
			}
			if err := json.Unmarshal(want.Response.Body, &was); err != nil {
				t.Fatal(err)
			}
			if was.Secret != nil && want.Request.Method != http.MethodDelete {
				id, err := hex.DecodeString(strings.ReplaceAll(was.Secret.ID, "-", ""))
				if err != nil {
					t.Fatal(err)
				}
				h.clock.SetTime(was.Secret.UpdatedAt)
				h.random = io.MultiReader(bytes.NewReader(id), rand.Reader)
			}
			got := h.replay(want)
			var text bytes.Buffer
			if err := json.Compact(&text, want.Response.Body); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(text.String(), got.text); diff != "" || got.status != want.Response.Status {
				t.Errorf("status %d, want %d; the body differs (-want +got):\n%s", got.status, want.Response.Status, diff)
			}
		})
	}
}

func TestARawWriteShowsOnEveryEndpointOfEveryVersion(t *testing.T) {
	h := newHarness(t, WithV4(true))
	for version := range 3 {
		p := h.AddProject(version + 1)
		p.AddFolder("dev", "/db")
		token := p.AddToken(TokenSpec{Scopes: everywhere, Permissions: readWrite})
		check := func(want ...string) {
			t.Helper()
			shown := map[string]string{}
			for _, pair := range want {
				name, value, _ := strings.Cut(pair, "=")
				shown[name] = value
			}
			for _, got := range []reply{h.raw(token, p.ID(), "dev", "/db"), h.v4(token, p.ID(), "dev", "/db")} {
				if diff := cmp.Diff(shown, values(t, got.body.Secrets)); diff != "" {
					t.Errorf("version %d: %s", version+1, diff)
				}
			}
			if version+1 == 3 {
				return
			}
			if diff := cmp.Diff(want, opened(t, p.Key(), h.sealed(token, p.ID(), "dev", "/db").body.Secrets)); diff != "" {
				t.Errorf("version %d: %s", version+1, diff)
			}
		}
		check()
		first := h.write("POST /api/v3/secrets/raw/A", token, p, map[string]string{"secretValue": "\n a  b\r\n ", "secretComment": "why"}).written(t)
		check("A=a  b")
		h.clock.Step(time.Second)
		second := h.write("PATCH /api/v3/secrets/raw/A", token, p, map[string]string{"secretValue": ""}).written(t)
		check("A=")
		if first["version"] != 1.0 || second["version"] != 2.0 || first["createdAt"] != second["createdAt"] || first["updatedAt"] == second["updatedAt"] ||
			first["id"] != second["id"] || second["secretComment"] != "why" {
			t.Errorf("version %d: %v, then %v", version+1, first, second)
		}
		third := h.write("DELETE /api/v3/secrets/raw/A", token, p).written(t)
		check()
		if diff := cmp.Diff(second, third); diff != "" {
			t.Errorf("version %d: what was deleted differs from what was there: %s", version+1, diff)
		}
	}
}

func TestAnEncryptedWriteKeepsWhatWasSentAndTheServerOpensIt(t *testing.T) {
	const value = "\r\n  byte \ufeff exact\n"
	h := newHarness(t)
	p := h.AddProject(2)
	p.AddFolder("dev", "/db")
	token := p.AddToken(TokenSpec{Scopes: everywhere, Permissions: readWrite})
	sent := []map[string]string{sealedFor(t, p, "secretKey", "A"), sealedFor(t, p, "secretValue", value), sealedFor(t, p, "secretComment", "why")}
	for _, request := range []string{"POST /api/v3/secrets/A", "PATCH /api/v3/secrets/A"} {
		answered := h.write(request, token, p, sent...).written(t)
		listed := h.sealed(token, p.ID(), "dev", "/db").body.Secrets[0]
		for _, fields := range sent {
			for name, text := range fields {
				if answered[name] != text || listed[name] != text {
					t.Errorf("%s: %s was sent, %v answered, %v listed", name, text, answered[name], listed[name])
				}
			}
		}
		if diff := cmp.Diff(map[string]string{"A": "byte \ufeff exact"}, h.secrets(token, p)); diff != "" {
			t.Error(diff)
		}
	}
	h.write("PATCH /api/v3/secrets/A", token, p, sealedFor(t, p, "secretValue", "2")).written(t)
	if diff := cmp.Diff(map[string]Secret{"A": {"2", "why", 3}}, p.Secrets("dev", "/db/")); diff != "" {
		t.Errorf("neither a name nor a comment was sent: %s", diff)
	}
	h.write("PATCH /api/v3/secrets/A", token, p, sealedFor(t, p, "secretValue", "2"), sealedFor(t, p, "secretComment", "")).written(t)
	if diff := cmp.Diff(map[string]Secret{"A": {"2", "", 4}}, p.Secrets("dev", "/db")); diff != "" {
		t.Errorf("an empty comment was sent: %s", diff)
	}
	h.write("POST /api/v3/secrets/B", token, p, sealedFor(t, p, "secretKey", "B"), sealedFor(t, p, "secretValue", "")).written(t)
	if got := h.sealed(token, p.ID(), "dev", "/db").text; !strings.Contains(got, `"secretCommentCiphertext":null,"secretCommentIV":null,"secretCommentTag":null`) {
		t.Errorf("a comment that never was: %s", got)
	}
}

func TestTheNameInThePathFindsASecretWhateverItsEncryptedNameIs(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	p.AddFolder("dev", "/db")
	token := p.AddToken(TokenSpec{Scopes: everywhere, Permissions: readWrite})
	h.write("POST /api/v3/secrets/A", token, p, sealedFor(t, p, "secretKey", "B"), sealedFor(t, p, "secretValue", "1")).written(t)
	h.write("POST /api/v3/secrets/B", token, p, sealedFor(t, p, "secretKey", "B"), sealedFor(t, p, "secretValue", "2")).written(t)
	if got := h.raw(token, p.ID(), "dev", "/db").body.Secrets; got[0]["secretKey"] != "B" || got[1]["secretKey"] != "B" {
		t.Errorf("%v", got)
	}
	if diff := cmp.Diff(map[string]Secret{"A": {"1", "", 1}, "B": {"2", "", 1}}, p.Secrets("dev", "/db")); diff != "" {
		t.Error(diff)
	}
	p.AddImport("dev", "/", "dev", "/db")
	if got := h.raw(token, p.ID(), "dev", "/", "include_imports=true").body.Imports[0].Secrets; len(got) != 1 {
		t.Errorf("of one name, an import has the first: %v", got)
	}
	h.write("PATCH /api/v3/secrets/raw/A", token, p, map[string]string{"secretValue": "3"}).written(t) // encrypts the name anew
	if diff := cmp.Diff(map[string]string{"A": "3", "B": "2"}, h.secrets(token, p)); diff != "" {
		t.Error(diff)
	}
	h.write("DELETE /api/v3/secrets/B", token, p).written(t)
	if diff := cmp.Diff(map[string]string{"A": "3"}, h.secrets(token, p)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatDoesNotOpenIsKeptAndFailsWhoeverWantsItDecrypted(t *testing.T) {
	other := newHarness(t).AddProject(1)
	for name, bad := range map[string]map[string]string{
		"another project's key": sealedFor(t, other, "secretValue", "1"),
		"no base64":             {"secretValueCiphertext": "?", "secretValueIV": "é", "secretValueTag": "!"},
		"nothing":               {"secretValueCiphertext": "", "secretValueIV": "", "secretValueTag": ""},
		"short IV":              {"secretValueCiphertext": "AAAA", "secretValueIV": "AAAA", "secretValueTag": "AAAAAAAAAAAAAAAAAAAAAA=="},
		"comment":               {"secretCommentCiphertext": "AAAA"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			p := h.AddProject(1)
			p.Put("dev", "/db", "GOOD", "1")
			p.AddImport("dev", "/", "dev", "/db")
			token := p.AddToken(TokenSpec{Scopes: everywhere, Permissions: readWrite})
			good := []map[string]string{sealedFor(t, p, "secretKey", "BAD"), sealedFor(t, p, "secretValue", "1")}
			failed := func(got reply) { t.Helper(); got.want(t, 500, "InternalServerError", "Something went wrong") }

			answered := h.write("POST /api/v3/secrets/BAD", token, p, append(good, bad)...).written(t)
			h.SetFault(Fault{WrongTag: true, Times: 1}) // changes what tags there are
			h.sealed(token, p.ID(), "dev", "/db")
			for _, listed := range h.sealed(token, p.ID(), "dev", "/db").body.Secrets {
				for field, text := range bad {
					if listed["id"] == answered["id"] && (answered[field] != text || listed[field] != text) {
						t.Errorf("%s: %q was sent, %q answered, %q listed", field, text, answered[field], listed[field])
					}
				}
			}
			failed(h.raw(token, p.ID(), "dev", "/db"))
			failed(h.raw(token, p.ID(), "dev", "/", "include_imports=true"))
			if got := h.raw(token, p.ID(), "dev", "/"); got.status != http.StatusOK {
				t.Error(got.text)
			}
			failed(h.write("DELETE /api/v3/secrets/raw/BAD", token, p))
			if diff := cmp.Diff(map[string]string{"GOOD": "1"}, h.secrets(token, p)); diff != "" {
				t.Errorf("it was deleted all the same: %s", diff)
			}

			h.write("POST /api/v3/secrets/BAD", token, p, append(good, bad)...).written(t)
			h.write("PATCH /api/v3/secrets/raw/BAD", token, p, map[string]string{"secretValue": "2"}).written(t)
			if diff := cmp.Diff(map[string]string{"GOOD": "1", "BAD": "2"}, h.secrets(token, p)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAStrictProjectIsWrittenEncrypted(t *testing.T) {
	h := newHarness(t)
	p := h.AddStrictProject()
	p.AddFolder("dev", "/db")
	token := p.AddToken(TokenSpec{Scopes: everywhere, Permissions: readWrite})
	h.write("POST /api/v3/secrets/A", token, p, sealedFor(t, p, "secretKey", "A"), sealedFor(t, p, "secretValue", "1")).written(t)
	if diff := cmp.Diff(map[string]Secret{"A": {"1", "", 1}}, p.Secrets("dev", "/db")); diff != "" {
		t.Error(diff)
	}
}

func TestNamesInPathsAreDecodedAndTrimmedAndUpTo100CharactersLong(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(3)
	token := p.AddToken(TokenSpec{Scopes: everywhere, Permissions: readWrite})
	for _, name := range []string{"a/b c", "%2F", "raw", strings.Repeat("é", 100)} {
		h.write("POST /api/v3/secrets/raw/"+url.PathEscape(name), token, p, map[string]string{"secretPath": "/", "secretValue": "1"}).written(t)
		if p.Secrets("dev", "/")[name].Version != 1 {
			t.Errorf("%q: %v", name, p.Secrets("dev", "/"))
		}
	}
	h.write("PATCH /api/v3/secrets/raw/%20raw%20", token, p, map[string]string{"secretPath": "/", "secretValue": "2"}).written(t)
	if got := p.Secrets("dev", "/")["raw"].Value; got != "2" {
		t.Error(got)
	}
}

func TestAnIdentityWritesRaw(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(3)
	p.AddFolder("dev", "/db")
	access := h.access(p.AddIdentity(IdentitySpec{Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/db"}}}))
	h.write("POST /api/v3/secrets/raw/A", access, p, map[string]string{"secretValue": "1"}).written(t)
	h.write("PATCH /api/v3/secrets/raw/A", access, p, map[string]string{"secretValue": "2"}).written(t)
	if diff := cmp.Diff(map[string]string{"A": "2"}, h.secrets(access, p)); diff != "" {
		t.Error(diff)
	}
	h.write("POST /api/v3/secrets/raw/A", access, p, map[string]string{"secretPath": "/", "secretValue": "1"}).
		want(t, 403, "PermissionDenied", "You are not allowed to create on secrets")
	h.write("DELETE /api/v3/secrets/raw/A", access, p).written(t)
	if diff := cmp.Diff(map[string]Secret{}, p.Secrets("dev", "/db")); diff != "" {
		t.Error(diff)
	}
}

func TestWritesHaveALimitOfTheirOwn(t *testing.T) {
	h := newHarness(t, WithRateLimit(1, 1))
	p := h.AddProject(3)
	p.Put("dev", "/db", "A", "1")
	token := p.AddToken(TokenSpec{Scopes: everywhere, Permissions: readWrite})
	patch := func(value string) reply {
		return h.write("PATCH /api/v3/secrets/raw/A", token, p, map[string]string{"secretValue": value})
	}
	for range 200 {
		patch("2").written(t)
	}
	if got := patch("3"); got.status != http.StatusTooManyRequests || got.header.Get("x-ratelimit-limit") != "200" || got.header.Get("retry-after") != "60" {
		t.Errorf("%d %v", got.status, got.header)
	}
	if got := p.Secrets("dev", "/db")["A"]; got.Value != "2" || got.Version != 201 {
		t.Errorf("%+v", got)
	}
	h.write("DELETE /api/v3/secrets/raw/A", token, p).written(t) // another route
	if got := h.raw(token, p.ID(), "dev", "/db"); got.status != http.StatusOK {
		t.Error("writes count toward the limit of reads", got.text)
	}
	h.SetRateLimit(0, 0)
	if got := patch("3"); got.status != http.StatusNotFound || got.header.Get("x-ratelimit-limit") != "" {
		t.Errorf("%d %v", got.status, got.header)
	}
}

func TestEveryWriteIsDeliveredAndChangesETagsAndIsLoggedAsAUse(t *testing.T) {
	const id = "11111111-2222-4333-8444-555555555555"
	h := newHarness(t)
	p := h.AddProject(1)
	p.AddFolder("dev", "/db")
	p.AddImport("dev", "/", "dev", "/db")
	token := p.AddToken(TokenSpec{ID: id, Scopes: everywhere, Permissions: readWrite})
	r := newReceiver(t, "hunter2", http.StatusNoContent)
	p.AddWebhook(r.URL, "hunter2")
	content := []map[string]string{sealedFor(t, p, "secretKey", "A"), sealedFor(t, p, "secretValue", "1"), {"secretValue": "1", "clientId": "x"}}
	for _, route := range []string{"/api/v3/secrets/A", "/api/v3/secrets/raw/A"} {
		for _, method := range []string{http.MethodPost, http.MethodPatch, http.MethodDelete} {
			before := h.sealed(token, p.ID(), "dev", "/", "include_imports=true")
			h.write(method+" "+route, token, p, append(content, map[string]string{"secretPath": "/db/"})...).written(t)
			r.expect(p, "dev:/db", "dev:/")
			if got := h.sealed(token, p.ID(), "dev", "/", "include_imports=true"); got.header.Get("ETag") == before.header.Get("ETag") {
				t.Errorf("%s %s: the ETag stays", method, route)
			}
			h.write("PATCH /api/v3/secrets/none", token, p, content...).want(t, 404, "NotFound", "Secret not found: blind index none")
		}
	}
	r.nothing(h)
	if sealed, raw := h.Count(sealedWrite, id), h.Count(rawWrite, id); sealed != 3+6 || raw != 3 {
		t.Errorf("%d and %d writes logged", sealed, raw)
	}
	h.clock.Step(time.Minute)
	if got := h.get(token, tokenRoute); got.body.LastUsed == nil || *got.body.LastUsed != "2026-11-23T15:00:00.000Z" {
		t.Error(got.text)
	}
}

func TestSecretsAreWhatTheServerHolds(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(3)
	p.Put("dev", "/db", "A", "1")
	first := p.findFolder("dev", "/db").secrets[0].id
	p.PutDuplicate("dev", "/db", "A", "2")
	want := "2"
	if p.findFolder("dev", "/db").secrets[0].id == first {
		want = "1"
	}
	if diff := cmp.Diff(map[string]Secret{"A": {want, "", 1}}, p.Secrets("dev", "/db")); diff != "" {
		t.Error(diff)
	}
	for environment, path := range map[string]string{"dev": "/nope", "qa": "/"} {
		if got := p.Secrets(environment, path); len(got) != 0 {
			t.Errorf("%s:%s: %v", environment, path, got)
		}
	}
}
