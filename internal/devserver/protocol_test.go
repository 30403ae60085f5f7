package devserver

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

func TestOnlyExactlyOneStrongETagMatches(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	p.Put("dev", "/", "A", "1")
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	target := list("/api/v3/secrets", "workspaceId", p.ID(), "dev", "/", nil)
	first := h.get(token, target)
	tag := first.header.Get("ETag")
	if len(tag) != 30 || tag[0] != '"' {
		t.Errorf("%s is not 28 characters in quotes", tag)
	}
	for _, headers := range [][]string{
		{"W/" + tag}, {tag + ", " + tag}, {tag, `"x"`}, {`"x"`}, {"*"}, {strings.Trim(tag, `"`)},
	} {
		var pairs []string
		for _, header := range headers {
			pairs = append(pairs, "If-None-Match", header)
		}
		if got := h.get(token, target, pairs...); got.status != http.StatusOK || got.text != first.text {
			t.Errorf("%v: %d", headers, got.status)
		}
	}
	got := h.get(token, target, "If-None-Match", tag)
	if got.status != http.StatusNotModified || got.text != "" || got.header.Get("ETag") != tag {
		t.Errorf("%d %q %v", got.status, got.text, got.header)
	}
	p.Put("dev", "/", "A", "1")
	if got := h.get(token, target, "If-None-Match", tag); got.status != http.StatusOK || got.header.Get("ETag") == tag {
		t.Errorf("after a change: %d", got.status)
	}
	failed := h.get("", target)
	if got := h.get("", target, "If-None-Match", failed.header.Get("ETag")); got.status != http.StatusNotModified {
		t.Errorf("an error that the client has already: %d", got.status)
	}
}

func TestSchemaErrorsAre401WithIssues(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	const required = `{"code":"invalid_type","expected":"string","received":"undefined","path":["%s"],"message":"Required"}`
	for target, want := range map[string]string{
		"/api/v3/secrets": "[" + strings.ReplaceAll(required, "%s", "workspaceId") + "," + strings.ReplaceAll(required, "%s", "environment") + "]",
		"/api/v3/secrets?workspaceId=a&environment=dev&environment=prod": `[{"code":"invalid_type","expected":"string","received":"array",` +
			`"path":["environment"],"message":"Expected string, received array"}]`,
		"/api/v3/secrets?workspaceId=a&environment=dev&recursive=TRUE": `[{"received":"TRUE","code":"invalid_enum_value","options":["true","false"],` +
			`"path":["recursive"],"message":"Invalid enum value. Expected 'true' | 'false', received 'TRUE'"}]`,
		"/api/v3/secrets/raw?include_imports=1": `[{"received":"1","code":"invalid_enum_value","options":["true","false"],` +
			`"path":["include_imports"],"message":"Invalid enum value. Expected 'true' | 'false', received '1'"}]`,
		"/api/v1/secret-imports?workspaceId=a": "[" + strings.ReplaceAll(required, "%s", "environment") + "]",
	} {
		got := h.get(token, target)
		if want := `{"statusCode":401,"message":` + want + `,"error":"ValidationFailure"}`; got.status != http.StatusUnauthorized || got.text != want {
			t.Errorf("%s: %d %s", target, got.status, got.text)
		}
	}
}

func TestUnknownRoutes(t *testing.T) {
	h := newHarness(t)
	token := h.AddProject(1).AddToken(TokenSpec{})
	for _, target := range []string{"/", "/api/v3/secrets/raw/x?y=1", "/api/v1/workspace", "/dev/projects"} {
		h.get(token, target).want(t, http.StatusNotFound, "Not Found", "Route GET:"+target+" not found")
	}
	h.do(http.MethodPost, token, tokenRoute).want(t, http.StatusNotFound, "Not Found", "Route POST:"+tokenRoute+" not found")
	if got := h.get(token, tokenRoute+"/"); got.status != http.StatusOK {
		t.Errorf("a slash at the end: %d", got.status)
	}
}

