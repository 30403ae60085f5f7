package rollout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"
)

func TestWorkloadsThatReferenceTheTargetAreRestartedOnceForAMark(t *testing.T) {
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet"} {
		t.Run(kind, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			before := w.workload(kind, "web")
			other := w.workload(kind, "other", referencing("env-2"))

			g.Expect(w.restart("1")).To(Equal([]string{kind + "/web"}))
			after := w.get(before)
			g.Expect(after.GetGeneration()).To(Equal(before.GetGeneration() + 1))
			g.Expect(after.GetManagedFields()).To(ContainElement(HaveField("Manager", "service-token-operator")))
			// The mark is all that changed.
			unstructured.RemoveNestedField(after.Object, "spec", "template", "metadata", "annotations", testMark)
			g.Expect(after.Object["spec"]).To(Equal(before.Object["spec"]))

			g.Expect(w.restart("1")).To(BeEmpty())
			g.Expect(w.get(before).GetGeneration()).To(Equal(before.GetGeneration() + 1))

			g.Expect(w.restart("2")).To(Equal([]string{kind + "/web"}))
			g.Expect(w.mark(before)).To(Equal("2"))
			g.Expect(w.get(other).GetGeneration()).To(Equal(other.GetGeneration()))
		})
	}
}

func TestAnnotatedWorkloadsAreRestartedWhateverTheyReference(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.workload("Deployment", "annotated", referencing("other"), annotated("true"))
	w.workload("StatefulSet", "labeled", referencing("other"), labeled("true"))
	w.workload("DaemonSet", "not-asked")
	w.workload("Deployment", "declined", annotated("false"))
	w.workload("Deployment", "mistaken", labeled("yes"))
	restarted, err := w.Restart(t.Context(), w.ns, Annotated, testMark, []Change{{Kind: "Secret", Name: "env", Revision: "1"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(restarted).To(Equal([]string{"Deployment/annotated", "StatefulSet/labeled"}))
}

// TestChangesThatStayDueDoNotTakeTurns repeats what is due, as somebody does for whom one of the workloads cannot be restarted.
func TestChangesThatStayDueDoNotTakeTurns(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	both := w.workload("Deployment", "both", referencing("env"), annotated("true"))
	restart := func(object string, changes ...Change) int64 {
		_, err := w.Restart(t.Context(), w.ns, Annotated, MarkOf(object), changes)
		g.Expect(err).NotTo(HaveOccurred())
		return w.get(both).GetGeneration() - both.GetGeneration()
	}
	a, b := Change{Kind: "Secret", Name: "a", Revision: "x1"}, Change{Kind: "Secret", Name: "b", Revision: "y1"}
	for range 3 {
		g.Expect(restart("shop", a, b)).To(BeEquivalentTo(1), "once for both")
	}
	g.Expect(restart("shop", b)).To(BeEquivalentTo(1), "what is done is done, also when less is due")
	for range 3 {
		g.Expect(restart("cart", a)).To(BeEquivalentTo(2), "another object's")
		g.Expect(restart("shop", a, b)).To(BeEquivalentTo(2))
	}
	a.Revision = "x2"
	g.Expect(restart("shop", a, b)).To(BeEquivalentTo(3))
}

func TestTheMarkOfALongNameIsAnAnnotation(t *testing.T) {
	g := NewWithT(t)
	long := strings.Repeat("a", 253)
	for _, name := range []string{"shop", "a.b-c", long, long[1:] + "b"} {
		g.Expect(validation.IsQualifiedName(MarkOf(name))).To(BeEmpty())
	}
	g.Expect(MarkOf(long)).NotTo(Equal(MarkOf(long[:252])))
	g.Expect(MarkOf("shop")).To(Equal("restarted-for.servicetoken.io/shop"))
}

func TestOtherNamespacesAreLeftAlone(t *testing.T) {
	g := NewWithT(t)
	w, other := newWorld(t), newWorld(t)
	theirs := other.workload("Deployment", "web")
	g.Expect(w.restart("1")).To(BeEmpty())
	g.Expect(other.mark(theirs)).To(BeEmpty())
}

func TestATemplateWithoutMetadataIsMarked(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	bare := w.workload("Deployment", "bare", func(o *unstructured.Unstructured) {
		unstructured.RemoveNestedField(o.Object, "spec", "template", "metadata", "annotations")
	})
	g.Expect(w.restart(`a "mark"`)).To(Equal([]string{"Deployment/bare"}))
	g.Expect(w.mark(bare)).To(Equal(`a "mark"`))
}

func TestAWorkloadThatIsBeingDeletedIsLeftAlone(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	going := w.workload("Deployment", "going", func(o *unstructured.Unstructured) { o.SetFinalizers([]string{"example.com/wait"}) })
	g.Expect(w.admin.Delete(t.Context(), going)).To(Succeed())
	g.Expect(w.restart("1")).To(BeEmpty())
	g.Expect(w.mark(going)).To(BeEmpty())
}

func TestAWorkloadThatIsGoneWhenItIsPatchedIsNoFailure(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.workload("Deployment", "gone")
	w.workload("Deployment", "web")
	w.through(patchesFailFor("gone", apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "deployments"}, "gone")))
	g.Expect(w.restart("1")).To(Equal([]string{"Deployment/web"}))
}

func TestOneFailureDoesNotStopTheOthersAndIsMadeUpForLater(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	a, b, c := w.workload("Deployment", "a"), w.workload("Deployment", "b"), w.workload("StatefulSet", "c")
	w.through(patchesFailFor("a", apierrors.NewInternalError(errors.New("hunter2"))))
	restarted, err := w.restart("1")
	g.Expect(restarted).To(Equal([]string{"Deployment/b", "StatefulSet/c"}))
	var failed *Error
	g.Expect(errors.As(err, &failed)).To(BeTrue())
	g.Expect(failed.Failures).To(Equal([]Failure{{Workload: "Deployment a", Reason: "InternalError", Transient: true}}))

	w.through(interceptor.Funcs{})
	g.Expect(w.restart("1")).To(Equal([]string{"Deployment/a"}))
	for _, o := range []*unstructured.Unstructured{a, b, c} {
		g.Expect(w.get(o).GetGeneration()).To(Equal(o.GetGeneration()+1), o.GetName())
	}
}

func TestAKindThatCannotBeListedDoesNotStopTheOthers(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	w.workload("Deployment", "web")
	w.workload("StatefulSet", "db")
	w.through(interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		if list.GetObjectKind().GroupVersionKind().Kind == "DeploymentList" {
			return apierrors.NewTimeoutError("hunter2", 1)
		}
		return c.List(ctx, list, opts...)
	}})
	restarted, err := w.restart("1")
	g.Expect(restarted).To(Equal([]string{"StatefulSet/db"}))
	g.Expect(err).To(Equal(&Error{Failures: []Failure{{Workload: "Deployments", Reason: "Timeout", Transient: true}}}))
}

