package infisical

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestServerURLsAreNormalised(t *testing.T) {
	c := NewClient(Options{AllowHTTP: true})
	for raw, want := range map[string]string{
		"https://app.infisical.com":             "https://app.infisical.com",
		"https://app.infisical.com/api/":        "https://app.infisical.com",
		"https://APP.infisical.com.:443/":       "https://app.infisical.com",
		"http://host:80":                        "http://host",
		"http://host:08080/api":                 "http://host:8080",
		"https://host/infisical/api":            "https://host/infisical",
		"https://host/my%20prefix//":            "https://host/my%20prefix",
		"https://host/graphapi":                 "https://host/graphapi",
		"https://[2001:db8::1]:8443/api":        "https://[2001:db8::1]:8443",
		"https://10.1.2.3":                      "https://10.1.2.3",
		"https://infisical.my_ns.svc:8080/api/": "https://infisical.my_ns.svc:8080",
	} {
		s, err := c.Server(raw, nil)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		} else if got := s.at.base(); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestHostIsWhatPeopleCallTheServer(t *testing.T) {
	c := NewClient(Options{AllowHTTP: true})
	for raw, want := range map[string]string{
		"https://APP.infisical.com:443/prefix/api": "app.infisical.com",
		"http://host:8080":                         "host:8080",
		"https://[2001:db8::1]:8443":               "[2001:db8::1]:8443",
	} {
		if got := mustServer(t, c, raw, nil).Host(); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestServerURLsAreRefused(t *testing.T) {
	for raw, want := range map[string]error{
		"":                                  errURL,
		"infisical.com":                     errURL,
		"ftp://infisical.com":               errURL,
		"https:infisical.com":               errURL,
		"https://":                          errURL,
		"https://host:0":                    errURL,
		"https://host:70000":                errURL,
		"https://ho st":                     errURL,
		"https://a:secret-word@host":        errUserInfo,
		"https://host?token=secret-word":    errQuery,
		"https://host?":                     errQuery,
		"https://host#secret-word":          errQuery,
		"http://host":                       errHTTP,
		"https://ÿ.example":                 errASCII,
		"https://2852039166":                errNumeric,
		"https://169.254.43518":             errNumeric,
		"https://0xA9FEA9FE":                errNumeric,
		"https://host..":                    errNumeric,
		"https://169.254.169.254/":          errAddress,
		"https://[fe80::1%25eth0]/":         errAddress,
		"https://[::ffff:169.254.169.254]/": errAddress,
		"https://[2001:db8::1%25eth0]/":     errAddress,
		"https://0.0.0.0/":                  errAddress,
		"https://[::]/":                     errAddress,
		"https://224.0.0.1/":                errAddress,
		"https://[ff02::1]/":                errAddress,
	} {
		_, err := NewClient(Options{}).Server(raw, nil)
		e := wantKind(t, err, KindHostNotAllowed)
		if !errors.Is(e.Err, want) || e.Transient() {
			t.Errorf("%s: %v, want %v", raw, err, want)
		}
		if strings.Contains(err.Error(), "secret-word") {
			t.Errorf("%s: %v quotes the URL", raw, err)
		}
	}
}

func TestAllowedHosts(t *testing.T) {
	c := NewClient(Options{AllowHTTP: true, AllowedHosts: []string{"One.example", "two.example:8443", "*.three.example", "*four.example", "five.example:80", "[2001:db8::1]:443", "2001:db8::2"}})
	for raw, want := range map[string]bool{
		"https://one.example":           true,
		"https://one.example:9000":      true,
		"https://sub.one.example":       false,
		"https://two.example:8443":      true,
		"https://two.example":           false,
		"https://a.b.three.example":     true,
		"https://three.example":         false,
		"https://.three.example":        false,
		"https://evilthree.example":     false,
		"https://x.four.example":        false,
		"https://xfour.example":         false,
		"http://five.example":           true,
		"https://five.example":          false,
		"https://[2001:db8::1]":         true,
		"https://[2001:db8::2]:9":       true,
		"https://one.example.evil.test": false,
	} {
		_, err := c.Server(raw, nil)
		if (err == nil) != want {
			t.Errorf("%s: %v", raw, err)
		}
		if err != nil {
			wantKind(t, err, KindHostNotAllowed)
		}
	}
}

func TestSameArgumentsGiveTheSameServerAndAHostIsShared(t *testing.T) {
	c := NewClient(Options{})
	bundle := authority(t).pem
	a := mustServer(t, c, "https://host.example/api/", bundle)
	if b := mustServer(t, c, "https://HOST.example:443", bundle); a != b {
		t.Error("two servers for the same arguments")
	}
	other := mustServer(t, c, "https://host.example", nil)
	if a == other || a.host != other.host || a.transport == other.transport {
		t.Error("another CA bundle makes another server with its own connections on the same host")
	}
	prefixed := mustServer(t, c, "https://host.example/prefix", nil)
	if prefixed.host != a.host || prefixed.transport != other.transport {
		t.Error("another prefix is on the same host, and shares connections")
	}
	if mustServer(t, c, "https://host.example:8443", nil).host == a.host {
		t.Error("another port is another host")
	}
}

func TestCABundle(t *testing.T) {
	ca := authority(t)
	backend := httptest.NewUnstartedServer(respond(200, emptyList))
	backend.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Hour)}}
	backend.Config.ErrorLog = log.New(io.Discard, "", 0)
	backend.StartTLS()
	defer backend.Close()

	c := NewClient(Options{Clock: newFakeClock()}) // which stands still, so that backoff does not end
	_, err := c.Server(backend.URL, []byte("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"))
	if e := wantKind(t, err, KindBadCABundle); strings.Contains(e.Error(), "abc") {
		t.Error(&e)
	}

	without := mustServer(t, c, backend.URL, nil)
	_, err = without.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	if e := wantKind(t, err, KindNetwork); !errors.Is(e.Err, errUntrusted) || !strings.Contains(e.Error(), "caBundleRef") || e.RetryAfter <= 0 {
		t.Error(&e, e.RetryAfter)
	}
	_, err = without.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	if e := wantKind(t, err, KindHostDown); !strings.Contains(e.Error(), "caBundleRef") {
		t.Error(&e)
	}

	// One object's wrong bundle must not shut the host for others.
	with := mustServer(t, c, backend.URL, ca.pem)
	if _, err := with.EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
		t.Error(err)
	}
	_, err = without.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	wantKind(t, err, KindHostDown)
}

