package infisical

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	doneAnswer = `{"secret":{"id":"1"}}`
	plainWord  = "value-word"
)

var anyEntry = Entry{ProjectID: anyQuery.ProjectID, Environment: "dev", Path: "/db", Name: "PUSHED"}

// writtenFields are the same in every call.
func writtenFields(tb testing.TB) SealedFields {
	tb.Helper()
	key := anyProjectKey(tb)
	seal := func(plain string) servicetoken.Sealed {
		sealed, err := key.Seal([]byte(plain), strings.NewReader("0123456789abcdef"))
		if err != nil {
			tb.Fatal(err)
		}
		return sealed
	}
	return SealedFields{Name: seal("PUSHED"), Value: seal(plainWord), Comment: seal("comment-word")}
}

// writes are all ways to write, by route.
func writes(t *testing.T, s *Server, at Entry) map[string]func() error {
	t.Helper()
	ctx, token, fields := t.Context(), testToken(t), writtenFields(t)
	return map[string]func() error{
		routeCreateEncrypted: func() error { return s.CreateEncrypted(ctx, token, at, fields) },
		routeUpdateEncrypted: func() error { return s.UpdateEncrypted(ctx, token, at, fields) },
		routeDeleteEncrypted: func() error { return s.DeleteEncrypted(ctx, token, at) },
		routeCreatePlain:     func() error { return s.CreatePlain(ctx, token, at, plainWord) },
		routeUpdatePlain:     func() error { return s.UpdatePlain(ctx, token, at, plainWord) },
		routeDeletePlain:     func() error { return s.DeletePlain(ctx, token, at) },
	}
}

// replayWrite makes the call of a recorded write out of its body.
func replayWrite(t *testing.T, s *Server, token servicetoken.Token, r recording) error {
	t.Helper()
	var body struct {
		WorkspaceID, Environment, SecretPath, SecretValue          string
		SecretKeyCiphertext, SecretKeyIV, SecretKeyTag             []byte
		SecretValueCiphertext, SecretValueIV, SecretValueTag       []byte
		SecretCommentCiphertext, SecretCommentIV, SecretCommentTag []byte
	}
	if err := json.Unmarshal(r.Request.Body, &body); err != nil {
		t.Fatal(err)
	}
	name, raw := strings.CutPrefix(strings.TrimPrefix(r.Request.Path, "/api/v3/secrets/"), "raw/")
	at := Entry{ProjectID: body.WorkspaceID, Environment: body.Environment, Path: body.SecretPath, Name: name}
	fields := SealedFields{
		Name:    servicetoken.NewSealed(body.SecretKeyCiphertext, body.SecretKeyIV, body.SecretKeyTag),
		Value:   servicetoken.NewSealed(body.SecretValueCiphertext, body.SecretValueIV, body.SecretValueTag),
		Comment: servicetoken.NewSealed(body.SecretCommentCiphertext, body.SecretCommentIV, body.SecretCommentTag),
	}
	switch ctx, method := t.Context(), r.Request.Method; {
	case method == http.MethodPost && raw:
		return s.CreatePlain(ctx, token, at, body.SecretValue)
	case method == http.MethodPatch && raw:
		return s.UpdatePlain(ctx, token, at, body.SecretValue)
	case method == http.MethodDelete && raw:
		return s.DeletePlain(ctx, token, at)
	case method == http.MethodPost:
		return s.CreateEncrypted(ctx, token, at, fields)
	case method == http.MethodPatch:
		return s.UpdateEncrypted(ctx, token, at, fields)
	case method == http.MethodDelete:
		return s.DeleteEncrypted(ctx, token, at)
	}
	t.Fatalf("no call for %s", r.Request.Method)
	return nil
}

// sent reads the body of a request.
func sent(t *testing.T, r *http.Request) map[string]string {
	t.Helper()
	var body map[string]string
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		t.Error(err)
	}
	return body
}

