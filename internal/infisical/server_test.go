package infisical

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestRedirectWithinTheHostIsFollowedThreeTimes(t *testing.T) {
	meter := &countingMeter{}
	s := serve(t, Options{Meter: meter}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+testBearer {
			t.Errorf("authorization %q at %s", r.Header.Get("Authorization"), r.URL.Path)
		}
		switch r.URL.Path {
		case "/api/v3/secrets":
			http.Redirect(w, r, "/1?"+r.URL.RawQuery, http.StatusMovedPermanently)
		case "/1":
			http.Redirect(w, r, "http://"+r.Host+"/2", http.StatusTemporaryRedirect)
		case "/2":
			http.Redirect(w, r, "3", http.StatusFound)
		case "/3":
			_, _ = io.WriteString(w, emptyList)
		default:
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}
	})
	if _, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
		t.Fatal(err)
	}
	if got := meter.uses.Load(); got != 4 {
		t.Errorf("%d uses for 4 requests", got)
	}
	_, err := s.ServiceToken(t.Context(), testToken(t))
	if e := wantKind(t, err, KindRedirect); !errors.Is(e.Err, errManyHops) || e.Transient() {
		t.Error(&e)
	}
}

func TestRedirectToAnotherHostIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was asked, with authorization %q", r.Header.Get("Authorization"))
	}))
	defer other.Close()
	for location, want := range map[string]error{
		other.URL + "/":                     errElsewhere, // another port is another host
		"https://127.0.0.1/":                errElsewhere,
		"//attacker.test/":                  errElsewhere,
		"http://user:secret-word@HOST/":     errNoTarget,
		"":                                  errNoTarget,
		"http://%zz/":                       errNoTarget,
		"ftp://HOST/":                       errNoTarget,
		"http://169.254.169.254/api/secret": errNoTarget,
	} {
		s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", strings.Replace(location, "HOST", r.Host, 1))
			w.WriteHeader(http.StatusFound)
		})
		_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		if e := wantKind(t, err, KindRedirect); !errors.Is(e.Err, want) || strings.Contains(e.Error(), "secret-word") {
			t.Errorf("%s: %v", location, &e)
		}
	}
}

func TestRedirectNeverLeavesHTTPSAndMayEnterIt(t *testing.T) {
	to := func(location string) *http.Response {
		return answerOf(http.StatusMovedPermanently, "", "Location", location)
	}
	s := fakeServer(t, Options{}, func(*http.Request) (*http.Response, error) { return to("http://infisical.test/"), nil })
	_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	wantKind(t, err, KindRedirect)

	s = fakeServer(t, Options{AllowHTTP: true}, func(r *http.Request) (*http.Response, error) {
		if r.URL.Scheme == "http" {
			return to("https://infisical.test/"), nil
		}
		return answerOf(200, emptyList), nil
	})
	s.at.scheme = "http"
	if _, err = s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
		t.Error(err)
	}
}

func TestBodyLimitCountsDecompressedBytes(t *testing.T) {
	body := `{"secrets":[],"padding":"` + strings.Repeat("x", 2000) + `"}`
	for name, handler := range map[string]http.HandlerFunc{
		"plain": respond(200, body),
		"compressed": func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "gzip" {
				t.Error("no gzip accepted")
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, body)
			_ = z.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			exact := serve(t, Options{MaxBody: int64(len(body))}, handler)
			if _, err := exact.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
				t.Error(err)
			}
			small := serve(t, Options{MaxBody: int64(len(body)) - 1}, handler)
			_, err := small.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
			if e := wantKind(t, err, KindBadAnswer); !strings.Contains(e.Error(), "larger than the limit of "+strconv.Itoa(len(body)-1)+" bytes") {
				t.Error(&e)
			}
		})
	}
}

