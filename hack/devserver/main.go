// Devserver is a development Infisical as a process of its own: the API that the operator talks to, and under /dev/ a
// management API to change what is in it, break it, and see what it was asked (see internal/devserver, Management).
// It keeps everything in memory and protects nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "devserver:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing to undo at exit
	}
}

type options struct {
	listen, certDir, seed string
	hosts                 []string
	latency, webhookDelay time.Duration
	rateLimit             []int
	v4                    bool
}

func parse(args []string) (o options, err error) {
	flags := pflag.NewFlagSet("devserver", pflag.ContinueOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "Address to serve on; port 0 picks a free one.")
	flags.StringVar(&o.certDir, "tls-cert-dir", "", "Serve HTTPS with tls.crt and tls.key of this directory. They are made if they are missing; tls.crt is then the CA bundle to trust. Plain HTTP if empty.")
	flags.StringSliceVar(&o.hosts, "tls-hosts", nil, "More names and addresses for a certificate that is made, besides localhost.")
	flags.StringVar(&o.seed, "seed", "", "YAML or JSON file with projects to start with; see example.yaml.")
	flags.DurationVar(&o.latency, "latency", 0, "Wait for each authenticated request; a real server takes about 85ms.")
	flags.IntSliceVar(&o.rateLimit, "rate-limit", []int{0, 0}, "Requests a minute for secrets and for other reads, per client and route; a self-hosted server has 40,60. 0 is no limit.")
	flags.DurationVar(&o.webhookDelay, "webhook-delay", 0, "Wait before each delivery of a webhook; a real server takes about 2.3s.")
	flags.BoolVar(&o.v4, "v4", false, "Be a newer server, which has /api/v4/secrets.")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if len(o.rateLimit) != 2 {
		return options{}, errors.New("--rate-limit has two numbers, such as 40,60")
	}
	return o, nil
}

// run serves until the context ends. The first line it writes is the URL that it serves.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	infisical := devserver.New(devserver.WithLatency(o.latency), devserver.WithRateLimit(o.rateLimit[0], o.rateLimit[1]), devserver.WithV4(o.v4), devserver.WithWebhookDelay(o.webhookDelay))
	if o.seed != "" {
		if err := load(infisical, o.seed); err != nil {
			return err
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(infisical), ReadHeaderTimeout: 10 * time.Second}
	scheme, serve := "http", func() error { return server.Serve(listener) }
	if o.certDir != "" {
		cert, key, err := certificate(o.certDir, append([]string{"localhost", "127.0.0.1", "::1"}, o.hosts...))
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		scheme, serve = "https", func() error { return server.ServeTLS(listener, cert, key) }
	}
	if _, err := fmt.Fprintf(out, "%s://%s\n", scheme, listener.Addr()); err != nil {
		return errors.Join(err, listener.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return server.Close() // at once: nobody's data is at stake, and clients may hold connections for long
	}
}

// handler gives /dev/ to the management API and all else to the server, without a mux that would clean paths.
func handler(infisical *devserver.Server) http.Handler {
	management := infisical.Management()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/dev/") {
			management.ServeHTTP(w, r)
			return
		}
		infisical.ServeHTTP(w, r)
	})
}

func load(infisical *devserver.Server, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var seed struct {
		Projects []devserver.Seed `json:"projects"`
	}
	if err := yaml.UnmarshalStrict(data, &seed); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	for i, project := range seed.Projects {
		if _, err := infisical.Load(project); err != nil {
			return fmt.Errorf("project %d of %s: %w", i+1, file, err)
		}
	}
	return nil
}
