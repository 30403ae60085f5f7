package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// This port is for strangers, so it is kept small: what waits beyond maxConnections waits in the kernel.
const (
	timeout        = 10 * time.Second
	maxHeader      = 16 << 10
	maxConnections = 64
)

// Server serves a handler at an address. It is a runnable of the manager, on every replica.
type Server struct {
	address, certDir string
	http             http.Server
}

// NewServer returns a server that listens when it is started. It speaks TLS with tls.crt and tls.key of certDir, which are read
// again when they change, and plain HTTP, for an ingress in front of it, when certDir is empty.
func NewServer(address, certDir string, handler http.Handler) *Server {
	s := &Server{address: address, certDir: certDir, http: http.Server{
		Handler: handler, MaxHeaderBytes: maxHeader, Protocols: &http.Protocols{},
		ReadHeaderTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, IdleTimeout: timeout,
	}}
	s.http.Protocols.SetHTTP1(true) // only: a connection of HTTP/2 is a hundred requests at a time
	return s
}

// NeedLeaderElection says that all replicas serve, and those that do not lead say so.
func (*Server) NeedLeaderElection() bool { return false }

// Start serves until ctx ends, and lets deliveries under way come to their end.
func (s *Server) Start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen for webhooks: %w", err)
	}
	return s.serve(ctx, listener)
}

// serve closes the listener.
func (s *Server) serve(ctx context.Context, listener net.Listener) error {
	listener = netutil.LimitListener(listener, maxConnections)
	work, ctx := errgroup.WithContext(ctx)
	serve := s.http.Serve
	if s.certDir != "" {
		watcher, err := certwatcher.New(filepath.Join(s.certDir, "tls.crt"), filepath.Join(s.certDir, "tls.key"))
		if err != nil {
			return errors.Join(fmt.Errorf("read the certificate for webhooks: %w", err), listener.Close())
		}
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: watcher.GetCertificate}
		serve = func(l net.Listener) error { return s.http.ServeTLS(l, "", "") }
		work.Go(func() error {
			if err := watcher.Start(ctx); err != nil && ctx.Err() == nil { // which would end in an expired certificate
				return fmt.Errorf("watch the certificate for webhooks: %w", err)
			}
			return nil
		})
	}
	work.Go(func() error {
		if err := serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve webhooks: %w", err)
		}
		return nil
	})
	work.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		if s.http.Shutdown(end) != nil { // somebody takes longer than he may
			return s.http.Close()
		}
		return nil
	})
	return work.Wait()
}
