package infisical

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// recording is one request and its answer as they were observed on a running server.
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

const recordings = "testdata/recorded"

// failures are the recordings that end in an error, and its kind.
var failures = map[string]Kind{
	"error-expired-first-use.json":             KindTokenExpired,
	"error-expired-later.json":                 KindTokenNotFound,
	"error-no-authorization.json":              KindTokenMissing,
	"error-rate-limited.json":                  KindRateLimited,
	"error-revoked.json":                       KindTokenNotFound,
	"error-universal-auth-unknown-client.json": KindIdentityNotFound,
	"error-universal-auth-wrong-secret.json":   KindIdentityRejected,
	"error-validation.json":                    KindValidation,
	"error-wrong-secret.json":                  KindTokenRejected,
	"imports-missing-folder.json":              KindFolderNotFound,
	"raw-exact-scope-trap.json":                KindWrongPlace,
	"secrets-out-of-scope.json":                KindPermissionDenied,
	"secrets-write-only.json":                  KindPermissionDenied,
	"write-encrypted-create-again.json":        KindSecretExists,
	"write-encrypted-on-v3.json":               KindNoBlindIndex,
	"write-encrypted-update-missing.json":      KindSecretNotFound,
	"write-raw-create-again.json":              KindSecretExists,
	"write-raw-missing-folder.json":            KindFolderNotFound,
	"write-read-only-token.json":               KindPermissionDenied,
}

// TestEveryRecordingIsUnderstood replays the whole contract.
func TestEveryRecordingIsUnderstood(t *testing.T) {
	var f fixture
	loadJSON(t, "testdata/plaintext.json", &f)
	files, err := os.ReadDir(recordings)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 38 {
		t.Fatalf("only %d recordings", len(files))
	}
	for _, file := range files {
		t.Run(file.Name(), func(t *testing.T) {
			var r recording
			loadJSON(t, filepath.Join(recordings, file.Name()), &r)
			replay(t, f, r, failures[file.Name()])
		})
	}
}

