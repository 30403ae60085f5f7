package convert

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// TestAPIServerTakesEveryOutput applies what is made of every input, with the rules of the CRD.
func TestAPIServerTakesEveryOutput(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS does not say where etcd and kube-apiserver are: run make test")
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{"../../config/crd/bases"}, ErrorIfCRDPathMissing: true}
	cfg, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(cfg, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	namespaces := map[string]bool{"default": true}
	for _, file := range inputs(t) {
		for _, d := range converted(t, file).Documents {
			o := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(d.YAML, &o.Object); err != nil {
				t.Fatal(err)
			}
			if o.GetNamespace() == "" {
				o.SetNamespace("default")
			}
			if ns := o.GetNamespace(); !namespaces[ns] {
				namespaces[ns] = true
				created := &corev1.Namespace{}
				created.Name = ns
				if err := c.Create(t.Context(), created); err != nil {
					t.Fatal(err)
				}
			}
			patch := client.RawPatch(types.ApplyYAMLPatchType, d.YAML)
			if err := c.Patch(t.Context(), o, patch, client.FieldOwner("kubectl"), client.FieldValidation("Strict")); err != nil {
				t.Errorf("%s of %s: %v", d.From, filepath.Base(file), err)
			}
		}
	}
}
