package controllers

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// The control plane is one for all tests of the package. Each test has a namespace and a server of its own.
var (
	testConfig *rest.Config
	testScheme = k8sruntime.NewScheme()
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	// Most tests wait, for a server or a while: with more of them at a time than there are cores, all take half as long.
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = parallel.Value.Set(fmt.Sprint(3 * runtime.GOMAXPROCS(0)))
	}
	os.Exit(func() int {
		cluster := &envtest.Environment{CRDDirectoryPaths: []string{"../config/crd/bases"}, ErrorIfCRDPathMissing: true}
		cfg, err := cluster.Start()
		if err != nil {
			log.Print(err)
			return 1
		}
		defer func() {
			if err := cluster.Stop(); err != nil {
				log.Print(err)
			}
		}()
		cfg.QPS = -1
		testConfig = cfg
		for _, add := range []func(*k8sruntime.Scheme) error{clientgoscheme.AddToScheme, stv1.AddToScheme} {
			if err := add(testScheme); err != nil {
				log.Print(err)
				return 1
			}
		}
		return m.Run()
	}())
}

// world is what one test has to itself: a namespace, and an operator that works in it alone, unless there is one beside it.
type world struct {
	*WithT
	t        *testing.T
	ctx      context.Context //nolint:containedctx // the test's
	client   client.Client   // uncached
	ns       string
	writes   *requestCounter
	stop     func() // the operator; waits for its end
	workers  int
	patience time.Duration        // of requests to servers; 5 s when it is zero
	release  string               // the operator's name for itself and its lease; without one it needs no lease
	home     string               // the operator's own namespace; the test's when it is empty
	selector labels.Selector      // of the operator's objects; nil means all
	webhook  Webhook              // of the operator started next
	cluster  bool                 // the operator works in all namespaces, on both kinds
	metrics  *prometheus.Registry // of the operator started last

	infisical *devserver.Server
	url       string
	project   *devserver.Project
}

// newWorld starts an operator for a namespace of its own, with a server that has one project of version 1, in whose
// environment prod the folder /shop holds A and B.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	w := newClusterWorld(t)
	w.infisical = devserver.New()
	server := httptest.NewServer(w.infisical)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.project = w.infisical.AddProject(1)
	w.project.Put("prod", "/shop", "A", "alpha")
	w.project.Put("prod", "/shop", "B", "beta")
	w.start()
	return w
}

func newClusterWorld(t *testing.T) *world {
	t.Helper()
	w := &world{WithT: NewWithT(t), t: t, ctx: t.Context(), writes: &requestCounter{}}
	w.SetDefaultEventuallyTimeout(30 * time.Second)
	w.SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	c, err := client.New(testConfig, client.Options{Scheme: testScheme})
	w.Expect(err).NotTo(HaveOccurred())
	w.client = c
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	w.Expect(c.Create(w.ctx, ns)).To(Succeed())
	w.ns = ns.Name
	return w
}

// start starts an operator, as main does, for the test's namespace only. The one before must have been stopped.
func (w *world) start() {
	w.t.Helper()
	cfg := rest.CopyConfig(testConfig)
	cfg.Wrap(w.writes.wrap)
	w.metrics = prometheus.NewRegistry()
	o := Options{
		Namespaces: []string{w.ns}, Selector: w.selector, OwnNamespace: cmp.Or(w.home, w.ns), DefaultURL: w.url, Workers: max(w.workers, 4), Metrics: w.metrics,
		Infisical: infisical.Options{Version: cmp.Or(w.release, "test"), AllowHTTP: true, Timeout: cmp.Or(w.patience, 5*time.Second)},
	}
	o.Webhook, o.Push = w.webhook, true
	if w.cluster {
		o.Namespaces, o.ClusterSecrets, o.ForbiddenNamespaces = nil, true, []string{"kube-*"}
	}
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme:                        testScheme,
		Cache:                         o.CacheOptions(),
		Client:                        ClientOptions(),
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		Controller:                    config.Controller{SkipNameValidation: ptr.To(true)},
		LeaderElection:                w.release != "",
		LeaderElectionID:              w.release,
		LeaderElectionNamespace:       o.OwnNamespace,
		LeaderElectionReleaseOnCancel: true,
	})
	w.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	w.Expect(Setup(ctx, mgr, o)).To(Succeed())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("the operator ended with %v", err)
		}
	})
	w.t.Cleanup(w.stop)
}

