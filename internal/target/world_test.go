package target

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// controlPlane is the one that all tests of this package share; each has a namespace of its own.
var controlPlane *rest.Config

func TestMain(m *testing.M) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "KUBEBUILDER_ASSETS does not say where etcd and kube-apiserver are: run make test")
		os.Exit(1)
	}
	env := &envtest.Environment{}
	cfg, err := env.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the control plane:", err)
		os.Exit(1)
	}
	cfg.QPS = -1
	controlPlane = cfg
	code := m.Run()
	if err := env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the control plane:", err)
	}
	os.Exit(code)
}

// world is a namespace with a Writer in it, whose requests for Secrets and ConfigMaps are counted.
type world struct {
	*Writer
	t        *testing.T
	ns       string
	admin    client.Client // somebody else: kubectl
	counted  client.WithWatch
	cache    *Cache
	requests *requests
}

// requests counts requests for Secrets and ConfigMaps by method; writes that the server refused count too.
type requests struct {
	mu       sync.Mutex
	seen     []string
	protobuf bool // the last one with a body was
	next     http.RoundTripper
}

func (r *requests) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.Path, "/secrets") || strings.Contains(req.URL.Path, "/configmaps") {
		method := req.Method
		if req.URL.Query().Has("dryRun") {
			method += " dry-run"
		}
		r.mu.Lock()
		r.seen = append(r.seen, method)
		if req.Body != nil {
			r.protobuf = strings.Contains(req.Header.Get("Content-Type"), "protobuf")
		}
		r.mu.Unlock()
	}
	return r.next.RoundTrip(req)
}

// take returns the methods seen since it was last asked.
func (r *requests) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

func newWorld(t *testing.T) *world {
	t.Helper()
	admin := newClient(t, controlPlane)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "target-"}}
	if err := admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, ns: ns.Name, admin: admin, requests: &requests{}}
	w.restart()
	return w
}

// restart makes everything anew that does not outlive a process.
func (w *world) restart() {
	w.t.Helper()
	cfg := rest.CopyConfig(controlPlane)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		w.requests.next = next
		return w.requests
	})
	w.counted = newClient(w.t, cfg)
	digester, err := NewDigester()
	if err != nil {
		w.t.Fatal(err)
	}
	w.cache = startCache(w.t, cache.Options{DefaultNamespaces: map[string]cache.Config{w.ns: {}}}, digester)
	w.Writer = NewWriter(w.cache, w.counted, w.counted, digester)
}

func startCache(t *testing.T, o cache.Options, d Digester) *Cache {
	t.Helper()
	c, err := NewCache(controlPlane, o, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if !c.WaitForCacheSync(ctx) {
		t.Fatal("the cache did not sync")
	}
	return c
}

func newClient(t *testing.T, cfg *rest.Config) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shop is the object whose Secret most tests write.
func shop() metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "servicetoken.io/v1alpha1", Kind: "ServiceTokenSecret", Name: "shop", UID: "uid-of-shop"}
}

func blog() metav1.OwnerReference {
	owner := shop()
	owner.Name, owner.UID = "blog", "uid-of-blog"
	return owner
}

func (w *world) desired(data ...string) Desired {
	return Desired{Namespace: w.ns, Name: "env", Owner: shop(), Data: pairs(data...)}
}

func pairs(keysAndValues ...string) map[string][]byte {
	data := map[string][]byte{}
	for i := 0; i < len(keysAndValues); i += 2 {
		data[keysAndValues[i]] = []byte(keysAndValues[i+1])
	}
	return data
}

func (w *world) apply(d Desired) Result {
	w.t.Helper()
	result, err := w.Apply(w.t.Context(), d)
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

// applied brings the Secret about, waits for the cache to show it, and forgets the requests.
func (w *world) applied(d Desired) *corev1.Secret {
	w.t.Helper()
	w.apply(d)
	secret := w.secret()
	if d.Policy != Merge {
		w.waitForCache()
	}
	w.requests.take()
	return secret
}

// waitForCache waits until the cache shows the Secret as it is.
func (w *world) waitForCache() {
	w.t.Helper()
	secret := w.secret()
	NewWithT(w.t).Eventually(func() (string, error) {
		cached := &corev1.Secret{}
		err := w.cache.Get(w.t.Context(), client.ObjectKeyFromObject(secret), cached)
		return cached.ResourceVersion, err
	}, "10s", "5ms").Should(Equal(secret.ResourceVersion))
}

func (w *world) secret() *corev1.Secret {
	w.t.Helper()
	secret := &corev1.Secret{}
	if err := w.admin.Get(w.t.Context(), types.NamespacedName{Namespace: w.ns, Name: "env"}, secret); err != nil {
		w.t.Fatal(err)
	}
	return secret
}

// theirs is a Secret that somebody else made.
func (w *world) theirs(change func(*corev1.Secret), data ...string) *corev1.Secret {
	w.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "env"}, Data: pairs(data...)}
	if change != nil {
		change(secret)
	}
	if err := w.admin.Create(w.t.Context(), secret, client.FieldOwner("kubectl")); err != nil {
		w.t.Fatal(err)
	}
	return secret
}

// edited is who changes what edit does.
var edited = []string{"kubectl-edit"}

// edit is somebody else's change.
func (w *world) edit(change func(*corev1.Secret)) {
	w.t.Helper()
	secret := w.secret()
	change(secret)
	if err := w.admin.Update(w.t.Context(), secret, client.FieldOwner(edited[0])); err != nil {
		w.t.Fatal(err)
	}
}

func adopt(s *corev1.Secret) { s.Annotations = map[string]string{AdoptAnnotation: "true"} }

func immutable(s *corev1.Secret) { s.Immutable = ptr.To(true) }

func controlledBy(owner metav1.OwnerReference) func(*corev1.Secret) {
	return func(s *corev1.Secret) { s.OwnerReferences = []metav1.OwnerReference{controllerRef(owner)} }
}

// readerFunc answers every Get with what it returns.
type readerFunc func(key client.ObjectKey) (*corev1.Secret, error)

func (f readerFunc) Get(_ context.Context, key client.ObjectKey, out client.Object, _ ...client.GetOption) error {
	secret, err := f(key)
	if err != nil {
		return err
	}
	into, ok := out.(*corev1.Secret)
	if !ok {
		return fmt.Errorf("only Secrets are read here, not %T", out)
	}
	secret.DeepCopyInto(into)
	return nil
}

func (f readerFunc) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return fmt.Errorf("nothing here lists")
}
