package devserver

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	universalRoute  = "/api/v1/auth/universal-auth/login"
	kubernetesRoute = "/api/v1/auth/kubernetes-auth/login"
)

// universal and kubernetes log in.
func (h *harness) universal(clientID, clientSecret string) reply {
	h.t.Helper()
	return h.send(http.MethodPost, "", universalRoute, fmt.Sprintf(`{"clientId":%q,"clientSecret":%q}`, clientID, clientSecret))
}

func (h *harness) kubernetes(identityID, jwt string) reply {
	h.t.Helper()
	return h.send(http.MethodPost, "", kubernetesRoute, fmt.Sprintf(`{"identityId":%q,"jwt":%q}`, identityID, jwt))
}

// access is what a login gives.
func (h *harness) access(i Identity) string {
	h.t.Helper()
	got := h.universal(i.ClientID, i.ClientSecret)
	if got.status != http.StatusOK || got.body.AccessToken == "" {
		h.t.Fatalf("%d %s", got.status, got.text)
	}
	return got.body.AccessToken
}

func TestAnIdentityReadsItsProjectByIDAndBySlug(t *testing.T) {
	h := newHarness(t, WithV4(true))
	p := h.AddProject(1)
	p.Put("prod", "/app", "A", "1")
	p.AddFolder("prod", "/app/empty")
	access := h.access(p.AddIdentity(IdentitySpec{}))
	bySlug := "/api/v3/secrets/raw?workspaceSlug=" + p.Slug() + "&environment=prod&secretPath=/app"
	for name, got := range map[string]reply{
		"raw": h.raw(access, p.ID(), "prod", "/app"), "v4": h.v4(access, p.ID(), "prod", "/app"), "slug": h.get(access, bySlug),
		"recursive": h.v4(access, p.ID(), "prod", "/", "recursive=true"),
	} {
		if diff := cmp.Diff(map[string]string{"A": "1"}, values(t, got.body.Secrets)); diff != "" || got.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, got.status, diff)
		}
	}
	if got := h.get(access, "/api/v1/workspace/"+p.ID()); got.status != http.StatusOK || got.body.Workspace == nil {
		t.Errorf("%d %s", got.status, got.text)
	}
	if got := h.get(access, "/api/v2/workspace/"+p.Slug()); got.status != http.StatusOK || got.body.ID != p.ID() {
		t.Errorf("%d %s", got.status, got.text)
	}
	imports := "/api/v1/secret-imports?workspaceId=" + p.ID() + "&environment=prod&path=/app/"
	if got := h.get(access, imports+"empty"); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.text)
	}
	h.get(access, imports+"none").want(t, 404, "NotFound", "Folder with path '/app/none' in environment with slug 'prod' not found")
}

func TestWhatAnIdentityMayNotDo(t *testing.T) {
	h := newHarness(t)
	p, other := h.AddProject(1), h.AddProject(1)
	p.Put("prod", "/app", "A", "1")
	access := h.access(p.AddIdentity(IdentitySpec{Scopes: servicetoken.Scopes{{Environment: "prod", Path: "/app"}}}))
	const member, all = "You are not a member of this project", "You are not allowed to access this resource"
	h.raw(access, p.ID(), "dev", "/app").want(t, 403, "PermissionDenied", "You are not allowed to read on secrets") // and no exact-scope trap
	h.sealed(access, p.ID(), "prod", "/app").want(t, 403, "PermissionDenied", "You are not allowed to read on secrets")
	h.raw(access, other.ID(), "prod", "/app").want(t, 403, "ForbiddenError", member)
	h.raw(access, "none", "prod", "/app").want(t, 404, "NotFound", "Project with ID 'none' not found")
	h.get(access, "/api/v2/workspace/"+other.Slug()).want(t, 403, "ForbiddenError", member)
	h.get(access, "/api/v2/workspace/none").want(t, 404, "NotFound", "Project with slug 'none' not found")
	h.get(access, "/api/v3/secrets/raw?workspaceSlug=none&environment=prod").want(t, 404, "NotFound", "Project with slug 'none' not found")
	h.get(access, tokenRoute).want(t, 403, "Forbidden access to "+tokenRoute, all)
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	h.get(token, "/api/v2/workspace/"+p.Slug()).want(t, 403, "Forbidden access to /api/v2/workspace/"+p.Slug(), all)
	h.get(token, "/api/v3/secrets/raw?workspaceSlug="+p.Slug()+"&environment=prod").want(t, 400, "BadRequest", "Missing workspace id or environment")
}

func TestAnAccessTokenEndsByItsTTLByRevocationAndWithItsProject(t *testing.T) {
	const gone = "No identity access token found"
	h := newHarness(t)
	p := h.AddProject(3)
	i := p.AddIdentity(IdentitySpec{TTL: 2 * time.Second, MaxTTL: 10 * time.Second})
	other := h.access(p.AddIdentity(IdentitySpec{}))
	read := func(access string) reply { return h.raw(access, p.ID(), "dev", "/") }
	first := h.access(i)
	h.clock.Step(2 * time.Second)
	if got := read(first); got.status != http.StatusOK {
		t.Error(got.text)
	}
	h.clock.Step(time.Millisecond)
	read(first).want(t, 401, "UnauthorizedError", "Failed to renew MI access token due to TTL expiration")
	read(first).want(t, 401, "UnauthorizedError", gone)
	h.clock.Step(time.Minute) // logging in again has no end

	second := h.access(i)
	h.RevokeAccessTokens(i.ClientID)
	read(second).want(t, 401, "UnauthorizedError", gone)
	if got := read(other); got.status != http.StatusOK {
		t.Error("another identity's", got.text)
	}
	h.RevokeAccessTokens("")
	read(other).want(t, 401, "UnauthorizedError", gone)
	third := h.access(i)
	h.RemoveProject(p)
	read(third).want(t, 401, "UnauthorizedError", gone)
	h.universal(i.ClientID, i.ClientSecret).want(t, 404, "NotFound", "No identity with specified client ID was found")
	read("a.b.c").want(t, 403, "TokenError", "The provided access token is malformed. Please use a valid token or generate a new one and try again.")
}

