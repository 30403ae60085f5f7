package infisical

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func logins(s *Server) map[string]func(*testing.T) (AccessToken, error) {
	return map[string]func(*testing.T) (AccessToken, error){
		routeUniversalAuth: func(t *testing.T) (AccessToken, error) {
			return s.UniversalAuth(t.Context(), "id-word", "<secret&word>")
		},
		routeKubernetesAuth: func(t *testing.T) (AccessToken, error) {
			return s.KubernetesAuth(t.Context(), "id-word", "<secret&word>")
		},
	}
}

func TestALoginSendsItsSecretInTheBodyAndNowhereElse(t *testing.T) {
	fields := map[string][2]string{routeUniversalAuth: {"clientId", "clientSecret"}, routeKubernetesAuth: {"identityId", "jwt"}}
	meter := &countingMeter{}
	s := serve(t, Options{Meter: meter}, func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		f := fields[r.Method+" "+r.URL.Path]
		if len(body) != 2 || body[f[0]] != "id-word" || body[f[1]] != "<secret&word>" {
			t.Errorf("%s %s: %v", r.Method, r.URL.Path, body)
		}
		if text := fmt.Sprint(r.URL, r.Header); strings.Contains(text, "word") || r.Header.Get("Authorization") != "" {
			t.Error(text)
		}
		_, _ = io.WriteString(w, `{"accessToken":"abc","expiresIn":7200,"accessTokenMaxTTL":10,"tokenType":"Bearer"}`)
	})
	for route, login := range logins(s) {
		got, err := login(t)
		if err != nil || got.Bearer() != "abc" || got.Life() != 2*time.Hour {
			t.Errorf("%s: %v, %v", route, got.Life(), err)
		}
	}
	if n := meter.uses.Load(); n != 0 {
		t.Errorf("%d uses of a service token", n)
	}
}

func TestWhatAnIdentityReadsIsNoUseOfAServiceToken(t *testing.T) {
	meter := &countingMeter{}
	var asked []string
	s := serve(t, Options{Meter: meter}, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if r.Header.Get("Authorization") != "Bearer abc" {
			t.Error(r.Header)
		}
		switch {
		case strings.HasSuffix(r.URL.Path, "/secret-imports"):
			_, _ = io.WriteString(w, `{"secretImports":[]}`)
		case strings.Contains(r.URL.Path, "/v1/workspace/"):
			_, _ = io.WriteString(w, `{"workspace":{"id":"p","version":3,"environments":[{"slug":"dev"}]}}`)
		case strings.Contains(r.URL.Path, "/v2/workspace/"):
			_, _ = io.WriteString(w, `{"id":"p","version":3,"environments":[{"slug":"dev"}]}`)
		default:
			_, _ = io.WriteString(w, emptyList)
		}
	})
	access := AccessToken{bearer: "abc"}
	_, err1 := s.PlainSecrets(t.Context(), access, anyQuery, "")
	err2 := s.SecretImports(t.Context(), access, anyQuery)
	byID, err3 := s.Project(t.Context(), access, "p")
	bySlug, err4 := s.ProjectBySlug(t.Context(), access, "s")
	if err := errors.Join(err1, err2, err3, err4); err != nil || meter.uses.Load() != 0 || len(asked) != 4 {
		t.Errorf("%v, %d uses, asked %v", err, meter.uses.Load(), asked)
	}
	for _, p := range []Project{byID, bySlug} {
		if p.ID != "p" || p.Version != 3 || len(p.Environments) != 1 {
			t.Errorf("%+v", p)
		}
	}
}

func TestAProjectThatIsKnownByItsSlugIsReadFromTheRouteThatTakesOne(t *testing.T) {
	s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v3/secrets/raw" || r.URL.Query().Get("workspaceSlug") != "shop" || r.URL.Query().Has("workspaceId") {
			t.Error(r.URL)
		}
		_, _ = io.WriteString(w, emptyList)
	})
	if _, err := s.PlainSecrets(t.Context(), AccessToken{bearer: "abc"}, Query{ProjectSlug: "shop", Environment: "dev"}, ""); err != nil {
		t.Error(err)
	}
}

// TestALoginFollowsNoRedirectToAnotherHost has a body with a secret, where other requests have a header.
func TestALoginFollowsNoRedirectToAnotherHost(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was asked: %s %s", r.Method, r.URL)
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", other.URL+"/api/v1/auth/universal-auth/login")
			w.WriteHeader(status)
		})
		for _, login := range logins(s) {
			_, err := login(t)
			wantKind(t, err, KindRedirect)
		}
	}
}

