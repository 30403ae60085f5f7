package infisical

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
)

// The causes of KindNetwork. The errors of net/http are not passed on: some quote the URL, the proxy's URL with its
// password, or what the server sent.
var (
	errTimeout     = errors.New("it did not come in time")
	errCut         = errors.New("the connection was closed before the answer was complete")
	errNoHost      = errors.New("the host name does not resolve")
	errLookup      = errors.New("the host name could not be looked up")
	errNoTLS       = errors.New("the server does not speak TLS on this port")
	errHandshake   = errors.New("the TLS handshake failed")
	errUntrusted   = errors.New("the server's certificate is not trusted; if a private CA issued it, put the CA's certificate into the object that tls.caBundleRef names")
	errCertName    = errors.New("the server's certificate is for another host name; hostURL must use a name that is in the certificate")
	errCertInvalid = errors.New("the server's certificate, or one in its chain, has expired, is not valid yet, or may not be used for this")
	errSevered     = errors.New("a kept connection was closed before the answer; the server may or may not have done it")
	errOther       = errors.New("the request failed on the way")
)

// failureOf says what an error of net/http, without a complete answer, means for the caller and for the host.
func failureOf(err error) (Kind, verdict, error) {
	if errors.Is(err, errAddress) {
		return KindHostNotAllowed, unsent, errAddress
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return KindNetwork, untrusted, certificateCause(err)
	}
	if errors.Is(err, errSevered) {
		return KindNetwork, severed, errSevered
	}
	cause := networkCause(err)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "proxyconnect" {
		cause = fmt.Errorf("the proxy: %w", cause)
	}
	return KindNetwork, failed, cause
}

func certificateCause(err error) error {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return errCertName
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return errCertInvalid
	}
	return errUntrusted
}

func networkCause(err error) error {
	if errors.Is(err, errProxyRefused) {
		return errProxyRefused
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return errNoHost
		}
		return errLookup
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return errNoTLS
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return errHandshake // how crypto/tls passes alerts on
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return errTimeout
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return number // its texts are a fixed table
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return errOther
}
