package infisical

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	maxRedirects = 3
	// maxErrorBody is far more than any error of the server has.
	maxErrorBody = 64 << 10
)

var (
	errElsewhere = errors.New("it leads to another host, or from https to http")
	errManyHops  = errors.New("it is the fourth in a row")
	errNoTarget  = errors.New("it has no usable target")
	errToGet     = errors.New("it asks for a GET, which would not do what was asked for")
	errUnasked   = errors.New("it says that nothing has changed, without having been asked")
)

// Server is one Infisical server as reached with one CA bundle. It is safe for concurrent use.
type Server struct {
	options *Options
	at      address
	host    *host
	trust   gate // what the server's certificate did lately; guarded by the host's lock
	// transport is used without a http.Client around it: redirects are followed by exchange, which knows where
	// Authorization may go and counts each request.
	transport http.RoundTripper
}

// Host is what people call the server: its host[:port], without scheme and path. The port is left out where it is the scheme's own.
func (s *Server) Host() string { return s.at.hostPort() }

// PacedUntil is zero, or until when requests to this server's host wait for the rate limit it announced: the latest, if
// requests of more than one route wait.
func (s *Server) PacedUntil() time.Time { return s.host.pacedUntil() }

// request is a GET that reads, the POST of a login, or a POST, PATCH or DELETE that writes one secret.
type request struct {
	auth  Authorization // nil for a login
	route string        // the method and a template of the path, for pacing and errors
	path  string        // escaped, below the server's prefix
	query url.Values
	etag  string
	body  []byte // JSON, of a login or a write with a secret in it; nil for a GET
}

func (r *request) method() string {
	method, _, _ := strings.Cut(r.route, " ")
	return method
}

// once says whether doing it twice is not as good as doing it once: true of a create, which would meet its own work.
func (r *request) once() bool { return r.auth != nil && r.method() == http.MethodPost }

// reply is a 200, or a 304 to a request with an ETag.
type reply struct {
	body        []byte
	etag        string
	notModified bool
	sent        time.Time // the request, or the last one after redirects
}

// get reads something.
func (s *Server) get(ctx context.Context, auth Authorization, r request) (reply, error) {
	r.auth = auth
	return s.do(ctx, r)
}

// do waits for its turn, sends the request and returns the answer. Errors are *Error, or wrap the context's or the
// meter's.
func (s *Server) do(ctx context.Context, r request) (reply, error) {
	answer, err := s.attempt(ctx, r)
	if e, ok := errors.AsType[*Error](err); ok {
		named := *e // which may be what closed the host, and others look at
		named.Host = s.Host()
		return reply{}, &named
	}
	return answer, err
}

func (s *Server) attempt(ctx context.Context, r request) (reply, error) {
	p, err := s.host.enter(ctx, r.route, &s.trust)
	if err != nil {
		if KindOf(err) == "" {
			err = fmt.Errorf("%s: %w", r.route, err)
		}
		return reply{}, err
	}
	var o outcome
	began := s.host.clock.Now()
	defer func() {
		s.host.leave(p, &o)
		s.observe(r, &o, s.host.clock.Since(began))
	}()
	return s.exchange(ctx, r, &o)
}

func (s *Server) observe(r request, o *outcome, took time.Duration) {
	seen := Exchange{Host: s.Host(), Route: r.route, Took: took}
	status := 0
	switch {
	case s.options.Observer == nil || o.verdict == unsent || o.verdict == abandoned:
		return
	case o.verdict == answered || o.head != nil && o.head.status >= 500: // else the answer, if there was one, did not arrive in full
		status = o.head.status
	}
	seen.Outcome = outcomeOf(status)
	if o.head != nil && o.head.announced {
		seen.Limit = o.head.limit
	}
	s.options.Observer.Observe(seen)
}

// exchange sends the request, and again where redirects within the host lead.
func (s *Server) exchange(ctx context.Context, r request, o *outcome) (reply, error) {
	timed, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	at, target := s.at, s.at.base()+r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	for hop := 0; ; hop++ {
		answer, err := s.send(timed, &r, target, o)
		if err != nil {
			return reply{}, s.failure(ctx, r, err, o)
		}
		if !isRedirect(answer.StatusCode) {
			return s.read(ctx, r, answer, o)
		}
		_, _ = io.CopyN(io.Discard, answer.Body, 2<<10) // a short body read to its end leaves the connection usable
		_ = answer.Body.Close()
		o.verdict = answered
		if at, target, err = s.follow(at, &r, answer, hop); err != nil {
			return reply{}, &Error{Kind: KindRedirect, Status: answer.StatusCode, Route: r.route, Err: err}
		}
	}
}

