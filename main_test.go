package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/spf13/pflag"
)

func TestBadFlagsAreRefusedBeforeAnythingStarts(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "operators")
	for args, says := range map[string]string{
		"--infisical-url=app.infisical.com":        "--infisical-url is not a URL",
		"--infisical-url=ftp://x":                  "--infisical-url is not a URL",
		"--infisical-url=http://x":                 "needs --allow-http",
		"--namespace=":                             "--namespace or POD_NAMESPACE",
		"--watch-namespaces=a, b":                  "--watch-namespaces",
		"--watch-namespaces=a,,b":                  "--watch-namespaces",
		"--object-selector=team in a":              "--object-selector is not a label selector",
		"--leader-election-id=Team A":              "--leader-election-id",
		"--leader-election-id=":                    "--leader-election-id",
		"--workers=0":                              "--workers",
		"--request-timeout=0s":                     "--request-timeout",
		"--log-format=xml":                         "--log-format",
		"--log-level=loud":                         "--log-level",
		"--webhook-bind-address=:9443":             "--webhook-secrets-dir",
		"--forbidden-namespaces=a, b":              "--forbidden-namespaces",
		"--forbidden-namespaces=kube-[":            "--forbidden-namespaces",
		"--cluster-secrets + --watch-namespaces=a": "--watch-namespaces",
		"--unknown":                                "unknown flag",
	} {
		if err := run(context.Background(), strings.Split(args, " + ")); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestGoodFlagsAreAccepted(t *testing.T) {
	for _, args := range [][]string{
		{"--namespace=operators"},
		{"--namespace=operators", "--infisical-url=http://x", "--allow-http", "--log-level=debug", "--log-format=console"},
		{"--namespace=operators", "--watch-namespaces=a,b", "--allowed-hosts=a.example.com,*.b.example.com"},
		{"--namespace=operators", "--cluster-secrets", "--forbidden-namespaces="},
		{"--namespace=operators", "--cluster-secrets", "--forbidden-namespaces=kube-*,infra", "--object-selector=team=a"},
		{"--namespace=operators", "--object-selector=team=a", "--leader-election-id=a.servicetoken.io"},
		{"--namespace=operators", "--object-selector=team notin (a,b)", "--leader-election-id=rest"},
	} {
		var o options
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		o.bind(fs)
		if err := fs.Parse(args); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		if _, err := o.validate(); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestEveryFlagIsExplained(t *testing.T) {
	var o options
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	o.bind(fs)
	fs.VisitAll(func(f *pflag.Flag) {
		if len(f.Usage) < 10 || !strings.HasSuffix(f.Usage, ".") {
			t.Errorf("--%s is explained by %q", f.Name, f.Usage)
		}
	})
}

func TestAnAnswerThatNobodyAskedForIsNotLogged(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nhunter2")
	}()

	flags, output, lines := log.Flags(), log.Writer(), make(chan string, 10)
	defer func() { log.SetFlags(flags); log.SetOutput(output) }()
	logStandard(funcr.New(func(_, args string) { lines <- args }, funcr.Options{}))
	answer, err := http.Get("http://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if line := <-lines; !strings.Contains(line, "Unsolicited response") || strings.Contains(line, "hunter2") || strings.Contains(line, "HTTP/1.1") {
		t.Error(line)
	}
	log.Print("something else")
	if line := <-lines; !strings.Contains(line, "something else") {
		t.Error(line)
	}
}
