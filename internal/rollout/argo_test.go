package rollout

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// installRollouts makes Argo's kind known, with as much of its schema as matters here, until the test ends: all other tests are those of a
// cluster that does not have it.
func (w *world) installRollouts() (uninstall func()) {
	w.t.Helper()
	g := NewWithT(w.t)
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "rollouts.argoproj.io"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "argoproj.io",
			Names: apiextensionsv1.CustomResourceDefinitionNames{Kind: "Rollout", ListKind: "RolloutList", Plural: "rollouts", Singular: "rollout"},
			Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1alpha1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type:       "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "object", XPreserveUnknownFields: ptr.To(true)}},
				}},
			}},
		},
	}
	options := envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}}
	_, err := envtest.InstallCRDs(controlPlane, options)
	g.Expect(err).NotTo(HaveOccurred())
	ctx := context.WithoutCancel(w.t.Context())
	uninstall = func() {
		g.Expect(envtest.UninstallCRDs(controlPlane, options)).To(Succeed())
		g.Eventually(func() bool {
			rollouts := &unstructured.UnstructuredList{}
			rollouts.SetGroupVersionKind(kinds[3])
			return apierrors.IsNotFound(w.admin.List(ctx, rollouts, client.InNamespace(w.ns)))
		}, "20s", "50ms").Should(BeTrue())
	}
	w.t.Cleanup(uninstall)
	return uninstall
}

func TestRolloutsComeAndGoWithTheirCRD(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.workload("Deployment", "web")
	g.Expect(w.restart("1")).To(Equal([]string{"Deployment/web"}), "there is no CRD")

	uninstall := w.installRollouts()
	before := w.workload("Rollout", "shop")
	g.Expect(w.restart("1")).To(Equal([]string{"Rollout/shop"}))
	after := w.get(before)
	g.Expect(after.GetGeneration()).To(Equal(before.GetGeneration() + 1))
	unstructured.RemoveNestedField(after.Object, "spec", "template", "metadata", "annotations", testMark)
	g.Expect(after.Object["spec"]).To(Equal(before.Object["spec"]))
	g.Expect(w.restart("1")).To(BeEmpty())

	uninstall()
	g.Expect(w.restart("2")).To(Equal([]string{"Deployment/web"}), "the client still remembers the kind")
}

func TestARolloutWithoutATemplateOfItsOwnIsLeftAlone(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.installRollouts()
	web := w.workload("Deployment", "web", annotated("true"))
	borrows := w.workload("Rollout", "borrows", annotated("true"), func(o *unstructured.Unstructured) {
		deployment := map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
		g.Expect(unstructured.SetNestedMap(o.Object, deployment, "spec", "workloadRef")).To(Succeed())
	})
	none := w.workload("Rollout", "none", annotated("true"), func(o *unstructured.Unstructured) { o.Object["spec"] = map[string]any{} })
	for _, mode := range []Mode{Annotated, Referencing} {
		restarted, err := w.Restart(t.Context(), w.ns, mode, testMark, []Change{{Kind: "Secret", Name: "env", Revision: string(mode)}})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(restarted).To(Equal([]string{"Deployment/web"}))
		g.Expect(w.mark(web)).To(BeEquivalentTo(mode))
	}
	for _, o := range []*unstructured.Unstructured{borrows, none} {
		g.Expect(w.get(o).GetGeneration()).To(Equal(o.GetGeneration()), o.GetName())
	}
}

func TestATemplateThatIsNoneIsAFailureThatStays(t *testing.T) {
	for name, broken := range map[string]func(*unstructured.Unstructured){
		"a pod of another shape": func(o *unstructured.Unstructured) {
			NewWithT(t).Expect(unstructured.SetNestedField(o.Object, "hunter2", "spec", "template", "spec", "containers")).To(Succeed())
		},
		"a template of another shape": func(o *unstructured.Unstructured) { o.Object["spec"] = map[string]any{"template": "hunter2"} },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.installRollouts()
			w.workload("Rollout", "broken", broken)
			w.workload("Rollout", "shop")
			restarted, err := w.restart("1")
			g.Expect(restarted).To(Equal([]string{"Rollout/shop"}))
			g.Expect(err).To(Equal(&Error{Failures: []Failure{{Workload: "Rollout broken", Reason: ReasonUnreadableTemplate}}}))
		})
	}
}
