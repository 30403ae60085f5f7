package infisical

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

var (
	errBundle       = errors.New("the CA bundle holds no certificate in PEM form")
	errProxyRefused = errors.New("the proxy refused to connect to the server")
)

// newTransport makes the connections of one CA bundle.
func newTransport(caBundle []byte, proxy func(*url.URL) (*url.URL, error)) (*http.Transport, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(caBundle) > 0 {
		// A private CA adds to the system's roots, as users expect who move a server from one to the other.
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(caBundle) {
			return nil, errBundle
		}
		config.RootCAs = pool
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second, ControlContext: refuseAddresses}
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		// net/http would make an error of the proxy's own words.
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode != http.StatusOK {
				return errProxyRefused
			}
			return nil
		},
		DialContext:     dialer.DialContext,
		TLSClientConfig: config,
		// HTTP/1.1 only, which a transport with its own TLSClientConfig speaks unless told otherwise: a connection that died
		// silently costs one timeout, where HTTP/2 would send every request into it.
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    maxConcurrent,
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// refuseAddresses looks at each address that is about to be dialed, after names were resolved, so that no DNS answer
// leads to the metadata service of a cloud.
func refuseAddresses(_ context.Context, _, addr string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return errAddress
	}
	return checkIP(at.Addr())
}
