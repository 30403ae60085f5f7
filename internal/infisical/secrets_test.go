package infisical

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestBrokenAnswersAreErrorsAndNeverEmptyLists(t *testing.T) {
	cut := func(status int, sent string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, sent)
		}
	}
	secret := func(fields string) http.HandlerFunc { return respond(200, `{"secrets":[{`+fields+`}]}`) }
	sealed := `"secretKeyCiphertext":"","secretValueCiphertext":""`
	plain := `"secretKey":"A","secretValue":""`
	for name, c := range map[string]struct {
		handler         http.HandlerFunc
		encrypted, text Kind
	}{
		"fine":             {secret(sealed + "," + plain), "", ""},
		"null imports":     {respond(200, `{"secrets":[],"imports":null}`), "", ""},
		"cut body":         {cut(200, emptyList), KindNetwork, KindNetwork},
		"cut error":        {cut(403, `{"message":`), KindNetwork, KindNetwork},
		"cut 500":          {cut(500, `{"message":`), KindServer, KindServer},
		"empty body":       {respond(200, ""), KindBadAnswer, KindBadAnswer},
		"truncated":        {respond(200, `{"secrets":[`), KindBadAnswer, KindBadAnswer},
		"trailing":         {respond(200, emptyList+"{"), KindBadAnswer, KindBadAnswer},
		"HTML":             {respond(200, `<html>secret-word</html>`), KindBadAnswer, KindBadAnswer},
		"no list":          {respond(200, `{"imports":[]}`), KindBadAnswer, KindBadAnswer},
		"null list":        {respond(200, `{"secrets":null}`), KindBadAnswer, KindBadAnswer},
		"list of others":   {respond(200, `{"secrets":["secret-word"]}`), KindBadAnswer, KindBadAnswer},
		"object":           {respond(200, `{"secrets":{}}`), KindBadAnswer, KindBadAnswer},
		"array":            {respond(200, `[]`), KindBadAnswer, KindBadAnswer},
		"import of none":   {respond(200, `{"secrets":[],"imports":[{"environment":"dev"}]}`), KindBadAnswer, KindBadAnswer},
		"no fields":        {secret(`"id":"x"`), KindBadAnswer, KindBadAnswer},
		"null value":       {secret(`"secretKeyCiphertext":"","secretValueCiphertext":null,"secretKey":"A","secretValue":null`), KindBadAnswer, KindBadAnswer},
		"no UTF-8":         {secret(sealed + `,"secretKey":"A","secretValue":"` + "\xff" + `"`), KindBadAnswer, KindBadAnswer},
		"hidden":           {secret(sealed + "," + plain + `,"secretValueHidden":true`), "", KindValueHidden},
		"hidden import":    {respond(200, `{"secrets":[],"imports":[{"secrets":[{`+sealed+","+plain+`,"secretValueHidden":true}]}]}`), "", KindValueHidden},
		"not asked 304":    {respond(304, ""), KindUnexpected, KindUnexpected},
		"another success":  {respond(204, ""), KindUnexpected, KindUnexpected},
		"other place":      {secret(sealed + "," + plain + `,"environment":"prod","secretPath":"/db"`), KindWrongPlace, KindWrongPlace},
		"other folder":     {secret(sealed + "," + plain + `,"environment":"dev","secretPath":"/db/x"`), KindWrongPlace, KindWrongPlace},
		"other case":       {secret(sealed + "," + plain + `,"environment":"dev","secretPath":"/DB"`), KindWrongPlace, KindWrongPlace},
		"place unlabelled": {secret(sealed + "," + plain + `,"environment":"dev"`), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Options{}, c.handler)
			if _, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); KindOf(err) != c.encrypted || (err == nil) != (c.encrypted == "") {
				t.Errorf("encrypted: %v", err)
			}
			s = serve(t, Options{}, c.handler)
			if _, err := s.PlainSecrets(t.Context(), testToken(t), anyQuery, ""); KindOf(err) != c.text || (err == nil) != (c.text == "") {
				t.Errorf("plain: %v", err)
			}
		})
	}
}