func TestEmptyIsSentAsEmptyAndNothingIsNotSent(t *testing.T) {
	var got map[string]string
	s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		got = nil
		if err := json.Unmarshal(text, &got); err != nil || strings.Contains(string(text), "null") {
			t.Error(string(text), err)
		}
		_, _ = io.WriteString(w, doneAnswer)
	})
	empty, err := anyProjectKey(t).Seal(nil, strings.NewReader("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	_, iv, tag := empty.Parts()
	for name, sealed := range map[string]servicetoken.Sealed{"as sealed": empty, "as read": servicetoken.NewSealed([]byte{}, iv, tag)} {
		if err := s.CreateEncrypted(t.Context(), testToken(t), anyEntry, SealedFields{Name: sealed, Value: sealed, Comment: sealed}); err != nil {
			t.Fatal(err)
		}
		for _, field := range []string{"secretKey", "secretValue", "secretComment"} {
			ciphertext, ok := got[field+"Ciphertext"]
			if !ok || ciphertext != "" || got[field+"IV"] != "MDEyMzQ1Njc4OWFiY2RlZg==" || len(got[field+"Tag"]) != 24 {
				t.Errorf("%s: %s in %v", name, field, got)
			}
		}
	}
	for _, none := range []servicetoken.Sealed{{}, servicetoken.Undecodable()} {
		if err := s.UpdateEncrypted(t.Context(), testToken(t), anyEntry, SealedFields{Name: empty, Value: empty, Comment: none}); err != nil {
			t.Fatal(err)
		}
		for field := range got {
			if strings.HasPrefix(field, "secretComment") || len(got) != 10 {
				t.Errorf("%s in %v", field, got)
			}
		}
	}
	if err := s.CreatePlain(t.Context(), testToken(t), anyEntry, ""); err != nil {
		t.Fatal(err)
	}
	if value, ok := got["secretValue"]; !ok || value != "" {
		t.Error(got)
	}
}

func TestAValueOfTheServerIsSentByteForByte(t *testing.T) {
	const value = " <a href=\"x\">&\r\n\t\\u0000 \u2028 🔑\x00 "
	s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		want := map[string]string{"workspaceId": anyQuery.ProjectID, "environment": "dev", "secretPath": "/", "type": "shared", "secretValue": value}
		if diff := cmp.Diff(want, sent(t, r)); diff != "" {
			t.Error(diff)
		}
		_, _ = io.WriteString(w, doneAnswer)
	})
	at := anyEntry
	at.Path = "" // the root
	if err := errors.Join(s.CreatePlain(t.Context(), testToken(t), at, value), s.UpdatePlain(t.Context(), testToken(t), at, value)); err != nil {
		t.Error(err)
	}
}

func TestANameIsEscapedInTheURLAndIsNowhereElse(t *testing.T) {
	for _, name := range []string{
		"A", "raw", "a b", "a/b", "..x", "...", "a?b=c#d", "100%2F", "%2e%2e", "a;b,c", "ÄÖ🔑", "\"<&>\\", "\n",
		strings.Repeat("n", 100), strings.Repeat("🔑", 50),
	} {
		observer := observed{}
		s := serve(t, Options{Observer: observer}, func(w http.ResponseWriter, r *http.Request) {
			prefix := "/api/v3/secrets/"
			if strings.HasPrefix(r.URL.Path, prefix+"raw/") {
				prefix += "raw/"
			}
			if r.URL.Path != prefix+name || r.RequestURI != prefix+url.PathEscape(name) {
				t.Errorf("%q: %s", name, r.RequestURI)
			}
			w.WriteHeader(http.StatusForbidden)
		})
		at := anyEntry
		at.Name = name
		for route, write := range writes(t, s, at) {
			e := wantKind(t, write(), KindUnexpected)
			if e.Route != route || observer[route+" 4xx"] != 1 {
				t.Errorf("%q: route %q, observed %v", name, e.Route, observer)
			}
		}
	}
}

func TestWhatNoRequestCanCarryIsNotSent(t *testing.T) {
	meter := &countingMeter{}
	s := serve(t, Options{Meter: meter}, func(_ http.ResponseWriter, r *http.Request) { t.Error(r.Method, r.RequestURI) })
	for _, name := range []string{"", ".", "..", "/", "word/", "/word", "../word", "word/./x", "word\xff", strings.Repeat("n", 101), strings.Repeat("🔑", 51)} {
		at := anyEntry
		at.Name = name
		for route, write := range writes(t, s, at) {
			e := wantKind(t, write(), KindUnsendable)
			if !errors.Is(e.Err, errName) || e.Route != route || e.Status != 0 || e.Transient() || strings.Contains(e.Error(), "word") {
				t.Errorf("%q: %v", name, &e)
			}
		}
	}
	for _, err := range []error{
		s.CreatePlain(t.Context(), testToken(t), anyEntry, "value-word\xff"), s.UpdatePlain(t.Context(), testToken(t), anyEntry, "\xc3value-word"),
	} {
		if e := wantKind(t, err, KindUnsendable); !errors.Is(e.Err, errNotUTF8) || strings.Contains(e.Error(), "word") {
			t.Error(&e)
		}
	}
	if n := meter.uses.Load(); n != 0 {
		t.Errorf("%d uses", n)
	}
}