// send makes one request. A kept connection can turn out to have been closed by the server; the request is repeated then,
// until it fails on a new connection. net/http would do the same for a GET, without saying so and thus uncounted. Logins, updates and
// deletes can be done twice. A create cannot: it is repeated only if not all of it was written, so that the server cannot have done it.
// Otherwise nobody knows, and the caller is to read anew.
func (s *Server) send(ctx context.Context, r *request, target string, o *outcome) (*http.Response, error) {
	for {
		var reused, written, answering atomic.Bool
		traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GotConn:              func(c httptrace.GotConnInfo) { reused.Store(c.Reused) },
			WroteRequest:         func(w httptrace.WroteRequestInfo) { written.Store(w.Err == nil) },
			GotFirstResponseByte: func() { answering.Store(true) },
		})
		q, err := http.NewRequestWithContext(traced, r.method(), target, unrepeatable{bytes.NewReader(r.body)})
		if err != nil {
			return nil, err
		}
		if r.auth != nil {
			q.Header.Set("Authorization", "Bearer "+r.auth.Bearer())
		}
		if r.body != nil {
			q.Header.Set("Content-Type", "application/json")
			q.ContentLength = int64(len(r.body))
		}
		q.Header.Set("Accept", "application/json")
		q.Header.Set("User-Agent", "service-token-operator/"+s.options.Version)
		if r.etag != "" {
			q.Header.Set("If-None-Match", r.etag)
		}
		// Logins, and what an identity reads, are no uses of a service token.
		if token, ok := r.auth.(servicetoken.Token); ok && s.options.Meter != nil {
			if err := s.options.Meter.Use(ctx, token.ID()); err != nil {
				return nil, &unmeteredError{err}
			}
		}
		o.verdict = abandoned // until more is known: from here on it may have been sent
		sent := s.host.clock.Now()
		answer, err := s.transport.RoundTrip(q)
		if err == nil {
			o.head = newAnswerHead(sent, s.host.clock.Now(), answer.StatusCode, answer.Header)
			return answer, nil
		}
		if !reused.Load() || answering.Load() || ctx.Err() != nil {
			return nil, err
		}
		if r.once() && written.Load() {
			return nil, errSevered
		}
	}
}

// unrepeatable is the body of a request that net/http must not repeat by itself, which it does only with requests whose body
// it knows to be empty or can get again. An empty one is none on the wire.
type unrepeatable struct{ io.Reader }

// unmeteredError is the meter's refusal of a request.
type unmeteredError struct{ cause error }

func (e *unmeteredError) Error() string { return "counting the use of the token: " + e.cause.Error() }
func (e *unmeteredError) Unwrap() error { return e.cause }

// failure makes the error of a request without a complete answer.
func (s *Server) failure(ctx context.Context, r request, err error, o *outcome) error {
	if _, ok := errors.AsType[*unmeteredError](err); ok {
		return fmt.Errorf("%s: %w", r.route, err)
	}
	if ctx.Err() != nil {
		// The caller gave up, which says nothing about the host.
		o.verdict = abandoned
		return fmt.Errorf("%s: %w", r.route, ctx.Err())
	}
	kind, v, cause := failureOf(err)
	e := &Error{Kind: kind, Route: r.route, Err: cause}
	o.verdict, o.cause = v, e
	return e
}

// read takes the answer's body, and closes it.
func (s *Server) read(ctx context.Context, r request, answer *http.Response, o *outcome) (reply, error) {
	defer func() { _ = answer.Body.Close() }()
	status := answer.StatusCode
	switch {
	case status == http.StatusOK:
		return s.readBody(ctx, r, answer, o)
	case status == http.StatusNotModified && r.etag != "":
		o.verdict = answered
		return reply{etag: r.etag, notModified: true}, nil
	case status == http.StatusNotModified:
		o.verdict = answered
		return reply{}, &Error{Kind: KindUnexpected, Status: status, Route: r.route, Err: errUnasked}
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxErrorBody))
	if err != nil && status < 500 {
		return reply{}, s.failure(ctx, r, err, o)
	}
	e := &Error{Kind: r.kind(status, text), Status: status, Route: r.route}
	switch e.Kind {
	case KindServer:
		o.verdict, o.cause = failed, e
	default:
		o.verdict = answered
		e.RetryAfter = o.head.retryAfter
		o.missing = e.Kind == KindRouteNotFound && r.route == routePlainV4
	}
	return reply{}, e
}

func (s *Server) readBody(ctx context.Context, r request, answer *http.Response, o *outcome) (reply, error) {
	var text bytes.Buffer
	if n := answer.ContentLength; n > 0 && n <= s.options.MaxBody {
		text.Grow(int(n) + bytes.MinRead)
	}
	n, err := text.ReadFrom(io.LimitReader(answer.Body, s.options.MaxBody+1))
	if err != nil {
		return reply{}, s.failure(ctx, r, err, o)
	}
	o.verdict = answered
	if n > s.options.MaxBody {
		return reply{}, badAnswer(r.route, fmt.Errorf("it is larger than the limit of %d bytes", s.options.MaxBody))
	}
	return reply{body: text.Bytes(), etag: cleanETag(answer.Header.Get("Etag")), sent: o.head.sent}, nil
}

// cleanETag takes an ETag as the server compares it. A proxy that compresses marks it as weak; the server knows the
// strong one only, and for a GET the two are as good (RFC 9110, 13.1.2). Anything but one quoted text is none.
func cleanETag(tag string) string {
	tag = strings.TrimPrefix(tag, "W/")
	if len(tag) < 3 || len(tag) > 256 || tag[0] != '"' || strings.IndexByte(tag[1:], '"') != len(tag)-2 {
		return ""
	}
	return tag
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow returns where a redirect leads, if Authorization and the secret in a body may go there: to the same scheme, host and port, or
// from http to https on their standard ports. What has a body stays the POST, PATCH or DELETE that it is: a redirect tells that nothing was
// done yet. To make a GET of what meets a 301 or 302 is an old custom for a POST only (RFC 9110, 15.4.2), and would do nothing here.
func (s *Server) follow(from address, r *request, answer *http.Response, hop int) (address, string, error) {
	if r.body != nil && answer.StatusCode == http.StatusSeeOther {
		return address{}, "", errToGet // RFC 9110, 15.4.4
	}
	location, err := answer.Location()
	if err != nil || location.User != nil {
		return address{}, "", errNoTarget
	}
	to, err := addressOf(location)
	switch {
	case err != nil:
		return address{}, "", errNoTarget
	case to.origin() != from.origin() && (!from.upgrades(to) || s.options.permit(to) != nil):
		return address{}, "", errElsewhere
	case hop == maxRedirects:
		return address{}, "", errManyHops
	}
	return to, location.String(), nil
}