// TestRecursiveAnswersLoseTheNeighbors: the server compares paths as text, so a recursive read of /db brings /dbx along.
func TestRecursiveAnswersLoseTheNeighbors(t *testing.T) {
	const secret = `{"id":"%d","environment":"dev","secretPath":"%s","secretKey":"A","secretValue":"v"}`
	answer := func(paths ...string) string {
		var secrets []string
		for i, path := range paths {
			secrets = append(secrets, fmt.Sprintf(secret, i, path))
		}
		return `{"secrets":[` + strings.Join(secrets, ",") + `]}`
	}
	recursive := anyQuery
	recursive.Recursive = true
	s := serve(t, Options{}, respond(200, answer("/db", "/dbx", "/db/x", "/dbx/y")))
	got, err := s.PlainSecrets(t.Context(), testToken(t), recursive, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Secrets) != 2 || got.Secrets[0].Path != "/db" || got.Secrets[1].Path != "/db/x" {
		t.Errorf("got %v", got.Secrets)
	}
	s = serve(t, Options{}, respond(200, answer("/db", "/other")))
	if _, err := s.PlainSecrets(t.Context(), testToken(t), recursive, ""); KindOf(err) != KindWrongPlace {
		t.Errorf("another place altogether: %v", err)
	}
}

func TestIncompleteTokensAndProjectsAreBadAnswers(t *testing.T) {
	const token = `{"id":"i","workspace":"w","scopes":[],"permissions":[],"expiresAt":"2026-11-23T15:00:00.000Z","encryptedKey":null,"iv":null,"tag":null}`
	for body, want := range map[string]Kind{
		token:                                "",
		strings.Replace(token, "id", "x", 1): KindBadAnswer,
		strings.Replace(token, "workspace", "x", 1):   KindBadAnswer,
		strings.Replace(token, "scopes", "x", 1):      KindBadAnswer,
		strings.Replace(token, "permissions", "x", 1): KindBadAnswer,
		strings.Replace(token, "2026", "x", 1):        KindBadAnswer,
	} {
		info, err := serve(t, Options{}, respond(200, body)).ServiceToken(t.Context(), testToken(t))
		if KindOf(err) != want {
			t.Errorf("%s: %v", body, err)
		}
		if err == nil && (!info.ProjectKey.IsZero() || info.ProjectID != "w" || info.ExpiresAt.UTC().Hour() != 15) {
			t.Errorf("%+v", info)
		}
	}
	for body, want := range map[string]Kind{
		`{"workspace":{"id":"i","version":2,"environments":[]}}`: "",
		`{"workspace":{"id":"i","environments":[]}}`:             KindBadAnswer,
		`{"workspace":{"id":"i","version":2}}`:                   KindBadAnswer,
		`{"workspace":{"version":2,"environments":[]}}`:          KindBadAnswer,
		`{}`:     KindBadAnswer,
		`"w"`:    KindBadAnswer,
		`<html>`: KindBadAnswer,
	} {
		if _, err := serve(t, Options{}, respond(200, body)).Project(t.Context(), testToken(t), "i"); KindOf(err) != want {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, err := serve(t, Options{}, respond(404, `{}`)).Project(t.Context(), testToken(t), "i"); KindOf(err) != KindNotFound {
		t.Error(err)
	}
}

func TestFolderExistsWhenItsImportsAnswer(t *testing.T) {
	for body, want := range map[string]Kind{`{"message":"x","secretImports":[{"id":"1"}]}`: "", `{"secretImports":[]}`: "", `{}`: KindBadAnswer, `<html>`: KindBadAnswer} {
		s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("path"); got != "/db" {
				t.Errorf("path %q", got)
			}
			_, _ = io.WriteString(w, body)
		})
		q := anyQuery
		q.Path = "/db/"
		if err := s.SecretImports(t.Context(), testToken(t), q); KindOf(err) != want || (err == nil) != (want == "") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestETagComesFromSuccessesOnlyAndGoesBackAlone(t *testing.T) {
	for sent, want := range map[string]string{
		`"abc="`:                             `"abc="`,
		`W/"abc="`:                           `"abc="`, // as a compressing proxy writes it
		`abc`:                                "",
		`""`:                                 "",
		`"a", "b"`:                           "",
		`"` + strings.Repeat("a", 300) + `"`: "",
	} {
		var got []string
		s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			got = r.Header["If-None-Match"]
			w.Header().Set("ETag", sent)
			if len(got) > 0 {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			_, _ = io.WriteString(w, emptyList)
		})
		a, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		if err != nil || a.ETag != want || len(got) != 0 {
			t.Errorf("%s: %q, %v, sent %q", sent, a.ETag, err, got)
		}
		if want == "" {
			continue
		}
		again, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, a.ETag)
		if err != nil || !again.NotModified || again.ETag != want || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %+v, %v, sent %q", sent, again, err, got)
		}
	}
}

