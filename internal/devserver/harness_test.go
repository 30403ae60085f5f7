package devserver

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// everywhere are the scopes of a token that may read all of a default project.
var everywhere = servicetoken.Scopes{{Environment: "dev", Path: "/**"}, {Environment: "staging", Path: "/**"}, {Environment: "prod", Path: "/**"}}

// harness is a server at a fixed time.
type harness struct {
	*Server
	t     *testing.T
	clock *clocktesting.FakeClock
}

func newHarness(t *testing.T, opts ...Option) *harness {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Date(2026, time.November, 23, 15, 0, 0, 0, time.UTC))
	return &harness{New(append([]Option{WithClock(clock)}, opts...)...), t, clock}
}

// reply is an answer as a client sees it.
type reply struct {
	status int
	header http.Header
	text   string
	body   struct {
		Message any
		Error   string
		Secrets []map[string]any
		Imports []struct {
			Environment, SecretPath, FolderID string
			Secrets                           []map[string]any
		}
		Workspace     any
		SecretImports []struct {
			ImportPath string
			Position   int
			ImportEnv  struct{ Slug string }
		}
		LastUsed, ExpiresAt   *string
		EncryptedKey, IV, Tag []byte
		UpdatedAt             string
		loginBody
		ID string
	}
}

// get asks with a token, which may be whole; headers are names and values in turn.
func (h *harness) get(token, target string, headers ...string) reply {
	h.t.Helper()
	return h.do(http.MethodGet, token, target, headers...)
}

func (h *harness) do(method, token, target string, headers ...string) reply {
	h.t.Helper()
	return h.send(method, token, target, "", headers...)
}

// send is do with a body.
func (h *harness) send(method, token, target, body string, headers ...string) reply {
	h.t.Helper()
	r := httptest.NewRequestWithContext(h.t.Context(), method, target, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	got := reply{status: w.Code, header: w.Header(), text: w.Body.String()}
	if got.status != http.StatusNotModified {
		if err := json.Unmarshal(w.Body.Bytes(), &got.body); err != nil {
			h.t.Fatalf("%s %s: %v in %q", method, target, err, got.text)
		}
	}
	return got
}

// sealed, raw and v4 ask for the secrets of a place; more are further parameters such as "recursive=true".
func (h *harness) sealed(token, project, environment, path string, more ...string) reply {
	h.t.Helper()
	return h.get(token, list("/api/v3/secrets", "workspaceId", project, environment, path, more))
}

func (h *harness) raw(token, project, environment, path string, more ...string) reply {
	h.t.Helper()
	return h.get(token, list("/api/v3/secrets/raw", "workspaceId", project, environment, path, more))
}

func (h *harness) v4(token, project, environment, path string, more ...string) reply {
	h.t.Helper()
	return h.get(token, list("/api/v4/secrets", "projectId", project, environment, path, more))
}

func list(route, param, project, environment, path string, more []string) string {
	query := url.Values{param: {project}, "environment": {environment}, "secretPath": {path}}.Encode()
	return route + "?" + strings.Join(append([]string{query}, more...), "&")
}

// wantStatus is for answers that must be errors worded in a certain way.
func (r reply) want(t *testing.T, status int, name, message string) {
	t.Helper()
	if r.status != status || r.body.Error != name || r.body.Message != message {
		t.Errorf("got %d %q %q, want %d %q %q", r.status, r.body.Error, r.body.Message, status, name, message)
	}
}

// values are the names and values of raw secrets; a name that is there twice fails.
func values(t *testing.T, secrets []map[string]any) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, s := range secrets {
		name, value := text(s["secretKey"]), text(s["secretValue"])
		if _, twice := found[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		found[name] = value
	}
	return found
}

// opened are the names and values of encrypted secrets, in their order.
func opened(t *testing.T, key string, secrets []map[string]any) (pairs []string) {
	t.Helper()
	for _, s := range secrets {
		pairs = append(pairs, open(t, key, s, "secretKey")+"="+open(t, key, s, "secretValue"))
		open(t, key, s, "secretComment")
	}
	return pairs
}

// text is empty for what is not a text.
func text(v any) string {
	s, _ := v.(string)
	return s
}

func open(t *testing.T, key string, secret map[string]any, field string) string {
	t.Helper()
	opener, err := servicetoken.NewProjectKey(key)
	if err != nil {
		t.Fatal(err)
	}
	part := func(name string) []byte {
		raw, err := base64.StdEncoding.Strict().DecodeString(text(secret[field+name]))
		if err != nil {
			t.Fatalf("%s%s of %v: %v", field, name, secret["id"], err)
		}
		return raw
	}
	plain, err := opener.Open(servicetoken.NewSealed(part("Ciphertext"), part("IV"), part("Tag")))
	if err != nil {
		t.Fatalf("%s of %v: %v", field, secret["id"], err)
	}
	return string(plain)
}
