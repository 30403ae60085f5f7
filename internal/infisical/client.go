// Package infisical is the client of the Infisical API: the requests that a service token can make, the logins of machine identities
// and what those may read and write, typed errors for every way in which the server refuses them, and the manners of a guest. It keeps
// to the rate limit that a server announces, knocks at a failing host once per backoff step however many callers wait, and follows no
// redirect to another host.
//
// It decrypts nothing, keeps no secret beyond the call that asked for it, never sends the fourth part of a token, and
// never puts anything of a request's or an answer's body, a header or a token (but for its public id) into an error. What a server's
// message means is decided here and nowhere else: callers look at the Kind of an Error.
package infisical

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
	"k8s.io/utils/clock"
)

const (
	defaultTimeout = 30 * time.Second
	defaultMaxBody = 16 << 20
)

// Options of a Client. The zero value is usable.
type Options struct {
	// Version of the operator, for the user agent: service-token-operator/<version>. More about the build may follow in parentheses.
	Version string
	// AllowHTTP permits http:// next to https://.
	AllowHTTP bool
	// AllowedHosts limits the servers that can be named: a host (on any port), host:port, or *.domain for every name
	// below the domain but not the domain itself. Empty permits all.
	AllowedHosts []string
	// Timeout of one request, from sending it to the last byte of the answer. Waiting for the rate limit is not part of
	// it. Default 30s. It is wall-clock time, as everything on a network is, whatever Clock says.
	Timeout time.Duration
	// MaxBody limits an answer's body, in bytes after decompression. Default 16 MiB.
	MaxBody int64
	// Meter counts the uses of tokens. May be nil.
	Meter Meter
	// Observer is told how requests ended. May be nil.
	Observer Observer
	// Clock measures rate-limit windows and backoff steps. Default the real one.
	Clock clock.WithDelayedExecution
	// Jitter returns numbers in [0,1) and is safe for concurrent use. Default math/rand/v2.
	Jitter func() float64
}

// Meter counts the uses of a token: one use is one request authenticated with it.
type Meter interface {
	// Use is called before each request goes out, retries, redirects and those that end in a 304 included. After an error
	// the request is not sent.
	Use(ctx context.Context, tokenID string) error
}

// Observer is told how requests ended that went out.
type Observer interface {
	// Observe must not block.
	Observe(Exchange)
}

// Exchange is a request that went out, and what came of it.
type Exchange struct {
	Host    string // the server's, as Server.Host says it
	Route   string // as errors name it, such as GET /api/v3/secrets
	Outcome Outcome
	Took    time.Duration // from sending the request to the last byte of the answer
	// Limit is how many requests of this route the answer says that the server allows in a minute; 0 where it says nothing.
	Limit int
}

// Outcome is what came of a request.
type Outcome string

// The outcomes, by the answer's status. OutcomeNetwork is no complete answer.
const (
	OutcomeOK          Outcome = "200"
	OutcomeNotModified Outcome = "304"
	OutcomeRedirect    Outcome = "3xx"
	OutcomeRefused     Outcome = "4xx"
	OutcomeRateLimited Outcome = "429"
	OutcomeFailed      Outcome = "5xx"
	OutcomeNetwork     Outcome = "network"
)

// outcomeOf is the outcome of a request by its answer's status; 0 is none.
func outcomeOf(status int) Outcome {
	switch {
	case status == http.StatusNotModified:
		return OutcomeNotModified
	case status == http.StatusTooManyRequests:
		return OutcomeRateLimited
	case status >= 500:
		return OutcomeFailed
	case status >= 400:
		return OutcomeRefused
	case status >= 300:
		return OutcomeRedirect
	case status >= 200:
		return OutcomeOK
	}
	return OutcomeNetwork
}

// Client makes Servers, and keeps for each host what is known of its rate limits and health. It is safe for concurrent
// use; one per process is enough, and more than one would not know of each other's requests.
type Client struct {
	options Options
	proxy   func(*url.URL) (*url.URL, error)

	mu         sync.Mutex
	servers    map[serverKey]*Server
	hosts      map[string]*host // by scheme://host[:port]
	transports map[bundleSum]*http.Transport
}

type (
	bundleSum = [sha256.Size]byte
	serverKey struct {
		base   string
		bundle bundleSum
	}
)

// NewClient reads the proxy settings of the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) now, not at each request.
func NewClient(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.MaxBody == 0 {
		o.MaxBody = defaultMaxBody
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	return &Client{
		options:    o,
		proxy:      httpproxy.FromEnvironment().ProxyFunc(),
		servers:    map[serverKey]*Server{},
		hosts:      map[string]*host{},
		transports: map[bundleSum]*http.Transport{},
	}
}

// Server returns the server at a URL, the same one for the same arguments. The URL may end in /api or a slash and may
// have a path prefix; it has no user, query or fragment. caBundle is PEM and adds to the system's roots; an
// empty one adds nothing. All servers of one scheme and host share rate limits and backoff.
// Errors are *Error of KindHostNotAllowed or KindBadCABundle.
func (c *Client) Server(baseURL string, caBundle []byte) (*Server, error) {
	at, err := parseAddress(baseURL)
	if err != nil {
		return nil, &Error{Kind: KindHostNotAllowed, Err: err}
	}
	if err := c.options.permit(at); err != nil {
		return nil, &Error{Kind: KindHostNotAllowed, Err: err}
	}
	key := serverKey{base: at.base(), bundle: sha256.Sum256(caBundle)}

	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.servers[key]; ok {
		return s, nil
	}
	transport, ok := c.transports[key.bundle]
	if !ok {
		if transport, err = newTransport(caBundle, c.proxy); err != nil {
			return nil, &Error{Kind: KindBadCABundle, Err: err}
		}
		c.transports[key.bundle] = transport
	}
	h, ok := c.hosts[at.origin()]
	if !ok {
		h = newHost(c.options.Clock, c.options.Jitter)
		c.hosts[at.origin()] = h
	}
	s := &Server{options: &c.options, at: at, host: h, transport: transport}
	c.servers[key] = s
	return s, nil
}
