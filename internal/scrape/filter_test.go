package scrape

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
)

// apiServer knows two tokens: prometheus, who may GET /metrics, and guest, who may nothing.
type apiServer struct {
	clock         *clocktesting.FakeClock
	handler       http.Handler
	tokens        int // reviews of
	access        int
	down          bool
	invalid       bool // so that the API server repeats what it was sent
	log           strings.Builder
	lastAttribute authorizationv1.SubjectAccessReviewSpec
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{clock: clocktesting.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
	c := fake.NewClientset()
	c.PrependReactor("create", "tokenreviews", func(a k8stesting.Action) (bool, runtime.Object, error) {
		s.tokens++
		if s.down {
			return true, nil, errors.New("it is down")
		}
		review := a.(k8stesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		if s.invalid {
			return true, nil, apierrors.NewBadRequest("spec.token: " + review.Spec.Token)
		}
		if token := review.Spec.Token; token == "prometheus" || token == "guest" {
			review.Status.Authenticated = true
			review.Status.User = authenticationv1.UserInfo{Username: token, UID: "1", Groups: []string{"scrapers"}, Extra: map[string]authenticationv1.ExtraValue{"pod": {"p"}}}
		}
		return true, review, nil
	})
	c.PrependReactor("create", "subjectaccessreviews", func(a k8stesting.Action) (bool, runtime.Object, error) {
		s.access++
		review := a.(k8stesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		s.lastAttribute = review.Spec
		may := review.Spec.NonResourceAttributes
		review.Status.Allowed = review.Spec.User == "prometheus" && may.Verb == "get" && may.Path == "/metrics"
		return true, review, nil
	})
	r := newReviewer(c.AuthenticationV1().TokenReviews(), c.AuthorizationV1().SubjectAccessReviews(), s.clock)
	var err error
	s.handler, err = r.filter(funcr.New(func(_, line string) { s.log.WriteString(line) }, funcr.Options{}), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "metrics") }))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *apiServer) ask(method, path, authorization string) (status int, body string) {
	q := httptest.NewRequest(method, path, http.NoBody)
	if authorization != "" {
		q.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, q)
	return w.Code, w.Body.String()
}

func TestOnlyWhoMayGetMetricsGetsThem(t *testing.T) {
	for name, tt := range map[string]struct {
		method, path, authorization string
		want                        int
		reviews                     int // of tokens
	}{
		"who may":                {http.MethodGet, "/metrics", "Bearer prometheus", 200, 1},
		"who may, in lower case": {http.MethodGet, "/metrics", "bearer  prometheus ", 200, 1},
		"who may something else": {http.MethodPost, "/metrics", "Bearer prometheus", 403, 1},
		"another path":           {http.MethodGet, "/debug", "Bearer prometheus", 403, 1},
		"who may not":            {http.MethodGet, "/metrics", "Bearer guest", 403, 1},
		"nobody known":           {http.MethodGet, "/metrics", "Bearer stranger", 401, 1},
		"no token":               {http.MethodGet, "/metrics", "", 401, 0},
		"an empty token":         {http.MethodGet, "/metrics", "Bearer ", 401, 0},
		"a password":             {http.MethodGet, "/metrics", "Basic cHJvbWV0aGV1czo=", 401, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAPIServer(t)
			status, body := s.ask(tt.method, tt.path, tt.authorization)
			if status != tt.want || (body == "metrics") != (tt.want == 200) || s.tokens != tt.reviews {
				t.Errorf("%d %q after %d reviews", status, body, s.tokens)
			}
		})
	}
}

func TestTheAPIServerHearsWhoAsksForWhat(t *testing.T) {
	s := newAPIServer(t)
	s.ask(http.MethodGet, "/metrics?name=x", "Bearer prometheus")
	want := authorizationv1.SubjectAccessReviewSpec{
		User: "prometheus", UID: "1", Groups: []string{"scrapers"}, Extra: map[string]authorizationv1.ExtraValue{"pod": {"p"}},
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"},
	}
	if diff := cmp.Diff(want, s.lastAttribute); diff != "" {
		t.Error(diff)
	}
}

func TestAnAnswerIsRememberedForAWhile(t *testing.T) {
	for token, tt := range map[string]struct {
		status int
		life   time.Duration
	}{"prometheus": {200, allowedFor}, "guest": {403, refusedFor}, "stranger": {401, refusedFor}} {
		t.Run(token, func(t *testing.T) {
			s := newAPIServer(t)
			ask := func(reviews int) {
				t.Helper()
				if status, _ := s.ask(http.MethodGet, "/metrics", "Bearer "+token); status != tt.status || s.tokens != reviews {
					t.Errorf("%d after %d reviews", status, s.tokens)
				}
			}
			ask(1)
			s.clock.Step(tt.life - time.Second)
			ask(1)
			s.clock.Step(2 * time.Second)
			ask(2)
		})
	}
}

func TestWhatTheAPIServerCouldNotAnswerIsAskedAgain(t *testing.T) {
	s := newAPIServer(t)
	s.down = true
	if status, body := s.ask(http.MethodGet, "/metrics", "Bearer prometheus"); status != 500 || body == "metrics" {
		t.Errorf("%d %q", status, body)
	}
	s.down = false
	if status, _ := s.ask(http.MethodGet, "/metrics", "Bearer prometheus"); status != 200 {
		t.Error(status)
	}
}

func TestTheProviderNeedsAUsableConfig(t *testing.T) {
	if _, err := Authorized(&rest.Config{Host: "https://127.0.0.1"}, &http.Client{}); err != nil {
		t.Error(err)
	}
	if _, err := Authorized(&rest.Config{Host: "http://%"}, &http.Client{}); err == nil {
		t.Error("a host that is none was taken")
	}
}

func TestATokenThatTheAPIServerRepeatsIsNotLogged(t *testing.T) {
	s := newAPIServer(t)
	s.invalid = true
	if status, body := s.ask(http.MethodGet, "/metrics", "Bearer hunter2"); status != http.StatusInternalServerError || strings.Contains(body, "hunter2") {
		t.Errorf("%d %s", status, body)
	}
	if said := s.log.String(); !strings.Contains(said, "BadRequest") || strings.Contains(said, "hunter2") {
		t.Error(said)
	}
}
