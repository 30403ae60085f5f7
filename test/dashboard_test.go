package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/hack/lab"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// panel is one of the dashboard's.
type panel struct {
	Title   string
	Targets []struct{ Expr string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(filepath.Join(chartFolder, "files/dashboard.json"))
	g.Expect(err).NotTo(HaveOccurred())
	var board struct{ Panels []panel }
	g.Expect(json.Unmarshal(text, &board)).To(Succeed())
	return board.Panels
}

// TestDashboardShowsWhatARealPrometheusScrapes has the operator work on a real API server, and a real Prometheus scrape it: every panel
// has something to show.
func TestDashboardShowsWhatARealPrometheusScrapes(t *testing.T) {
	g := NewWithT(t)
	for name, what := range map[string]string{"KUBEBUILDER_ASSETS": "control plane", "MANAGER": "operator", "PROMETHEUS": "prometheus"} {
		if os.Getenv(name) == "" {
			t.Fatalf("%s names no %s: run `make test`", name, what)
		}
	}
	dir := t.TempDir()
	cluster, err := lab.StartCluster(os.Getenv("KUBEBUILDER_ASSETS"), dir)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { NewWithT(t).Expect(cluster.Stop()).To(Succeed()) })
	g.Expect(cluster.Install(t.Context(), rootWith(t, "push"))).To(Succeed())
	kubeconfig, err := cluster.OperatorKubeconfig()
	g.Expect(err).NotTo(HaveOccurred())
	metrics, err := lab.FreeAddress()
	g.Expect(err).NotTo(HaveOccurred())

	infisical := devserver.New(devserver.WithRateLimit(6000, 6000))
	server := httptest.NewServer(infisical)
	t.Cleanup(server.Close)
	project := infisical.AddProject(1)
	project.Put("prod", "/shop", "KEY", "first")
	operator, err := lab.StartOperator(os.Getenv("MANAGER"), filepath.Join(dir, "operator.log"), kubeconfig, server.URL, "--metrics-bind-address="+metrics, "--metrics-secure=false", "--push")
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { NewWithT(t).Expect(operator.Stop()).To(Succeed()) })
	query := startPrometheus(t, dir, metrics)

	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(stv1.AddToScheme(scheme)).To(Succeed())
	c, err := client.New(cluster.Config, client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	token := project.AddToken(devserver.TokenSpec{
		Name: "dashboard", Scopes: servicetoken.Scopes{{Environment: "prod", Path: "/**"}}, Permissions: []string{"read", "write"}, ExpiresIn: 24 * time.Hour,
	})
	g.Expect(c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "infisical-token"}, StringData: map[string]string{"token": token}})).To(Succeed())
	for name, path := range map[string]string{"shop": "/shop", "lost": "/nowhere"} {
		obj := &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		obj.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: "infisical-token"}}
		obj.Spec.Sources = []stv1.Source{{Environment: "prod", Path: path}}
		obj.Spec.RefreshInterval = metav1.Duration{Duration: 5 * time.Second}
		g.Expect(c.Create(t.Context(), obj)).To(Succeed())
	}

	g.Expect(c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "made-here"}, StringData: map[string]string{"MADE": "here"}})).To(Succeed())
	push := &stv1.ServiceTokenPush{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "made-here"}}
	push.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: "infisical-token"}}
	push.Spec.Source.SecretRef.Name = "made-here"
	push.Spec.Destination = stv1.PushDestination{Environment: "prod", Path: "/shop"}
	g.Expect(c.Create(t.Context(), push)).To(Succeed())

	changes := 0
	for _, p := range panels(t) {
		for _, target := range p.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "20s")
			g.Eventually(func() (string, error) {
				if changes++; changes%10 == 0 { // so that there is always something to write
					project.Put("prod", "/shop", "KEY", fmt.Sprint(changes))
				}
				return query(expr)
			}, 40*time.Second, 500*time.Millisecond).ShouldNot(BeElementOf("", "NaN"), "%s: %s", p.Title, expr)
		}
	}
}

// startPrometheus scrapes an address each second, and returns how to ask for the first value of an expression; "" is none.
func startPrometheus(t *testing.T, dir, scraped string) func(expr string) (string, error) {
	t.Helper()
	g := NewWithT(t)
	config := filepath.Join(dir, "prometheus.yaml")
	text := fmt.Sprintf("scrape_configs: [{job_name: operator, scrape_interval: 1s, static_configs: [{targets: [%q]}]}]", scraped)
	g.Expect(os.WriteFile(config, []byte(text), 0o600)).To(Succeed())
	address, err := lab.FreeAddress()
	g.Expect(err).NotTo(HaveOccurred())
	prometheus := exec.CommandContext(t.Context(), os.Getenv("PROMETHEUS"), "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"),
		"--web.listen-address="+address, "--log.level=error")
	prometheus.Cancel = func() error { return prometheus.Process.Signal(os.Interrupt) }
	g.Expect(prometheus.Start()).To(Succeed())
	t.Cleanup(func() { _ = prometheus.Wait() }) // the test's context has ended by then

	return func(expr string) (string, error) {
		answer, err := http.Get("http://" + address + "/api/v1/query?query=" + url.QueryEscape(expr))
		if err != nil {
			return "", nil // it does not listen yet
		}
		defer func() { _ = answer.Body.Close() }()
		var result struct {
			Status, Error string
			Data          struct {
				Result []struct{ Value [2]any }
			}
		}
		if err := json.NewDecoder(answer.Body).Decode(&result); err != nil {
			return "", err
		}
		if result.Status != "success" {
			return "", fmt.Errorf("%s: %s", result.Status, result.Error)
		}
		if len(result.Data.Result) == 0 {
			return "", nil
		}
		return fmt.Sprint(result.Data.Result[0].Value[1]), nil
	}
}
