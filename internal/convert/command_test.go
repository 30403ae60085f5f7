package convert

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"
)

const theirs = `apiVersion: secrets.infisical.com/v1alpha1
kind: InfisicalSecret
metadata: {name: shop, namespace: shop}
spec:
  authentication:
    serviceToken:
      serviceTokenSecretReference: {secretName: token, secretNamespace: shop}
      secretsScope: {envSlug: prod, secretsPath: /shop}
  managedSecretReference: {secretName: shop-env, secretNamespace: shop}
`

func run(t *testing.T, in string, connect func() (client.Reader, error), args ...string) (out, notes string, err error) {
	t.Helper()
	var o, n bytes.Buffer
	err = Command(t.Context(), args, strings.NewReader(in), &o, &n, connect)
	return o.String(), n.String(), err
}

func TestFilesAndStandardInputAreConverted(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "a.yaml")
	g.Expect(os.WriteFile(file, []byte(theirs+"---\n{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {x: hunter2}}\n"), 0o600)).To(Succeed())
	fromFile, notes, err := run(t, "", nil, "-f", file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(notes).To(ContainSubstring("skipped Secret/s"))
	g.Expect(notes + fromFile).NotTo(ContainSubstring("hunter2"))
	fromInput, _, err := run(t, theirs, nil, "-f", "-")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(fromInput).To(Equal(fromFile))
	g.Expect(fromInput).To(And(ContainSubstring("kind: ServiceTokenSecret"), ContainSubstring("shop-env")))
}

func TestWhatIsInTheClusterIsConverted(t *testing.T) {
	g := NewWithT(t)
	obj := &unstructured.Unstructured{}
	g.Expect(yaml.Unmarshal([]byte(theirs), &obj.Object)).To(Succeed())
	kind := schema.GroupVersionKind{Group: "secrets.infisical.com", Version: "v1alpha1", Kind: "InfisicalSecret"}
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(kind, meta.RESTScopeNamespace)
	scheme := runtime.NewScheme()
	scheme.AddKnownTypeWithName(kind, &unstructured.Unstructured{})
	scheme.AddKnownTypeWithName(kind.GroupVersion().WithKind("InfisicalSecretList"), &unstructured.UnstructuredList{})
	c := &onlyKnown{fake.NewClientBuilder().WithScheme(scheme).WithRESTMapper(mapper).WithObjects(obj).Build(), kind.Kind}
	connect := func() (client.Reader, error) { return c, nil }
	out, _, err := run(t, "", connect, "-n", "shop")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(ContainSubstring("kind: ServiceTokenSecret"))
	_, _, err = run(t, "", connect, "-n", "elsewhere")
	g.Expect(err).To(MatchError(ContainSubstring("nothing to convert")))
	_, _, err = run(t, "", func() (client.Reader, error) { return nil, errors.New("no cluster") }, "-A")
	g.Expect(err).To(MatchError("no cluster"))
}

// onlyKnown is a cluster that has one kind.
type onlyKnown struct {
	client.Client
	kind string
}

func (o *onlyKnown) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	kind := list.GetObjectKind().GroupVersionKind()
	if kind.Kind != o.kind+"List" {
		return &meta.NoKindMatchError{GroupKind: kind.GroupKind()}
	}
	return o.Client.List(ctx, list, options...)
}

func TestACommandThatIsNotClearIsRefused(t *testing.T) {
	for args, says := range map[string]string{
		"":             "-f",
		"-n a -A":      "-f",
		"-f a -n b":    "-f",
		"a.yaml":       "unexpected argument",
		"-f /nowhere":  "no such file",
		"--frobnicate": "unknown flag",
	} {
		if _, _, err := run(t, "", nil, strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