func replay(t *testing.T, f fixture, r recording, want Kind) {
	t.Helper()
	s := serve(t, Options{Version: "1.2.3"}, func(w http.ResponseWriter, q *http.Request) {
		if strings.HasPrefix(q.URL.Path, "/api/v4/") {
			// The recorded server is older than this route.
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"statusCode":404,"message":"Route GET:/api/v4/secrets not found","error":"Not Found"}`)
			return
		}
		checkRequest(t, f, r, q)
		for name, value := range r.Response.Headers {
			w.Header().Set(name, value)
		}
		w.WriteHeader(r.Response.Status)
		if r.Response.Status != http.StatusNotModified {
			_, _ = w.Write(r.Response.Body)
		}
	})
	token := f.tokenFor(t, r)
	at, err := url.Parse(r.Request.Path)
	if err != nil {
		t.Fatal(err)
	}
	v := at.Query()
	q := Query{ProjectID: v.Get("workspaceId"), Environment: v.Get("environment"), Path: v.Get("secretPath"), Recursive: v.Get("recursive") == "true"}
	etag := r.Request.Headers["If-None-Match"]

	switch {
	case at.Path == "/api/v1/auth/universal-auth/login":
		var sent struct{ ClientID, ClientSecret string }
		if err := json.Unmarshal(r.Request.Body, &sent); err != nil {
			t.Fatal(err)
		}
		var access AccessToken
		access, err = s.UniversalAuth(t.Context(), sent.ClientID, sent.ClientSecret)
		if err == nil && (access.Bearer() != accessOf(t) || access.Life() != 24*time.Hour) {
			t.Errorf("lives %v, bearer %q", access.Life(), access.Bearer())
		}
	case at.Path == "/api/v2/service-token":
		var info TokenInfo
		info, err = s.ServiceToken(t.Context(), token)
		if err == nil {
			f.checkToken(t, token, info)
		}
	case strings.HasPrefix(at.Path, "/api/v1/workspace/"):
		var p Project
		id := strings.TrimPrefix(at.Path, "/api/v1/workspace/")
		p, err = s.Project(t.Context(), token, id)
		version := map[bool]int{true: 3, false: 1}[strings.Contains(t.Name(), "v3-")]
		if diff := cmp.Diff(Project{ID: id, Version: version, Environments: []string{"dev", "staging", "prod"}}, p); err == nil && diff != "" {
			t.Fatal(diff)
		}
	case at.Path == "/api/v1/secret-imports":
		q.Path = v.Get("path")
		err = s.SecretImports(t.Context(), token, q)
	case at.Path == "/api/v3/secrets":
		var a Answer[SealedSecret]
		a, err = s.EncryptedSecrets(t.Context(), token, q, etag)
		if err == nil && !a.NotModified {
			f.checkSealed(t, q, a)
		}
		checkETag(t, r, a.ETag, a.NotModified, err)
	case at.Path == "/api/v3/secrets/raw":
		var a Answer[PlainSecret]
		var auth Authorization = token
		if strings.HasPrefix(*r.Request.Bearer, "ey") {
			auth = AccessToken{bearer: accessOf(t)}
		}
		a, err = s.PlainSecrets(t.Context(), auth, q, etag)
		if err == nil {
			f.checkPlain(t, q, a)
		}
		checkETag(t, r, a.ETag, a.NotModified, err)
	case strings.HasPrefix(at.Path, "/api/v3/secrets/"):
		err = replayWrite(t, s, token, r)
	default:
		t.Fatalf("no call for %s", at.Path)
	}
	if KindOf(err) != want || (err == nil) != (want == "") {
		t.Fatalf("error %v, want kind %q", err, want)
	}
	if e := wantKind(t, err, want); want == KindRateLimited && e.RetryAfter != 58*time.Second {
		t.Fatalf("retry after %v, want 58s", e.RetryAfter)
	}
}

// checkRequest compares what was sent with what was recorded. The differences allowed: parameters that this client
// always sends, the bearer it cannot lack, and the address that the recording faked.
func checkRequest(t *testing.T, f fixture, r recording, got *http.Request) {
	t.Helper()
	dump, _ := httputil.DumpRequest(got, true)
	for name, token := range f.Tokens {
		if key := token[strings.LastIndexByte(token, '.')+1:]; strings.Contains(string(dump), key) {
			t.Errorf("the key of token %s is on the wire", name)
		}
	}
	at, _ := url.Parse(r.Request.Path)
	if got.Method != r.Request.Method || got.URL.Path != at.Path {
		t.Errorf("sent %s %s, want %s %s", got.Method, got.URL.Path, r.Request.Method, at.Path)
	}
	body, err := io.ReadAll(got.Body)
	if err != nil || int64(len(body)) != got.ContentLength || len(got.TransferEncoding) != 0 {
		t.Error("the body has another length than announced", err)
	}
	if len(r.Request.Body) == 0 {
		if got.ContentLength != 0 || got.Header.Get("Content-Length") != "" || got.Header.Get("Content-Type") != "" {
			t.Error("a body was sent")
		}
	} else {
		var want, sent map[string]string
		if json.Unmarshal(r.Request.Body, &want) != nil || json.Unmarshal(body, &sent) != nil || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("body of %q", got.Header.Get("Content-Type"))
		}
		if diff := cmp.Diff(want, sent); diff != "" || r.Request.Bearer == nil && got.Header.Get("Authorization") != "" {
			t.Error(diff, got.Header)
		}
	}
	if agent := got.UserAgent(); agent != "service-token-operator/1.2.3" {
		t.Errorf("user agent %q", agent)
	}
	if b := r.Request.Bearer; b != nil {
		if diff := cmp.Diff([]string{"Bearer " + *b}, got.Header["Authorization"]); diff != "" {
			t.Error(diff)
		}
	}
	if diff := cmp.Diff(r.Request.Headers["If-None-Match"], got.Header.Get("If-None-Match")); diff != "" {
		t.Error(diff)
	}
	want, sent := at.Query(), got.URL.Query()
	for name := range sent {
		always := slices.Contains([]string{"include_imports=true", "expandSecretReferences=false", "workspaceId=", "secretPath=/"}, name+"="+sent.Get(name))
		if !always && !slices.Equal(sent[name], want[name]) {
			t.Errorf("sent %s=%q, want %q", name, sent[name], want[name])
		}
	}
	for name := range want {
		if !sent.Has(name) {
			t.Errorf("did not send %s", name)
		}
	}
}

// accessOf is the recorded access token.
func accessOf(t *testing.T) string {
	t.Helper()
	var r recording
	loadJSON(t, recordings+"/universal-auth-login.json", &r)
	var answer struct{ AccessToken string }
	if err := json.Unmarshal(r.Response.Body, &answer); err != nil || answer.AccessToken == "" {
		t.Fatal(err)
	}
	return answer.AccessToken
}

func checkETag(t *testing.T, r recording, etag string, notModified bool, err error) {
	t.Helper()
	want := r.Response.Headers["etag"]
	if err != nil {
		want = ""
	}
	if etag != want {
		t.Errorf("etag %q, want %q", etag, want)
	}
	if notModified != (r.Response.Status == http.StatusNotModified) {
		t.Errorf("not modified: %v", notModified)
	}
}

func (f fixture) tokenFor(t *testing.T, r recording) servicetoken.Token {
	t.Helper()
	if b := r.Request.Bearer; b != nil {
		for _, raw := range f.Tokens {
			if strings.HasPrefix(raw, *b+".") {
				return mustParse(t, raw)
			}
		}
		if strings.HasPrefix(*b, "st.") {
			return mustParse(t, *b)
		}
	}
	return testToken(t)
}

func (f fixture) checkToken(t *testing.T, token servicetoken.Token, info TokenInfo) {
	t.Helper()
	if info.ID != token.ID() || info.ProjectID != anyQuery.ProjectID || info.Name == "" || info.ExpiresAt != nil || !slices.Equal(info.Permissions, []string{"read"}) {
		t.Errorf("got %+v", info)
	}
	if _, err := token.OpenProjectKey(info.ProjectKey); err != nil {
		t.Error(err)
	}
	wantScopes := map[string]string{"full": "dev:/**, staging:/**, prod:/**", "exact": "dev:/db"}[info.Name]
	if got := info.Scopes.String(); got != wantScopes {
		t.Errorf("scopes %s, want %s", got, wantScopes)
	}
}

func (f fixture) projectKey(t *testing.T) servicetoken.ProjectKey {
	t.Helper()
	var whole struct{ ProjectKey string }
	loadJSON(t, "testdata/plaintext.json", &whole)
	key, err := servicetoken.NewProjectKey(whole.ProjectKey)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// at is what lies in a folder; recursive, by path and name.
func (f fixture) at(environment, path string) map[string]string {
	if imported, ok := f.ImportedPlaintext[environment+":"+path]; ok {
		return imported
	}
	return f.Plaintext[environment][path]
}

func (f fixture) checkSealed(t *testing.T, q Query, a Answer[SealedSecret]) {
	t.Helper()
	key := f.projectKey(t)
	open := func(s servicetoken.Sealed) string {
		plain, err := key.Open(s)
		if err != nil {
			t.Error(err)
		}
		return string(plain)
	}
	got := 0
	for _, s := range a.Secrets {
		f.checkValue(t, s.Environment, s.Path, open(s.Name), open(s.Value))
		got++
	}
	f.checkCount(t, q, got)
	for _, i := range a.Imports {
		if len(i.Secrets) == 0 {
			t.Errorf("nothing imported from %s:%s", i.Environment, i.Path)
		}
		for _, s := range i.Secrets {
			open(s.Name)
			open(s.Value)
		}
	}
}

func (f fixture) checkPlain(t *testing.T, q Query, a Answer[PlainSecret]) {
	t.Helper()
	for _, s := range a.Secrets {
		f.checkValue(t, s.Environment, s.Path, s.Name, s.Value)
	}
	f.checkCount(t, q, len(a.Secrets))
	if len(a.Imports) != 1 || len(a.Imports[0].Secrets) != 3 || a.Imports[0].Path != "/db/replica" {
		t.Errorf("imports %+v", a.Imports)
	}
}

func (f fixture) checkValue(t *testing.T, environment, path, name, got string) {
	t.Helper()
	if want, ok := f.at(environment, path)[name]; !ok || got != want {
		t.Errorf("%s:%s %s is %q, want %q", environment, path, name, got, want)
	}
}

func (f fixture) checkCount(t *testing.T, q Query, got int) {
	t.Helper()
	want := len(f.at(q.Environment, q.Path))
	if q.Recursive {
		want = 0
		for _, folder := range f.Plaintext[q.Environment] {
			want += len(folder)
		}
	}
	if strings.Contains(t.Name(), "v3-encrypted-is-empty") {
		want = 0 // as the name says
	}
	if got != want {
		t.Errorf("%d secrets, want %d", got, want)
	}
}
