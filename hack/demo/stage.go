package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/service-token-operator/service-token-operator/hack/lab"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// stage is everything that runs during the demo.
type stage struct {
	options
	dir string // for what the demo writes; removed at the end

	cluster   *lab.Cluster
	infisical *infisical
	operator  *lab.Operator
}

// infisical is the development server and what the demo keeps in it.
type infisical struct {
	url     string
	server  *devserver.Server
	project *devserver.Project
	http    *http.Server
}

// up starts the control plane, the development Infisical and the operator.
func (s *stage) up(ctx context.Context) error {
	s.say("\033[1mservice-token-operator: the demo\033[0m")
	var err error
	if s.dir, err = os.MkdirTemp("", "service-token-operator-demo-"); err != nil {
		return err
	}
	if err := s.step("starting a control plane (etcd and kube-apiserver)", s.startCluster); err != nil {
		return err
	}
	if err := s.step("starting a development Infisical with a project of version 1", s.startInfisical); err != nil {
		return err
	}
	s.say("installing the operator's manifests: kubectl apply -k config/default")
	s.say("   (nothing runs pods here, so the operator runs beside it, as the ServiceAccount that config/ makes)")
	if err := s.cluster.Install(ctx, s.root); err != nil {
		return err
	}
	return s.step("starting the operator", func() error { return s.startOperator(ctx) })
}

func (s *stage) startCluster() (err error) {
	s.cluster, err = lab.StartCluster(s.assets, s.dir)
	return err
}

func (s *stage) startInfisical() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := devserver.New()
	s.infisical = &infisical{
		url: "http://" + listener.Addr().String(), server: server, project: server.AddProject(1),
		http: &http.Server{Handler: server, ReadHeaderTimeout: 10 * time.Second},
	}
	for name, value := range map[string]string{
		"DB_USER": "shop", "DB_PASSWORD": "correct horse battery staple", "DB_HOST": "db.internal",
		"DATABASE_URL": "postgres://${DB_USER}@${DB_HOST}:5432/shop", "GREETING": "héllo ✓",
	} {
		s.infisical.project.Put("prod", "/shop", name, value)
	}
	go func() { _ = s.infisical.http.Serve(listener) }() // ends with http.ErrServerClosed
	return nil
}

func (s *stage) startOperator(ctx context.Context) error {
	kubeconfig, err := s.cluster.OperatorKubeconfig()
	if err != nil {
		return err
	}
	s.operator, err = lab.StartOperator(s.manager, filepath.Join(s.dir, "operator.log"), kubeconfig, s.infisical.url,
		"--metrics-bind-address=127.0.0.1:0", "--log-format=console")
	if err != nil {
		return err
	}
	return s.await(ctx, "the operator to be ready", s.operator.Ready)
}

// down ends everything and leaves nothing behind.
func (s *stage) down() error {
	var errs []error
	if s.operator != nil {
		errs = append(errs, s.operator.Stop())
	}
	if s.infisical != nil {
		errs = append(errs, s.infisical.http.Close())
	}
	if s.cluster != nil {
		errs = append(errs, s.cluster.Stop())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// newToken makes a token of the demo's project at the development Infisical.
func (s *stage) newToken() string {
	return s.infisical.project.AddToken(devserver.TokenSpec{
		Name: "shop", Scopes: servicetoken.Scopes{{Environment: "prod", Path: "/shop"}}, ExpiresIn: 171*24*time.Hour + time.Hour,
	})
}

func (s *stage) say(format string, args ...any) { _, _ = fmt.Fprintf(s.out, format+"\n", args...) }

// step says what is being done, and how long it took.
func (s *stage) step(what string, do func() error) error {
	_, _ = fmt.Fprintf(s.out, "%s … ", what)
	start := time.Now()
	if err := do(); err != nil {
		s.say("failed")
		return fmt.Errorf("%s: %w", what, err)
	}
	s.say("%.1f s", time.Since(start).Seconds())
	return nil
}

func (s *stage) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// show runs kubectl before the eyes of whoever watches.
func (s *stage) show(ctx context.Context, args ...string) error {
	s.say("   $ kubectl %s", quoted(args))
	out, err := s.kubectl(ctx, "", args...)
	s.say("%s", indent(out))
	return err
}

func (s *stage) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	return s.cluster.Kubectl(ctx, stdin, args...)
}

// await looks until something is so, for a minute.
func (s *stage) await(ctx context.Context, what string, so func() (bool, error)) error {
	return lab.Await(ctx, what, time.Minute, so)
}

func quoted(args []string) string {
	texts := make([]string, len(args))
	for i, a := range args {
		texts[i] = a
		if strings.ContainsAny(a, ` "{}[]$<>*`) {
			texts[i] = "'" + a + "'"
		}
	}
	return strings.Join(texts, " ")
}

func indent(text string) string {
	return "   " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n   ")
}