func TestOnlyTheLatestClientSecretLogsIn(t *testing.T) {
	h := newHarness(t)
	i := h.AddProject(3).AddIdentity(IdentitySpec{})
	rotated := h.RotateClientSecret(i.ClientID)
	h.universal(i.ClientID, i.ClientSecret).want(t, 401, "UnauthorizedError", "Invalid credentials")
	if got := h.universal(i.ClientID, " "+rotated+"\n"); got.status != http.StatusOK { // trimmed, as all that the server takes
		t.Error(got.text)
	}
}

func TestKubernetesAuthAcceptsWhatItIsToldTo(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(3)
	exact := p.AddIdentity(IdentitySpec{JWT: "abc"})
	chosen := p.AddIdentity(IdentitySpec{Accepts: func(jwt string) bool { return strings.HasPrefix(jwt, "a") }})
	for _, i := range []Identity{exact, chosen} {
		if got := h.kubernetes(i.ID, "abc"); got.status != http.StatusOK || got.body.ExpiresIn != 86400 {
			t.Errorf("%d %s", got.status, got.text)
		}
		h.kubernetes(i.ID, "xyz").want(t, 401, "UnauthorizedError", "Invalid credentials")
	}
	account := p.AddIdentity(IdentitySpec{ServiceAccount: "shop/web"})
	claims := func(text string) string { return "e30." + base64.RawURLEncoding.EncodeToString([]byte(text)) + ".c2ln" }
	if got := h.kubernetes(account.ID, claims(`{"sub":"system:serviceaccount:shop:web"}`)); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.text)
	}
	for _, jwt := range []string{claims(`{"sub":"system:serviceaccount:shop:other"}`), claims(`{`), "e30.*.c2ln", "abc"} {
		h.kubernetes(account.ID, jwt).want(t, 401, "UnauthorizedError", "Invalid credentials")
	}
	const none = "Kubernetes auth method not found for identity, did you configure Kubernetes auth?"
	h.kubernetes(p.AddIdentity(IdentitySpec{}).ID, "abc").want(t, 404, "NotFound", none)
	h.kubernetes("none", "abc").want(t, 404, "NotFound", none)
}

func TestLoginsHaveALimitAndASchemaAndAreLogged(t *testing.T) {
	h := newHarness(t, WithRateLimit(1, 1))
	i := h.AddProject(3).AddIdentity(IdentitySpec{})
	got := h.send(http.MethodPost, "", universalRoute, `{"clientId":7}`)
	if got.status != http.StatusUnauthorized || got.body.Error != "ValidationFailure" || got.header.Get("x-ratelimit-limit") != "200" {
		t.Errorf("%d %s %v", got.status, got.text, got.header)
	}
	h.send(http.MethodPost, "", universalRoute, `{`).want(t, 400, "Bad Request", "Body is not valid JSON")
	access := h.access(i)
	h.get(access, "/api/v1/workspace/none")
	for range 197 {
		h.access(i)
	}
	if got := h.universal(i.ClientID, i.ClientSecret); got.status != http.StatusTooManyRequests {
		t.Error(got.status)
	}
	if n := h.Count(universalRoute, i.ClientID); n != 199 {
		t.Errorf("%d logins logged", n)
	}
	if n := h.Count("", i.ID); n != 1 {
		t.Errorf("%d of its requests logged", n)
	}
}

func TestManagementMakesIdentities(t *testing.T) {
	h := newHarness(t)
	h.manage(200, "POST /dev/projects", `{"id": "`+fixedProject+`", "version": 3, "identities": [{"id": "a", "clientId": "b", "clientSecret": "c", "ttl": "5s"}]}`, nil)
	if got := h.universal("b", "c"); got.status != http.StatusOK || got.body.ExpiresIn != 5 {
		t.Error(got.text)
	}
	var made Identity
	h.manage(200, "POST /dev/projects/"+fixedProject+"/identities", `{"ttl": "2s", "maxTTL": "4s", "jwt": "j"}`, &made)
	access := h.access(made)
	if got := h.kubernetes(made.ID, "j"); got.body.ExpiresIn != 2 || got.body.AccessTokenMaxTTL != 4 {
		t.Error(got.text)
	}
	var rotated struct{ ClientSecret string }
	h.manage(200, "POST /dev/identities/"+made.ClientID+"/rotate", "", &rotated)
	if got := h.universal(made.ClientID, rotated.ClientSecret); got.status != http.StatusOK {
		t.Error(got.text)
	}
	h.manage(200, "DELETE /dev/identities/"+made.ClientID+"/tokens", "", nil)
	if got := h.raw(access, fixedProject, "dev", "/"); got.status != http.StatusUnauthorized {
		t.Error(got.text)
	}
	for body, want := range map[string]string{
		`{"ttl": "1ms"}`: "whole seconds", `{"ttl": "2s", "maxTTL": "1s"}`: "whole seconds", `{"clientId": "b"}`: "already", `{"tll": "1s"}`: "unknown field",
	} {
		var out struct{ Error string }
		h.manage(400, "POST /dev/projects/"+fixedProject+"/identities", body, &out)
		if !strings.Contains(out.Error, want) {
			t.Errorf("%s: %s", body, out.Error)
		}
	}
	h.manage(400, "POST /dev/identities/none/rotate", "", nil)
}