func TestALoginStaysAPostWhereRedirectsWithinTheHostLead(t *testing.T) {
	for status, followed := range map[int]bool{301: true, 302: true, 303: false, 307: true, 308: true} {
		s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/moved") {
				http.Redirect(w, r, "/moved", status)
				return
			}
			if body, _ := io.ReadAll(r.Body); r.Method != http.MethodPost || !strings.Contains(string(body), "word") {
				t.Errorf("%d: %s with %q", status, r.Method, body)
			}
			_, _ = io.WriteString(w, `{"accessToken":"abc","expiresIn":1}`)
		})
		_, err := s.UniversalAuth(t.Context(), "id", "word")
		if followed && err != nil || !followed && !errors.Is(err, errToGet) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestALoginIsRepeatedWholeOnANewConnection(t *testing.T) {
	var asked atomic.Int64
	s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), "word") {
			t.Errorf("body %q", body)
		}
		if asked.Add(1) == 2 { // the kept connection, which looks like one that was closed meanwhile
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{"accessToken":"abc","expiresIn":1}`)
	})
	for range 2 {
		if _, err := s.UniversalAuth(t.Context(), "id", "word"); err != nil {
			t.Error(err)
		}
	}
	if asked.Load() != 3 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func TestLoginsArePacedAndHaveAWindowOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(2, 0)
		s := fakeServer(t, Options{}, func(r *http.Request) (*http.Response, error) {
			a, err := l.RoundTrip(r)
			if r.Method == http.MethodPost && a.StatusCode == http.StatusOK {
				a.Body, a.ContentLength = io.NopCloser(strings.NewReader(`{"accessToken":"abc","expiresIn":10}`)), -1
			}
			return a, err
		})
		began := now()
		for range 5 {
			if _, err := s.UniversalAuth(t.Context(), "id", "word"); err != nil {
				t.Error(err)
			}
		}
		if took := since(began); took < 2*time.Minute || took > 2*time.Minute+10*time.Second || l.refused != 0 {
			t.Errorf("took %v, %d refused", took, l.refused)
		}
		began = now()
		if _, err := s.PlainSecrets(t.Context(), AccessToken{bearer: "abc"}, anyQuery, ""); err != nil || since(began) != 0 {
			t.Errorf("reading waits %v for logins, %v", since(began), err)
		}
	})
}

func TestAnAccessTokenLivesFromTheLoginOn(t *testing.T) {
	for expiresIn, want := range map[string]time.Duration{"1": time.Second, "86400": 24 * time.Hour, "0": 0, "1.5": 1500 * time.Millisecond, "1e300": longestLife} {
		clock := newFakeClock()
		s := serve(t, Options{Clock: clock}, func(w http.ResponseWriter, _ *http.Request) {
			clock.Step(time.Second) // on the way back
			_, _ = io.WriteString(w, `{"accessToken":"abc","expiresIn":`+expiresIn+`}`)
		})
		sent := clock.Now()
		got, err := s.UniversalAuth(t.Context(), "id", "word")
		if err != nil || got.Life() != want || !got.Since.Equal(sent) {
			t.Errorf("%s: %v since %v, %v", expiresIn, got.Life(), got.Since, err)
		}
		for after, ended := range map[time.Duration]bool{0: false, want: want > 0, want + time.Hour: want > 0} {
			if got.Ended(sent.Add(after)) != (ended && after >= want) {
				t.Errorf("%s: after %v ended %v", expiresIn, after, !ended)
			}
		}
	}
}

func TestAnAccessTokenIsNeverPrinted(t *testing.T) {
	token := AccessToken{bearer: "secret-word", Since: time.Unix(1, 0)}
	marshaled, err := json.Marshal(map[string]any{"value": token, "key": map[AccessToken]int{token: 1}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", token, "in", struct{ T AccessToken }{token})
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q %x %d", token, token, token, token, token, token, token), fmt.Sprintf("%#v", struct{ A Authorization }{token}),
		string(marshaled), log.String(),
	} {
		if strings.Contains(text, "secret-word") || strings.Contains(text, fmt.Sprintf("%x", "secret-word")) || !strings.Contains(text, "***") {
			t.Error(text)
		}
	}
	if token.IsZero() || !(AccessToken{}).IsZero() {
		t.Error("zero")
	}
}
