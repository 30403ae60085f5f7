package devserver

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

func TestRefusalsOfWrites(t *testing.T) {
	h := newHarness(t)
	p, v3, strict, other := h.AddProject(1), h.AddProject(3), h.AddStrictProject(), h.AddProject(1)
	tokenOf := func(p *Project, permissions ...string) string {
		p.Put("dev", "/db", "A", "1")
		return p.AddToken(TokenSpec{Permissions: permissions, Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/db"}, {Environment: "dev", Path: "/no"}}})
	}
	rw, read, rwV3, rwStrict := tokenOf(p, readWrite...), tokenOf(p, "read"), tokenOf(v3, readWrite...), tokenOf(strict, readWrite...)
	identity := h.access(p.AddIdentity(IdentitySpec{}))
	one := p.AddToken(TokenSpec{Permissions: readWrite, Scopes: servicetoken.Scopes{{Environment: "dev", Path: "/db"}}})
	content := map[string]string{"secretValue": "1"}
	for _, m := range []map[string]string{sealedFor(t, p, "secretKey", "A"), sealedFor(t, p, "secretValue", "1")} {
		for field, text := range m {
			content[field] = text
		}
	}
	const sealed, raw = "/api/v3/secrets/", "/api/v3/secrets/raw/"
	for _, tt := range []struct {
		token   string
		p       *Project
		method  string
		routes  []string
		name    string
		more    map[string]string
		status  int
		error   string
		message string
	}{
		{rw, p, "POST", []string{sealed, raw}, "A", nil, 400, "BadRequest", "Secret already exist"},
		{rw, p, "PATCH", []string{sealed, raw}, "B", nil, 404, "NotFound", "Secret not found: blind index B"},
		{rw, p, "DELETE", []string{sealed, raw}, "B", nil, 404, "NotFound", "Secret not found: blind index B"},
		{rwV3, v3, "DELETE", []string{raw}, "B", nil, 404, "NotFound", "Secret not found: blind index B"},
		{read, p, "POST", []string{sealed, raw}, "B", nil, 403, "PermissionDenied", "You are not allowed to create on secrets"},
		{read, p, "PATCH", []string{sealed, raw}, "A", nil, 403, "PermissionDenied", "You are not allowed to edit on secrets"},
		{read, p, "DELETE", []string{sealed, raw}, "A", nil, 403, "PermissionDenied", "You are not allowed to delete on secrets"},
		{rw, p, "POST", []string{sealed, raw}, "B", map[string]string{"secretPath": "/"}, 403, "PermissionDenied", "You are not allowed to create on secrets"},
		{one, p, "PATCH", []string{sealed, raw}, "A", map[string]string{"environment": "prod"}, 403, "PermissionDenied", "You are not allowed to edit on secrets"},
		{
			rw, p, "POST", []string{sealed, raw}, "A", map[string]string{"secretPath": "/no/"}, 404,
			"CreateSecret", "Folder with path '/no' in environment with slug 'dev' not found",
		},
		{
			rw, p, "PATCH", []string{sealed, raw}, "A", map[string]string{"secretPath": "/no"}, 404,
			"UpdateSecret", "Folder with path '/no' in environment with slug 'dev' not found",
		},
		{
			rw, p, "DELETE", []string{sealed, raw}, "A", map[string]string{"secretPath": "/no"}, 404,
			"DeleteSecret", "Folder with path '/no' in environment with slug 'dev' not found",
		},
		{rwV3, v3, "PATCH", []string{sealed}, "A", nil, 404, "CreateSecret", "Blind index for project with ID '" + v3.ID() + "' not found"},
		{
			rwStrict, strict, "POST", []string{raw}, "B", nil, 404, "NotFound",
			"Project bot not found for project with ID '" + strict.ID() + "'. Please ask an administrator to log-in to the Infisical Console.",
		},
		{
			rw, other, "POST", []string{sealed, raw}, "B", nil, 403,
			"Service token not a part of the specified project with ID " + other.ID(), "You are not allowed to access this resource",
		},
		{identity, other, "POST", []string{raw}, "B", nil, 403, "ForbiddenError", "You are not a member of this project"},
		{identity, p, "DELETE", []string{sealed}, "A", nil, 403, "PermissionDenied", "You are not allowed to delete on secrets"},
		{rw, p, "POST", []string{sealed, raw}, "B", map[string]string{"type": "personal"}, 400, "BadRequest", "Must be user to create personal secret"},
		{
			rw, p, "POST", []string{raw}, strings.Repeat("N", 101), nil, 404,
			"Not Found", "Route POST:" + raw + strings.Repeat("N", 101) + " not found",
		},
	} {
		for _, route := range tt.routes {
			got := h.write(tt.method+" "+route+tt.name, tt.token, tt.p, content, tt.more)
			if got.status != tt.status || got.body.Error != tt.error || got.body.Message != tt.message {
				t.Errorf("%s %s: %d %s, want %d %q %q", tt.method, route+tt.name, got.status, got.text, tt.status, tt.error, tt.message)
			}
		}
	}
	for _, p := range []*Project{p, v3, strict} {
		if got := p.Secrets("dev", "/db"); len(got) != 1 || got["A"].Value != "1" {
			t.Errorf("something was written: %v", got)
		}
	}
}

func TestSchemaErrorsOfWrites(t *testing.T) {
	h := newHarness(t)
	token := h.AddProject(1).AddToken(TokenSpec{Scopes: everywhere, Permissions: readWrite})
	const option = `{"received":"own","code":"invalid_enum_value","options":["shared","personal"],"path":["type"],` +
		`"message":"Invalid enum value. Expected 'shared' | 'personal', received 'own'"}`
	missing := func(names ...string) string {
		issues := make([]string, len(names))
		for i, name := range names {
			issues[i] = `{"code":"invalid_type","expected":"string","received":"undefined","path":["` + name + `"],"message":"Required"}`
		}
		return strings.Join(issues, ",")
	}
	sealedValue := []string{"secretValueCiphertext", "secretValueIV", "secretValueTag"}
	for _, tt := range []struct{ request, body, want string }{
		{"POST /api/v3/secrets/raw/A", `{"environment":7}`, missing("workspaceId", "environment", "secretValue")},
		{"PATCH /api/v3/secrets/raw/A", `{"workspaceId":"","environment":""}`, missing("secretValue")},
		{"DELETE /api/v3/secrets/raw/A", `{"workspaceId":"","environment":"","type":"own"}`, option},
		{
			"POST /api/v3/secrets/A", `{"workspaceId":"","environment":""}`,
			missing(append([]string{"secretKeyCiphertext", "secretKeyIV", "secretKeyTag"}, sealedValue...)...),
		},
		{"PATCH /api/v3/secrets/A", `{"workspaceId":"","environment":"","type":"own"}`, option + "," + missing(sealedValue...)},
		{"DELETE /api/v3/secrets/A", `{}`, missing("workspaceId", "environment")},
	} {
		method, target, _ := strings.Cut(tt.request, " ")
		got := h.send(method, token, target, tt.body)
		want := `{"statusCode":401,"message":[` + tt.want + `],"error":"ValidationFailure"}`
		if diff := cmp.Diff(want, got.text); diff != "" || got.status != http.StatusUnauthorized {
			t.Errorf("%s %s: %d %s", tt.request, tt.body, got.status, diff)
		}
		h.send(method, token, target, "{").want(t, 400, "Bad Request", "Body is not valid JSON")
	}
}