func TestAllPagesAreRead(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	for i := range pageSize {
		w.workload("Deployment", fmt.Sprintf("a-%03d", i), referencing("other"))
	}
	w.workload("Deployment", "last")
	pages := 0
	w.through(interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		err := c.List(ctx, list, opts...)
		if page, ok := list.(*unstructured.UnstructuredList); ok && page.GetKind() == "DeploymentList" {
			g.Expect(len(page.Items)).To(BeNumerically("<=", pageSize))
			pages++
		}
		return err
	}})
	g.Expect(w.restart("1")).To(Equal([]string{"Deployment/last"}))
	g.Expect(pages).To(Equal(2))
}

// The role is the one that users bind: `make manifests` generates it from this package's markers.
func TestTheGeneratedRoleIsAllThatItTakes(t *testing.T) {
	g := NewWithT(t)
	text, err := os.ReadFile("../../config/rollout/role.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	role := &rbacv1.ClusterRole{}
	g.Expect(yaml.UnmarshalStrict(text, role)).To(Succeed())
	w := newWorld(t)
	w.installRollouts()
	w.workload("Deployment", "web")
	w.workload("StatefulSet", "db")
	w.workload("DaemonSet", "agent")
	w.workload("Rollout", "shop")
	w.as("operator", role.Rules)
	g.Expect(w.restart("1")).To(Equal([]string{"Deployment/web", "StatefulSet/db", "DaemonSet/agent", "Rollout/shop"}))
}

func TestWithoutItsRoleItSaysWhatIsMissing(t *testing.T) {
	apps := []string{"deployments", "statefulsets", "daemonsets"}
	for name, tc := range map[string]struct {
		rules []rbacv1.PolicyRule
		want  []Failure
	}{
		"no role": {nil, []Failure{
			{Workload: "Deployments", Reason: "Forbidden"}, {Workload: "StatefulSets", Reason: "Forbidden"}, {Workload: "DaemonSets", Reason: "Forbidden"},
		}},
		"a role that only lists": {
			[]rbacv1.PolicyRule{{APIGroups: []string{"apps"}, Resources: apps, Verbs: []string{"list"}}},
			[]Failure{{Workload: "Deployment web", Reason: "Forbidden"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			w := newWorld(t)
			w.workload("Deployment", "web")
			w.as("nobody", tc.rules)
			restarted, err := w.restart("1")
			g.Expect(restarted).To(BeEmpty())
			var failed *Error
			g.Expect(errors.As(err, &failed)).To(BeTrue())
			g.Expect(failed.Failures).To(Equal(tc.want))
			g.Expect([]bool{failed.Forbidden(), failed.Transient()}).To(Equal([]bool{true, false}))
			g.Expect(err).To(MatchError(And(ContainSubstring("roles lack the permission"), ContainSubstring("rollout.enabled"))))
		})
	}
}

func TestWhatIsNoModeOrTargetIsRefused(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	web := w.workload("Deployment", "web", annotated("true"))
	_, err := w.Restart(t.Context(), w.ns, "", testMark, []Change{{Kind: "Secret", Name: "env", Revision: "1"}})
	g.Expect(err).To(MatchError(ContainSubstring("mode")))
	_, err = w.Restart(t.Context(), w.ns, Referencing, testMark, []Change{{Kind: "Pod", Name: "env", Revision: "1"}})
	g.Expect(err).To(MatchError(ContainSubstring("kind")))
	g.Expect(w.mark(web)).To(BeEmpty())
}

// referencing has the environment from a Secret of another name.
func referencing(name string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) {
		containers := []any{map[string]any{
			"name": "main", "image": "app", "envFrom": []any{map[string]any{"secretRef": map[string]any{"name": name}}},
		}}
		if err := unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers"); err != nil {
			panic(err)
		}
	}
}

func annotated(value string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) { o.SetAnnotations(map[string]string{RestartAnnotation: value}) }
}

func labeled(value string) func(*unstructured.Unstructured) {
	return func(o *unstructured.Unstructured) { o.SetLabels(map[string]string{RestartAnnotation: value}) }
}