func TestOnlyAnAnswerWithTheSecretInItMeansThatItWasWritten(t *testing.T) {
	for body, want := range map[string]Kind{
		doneAnswer:                              "",
		`{"secret":{}}`:                         "",
		`{"secret":{},"approval":null}`:         "",
		`{"approval":{"id":"1","slug":"word"}}`: KindApprovalNeeded,
		`{"secret":{},"approval":{}}`:           KindApprovalNeeded,
		`{"secret":null}`:                       KindBadAnswer,
		`{"secret":"word"}`:                     KindBadAnswer,
		`{"secret":[]}`:                         KindBadAnswer,
		`{"secret":true}`:                       KindBadAnswer,
		`{"approval":"word"}`:                   KindBadAnswer,
		`{"message":"word"}`:                    KindBadAnswer,
		`{"secrets":[{}]}`:                      KindBadAnswer,
		`[]`:                                    KindBadAnswer,
		`null`:                                  KindBadAnswer,
		``:                                      KindBadAnswer,
		`<html>word</html>`:                     KindBadAnswer,
		doneAnswer + `{`:                        KindBadAnswer,
		`{"secret":{"secretValue":"word` + "\xff\"}}": KindBadAnswer,
	} {
		for route, write := range writes(t, serve(t, Options{}, respond(http.StatusOK, body)), anyEntry) {
			err := write()
			e := wantKind(t, err, want)
			if (err == nil) != (want == "") || err != nil && (e.Status != http.StatusOK || e.Route != route || strings.Contains(e.Error(), "word")) {
				t.Errorf("%s: %v", body, err)
			}
			if e := (&Error{Kind: want}); e.Transient() != (want == KindBadAnswer) || want != "" && words[want] == "" {
				t.Errorf("%q heals by itself: %v, words %q", want, e.Transient(), words[want])
			}
		}
	}
	for _, status := range []int{http.StatusCreated, http.StatusNoContent, http.StatusNotModified} {
		for _, write := range writes(t, serve(t, Options{}, respond(status, "")), anyEntry) {
			wantKind(t, write(), KindUnexpected)
		}
	}
}

func TestTheAnswerToAWriteIsLimitedAsAllAre(t *testing.T) {
	s := serve(t, Options{MaxBody: int64(len(doneAnswer)) - 1}, respond(http.StatusOK, doneAnswer))
	for _, write := range writes(t, s, anyEntry) {
		wantKind(t, write(), KindBadAnswer)
	}
}

func TestAWriteIsOneUseOfAServiceTokenAndNoneOfAnIdentity(t *testing.T) {
	meter := &countingMeter{}
	bearer := testBearer
	s := serve(t, Options{Meter: meter}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+bearer {
			t.Error(r.Header)
		}
		_, _ = io.WriteString(w, doneAnswer)
	})
	for route, write := range writes(t, s, anyEntry) {
		before := meter.uses.Load()
		if err := write(); err != nil || meter.uses.Load() != before+1 {
			t.Errorf("%s: %v, %d uses", route, err, meter.uses.Load()-before)
		}
	}
	bearer = "abc"
	access := AccessToken{bearer: bearer}
	before := meter.uses.Load()
	err := errors.Join(
		s.CreatePlain(t.Context(), access, anyEntry, "x"), s.UpdatePlain(t.Context(), access, anyEntry, "x"), s.DeletePlain(t.Context(), access, anyEntry),
	)
	if err != nil || meter.uses.Load() != before {
		t.Errorf("%v, %d uses", err, meter.uses.Load()-before)
	}
}

func TestAWriteStaysWhatItIsWhereRedirectsWithinTheHostLead(t *testing.T) {
	for status, followed := range map[int]bool{301: true, 302: true, 303: false, 307: true, 308: true} {
		first := map[string]string{} // bodies by method
		s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if !strings.HasPrefix(r.URL.Path, "/moved/") {
				first[r.Method] = string(body)
				http.Redirect(w, r, "/moved/"+r.Method, status)
				return
			}
			if r.URL.Path != "/moved/"+r.Method || string(body) != first[r.Method] || r.Header.Get("Authorization") != "Bearer "+testBearer {
				t.Errorf("%d: %s %s with %q", status, r.Method, r.URL, body)
			}
			_, _ = io.WriteString(w, doneAnswer)
		})
		for route, write := range writes(t, s, anyEntry) {
			err := write()
			if followed && err != nil || !followed && (KindOf(err) != KindRedirect || !errors.Is(err, errToGet)) {
				t.Errorf("%d to %s: %v", status, route, err)
			}
		}
	}
}