func TestRateLimitsCountByAddressAndRouteInWindowsOfAMinute(t *testing.T) {
	h := newHarness(t, WithRateLimit(2, 3))
	p := h.AddProject(1)
	token, other := p.AddToken(TokenSpec{Scopes: everywhere}), p.AddToken(TokenSpec{Scopes: everywhere})
	secrets := list("/api/v3/secrets", "workspaceId", p.ID(), "dev", "/", nil)
	check := func(got reply, status int, limit, remaining, reset, retry string) {
		t.Helper()
		headers := []string{
			got.header.Get("x-ratelimit-limit"), got.header.Get("x-ratelimit-remaining"), got.header.Get("x-ratelimit-reset"), got.header.Get("retry-after"),
		}
		if diff := cmp.Diff([]string{limit, remaining, reset, retry}, headers); got.status != status || diff != "" {
			t.Errorf("%d, want %d; %s", got.status, status, diff)
		}
	}
	first := h.get(token, secrets)
	check(first, http.StatusOK, "2", "1", "60", "")
	h.clock.Step(1500 * time.Millisecond)
	h.get("st.nobody.x", secrets)                                                                       // does not count
	check(h.get(other, secrets, "If-None-Match", first.header.Get("ETag")), 304, "2", "0", "59", "")    // counts, for all tokens
	check(h.get(token, secrets), http.StatusTooManyRequests, "2", "0", "59", "59")                      // refused
	check(h.get(token, secrets, "X-Real-IP", "198.51.100.77"), http.StatusOK, "2", "1", "60", "")       // another address
	check(h.get(token, secrets, "X-Forwarded-For", "198.51.100.78, 10.0.0.1"), 200, "2", "1", "60", "") // and another
	check(h.raw(token, p.ID(), "dev", "/"), http.StatusOK, "2", "1", "60", "")                          // another route
	check(h.get(token, tokenRoute), http.StatusOK, "3", "2", "60", "")                                  // another class
	check(h.get(token, "/api/v1/workspace/x"), http.StatusForbidden, "3", "2", "60", "")                // one window for all that
	check(h.get(token, "/api/v1/workspace/y"), http.StatusForbidden, "3", "1", "60", "")                // a template matches
	check(h.get(token, "/api/v3/secrets?workspaceId=1", "X-Real-IP", "::1"), 401, "2", "1", "60", "")   // schema errors count
	h.clock.Step(58 * time.Second)
	check(h.get(token, secrets), http.StatusTooManyRequests, "2", "0", "1", "1")
	h.clock.Step(500 * time.Millisecond)
	check(h.get(token, secrets), http.StatusOK, "2", "1", "60", "") // a new window
	h.SetRateLimit(0, 0)
	check(h.get(token, secrets), http.StatusOK, "", "", "", "")
}

func TestFaultsOfStatusAndLatency(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	h.SetFault(Fault{Status: 500})
	h.SetFault(Fault{Route: "/api/v3/secrets", Status: 503, RetryAfter: 1500 * time.Millisecond, Times: 2})
	for range 2 {
		got := h.sealed(token, p.ID(), "dev", "/")
		got.want(t, http.StatusServiceUnavailable, "InternalServerError", "Something went wrong")
		if got.header.Get("Retry-After") != "2" || got.header.Get("x-ratelimit-limit") != "" {
			t.Errorf("%v", got.header)
		}
	}
	h.sealed(token, p.ID(), "dev", "/").want(t, http.StatusInternalServerError, "InternalServerError", "Something went wrong")
	for status, name := range map[int]string{401: "UnauthorizedError", 403: "PermissionDenied", 404: "Not Found", 429: "RateLimitExceeded"} {
		h.SetFault(Fault{Status: status}) // in place of the one before
		if got := h.get(token, tokenRoute); got.status != status || got.body.Error != name {
			t.Errorf("%d %s", got.status, got.text)
		}
	}
	h.ClearFaults()
	if got := h.get(token, tokenRoute); got.status != http.StatusOK {
		t.Error(got.status)
	}
	h.SetFault(Fault{Latency: time.Hour, Times: 1})
	answered := make(chan reply, 1)
	go func() { answered <- h.get(token, tokenRoute) }()
	for !h.clock.HasWaiters() {
	}
	h.clock.Step(time.Hour)
	if got := <-answered; got.status != http.StatusOK {
		t.Error(got.status)
	}
}