func TestBadCertificatesSayWhatIsWrong(t *testing.T) {
	ca := authority(t)
	for name, c := range map[string]struct {
		name  string
		valid time.Duration
		want  error
	}{
		"another name": {"127.0.0.2", time.Hour, errCertName},
		"expired":      {"127.0.0.1", -time.Hour, errCertInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			backend := httptest.NewUnstartedServer(respond(200, emptyList))
			backend.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, c.name, c.valid)}}
			backend.Config.ErrorLog = log.New(io.Discard, "", 0)
			backend.StartTLS()
			defer backend.Close()
			s := mustServer(t, NewClient(Options{}), backend.URL, ca.pem)
			_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
			if e := wantKind(t, err, KindNetwork); !errors.Is(e.Err, c.want) {
				t.Error(&e)
			}
		})
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	ca := authority(t)
	backend := httptest.NewUnstartedServer(respond(200, emptyList))
	backend.TLS = &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Hour)}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	backend.Config.ErrorLog = log.New(io.Discard, "", 0)
	backend.StartTLS()
	defer backend.Close()
	s := mustServer(t, NewClient(Options{}), backend.URL, ca.pem)
	_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	if e := wantKind(t, err, KindNetwork); !errors.Is(e.Err, errHandshake) {
		t.Error(&e)
	}
}

func TestLinkLocalAddressesAreRefusedWhenDialled(t *testing.T) {
	for _, addr := range []string{"169.254.169.254:80", "[fe80::1%lo]:80", "[::ffff:169.254.1.1]:80", "[::ffff:0.0.0.0]:80", "0.0.0.0:80", "[::]:80", "[ff02::1]:80", "nonsense"} {
		if err := refuseAddresses(t.Context(), "tcp", addr, nil); !errors.Is(err, errAddress) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if err := refuseAddresses(t.Context(), "tcp", "10.0.0.1:80", nil); err != nil {
		t.Error(err)
	}

	// What a name that resolves to such an address leads to: the check of the literal is passed, the dial is not.
	s := mustServer(t, NewClient(Options{AllowHTTP: true}), "http://placeholder.test", nil)
	s.at.host = "169.254.169.254"
	for range 2 { // it is nothing that the host did, so its gate stays open
		_, err := s.EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
		wantKind(t, err, KindHostNotAllowed)
	}
}

func TestProxyOfTheEnvironmentIsUsed(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		_, _ = io.WriteString(w, emptyList)
	}))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	c := NewClient(Options{AllowHTTP: true})

	if _, err := mustServer(t, c, "http://infisical.test", nil).EncryptedSecrets(t.Context(), testToken(t), anyQuery, ""); err != nil {
		t.Error(err)
	}
	_, err := mustServer(t, c, "https://infisical.test", nil).EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	if e := wantKind(t, err, KindNetwork); !errors.Is(e.Err, errProxyRefused) {
		t.Error(&e)
	}
	if got := strings.Join(asked, ", "); got != "GET infisical.test, CONNECT infisical.test:443" {
		t.Error(got)
	}
	_, err = c.Server("http://169.254.169.254", nil)
	wantKind(t, err, KindHostNotAllowed)

	// A proxy that is not there, and whose password must not show.
	proxy.Close()
	t.Setenv("HTTPS_PROXY", strings.Replace(proxy.URL, "http://", "http://user:secret-word@", 1))
	_, err = mustServer(t, NewClient(Options{}), "https://infisical.test", nil).EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	if e := wantKind(t, err, KindNetwork); e.Err.Error() != "the proxy: connection refused" {
		t.Error(&e)
	}
	t.Setenv("HTTPS_PROXY", "http://user:secret-word@%zz")
	_, err = mustServer(t, NewClient(Options{}), "https://infisical.test", nil).EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
	if e := wantKind(t, err, KindNetwork); strings.Contains(e.Error(), "secret-word") {
		t.Error(&e)
	}
}

// ca is a certificate authority for one test.
type ca struct {
	pem  []byte
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func authority(tb testing.TB) ca {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: now().Add(-24 * time.Hour), NotAfter: now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return ca{pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert: cert, key: key}
}

func (c ca) issue(tb testing.TB, ip string, valid time.Duration) tls.Certificate {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: now().Add(-2 * time.Hour), NotAfter: now().Add(valid),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, &key.PublicKey, c.key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}
