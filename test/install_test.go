package test

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The API server's own validation and admission judge what we ship, applied as `make deploy` and readers of the README do.
func TestAPIServerAcceptsWhatWeShip(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Fatal("KUBEBUILDER_ASSETS names no control plane: run `make test`, or set it to what hack/controlplane.sh prints")
	}
	g := NewWithT(t)
	cluster := &envtest.Environment{}
	config, err := cluster.Start()
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { NewWithT(t).Expect(cluster.Stop()).To(Succeed()) })
	admin, err := cluster.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}}, config)
	g.Expect(err).NotTo(HaveOccurred())
	kubectl, err := admin.Kubectl()
	g.Expect(err).NotTo(HaveOccurred())

	// run fails on warnings too, such as of an unknown field or a violated Pod Security Standard.
	run := func(t *testing.T, args ...string) {
		t.Helper()
		_, stderr, err := kubectl.Run(append([]string{"--warnings-as-errors"}, args...)...)
		said, _ := io.ReadAll(stderr)
		if err != nil {
			t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, said)
		}
	}
	write := func(t *testing.T, manifests []manifest) string {
		t.Helper()
		var all strings.Builder
		for _, m := range manifests {
			all.WriteString("---\n" + m.source + "\n")
		}
		file := filepath.Join(t.TempDir(), "manifests.yaml")
		NewWithT(t).Expect(os.WriteFile(file, []byte(all.String()), 0o600)).To(Succeed())
		return file
	}

	operator := render(t, "default")
	run(t, "apply", "--server-side", "--validate=strict", "-f", write(t, operator))
	for _, kind := range []string{"servicetokensecrets", "clusterservicetokensecrets", "servicetokenpushes"} {
		run(t, "wait", "--for=condition=Established", "crd/"+kind+".servicetoken.io", "--timeout=30s")
	}

	t.Run("the operator's pod passes the admission of its namespace", func(t *testing.T) {
		g := NewWithT(t)
		c, err := client.New(config, client.Options{})
		g.Expect(err).NotTo(HaveOccurred())
		template := decode[appsv1.Deployment](t, operator, "Deployment/"+operatorDeployment).Spec.Template
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "manager", Namespace: operatorNamespace, Labels: template.Labels},
			Spec:       template.Spec,
		}
		g.Expect(c.Create(t.Context(), pod.DeepCopy())).To(Succeed())

		pod.Name = "privileged"
		pod.Spec.Containers[0].SecurityContext.Privileged = ptr.To(true)
		pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = ptr.To(true)
		g.Expect(c.Create(t.Context(), pod)).To(MatchError(ContainSubstring(`violates PodSecurity "restricted`)))
	})

	t.Run("the chart with many values", func(t *testing.T) {
		c, err := client.New(config, client.Options{})
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		for _, namespace := range []string{"a", "b"} { // of watchNamespaces
			NewWithT(t).Expect(c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})).To(Succeed())
		}
		schemas := schemasOf(t, config)
		for name, values := range combinations {
			t.Run(name, func(t *testing.T) {
				manifests := slices.DeleteFunc(chart(t, values...), func(m manifest) bool {
					return strings.HasPrefix(m.APIVersion, "monitoring.coreos.com/") // unknown to this API server
				})
				file := write(t, manifests)
				run(t, "apply", "--server-side", "--force-conflicts", "--validate=strict", "--dry-run=server", "-f", file)
				kubeconform(t, schemas, file)
				template := decode[appsv1.Deployment](t, manifests, deploymentIn(manifests)).Spec.Template
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "from-the-chart", Namespace: operatorNamespace, Labels: template.Labels}, Spec: template.Spec}
				if template.Spec.PriorityClassName != "" {
					pod.Spec.Priority = ptr.To[int32](2_000_000_000) // which the admission would set
				}
				NewWithT(t).Expect(c.Create(t.Context(), pod, client.DryRunAll)).To(Succeed(), "a namespace that enforces the restricted Pod Security Standard")
			})
		}
	})

	t.Run("the chart's notes say that pushes may go anywhere", func(t *testing.T) {
		g := NewWithT(t)
		kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
		g.Expect(os.WriteFile(kubeconfig, cluster.KubeConfig, 0o600)).To(Succeed())
		notes := func(values ...string) string {
			out, err := helm(t, append([]string{"install", "x", chartFolder, "--dry-run=client", "--set=crds.install=false", "--kubeconfig=" + kubeconfig}, values...)...)
			g.Expect(err).NotTo(HaveOccurred())
			_, notes, found := strings.Cut(out, "\nNOTES:\n")
			g.Expect(found).To(BeTrue())
			return notes
		}
		const warning = "Pushes are on, and objects may name any server"
		g.Expect(notes()).NotTo(ContainSubstring(warning))
		g.Expect(notes("--set=push.enabled=true")).To(ContainSubstring(warning))
		g.Expect(notes("--set=push.enabled=true", "--set=infisical.allowedHosts={infisical.example.com}")).NotTo(ContainSubstring(warning))
	})

	t.Run("samples", func(t *testing.T) {
		run(t, "apply", "--server-side", "--validate=strict", "-k", filepath.Join("..", "config", "samples"))
		for _, sample := range []string{"shop-all-options.yaml", "registry.yaml", "push.yaml"} {
			run(t, "apply", "--server-side", "--validate=strict", "-f", filepath.Join("..", "config", "samples", sample))
		}
	})

	t.Run("docs", func(t *testing.T) {
		pages, err := filepath.Glob("../docs/*.md")
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		howTos, err := filepath.Glob("../docs/howto/*.md")
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		applied := 0
		for _, page := range slices.Concat([]string{"../README.md"}, pages, howTos) {
			if manifests := printed(t, page); len(manifests) > 0 {
				run(t, "apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", write(t, manifests))
				applied += len(manifests)
			}
		}
		NewWithT(t).Expect(applied).To(BeNumerically(">=", 10))
	})

	t.Run("two releases", func(t *testing.T) {
		run(t, "apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", write(t, render(t, "two-releases")))
	})

	t.Run("network policy", func(t *testing.T) {
		run(t, "apply", "--server-side", "--validate=strict", "--dry-run=server", "-n", operatorNamespace,
			"-f", write(t, namespaced(render(t, "network-policy"))))
	})
}

// foreign are the API groups of manifests in the docs that are for other people's controllers.
var foreign = []string{"argoproj.io", "source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"}

// printed are the manifests in the yaml blocks of a page: those with an apiVersion, of groups that this control plane has.
func printed(t *testing.T, page string) (manifests []manifest) {
	t.Helper()
	text, err := os.ReadFile(page)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "\n```")
		if !strings.Contains(block, "apiVersion:") {
			continue
		}
		for _, m := range parse(t, block) {
			if group, _, _ := strings.Cut(m.APIVersion, "/"); !slices.Contains(foreign, group) {
				manifests = append(manifests, m)
			}
		}
	}
	return manifests
}

// namespaced gives manifests that config/default would move to the operator's namespace that namespace.
func namespaced(manifests []manifest) []manifest {
	for i := range manifests {
		manifests[i].source = strings.Replace(manifests[i].source, "namespace: system", "namespace: "+operatorNamespace, 1)
	}
	return manifests
}

func deploymentIn(manifests []manifest) string {
	return manifests[slices.IndexFunc(manifests, func(m manifest) bool { return m.Kind == "Deployment" })].String()
}
