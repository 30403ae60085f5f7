package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// start runs the command until the test ends and returns its URL and a client that trusts it.
func start(t *testing.T, certDir string, args ...string) (string, *http.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"--listen=127.0.0.1:0"}, args...), writer)
		_ = writer.CloseWithError(io.EOF)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	url, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatalf("no URL: %v", err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	if certDir != "" {
		bundle, err := os.ReadFile(filepath.Join(certDir, "tls.crt"))
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(bundle)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return strings.TrimSpace(url), &http.Client{Transport: transport}
}

func get(t *testing.T, client *http.Client, url, token string, out any) http.Header {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	got, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	if err := json.NewDecoder(got.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
	return got.Header
}

type project struct {
	ID      string
	Version int
	Tokens  []string
}

func TestServesTheExampleAndItsManagement(t *testing.T) {
	url, client := start(t, "", "--seed=example.yaml", "--rate-limit=40,60", "--v4")
	var projects []project
	get(t, client, url+"/dev/projects", "", &projects)
	if len(projects) != 2 || projects[0].Version != 1 || projects[1].Version != 3 || len(projects[1].Tokens) != 1 {
		t.Fatalf("%+v", projects)
	}
	var list struct {
		Secrets []struct{ SecretKey, SecretValue string }
	}
	header := get(t, client, url+"/api/v4/secrets?environment=prod&projectId="+projects[1].ID, projects[1].Tokens[0], &list)
	if header.Get("X-Ratelimit-Limit") != "40" || len(list.Secrets) != 1 || list.Secrets[0].SecretValue != "héllo ✓" {
		t.Errorf("%v %+v", header, list)
	}
}

func TestServesHTTPSWithACertificateThatItMakesOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	var bundles []string
	for range 2 {
		url, client := start(t, dir, "--tls-cert-dir="+dir, "--tls-hosts=infisical.example.test")
		if !strings.HasPrefix(url, "https://") {
			t.Error(url)
		}
		var failed struct{ Message string }
		if get(t, client, url+"/api/v2/service-token", "", &failed); failed.Message != "Token missing" {
			t.Errorf("%+v", failed)
		}
		bundle, err := os.ReadFile(filepath.Join(dir, "tls.crt"))
		if err != nil {
			t.Fatal(err)
		}
		bundles = append(bundles, string(bundle))
	}
	if bundles[0] != bundles[1] {
		t.Error("a certificate that was there is replaced")
	}
}

func TestRefusesWhatItCannotDo(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "seed.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	occupied := filepath.Join(write(""), "below-a-file")
	for name, tt := range map[string]struct {
		arg, want string
	}{
		"argument":        {"x", `unexpected argument "x"`},
		"flag":            {"--nope", "unknown flag"},
		"rate limit":      {"--rate-limit=40", "two numbers"},
		"address":         {"--listen=nowhere:0:0", "nowhere"},
		"no seed":         {"--seed=nope.yaml", "nope.yaml"},
		"unknown field":   {"--seed=" + write("projects: [{version: 1, secret: {}}]"), "unknown field"},
		"wrong project":   {"--seed=" + write("projects: [{version: 4}]"), "project 1"},
		"wrong directory": {"--tls-cert-dir=" + occupied, "below-a-file"},
	} {
		t.Run(name, func(t *testing.T) {
			err := run(t.Context(), []string{"--listen=127.0.0.1:0", tt.arg}, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