func TestFaultsOfBodies(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	p.Put("dev", "/", "A", "1")
	p.Put("dev", "/", "B", "2")
	p.Put("prod", "/", "A", "3")
	p.AddImport("dev", "/", "prod", "/")
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	target := list("/api/v3/secrets", "workspaceId", p.ID(), "dev", "/", []string{"include_imports=true"})
	server := httptest.NewServer(h)
	defer server.Close()
	ask := func(etag string) (int, []byte, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("If-None-Match", etag)
		got, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = got.Body.Close() }()
		body, err := io.ReadAll(got.Body)
		return got.StatusCode, body, err
	}
	good := h.get(token, target)
	etag := good.header.Get("ETag")

	h.SetFault(Fault{CutBody: true, Times: 1})
	if status, body, err := ask(etag); status != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasPrefix(good.text, string(body)) {
		t.Errorf("cut: %d %v %s", status, err, body)
	}
	h.SetFault(Fault{CorruptBody: true, Times: 1})
	if status, body, err := ask(etag); status != http.StatusOK || err != nil || json.Valid(body) {
		t.Errorf("corrupt: %d %v %s", status, err, body)
	}
	h.SetFault(Fault{WrongTag: true, SecretName: "A", Times: 1})
	_, body, err := ask(etag)
	if err != nil {
		t.Fatal(err)
	}
	var spoiled listOf[sealedBody]
	if err := json.Unmarshal(body, &spoiled); err != nil {
		t.Fatal(err)
	}
	for _, s := range append(spoiled.Secrets, spoiled.Imports[0].Secrets...) {
		name, err := p.cipher.Open(encrypted{s.KeyCiphertext, s.KeyIV, s.KeyTag}.sealed())
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.cipher.Open(encrypted{s.ValueCiphertext, s.ValueIV, s.ValueTag}.sealed())
		if wrong := errors.Is(err, servicetoken.ErrOpen); wrong != (string(name) == "A") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if status, _, _ := ask(etag); status != http.StatusNotModified {
		t.Errorf("the fault stays: %d", status)
	}
}

type listOf[T any] struct {
	Secrets []T
	Imports []struct{ Secrets []T }
}

func TestLogAndCounts(t *testing.T) {
	h := newHarness(t)
	p := h.AddProject(1)
	token := p.AddToken(TokenSpec{ID: "11111111-2222-4333-8444-555555555555", Scopes: everywhere})
	h.get("", "/nope")
	h.get(token, "/api/v1/workspace/"+p.ID(), "User-Agent", "x/1", "If-None-Match", `"a"`, "If-None-Match", `"b"`)
	for range 2 {
		h.get(token, "/api/v3/secrets?environment=dev&workspaceId="+p.ID())
	}
	id := "11111111-2222-4333-8444-555555555555"
	want := []Request{
		{Time: h.clock.Now(), Method: "GET", Route: "/nope", Status: 404},
		{
			Time: h.clock.Now(), Method: "GET", Route: "/api/v1/workspace/:workspaceId", TokenID: id, Status: 200,
			Authorization: "Bearer " + token, IfNoneMatch: `"a", "b"`, UserAgent: "x/1",
		},
		{Time: h.clock.Now(), Method: "GET", Route: "/api/v3/secrets", Query: "environment=dev&workspaceId=" + p.ID(), TokenID: id, Status: 200, Authorization: "Bearer " + token},
	}
	if diff := cmp.Diff(append(want, want[2]), h.Requests()); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct {
		route, token string
		want         int
	}{{"", "", 4}, {"/api/v3/secrets", "", 2}, {"", id, 3}, {"/api/v3/secrets", id, 2}, {"/nope", id, 0}} {
		if got := h.Count(tt.route, tt.token); got != tt.want {
			t.Errorf("%q %q: %d", tt.route, tt.token, got)
		}
	}
	h.ResetLog()
	if h.Count("", "") != 0 || len(h.Requests()) != 0 {
		t.Error("not reset")
	}
}

func TestTheLogIsBounded(t *testing.T) {
	h := newHarness(t)
	c := &call{request: httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x", http.NoBody)}
	h.log.requests = make([]Request, 2*keptRequests-1)
	for i := range 10 {
		h.record(c, i)
	}
	got := h.Requests()
	if len(got) != keptRequests || got[keptRequests-10].Status != 0 || got[keptRequests-1].Status != 9 || len(h.log.requests) != keptRequests+9 {
		t.Errorf("%d lines, %d kept", len(got), len(h.log.requests))
	}
	if h.Count("/x", "") != 10 {
		t.Error("counts are not bounded")
	}
}

func BenchmarkUnchangedSecrets(b *testing.B) {
	s := New(WithRateLimit(1<<30, 1<<30))
	p := s.AddProject(1)
	for range 10 {
		p.Put("dev", "/", s.uuid(), strings.Repeat("v", 64))
	}
	token := p.AddToken(TokenSpec{Scopes: everywhere})
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, list("/api/v3/secrets", "workspaceId", p.ID(), "dev", "/", nil), http.NoBody)
	r.Header.Set("Authorization", "Bearer "+token)
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
}