func TestTimeoutCoversTheBody(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s := serve(t, Options{Timeout: 50 * time.Millisecond}, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"secrets":[`)
		_ = http.NewResponseController(w).Flush()
		<-release
	})
	_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	if e := wantKind(t, err, KindNetwork); !errors.Is(e.Err, errTimeout) || !e.Transient() {
		t.Error(&e)
	}
}

func TestCancelledCallerIsNoFailureOfTheHost(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if ctx.Err() == nil {
			cancel()
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, emptyList)
	})
	for range 2 { // on the wire, then before it
		_, err := s.EncryptedSecrets(ctx, testToken(t), anyQuery, "")
		if !errors.Is(err, context.Canceled) || KindOf(err) != "" || !strings.HasPrefix(err.Error(), routeEncrypted) {
			t.Error(err)
		}
	}
	if _, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
		t.Error(err)
	}
}

// countingMeter counts, and refuses from the nth use on if it is told to.
type countingMeter struct {
	uses   atomic.Int64
	refuse int64
}

var errSpent = errors.New("spent")

func (m *countingMeter) Use(_ context.Context, id string) error {
	if id != "116f1af5-f399-4106-8b5d-3493a804f0a5" {
		return errors.New("another token")
	}
	if n := m.uses.Add(1); m.refuse > 0 && n >= m.refuse {
		return errSpent
	}
	return nil
}

func TestMeterRefusesBeforeTheRequestGoesOut(t *testing.T) {
	meter := &countingMeter{refuse: 2}
	asked := 0
	s := serve(t, Options{Meter: meter}, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = io.WriteString(w, emptyList)
	})
	for want := range 2 {
		_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		if errors.Is(err, errSpent) != (want == 1) || KindOf(err) != "" {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("%d requests", asked)
	}
}

// TestMeterCountsWhatIsSentAgain closes a kept connection on the second request, so that it has to be repeated.
func TestMeterCountsWhatIsSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		refuse, uses, requests int64
		err                    error
	}{
		"counted": {0, 3, 3, nil},
		"refused": {3, 3, 2, errSpent},
	} {
		t.Run(name, func(t *testing.T) {
			var seen atomic.Int64
			url := listen(t, func(conn net.Conn) {
				for in := bufio.NewReader(conn); ; {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					if seen.Add(1) == 2 {
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\n"+emptyList)
				}
			})
			meter := &countingMeter{refuse: c.refuse}
			s := mustServer(t, NewClient(Options{AllowHTTP: true, Meter: meter}), url, nil)
			if _, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
				t.Fatal(err)
			}
			_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
			if !errors.Is(err, c.err) || KindOf(err) != "" {
				t.Fatal(err)
			}
			if got, sent := meter.uses.Load(), seen.Load(); got != c.uses || sent != c.requests {
				t.Errorf("%d uses, %d requests", got, sent)
			}
		})
	}
}

// listen runs handle for each connection to a port of its own.
func listen(tb testing.TB, handle func(net.Conn)) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				handle(conn)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func TestNetworkFailuresSayWhatHappened(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"refused":   {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, syscall.ECONNREFUSED},
		"no name":   {&net.DNSError{Err: "secret-word", IsNotFound: true}, errNoHost},
		"no lookup": {&net.DNSError{Err: "secret-word"}, errLookup},
		"time-out":  {context.DeadlineExceeded, errTimeout},
		"no TLS":    {http.ErrSchemeMismatch, errNoTLS},
		"cut":       {io.EOF, errCut},
		"anything":  {errors.New("secret-word"), errOther},
	} {
		s := fakeServer(t, Options{}, func(*http.Request) (*http.Response, error) { return nil, c.err })
		_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		if e := wantKind(t, err, KindNetwork); !errors.Is(e.Err, c.want) || !e.Transient() || e.Status != 0 || e.Route != routeEncrypted {
			t.Errorf("%s: %v", name, &e)
		}
	}
	bad := mustServer(t, NewClient(Options{}), "https://host.example", nil)
	bad.at.prefix = "/%zz"
	_, err := bad.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	wantKind(t, err, KindNetwork)
}

func TestAnObserverIsToldWhatCameOfRequests(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"200": respond(http.StatusOK, emptyList), "304": respond(http.StatusNotModified, ""), "3xx": respond(http.StatusFound, ""),
		"4xx": respond(http.StatusForbidden, "{}"), "429": respond(http.StatusTooManyRequests, "{}"), "5xx": respond(http.StatusBadGateway, ""),
		"network": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		},
	}
	for want, answer := range answers {
		seen := observed{}
		s := serve(t, Options{Observer: seen}, answer)
		_, _ = s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, `"etag"`)
		if len(seen) != 1 || seen[routeEncrypted+" "+want] != 1 {
			t.Errorf("%s: %v", want, seen)
		}
	}
	seen := observed{}
	s := fakeServer(t, Options{Observer: seen, Meter: &countingMeter{refuse: 1}}, (&failing{}).RoundTrip)
	if _, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err == nil || len(seen) != 0 {
		t.Errorf("%v; %v of a request that was not sent", err, seen)
	}
}

func TestAnObserverIsToldTheLimitThatAnAnswerAnnounces(t *testing.T) {
	for want, headers := range map[int]http.Header{
		0:  {"X-Ratelimit-Limit": {"60"}}, // of a window that nobody knows
		60: {"X-Ratelimit-Limit": {"60"}, "X-Ratelimit-Remaining": {"59"}, "X-Ratelimit-Reset": {"60"}},
	} {
		var seen limits
		s := serve(t, Options{Observer: &seen}, func(w http.ResponseWriter, r *http.Request) {
			maps.Copy(w.Header(), headers)
			respond(http.StatusOK, emptyList)(w, r)
		})
		if _, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(seen, []int{want}) {
			t.Errorf("got %v instead of %d", seen, want)
		}
	}
}

type limits []int

func (l *limits) Observe(e Exchange) { *l = append(*l, e.Limit) }

// observed counts by route and outcome.
type observed map[string]int

func (o observed) Observe(e Exchange) { o[e.Route+" "+string(e.Outcome)]++ }