// token makes a token that reads everything of the project.
func (w *world) token(change ...func(*devserver.TokenSpec)) string {
	spec := devserver.TokenSpec{Name: "test", Scopes: servicetoken.Scopes{{Environment: "prod", Path: "/**"}, {Environment: "dev", Path: "/**"}}}
	for _, c := range change {
		c(&spec)
	}
	return w.project.AddToken(spec)
}

// putToken writes the token Secret of the objects that object makes.
func (w *world) putToken(token string) {
	w.t.Helper()
	w.putSecret("infisical-token", map[string]string{"token": token})
}

func (w *world) putSecret(name string, data map[string]string) {
	w.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name}, StringData: data}
	if err := w.client.Create(w.ctx, secret); err == nil {
		return
	}
	w.Expect(w.client.Get(w.ctx, client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	secret.StringData = data
	w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
}

// object makes the ServiceTokenSecret shop, which writes the Secret shop-env from prod:/shop.
func (w *world) object(change ...func(*stv1.ServiceTokenSecret)) *stv1.ServiceTokenSecret {
	w.t.Helper()
	obj := &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "shop"}}
	obj.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: "infisical-token"}}
	obj.Spec.Sources = []stv1.Source{{Environment: "prod", Path: "/shop"}}
	obj.Spec.Target.Name = "shop-env"
	obj.Spec.RefreshInterval = metav1.Duration{Duration: 5 * time.Second}
	for _, c := range change {
		c(obj)
	}
	w.Expect(w.client.Create(w.ctx, obj)).To(Succeed())
	return obj
}

// change patches an object.
func (w *world) change(name string, change func(*stv1.ServiceTokenSecret)) {
	w.t.Helper()
	obj := w.get(name)
	before := obj.DeepCopy()
	change(obj)
	w.Expect(w.client.Patch(w.ctx, obj, client.MergeFrom(before))).To(Succeed())
}

func (w *world) refresh(name string) {
	w.t.Helper()
	w.change(name, func(o *stv1.ServiceTokenSecret) {
		metav1.SetMetaDataAnnotation(&o.ObjectMeta, stv1.RefreshAnnotation, fmt.Sprint(time.Now().UnixNano()))
	})
}

func (w *world) get(name string) *stv1.ServiceTokenSecret {
	w.t.Helper()
	obj := &stv1.ServiceTokenSecret{}
	w.Expect(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, obj)).To(Succeed())
	return obj
}

// reason is that of the condition Ready.
func (w *world) reason(name string) func() string {
	return func() string {
		if c := meta.FindStatusCondition(w.get(name).Status.Conditions, stv1.ConditionReady); c != nil {
			return c.Reason
		}
		return ""
	}
}

func (w *world) message(name string) string {
	return meta.FindStatusCondition(w.get(name).Status.Conditions, stv1.ConditionReady).Message
}

// data is that of a Secret, nil when there is none.
func (w *world) data(name string) func() map[string]string {
	return func() map[string]string {
		secret, err := w.secret(name)
		if err != nil {
			return nil
		}
		data := map[string]string{}
		for k, v := range secret.Data {
			data[k] = string(v)
		}
		return data
	}
}

func (w *world) secret(name string) (*corev1.Secret, error) {
	secret := &corev1.Secret{}
	err := w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, secret)
	return secret, err
}

// events are the reasons of an object's events, with how often each was raised.
func (w *world) events(name string) func() map[string]int {
	return func() map[string]int {
		var list eventsv1.EventList
		w.Expect(w.client.List(w.ctx, &list, client.InNamespace(w.ns))).To(Succeed())
		reasons := map[string]int{}
		for _, e := range list.Items {
			if e.Regarding.Name == name {
				reasons[e.Reason]++
				if e.Series != nil {
					reasons[e.Reason] += int(e.Series.Count) - 1
				}
			}
		}
		return reasons
	}
}

// synced makes an object with a good token and waits for its Secret.
func (w *world) synced(change ...func(*stv1.ServiceTokenSecret)) string {
	w.t.Helper()
	token := w.token()
	w.putToken(token)
	w.object(change...)
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
	return token
}

// requestCounter counts the operator's writes at the API server, leases and events aside.
type requestCounter struct {
	mu     sync.Mutex
	writes []string
}

func (c *requestCounter) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/leases") && !strings.Contains(r.URL.Path, "/events") {
			c.mu.Lock()
			c.writes = append(c.writes, r.Method+" "+r.URL.Path)
			c.mu.Unlock()
		}
		return next.RoundTrip(r)
	})
}

func (c *requestCounter) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string{}, c.writes...)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
