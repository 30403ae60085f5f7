package devserver

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// contract holds what a real server answered; see its README.
const contract = "../../test/contract"

type recording struct {
	Request struct {
		Method, Path string
		Bearer       *string
		Headers      map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    json.RawMessage
	}
}

type plaintext struct {
	Tokens            map[string]string
	ProjectID         string
	ProjectKey        string
	V3ProjectID       string
	Plaintext         map[string]map[string]map[string]string
	Imports           map[string][]string
	ImportedPlaintext map[string]map[string]string
}

// TestAnswersAreTheRecordedOnes sets a server to the state behind the recordings and repeats every request that a service token or a
// machine identity makes to read; those that write have a test of their own. All answers must have the recorded ETags, so be the same
// to the byte; but for a login, which gives another access token each time.
func TestAnswersAreTheRecordedOnes(t *testing.T) {
	h := recorded(t)
	files, err := filepath.Glob(filepath.Join(contract, "recorded", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	replayed := 0
	for _, file := range files { // in the order of their names: an expired token is used once, and then again
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if strings.HasPrefix(name, "write-") {
			continue
		}
		replayed++
		t.Run(name, func(t *testing.T) {
			h.t = t
			var want recording
			load(t, "recorded/"+name+".json", &want)
			if want.Response.Status == http.StatusTooManyRequests {
				h.SetRateLimit(40, 60)
				defer h.SetRateLimit(0, 0)
				for range 40 {
					h.replay(want)
				}
				h.clock.Step(2 * time.Second)
			}
			got := h.replay(want)
			if got.status != want.Response.Status {
				t.Errorf("status %d, want %d", got.status, want.Response.Status)
			}
			for header, value := range want.Response.Headers {
				if got.header.Get(header) != value {
					t.Errorf("%s: %q, want %q", header, got.header.Get(header), value)
				}
			}
			if name == "universal-auth-login" {
				checkLogin(t, want.Response.Body, []byte(got.text))
			} else if string(want.Response.Body) != "null" {
				if diff := cmp.Diff(decoded(t, want.Response.Body), decoded(t, []byte(got.text))); diff != "" {
					t.Errorf("the body differs (-want +got):\n%s", diff)
				}
			}
		})
	}
	if replayed != 29 {
		t.Errorf("%d recordings replayed, not 29", replayed)
	}
}

// checkLogin compares two logins but for what is another each time.
func checkLogin(t *testing.T, want, got []byte) {
	t.Helper()
	var bodies [2]loginBody
	var told [2]claims
	for i, text := range [][]byte{want, got} {
		if diff := cmp.Diff(shape(decoded(t, want)), shape(decoded(t, text))); diff != "" {
			t.Error(diff)
		}
		if err := json.Unmarshal(text, &bodies[i]); err != nil {
			t.Fatal(err)
		}
		var ok bool
		if told[i], ok = claimsOf(bodies[i].AccessToken); !ok || told[i].IdentityAccessTokenID == "" {
			t.Errorf("%+v", told[i])
		}
		if told[i].Expires-told[i].IssuedAt != int64(bodies[i].AccessTokenMaxTTL) {
			t.Errorf("exp is not that of the maximum TTL: %+v", told[i])
		}
		bodies[i].AccessToken, told[i].IdentityAccessTokenID, told[i].IssuedAt, told[i].Expires = "", "", 0, 0
	}
	if bodies[0] != bodies[1] || told[0] != told[1] {
		t.Errorf("%+v, not %+v; %+v, not %+v", bodies[1], bodies[0], told[1], told[0])
	}
}

// TestWhatIsPutLooksAsRecorded makes the same secrets through the Go API, so with other ids, times and IVs.
func TestWhatIsPutLooksAsRecorded(t *testing.T) {
	h := newHarness(t)
	var plain plaintext
	load(t, "plaintext.json", &plain)
	p, err := h.Load(Seed{Version: 1, Secrets: plain.Plaintext})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range plain.ImportedPlaintext["prod:/db"] {
		p.Put("prod", "/db", name, value)
	}
	for into, sources := range plain.Imports {
		for _, from := range sources {
			intoEnvironment, intoPath, _ := strings.Cut(into, ":")
			fromEnvironment, fromPath, _ := strings.Cut(from, ":")
			p.AddImport(intoEnvironment, intoPath, fromEnvironment, fromPath)
		}
	}
	token := p.AddToken(TokenSpec{Name: "full", Scopes: everywhere})
	for file, project := range map[string]string{
		"secrets-dev-root": p.ID(), "secrets-dev-root-imports": p.ID(), "secrets-dev-recursive": p.ID(), "secrets-staging-imports": p.ID(), "raw-dev-db": p.ID(),
	} {
		var want recording
		load(t, "recorded/"+file+".json", &want)
		got := h.get(token, strings.ReplaceAll(want.Request.Path, plain.ProjectID, project))
		if diff := cmp.Diff(shape(decoded(t, want.Response.Body)), shape(decoded(t, []byte(got.text)))); diff != "" {
			t.Errorf("%s: the shape differs (-want +got):\n%s", file, diff)
		}
	}
	root := h.sealed(token, p.ID(), "dev", "/")
	if len(root.body.Secrets) != len(plain.Plaintext["dev"]["/"]) {
		t.Errorf("%d secrets", len(root.body.Secrets))
	}
	for _, s := range root.body.Secrets {
		name := open(t, p.Key(), s, "secretKey")
		if value := open(t, p.Key(), s, "secretValue"); value != plain.Plaintext["dev"]["/"][name] {
			t.Errorf("%s is %q", name, value)
		}
	}
}

func (h *harness) replay(r recording) reply {
	h.t.Helper()
	bearer := ""
	if r.Request.Bearer != nil {
		bearer = *r.Request.Bearer
	}
	var headers []string
	for name, value := range r.Request.Headers {
		headers = append(headers, name, value)
	}
	return h.send(r.Request.Method, bearer, r.Request.Path, string(r.Request.Body), headers...)
}

// recorded returns a server in the state behind the recordings.
func recorded(t *testing.T) *harness {
	t.Helper()
	h := newHarness(t)
	var plain plaintext
	load(t, "plaintext.json", &plain)
	var token struct{ User account }
	loadBody(t, "service-token", &token)
	h.user = token.User

	p := h.recordedProject(plain.ProjectID, plain.ProjectKey, "workspace")
	for _, file := range []string{"secrets-dev-recursive", "secrets-staging-imports", "secrets-dev-root-imports"} {
		var list struct {
			Secrets []sealedBody
			Imports []struct {
				Environment, SecretPath string
				Secrets                 []sealedBody
			}
		}
		loadBody(t, file, &list)
		for _, s := range list.Secrets {
			if p.folder(s.Environment, s.SecretPath).secretByID(s.ID) == nil {
				p.restore(t, s.SecretPath, s)
			}
		}
		for _, i := range list.Imports {
			for _, s := range i.Secrets {
				if i.Environment == "prod" {
					p.restore(t, i.SecretPath, s)
				}
			}
		}
	}
	p.folder("staging", "/db")
	p.folder("staging", "/db/replica")
	for _, i := range []ImportSpec{
		{"dev", "/", "prod", "/db"}, {"dev", "/", "dev", "/db"}, {"dev", "/db", "dev", "/db/replica"}, {"staging", "/", "dev", "/db"},
	} {
		p.addImport(i.Environment, i.Path, i.FromEnvironment, i.FromPath)
	}
	h.recordedIdentity(p)
	h.recordedToken(p, plain.Tokens["full"], "service-token")
	h.recordedToken(p, plain.Tokens["exact"], "service-token-exact-scope")
	p.AddToken(TokenSpec{Name: "writeOnly", Token: plain.Tokens["writeOnly"], Scopes: everywhere, Permissions: []string{"write"}})
	p.AddToken(TokenSpec{Name: "rw", Token: plain.Tokens["rw"], Scopes: everywhere, Permissions: []string{"read", "write"}})
	p.AddToken(TokenSpec{Name: "expired", Token: plain.Tokens["expired"], Scopes: everywhere, ExpiresIn: -time.Second})
	h.Revoke(p.AddToken(TokenSpec{Name: "revoked", Token: plain.Tokens["revoked"], Scopes: everywhere}))

	v3 := h.recordedProject(plain.V3ProjectID, "", "v3-workspace")
	var list struct {
		Secrets []rawBody
		Imports []struct {
			Environment, SecretPath, FolderID string
			Secrets                           []rawBody
		}
	}
	loadBody(t, "v3-raw-dev-db", &list)
	for _, s := range list.Secrets {
		v3.folder("dev", "/db").insert(s.secret())
	}
	v3.addImport("dev", "/db", "dev", "/db/replica")
	v3.folder("dev", "/db/replica").id = list.Imports[0].FolderID
	for _, s := range list.Imports[0].Secrets {
		v3.folder("dev", "/db/replica").insert(s.secret())
	}
	v3.AddToken(TokenSpec{Name: "v3Full", Token: plain.Tokens["v3Full"], Scopes: everywhere})
	v3.AddToken(TokenSpec{Name: "v3ReadWrite", Token: plain.Tokens["v3ReadWrite"], Scopes: everywhere, Permissions: []string{"read", "write"}})
	return h
}

func (h *harness) recordedProject(id, key, file string) *Project {
	h.t.Helper()
	var was struct{ Workspace projectBody }
	loadBody(h.t, file, &was)
	p, err := h.Load(Seed{ID: id, Key: key, Version: was.Workspace.Version})
	if err != nil {
		h.t.Fatal(err)
	}
	p.name, p.slug, p.org = was.Workspace.Name, was.Workspace.Slug, was.Workspace.OrgID
	p.created, p.updated = was.Workspace.CreatedAt, was.Workspace.UpdatedAt
	for i, e := range was.Workspace.Environments {
		p.environments[i].id = e.ID
	}
	return p
}

// recordedIdentity also knows the access token that was given to it.
func (h *harness) recordedIdentity(p *Project) {
	h.t.Helper()
	var login recording
	load(h.t, "recorded/universal-auth-login.json", &login)
	var sent struct{ ClientID, ClientSecret string }
	if err := json.Unmarshal(login.Request.Body, &sent); err != nil {
		h.t.Fatal(err)
	}
	var given loginBody
	loadBody(h.t, "universal-auth-login", &given)
	told, _ := claimsOf(given.AccessToken)
	p.AddIdentity(IdentitySpec{ID: told.IdentityID, ClientID: sent.ClientID, ClientSecret: sent.ClientSecret})
	i := h.identities[0]
	i.secretID = told.ClientSecretID
	h.accessTokens[given.AccessToken] = &accessToken{identity: i, until: h.clock.Now().Add(i.ttl)}
}

func (h *harness) recordedToken(p *Project, whole, file string) {
	h.t.Helper()
	var was tokenBody
	loadBody(h.t, file, &was)
	spec := TokenSpec{Name: was.Name, Token: whole, Permissions: was.Permissions}
	for _, s := range was.Scopes {
		spec.Scopes = append(spec.Scopes, servicetoken.Scope{Environment: s.Environment, Path: s.SecretPath})
	}
	p.AddToken(spec)
	t := h.tokens[was.ID]
	t.created, t.updated, t.hash, t.lastUsed = was.CreatedAt, was.UpdatedAt, was.SecretHash, *was.LastUsed
	t.key = servicetoken.NewSealed(was.EncryptedKey, was.IV, was.Tag)
}

// restore puts a secret back as it was recorded, opened with the project's key.
func (p *Project) restore(t *testing.T, path string, b sealedBody) {
	t.Helper()
	s := &secret{
		id: b.ID, version: b.Version, skipMultiline: b.SkipMultilineEncoding, created: b.CreatedAt, updated: b.UpdatedAt,
		sealedName:    encrypted{b.KeyCiphertext, b.KeyIV, b.KeyTag},
		sealedValue:   encrypted{b.ValueCiphertext, b.ValueIV, b.ValueTag},
		sealedComment: encrypted{b.CommentCiphertext, b.CommentIV, b.CommentTag},
	}
	if p.open(s); s.unreadable {
		t.Fatalf("%s does not open", s.id)
	}
	s.name = s.shownName
	f := p.folder(b.Environment, path)
	f.id = b.FolderID
	f.insert(s)
}

func (f *folder) secretByID(id string) *secret {
	for _, s := range f.secrets {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (b rawBody) secret() *secret {
	return &secret{
		id: b.ID, name: b.Key, shownName: b.Key, value: b.Value, comment: b.Comment, version: b.Version, skipMultiline: b.SkipMultilineEncoding,
		created: b.CreatedAt, updated: b.UpdatedAt,
	}
}

func load(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(contract, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func loadBody(t *testing.T, name string, into any) {
	t.Helper()
	var r recording
	load(t, "recorded/"+name+".json", &r)
	if err := json.Unmarshal(r.Response.Body, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func decoded(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// shape leaves the keys and the types of a JSON value, and of an array the set of its elements' shapes.
func shape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		keys := map[string]any{}
		for key, value := range v {
			keys[key] = shape(value)
		}
		return keys
	case []any:
		shapes := map[string]any{}
		for _, element := range v {
			element, err := json.Marshal(shape(element))
			if err != nil {
				panic(err)
			}
			shapes[string(element)] = true
		}
		return shapes
	case nil:
		return "null"
	case string:
		return "text"
	case float64:
		return "number"
	default:
		return "boolean"
	}
}
