package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

var (
	_ manager.Runnable               = &Server{}
	_ manager.LeaderElectionRunnable = &Server{}
)

// listen starts a server at a free port. Stop ends it and returns what Start would.
func listen(t *testing.T, certDir string, handler http.Handler) (address string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- NewServer("", certDir, handler).serve(ctx, listener) }()
	t.Cleanup(cancel)
	return listener.Addr().String(), func() error { cancel(); return <-ended }
}

// deliver posts a valid delivery.
func deliver(t *testing.T, client *http.Client, url string, b *bell) (status, protocol int) {
	t.Helper()
	body := b.body(0)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-infisical-signature", b.header(body, secret))
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode, answer.ProtoMajor
}

func TestAServerTakesDeliveriesUntilItsEnd(t *testing.T) {
	g := NewWithT(t)
	b := newBell(t, nil)
	address, stop := listen(t, "", b)
	status, _ := deliver(t, http.DefaultClient, "http://"+address+"/any/path", b)
	g.Expect(status).To(Equal(http.StatusNoContent))
	g.Expect(stop()).To(Succeed())
	_, err := net.Dial("tcp", address)
	g.Expect(err).To(HaveOccurred())
}

func TestAServerSpeaksTLSWithACertificateThatMayChange(t *testing.T) {
	g := NewWithT(t)
	b := newBell(t, nil)
	dir := t.TempDir()
	write := func() *x509.CertPool {
		crt, key, err := cert.GenerateSelfSignedCertKey("localhost", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, "tls.crt"), crt, 0o600)).To(Succeed())
		roots := x509.NewCertPool()
		g.Expect(roots.AppendCertsFromPEM(crt)).To(BeTrue())
		return roots
	}
	client := func(roots *x509.CertPool) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, DisableKeepAlives: true}
		return &http.Client{Transport: transport}
	}
	before := write()
	address, stop := listen(t, dir, b)
	status, protocol := deliver(t, client(before), "https://"+address, b)
	g.Expect(status).To(Equal(http.StatusNoContent))
	g.Expect(protocol).To(Equal(1), "or 64 connections could bring thousands of deliveries at a time")

	after := write()
	g.Eventually(func() error {
		answer, err := client(after).Get("https://" + address)
		if err == nil {
			err = answer.Body.Close()
		}
		return err
	}, 30*time.Second).Should(Succeed())
	g.Expect(stop()).To(Succeed())
}

func TestAServerThatCannotStartSaysWhy(t *testing.T) {
	g := NewWithT(t)
	g.Expect(NewServer("127.0.0.1:-1", "", http.NotFoundHandler()).Start(t.Context())).To(MatchError(ContainSubstring("listen for webhooks")))
	g.Expect(NewServer("127.0.0.1:0", t.TempDir(), http.NotFoundHandler()).Start(t.Context())).To(MatchError(ContainSubstring("certificate for webhooks")))
	g.Expect(NewServer("", "", nil).NeedLeaderElection()).To(BeFalse())
}

func TestAServerThatEndsLetsDeliveriesEnd(t *testing.T) {
	g := NewWithT(t)
	came, free := make(chan struct{}), make(chan struct{})
	address, stop := listen(t, "", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(came)
		<-free
		w.WriteHeader(http.StatusNoContent)
	}))
	answered := make(chan int, 1)
	b := newBell(t, nil)
	go func() {
		status, _ := deliver(t, http.DefaultClient, "http://"+address, b)
		answered <- status
	}()
	<-came
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	g.Consistently(stopped, "50ms").ShouldNot(Receive())
	close(free)
	g.Expect(<-answered).To(Equal(http.StatusNoContent))
	g.Expect(<-stopped).To(Succeed())
}

func TestAServerTakesSoManyConnectionsAtATime(t *testing.T) {
	g := NewWithT(t)
	came, free := make(chan struct{}, 2*maxConnections), make(chan struct{})
	address, stop := listen(t, "", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { came <- struct{}{}; <-free }))
	var connections []net.Conn
	for range maxConnections + 1 {
		c, err := net.Dial("tcp", address)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		g.Expect(err).NotTo(HaveOccurred())
		connections = append(connections, c)
	}
	g.Eventually(func() int { return len(came) }).Should(Equal(maxConnections))
	g.Consistently(func() int { return len(came) }, "50ms").Should(Equal(maxConnections))
	close(free)
	g.Eventually(func() int { return len(came) }).Should(Equal(maxConnections+1), "who waited is not turned away")
	for _, c := range connections {
		g.Expect(c.Close()).To(Succeed())
	}
	g.Expect(stop()).To(Succeed())
}