func TestPlainSecretsFallsBackToRawAndRemembersForADay(t *testing.T) {
	var v4, raw int
	has := false
	clock := newFakeClock()
	s := serve(t, Options{Clock: clock}, func(w http.ResponseWriter, r *http.Request) {
		v := r.URL.Query()
		if v.Get("expandSecretReferences") != "false" || v.Has("tagSlugs") || v.Get("recursive") != "true" || v.Get("include_imports") != "true" {
			t.Errorf("query %v", v)
		}
		switch r.URL.Path {
		case "/api/v4/secrets":
			v4++
			if v.Get("viewSecretValue") != "true" || v.Get("projectId") != anyQuery.ProjectID || v.Has("workspaceId") {
				t.Errorf("query %v", v)
			}
			if !has {
				respond(404, `{"message":"Route GET:/api/v4/secrets?projectId=x not found","error":"Not Found","statusCode":404}`)(w, r)
				return
			}
		case "/api/v3/secrets/raw":
			raw++
			if v.Has("viewSecretValue") || v.Get("workspaceId") != anyQuery.ProjectID {
				t.Errorf("query %v", v)
			}
		}
		_, _ = io.WriteString(w, `{"secrets":[{"id":"1","environment":"dev","secretPath":"/db/x","secretKey":"A","secretValue":" b "}]}`)
	})
	q := anyQuery
	q.Recursive = true
	read := func(wantV4, wantRaw int) {
		t.Helper()
		a, err := s.PlainSecrets(t.Context(), testToken(t), q, "")
		if err != nil || !cmp.Equal(a.Secrets, []PlainSecret{{ID: "1", Environment: "dev", Path: "/db/x", Name: "A", Value: " b "}}) {
			t.Fatalf("%+v, %v", a, err)
		}
		if v4 != wantV4 || raw != wantRaw {
			t.Fatalf("asked v4 %d times and raw %d times, want %d and %d", v4, raw, wantV4, wantRaw)
		}
	}
	read(1, 1)
	read(1, 2)
	clock.Step(24*time.Hour - time.Second)
	read(1, 3)
	clock.Step(2 * time.Second)
	has = true
	read(2, 3)
	read(3, 3)
}

func TestTagsComeAlong(t *testing.T) {
	const (
		sealed = `"secretKeyCiphertext":"","secretValueCiphertext":""`
		plain  = `"secretKey":"A","secretValue":""`
	)
	answer := func(fields string) string {
		return `{"secrets":[
			{"id":"1","tags":[{"id":"i","slug":"b","name":"B"},{"slug":"a"}],` + fields + `},
			{"id":"2","tags":[{"slug":"b"}],` + fields + `},
			{"id":"3","tags":[],` + fields + `},
			{"id":"4","tags":null,` + fields + `}],
			"imports":[{"environment":"dev","secretPath":"/x","secrets":[{"id":"5",` + fields + `}]}]}`
	}
	s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v3/secrets" {
			_, _ = io.WriteString(w, answer(sealed))
			return
		}
		_, _ = io.WriteString(w, answer(plain))
	})
	want := [][]string{{"a", "b"}, {"b"}, nil, nil, nil}

	encrypted, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	if err != nil {
		t.Fatal(err)
	}
	var got [][]string
	for _, secret := range append(encrypted.Secrets, encrypted.Imports[0].Secrets...) {
		got = append(got, secret.Tags)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("encrypted:", diff)
	}

	decrypted, err := s.PlainSecrets(t.Context(), testToken(t), anyQuery, "")
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, secret := range append(decrypted.Secrets, decrypted.Imports[0].Secrets...) {
		got = append(got, secret.Tags)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("decrypted by the server:", diff)
	}
}

func TestPathOfAQuery(t *testing.T) {
	for path, want := range map[string]string{"": "/", "/": "/", "/db": "/db", "/db/": "/db", "/db//": "/db", "db": "db"} {
		if got := (Query{Path: path}).values("p").Get("secretPath"); got != want {
			t.Errorf("%q is sent as %q", path, got)
		}
	}
	for _, c := range []struct {
		asked     string
		recursive bool
		path      string
		want      bool
	}{
		{"/", false, "/", true}, {"/", false, "/db", false}, {"/", true, "/db/x", true},
		{"/db/", false, "/db", true}, {"/db", true, "/db/x", true}, {"/db", true, "/dbx", false}, {"/db", true, "/", false},
	} {
		if got := (Query{Environment: "dev", Path: c.asked, Recursive: c.recursive}).covers("dev", c.path); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
