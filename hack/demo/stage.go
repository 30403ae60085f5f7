package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// stage is everything that runs during the demo.
type stage struct {
	options
	dir        string // for what the demo writes; removed at the end
	kubeconfig string // of an admin
	logFile    string // of the operator

	cluster   *envtest.Environment
	infisical *infisical
	operator  *exec.Cmd
	exited    chan error // of the operator
}

// infisical is the development server and what the demo keeps in it.
type infisical struct {
	url     string
	server  *devserver.Server
	project *devserver.Project
	http    *http.Server
}

// The account that config/ gives its permissions to.
const (
	namespace      = "service-token-operator-system"
	serviceAccount = "service-token-operator-controller-manager"
)

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
	if _, err := s.kubectl(ctx, "", "apply", "--server-side", "-k", filepath.Join(s.root, "config/default")); err != nil {
		return err
	}
	return s.step("starting the operator", func() error { return s.startOperator(ctx) })
}

func (s *stage) startCluster() error {
	s.cluster = &envtest.Environment{BinaryAssetsDirectory: s.assets}
	if _, err := s.cluster.Start(); err != nil {
		return err
	}
	s.kubeconfig = filepath.Join(s.dir, "kubeconfig")
	return os.WriteFile(s.kubeconfig, s.cluster.KubeConfig, 0o600)
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
	user, err := s.cluster.AddUser(envtest.User{
		Name: "system:serviceaccount:" + namespace + ":" + serviceAccount, Groups: []string{"system:serviceaccounts", "system:authenticated"},
	}, &rest.Config{})
	if err != nil {
		return err
	}
	config, err := user.KubeConfig()
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, "operator-kubeconfig")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	s.logFile = filepath.Join(s.dir, "operator.log")
	log, err := os.Create(s.logFile)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own
	probe, err := freeAddress()
	if err != nil {
		return err
	}
	s.operator = exec.Command(s.manager, "--kubeconfig="+file, "--infisical-url="+s.infisical.url, "--allow-http", "--leader-elect",
		"--metrics-bind-address=127.0.0.1:0", "--health-probe-bind-address="+probe, "--log-format=console")
	s.operator.Env = append(os.Environ(), "POD_NAMESPACE="+namespace)
	s.operator.Stdout, s.operator.Stderr = log, log
	s.operator.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches the demo, which then stops it in order
	if err := s.operator.Start(); err != nil {
		return err
	}
	s.exited = make(chan error, 1)
	go func() { s.exited <- s.operator.Wait() }()
	return s.await(ctx, "the operator to be ready", func() (bool, error) {
		select {
		case err := <-s.exited:
			s.exited <- err
			return false, fmt.Errorf("the operator ended: %w; its log:\n%s", err, s.operatorLog())
		default:
		}
		return isReady(probe), nil
	})
}

func isReady(probe string) bool {
	answer, err := http.Get("http://" + probe + "/readyz")
	if err != nil {
		return false
	}
	_ = answer.Body.Close() // nothing is read from it
	return answer.StatusCode == http.StatusOK
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (s *stage) operatorLog() string {
	log, err := os.ReadFile(s.logFile)
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// down ends everything and leaves nothing behind.
func (s *stage) down() error {
	var errs []error
	if s.exited != nil {
		if err := s.operator.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, err)
		}
		select {
		case err := <-s.exited:
			errs = append(errs, err)
		case <-time.After(20 * time.Second):
			errs = append(errs, errors.New("the operator did not stop within 20 seconds"), s.operator.Process.Kill())
		}
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
	cmd := exec.CommandContext(ctx, filepath.Join(s.assets, "kubectl"), append([]string{"--kubeconfig", s.kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), nil
}

// await looks until something is so, for a minute.
func (s *stage) await(ctx context.Context, what string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if done, err := so(); err != nil || done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
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