func TestAWriteFollowsNoRedirectToAnotherHost(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was asked: %s %s", r.Method, r.URL)
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", other.URL+r.RequestURI)
			w.WriteHeader(status)
		})
		for _, write := range writes(t, s, anyEntry) {
			wantKind(t, write(), KindRedirect)
		}
	}
}

// TestOnlyACreateIsNotRepeatedWhenAKeptConnectionEnds lets the server do the second request and close the connection without an answer.
// That is no failure of the host, so the third goes out at once.
func TestOnlyACreateIsNotRepeatedWhenAKeptConnectionEnds(t *testing.T) {
	for route := range writes(t, nil, anyEntry) {
		t.Run(route, func(t *testing.T) {
			var asked atomic.Int64
			meter, observer := &countingMeter{}, observed{}
			s := serve(t, Options{Meter: meter, Observer: observer}, func(w http.ResponseWriter, r *http.Request) {
				if sent(t, r)["workspaceId"] != anyEntry.ProjectID {
					t.Error("not the whole body")
				}
				if asked.Add(1) == 2 {
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(w, doneAnswer)
			})
			write := writes(t, s, anyEntry)[route]
			if err := write(); err != nil {
				t.Fatal(err)
			}
			err := write()
			want, wantSeen := int64(3), observed{route + " 200": 2}
			if strings.HasPrefix(route, http.MethodPost) {
				want, wantSeen = 2, observed{route + " 200": 1, route + " network": 1}
				if e := wantKind(t, err, KindNetwork); !errors.Is(e.Err, errSevered) || !e.Transient() || e.RetryAfter != 0 {
					t.Error(&e)
				}
			} else if err != nil {
				t.Error(err)
			}
			if asked.Load() != want || meter.uses.Load() != want || !maps.Equal(observer, wantSeen) {
				t.Errorf("asked %d times, %d uses, observed %v", asked.Load(), meter.uses.Load(), observer)
			}
			if err := write(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestACreateIsRepeatedWhenTheServerCannotHaveDoneIt plays a connection that ended before all of the request was written.
func TestACreateIsRepeatedWhenTheServerCannotHaveDoneIt(t *testing.T) {
	for name, c := range map[string]struct {
		reused  bool
		written *httptrace.WroteRequestInfo
		want    int
		err     error
	}{
		"not begun":           {true, nil, 2, nil},
		"not all":             {true, &httptrace.WroteRequestInfo{Err: syscall.EPIPE}, 2, nil},
		"all":                 {true, &httptrace.WroteRequestInfo{}, 1, errSevered},
		"on a new connection": {false, nil, 1, syscall.ECONNRESET},
		"all, on the new one": {false, &httptrace.WroteRequestInfo{}, 1, syscall.ECONNRESET},
	} {
		asked := 0
		s := fakeServer(t, Options{}, func(r *http.Request) (*http.Response, error) {
			if asked++; asked == 2 {
				return answerOf(http.StatusOK, doneAnswer), nil
			}
			trace := httptrace.ContextClientTrace(r.Context())
			trace.GotConn(httptrace.GotConnInfo{Reused: c.reused})
			if c.written != nil {
				trace.WroteRequest(*c.written)
			}
			return nil, syscall.ECONNRESET
		})
		if err := s.CreatePlain(t.Context(), testToken(t), anyEntry, "x"); !errors.Is(err, c.err) || asked != c.want {
			t.Errorf("%s: %v, asked %d times", name, err, asked)
		}
	}
}

func TestARateLimitedWriteHoldsNoOtherRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limited := map[string]bool{}
		s := fakeServer(t, Options{}, func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet {
				return answerOf(http.StatusOK, emptyList), nil
			}
			if route := r.Method + " " + r.URL.Path; !limited[route] {
				limited[route] = true
				return answerOf(http.StatusTooManyRequests, "{}", "Retry-After", "30"), nil
			}
			return answerOf(http.StatusOK, doneAnswer), nil
		})
		start := now()
		all := writes(t, s, anyEntry)
		for _, route := range slices.Sorted(maps.Keys(all)) {
			wantKind(t, all[route](), KindRateLimited)
		}
		if _, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil || since(start) != 0 || len(limited) != len(all) {
			t.Errorf("%v after %v, limited %v", err, since(start), limited)
		}
		if err := all[routeUpdatePlain](); err != nil || since(start) != 30*time.Second+secondSlack {
			t.Errorf("%v after %v", err, since(start))
		}
	})
}

func TestCommentsComeAlongForWhoeverAsksForThem(t *testing.T) {
	var r recording
	loadJSON(t, recordings+"/secrets-dev-db.json", &r)
	var f fixture
	loadJSON(t, "testdata/plaintext.json", &f)
	var requests []string
	s := serve(t, Options{}, func(w http.ResponseWriter, q *http.Request) {
		requests = append(requests, fmt.Sprint(q.Method, q.RequestURI, q.Header))
		_, _ = w.Write(r.Response.Body)
	})
	token := testToken(t)
	bare, err := s.EncryptedSecrets(t.Context(), token, anyQuery, "")
	if err != nil {
		t.Fatal(err)
	}
	commented, err := s.CommentedSecrets(t.Context(), token, anyQuery)
	if err != nil {
		t.Fatal(err)
	}
	if requests[0] != requests[1] {
		t.Errorf("asked %s, then %s", requests[0], requests[1])
	}
	key := f.projectKey(t)
	for i, c := range commented.Secrets {
		if diff := cmp.Diff(bare.Secrets[i], c.SealedSecret); diff != "" {
			t.Error(diff)
		}
		if plain, err := key.Open(c.Comment); err != nil {
			t.Errorf("comment %q: %v", plain, err)
		}
	}
	if len(commented.Secrets) != len(bare.Secrets) || len(commented.Imports) != len(bare.Imports) || len(bare.Secrets) == 0 {
		t.Errorf("%d secrets, %d imports", len(commented.Secrets), len(commented.Imports))
	}
}

func TestACommentMayBeMissingAndNothingElse(t *testing.T) {
	const rest = `"secretKeyCiphertext":"","secretValueCiphertext":""`
	for fields, want := range map[string]servicetoken.Sealed{
		"": {},
		`,"secretCommentCiphertext":null,"secretCommentIV":null,"secretCommentTag":null`: {},
		`,"secretCommentCiphertext":"","secretCommentIV":"","secretCommentTag":""`:       {},
		`,"secretCommentCiphertext":"%"`:                                                 servicetoken.Undecodable(),
	} {
		a, err := serve(t, Options{}, respond(200, `{"secrets":[{`+rest+fields+`}]}`)).CommentedSecrets(t.Context(), testToken(t), anyQuery)
		if err != nil || len(a.Secrets) != 1 || !a.Secrets[0].Comment.Equal(want) {
			t.Errorf("%s: %+v, %v", fields, a, err)
		}
	}
	for body, want := range map[string]Kind{
		`{"secrets":[{"secretCommentCiphertext":""}]}`: KindBadAnswer,
		`{}`: KindBadAnswer,
		`{"secrets":[{"environment":"prod",` + rest + `}]}`: KindWrongPlace,
	} {
		_, err := serve(t, Options{}, respond(200, body)).CommentedSecrets(t.Context(), testToken(t), anyQuery)
		wantKind(t, err, want)
	}
	_, err := serve(t, Options{}, respond(403, `{"error":"PermissionDenied"}`)).CommentedSecrets(t.Context(), testToken(t), anyQuery)
	wantKind(t, err, KindPermissionDenied)
}

// TestTrimIsTheOneOfECMAScript has every character of its white space and its line terminators (ECMA-262, 12.2 and 12.3), and what looks
// like one.
func TestTrimIsTheOneOfECMAScript(t *testing.T) {
	const space = "\t\v\f \u00a0\ufeff\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\n\r\u2028\u2029"
	for _, r := range space {
		if got := Trim(string(r) + "a" + string(r) + "b" + string(r)); got != "a"+string(r)+"b" {
			t.Errorf("%q stays in %q", r, got)
		}
	}
	for value, want := range map[string]string{
		space: "", "": "", "a": "a", space + "a b\r\n" + space: "a b", "first  value" + space: "first  value",
		"\u0085a\u0085": "\u0085a\u0085", "\u180ea\u200b": "\u180ea\u200b", "\u2060a\x00": "\u2060a\x00", "\xa0a\xff": "\xa0a\xff", "\x1ca\x1f": "\x1ca\x1f",
	} {
		if got := Trim(value); got != want {
			t.Errorf("%q becomes %q, want %q", value, got, want)
		}
	}
}
