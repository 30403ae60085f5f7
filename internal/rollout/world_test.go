package rollout

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// controlPlane is the one that all tests of this package share; each has a namespace of its own. It has no controllers, so a
// generation moves only when somebody changes a spec.
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

// world is a namespace with a Restarter for it.
type world struct {
	*Restarter
	t     *testing.T
	ns    string
	admin client.WithWatch // somebody else: kubectl
}

func newWorld(t *testing.T) *world {
	t.Helper()
	admin := newClient(t, controlPlane)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "rollout-"}}
	if err := admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	return &world{Restarter: New(admin, admin), t: t, ns: ns.Name, admin: admin}
}

// testMark is the annotation of the one object whose restarts most tests are about.
var testMark = MarkOf("shop")

// newClient knows no types but those that tests use themselves: the Restarter needs none.
func newClient(t *testing.T, cfg *rest.Config) client.WithWatch {
	t.Helper()
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, rbacv1.AddToScheme} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: known})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// as restarts with the rights of a user, who has those of the role.
func (w *world) as(user string, rules []rbacv1.PolicyRule) *world {
	w.t.Helper()
	meta := metav1.ObjectMeta{Namespace: w.ns, Name: user}
	for _, object := range []client.Object{
		&rbacv1.Role{ObjectMeta: meta, Rules: rules},
		&rbacv1.RoleBinding{
			ObjectMeta: meta,
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		},
	} {
		if err := w.admin.Create(w.t.Context(), object); err != nil {
			w.t.Fatal(err)
		}
	}
	cfg := rest.CopyConfig(controlPlane)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: user}
	c := newClient(w.t, cfg)
	w.Restarter = New(c, c)
	return w
}

// through restarts by clients whose requests are intercepted.
func (w *world) through(funcs interceptor.Funcs) *world {
	c := interceptor.NewClient(w.admin, funcs)
	w.Restarter = New(c, c)
	return w
}

// patchesFailFor answers patches of the named workload with err.
func patchesFailFor(name string, err error) interceptor.Funcs {
	return interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
		if o.GetName() == name {
			return err
		}
		return c.Patch(ctx, o, p, opts...)
	}}
}

// workload makes one whose only container has its environment from Secret env, after change.
func (w *world) workload(kind, name string, change ...func(*unstructured.Unstructured)) *unstructured.Unstructured {
	w.t.Helper()
	i := slices.IndexFunc(kinds, func(k schema.GroupVersionKind) bool { return k.Kind == kind })
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{"app": name}},
		"template": map[string]any{
			"metadata": map[string]any{"labels": map[string]any{"app": name}, "annotations": map[string]any{"their": "own"}},
			"spec": map[string]any{"containers": []any{map[string]any{
				"name": "main", "image": "app", "envFrom": []any{map[string]any{"secretRef": map[string]any{"name": "env"}}},
			}}},
		},
	}}}
	o.SetGroupVersionKind(kinds[i])
	o.SetNamespace(w.ns)
	o.SetName(name)
	for _, c := range change {
		c(o)
	}
	if err := w.admin.Create(w.t.Context(), o, client.FieldOwner("kubectl")); err != nil {
		w.t.Fatal(err)
	}
	return o
}

// get returns a workload as it is.
func (w *world) get(o *unstructured.Unstructured) *unstructured.Unstructured {
	w.t.Helper()
	now := &unstructured.Unstructured{}
	now.SetGroupVersionKind(o.GroupVersionKind())
	if err := w.admin.Get(w.t.Context(), types.NamespacedName{Namespace: w.ns, Name: o.GetName()}, now); err != nil {
		w.t.Fatal(err)
	}
	return now
}

// mark is the one that a workload's template has.
func (w *world) mark(o *unstructured.Unstructured) string {
	w.t.Helper()
	mark, _, err := unstructured.NestedString(w.get(o).Object, "spec", "template", "metadata", "annotations", testMark)
	if err != nil {
		w.t.Fatal(err)
	}
	return mark
}

// restart restarts what references Secret env.
func (w *world) restart(revision string) ([]string, error) {
	return w.Restart(w.t.Context(), w.ns, Referencing, testMark, []Change{{Kind: "Secret", Name: "env", Revision: revision}})
}
