package infisical

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	testBearer = "st.116f1af5-f399-4106-8b5d-3493a804f0a5.de1b61d85259529cdfcedc541c2529ab"
	testKey    = "2e8ed2b8ea09c943e35233e5da049b96"
	emptyList  = `{"secrets":[],"imports":[]}`
)

func testToken(tb testing.TB) servicetoken.Token {
	tb.Helper()
	return mustParse(tb, testBearer+"."+testKey)
}

func mustParse(tb testing.TB, raw string) servicetoken.Token {
	tb.Helper()
	token, err := servicetoken.Parse(raw)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// serve starts an HTTP server and returns it as a Server.
func serve(tb testing.TB, o Options, handler http.HandlerFunc) *Server {
	tb.Helper()
	backend := httptest.NewServer(handler)
	tb.Cleanup(backend.Close)
	o.AllowHTTP = true
	return mustServer(tb, NewClient(o), backend.URL, nil)
}

func mustServer(tb testing.TB, c *Client, url string, bundle []byte) *Server {
	tb.Helper()
	s, err := c.Server(url, bundle)
	if err != nil {
		tb.Fatal(err)
	}
	if transport, ok := s.transport.(*http.Transport); ok {
		tb.Cleanup(transport.CloseIdleConnections)
	}
	return s
}

// respond makes a handler that always gives one answer.
func respond(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func wantKind(tb testing.TB, err error, want Kind) Error {
	tb.Helper()
	if KindOf(err) != want {
		tb.Fatalf("error is %q (%v), want kind %q", KindOf(err), err, want)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return *e
	}
	return Error{}
}

// fakeTransport answers without a network, for tests in a synctest bubble.
type fakeTransport func(*http.Request) (*http.Response, error)

func (f fakeTransport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answerOf(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
}

func fakeServer(tb testing.TB, o Options, transport fakeTransport) *Server {
	tb.Helper()
	s := mustServer(tb, NewClient(o), "https://infisical.test", nil)
	s.transport = fakeTransport(func(r *http.Request) (*http.Response, error) {
		a, err := transport(r)
		if err == nil {
			a.Request = r
		}
		return a, err
	})
	return s
}

var anyQuery = Query{ProjectID: "9a05ba10-be1c-442d-b05d-9864b0ff3f38", Environment: "dev", Path: "/db"}

// The time of the tests. In a synctest bubble, where most of them run, the real clock is a fake one: it moves on when
// everybody in the bubble waits, and sleeping takes no time.
func now() time.Time                         { return clock.RealClock{}.Now() }
func since(t time.Time) time.Duration        { return clock.RealClock{}.Since(t) }
func sleep(d time.Duration)                  { clock.RealClock{}.Sleep(d) }
func after(d time.Duration) <-chan time.Time { return clock.RealClock{}.After(d) }

func newFakeClock() *clocktesting.FakeClock {
	return clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
}

// fixture is contract/plaintext.json: what lies behind the recordings.
type fixture struct {
	Tokens            map[string]string
	Plaintext         map[string]map[string]map[string]string
	ImportedPlaintext map[string]map[string]string
}

func loadJSON(tb testing.TB, file string, into any) {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		tb.Fatal(fmt.Errorf("%s: %w", file, err))
	}
}
