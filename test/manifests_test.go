// Package test checks the project from outside: what it installs, and how it behaves on a cluster.
package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

const (
	operatorNamespace  = "service-token-operator-system"
	operatorDeployment = "service-token-operator-controller-manager"
)

// manifest is one rendered object.
type manifest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	source string
}

func (m manifest) String() string { return m.Kind + "/" + m.Name }

// render builds a folder of config/.
func render(t *testing.T, folder string) []manifest {
	t.Helper()
	return build(t, filepath.Join("..", "config", folder))
}

// build builds a folder with the kustomize that make passes in KUSTOMIZE.
func build(t *testing.T, path string) []manifest {
	t.Helper()
	kustomize := os.Getenv("KUSTOMIZE")
	if kustomize == "" {
		t.Fatal("KUSTOMIZE names no kustomize: run `make test`, or `make bin/kustomize` and set KUSTOMIZE to the absolute path of bin/kustomize")
	}

	out, err := output(exec.CommandContext(t.Context(), kustomize, "build", path))
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, out)
}

// output runs a command. What it says is part of the error.
func output(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, &stderr)
	}
	return string(out), err
}

func parse(t *testing.T, text string) (manifests []manifest) {
	t.Helper()
	g := NewWithT(t)
	for document := range strings.SplitSeq(strings.TrimPrefix(text, "---\n"), "\n---\n") {
		m := manifest{source: document}
		g.Expect(yaml.Unmarshal([]byte(document), &m)).To(Succeed(), document)
		g.Expect(m.APIVersion).NotTo(BeEmpty(), document)
		manifests = append(manifests, m)
	}
	return manifests
}

// decode returns the named manifest as an object of its kind; a field that the kind does not have is an error.
func decode[T any](t *testing.T, manifests []manifest, name string) *T {
	t.Helper()
	g := NewWithT(t)
	i := slices.IndexFunc(manifests, func(m manifest) bool { return m.String() == name })
	g.Expect(i).To(BeNumerically(">=", 0), "%s is not among %v", name, manifests)
	object := new(T)
	g.Expect(yaml.UnmarshalStrict([]byte(manifests[i].source), object)).To(Succeed(), name)
	return object
}

func TestDefaultInstallsEverythingTheOperatorNeeds(t *testing.T) {
	g := NewWithT(t)

	var got []string
	for _, m := range render(t, "default") {
		got = append(got, m.String())
		switch m.Kind {
		case "Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding":
			g.Expect(m.Namespace).To(BeEmpty(), "%s", m)
		default:
			g.Expect(m.Namespace).To(Equal(operatorNamespace), "%s", m)
		}
	}

	g.Expect(got).To(ConsistOf(
		"Namespace/service-token-operator-system",
		"CustomResourceDefinition/servicetokensecrets.servicetoken.io",
		"CustomResourceDefinition/clusterservicetokensecrets.servicetoken.io",
		"CustomResourceDefinition/servicetokenpushes.servicetoken.io",
		"Deployment/service-token-operator-controller-manager",
		"Service/service-token-operator-controller-manager-metrics-service",
		"ServiceAccount/service-token-operator-controller-manager",
		"ClusterRole/service-token-operator-manager-role",
		"ClusterRoleBinding/service-token-operator-manager-rolebinding",
		"Role/service-token-operator-leader-election-role",
		"RoleBinding/service-token-operator-leader-election-rolebinding",
		"Role/service-token-operator-usage-role",
		"RoleBinding/service-token-operator-usage-rolebinding",
		"ClusterRole/service-token-operator-metrics-auth-role",
		"ClusterRoleBinding/service-token-operator-metrics-auth-rolebinding",
		"ClusterRole/service-token-operator-metrics-reader",
		"ClusterRole/service-token-operator-servicetokensecret-editor-role",
		"ClusterRole/service-token-operator-servicetokensecret-viewer-role",
		"ClusterRole/service-token-operator-clusterservicetokensecret-viewer-role",
		"ClusterRole/service-token-operator-servicetokenpush-viewer-role",
	))
}

func TestCustomResourceDefinitionsServeOurKinds(t *testing.T) {
	manifests := render(t, "crd")
	for plural, is := range map[string]struct {
		kind, short string
		scope       apiextensionsv1.ResourceScope
	}{
		"servicetokensecrets":        {"ServiceTokenSecret", "stsec", apiextensionsv1.NamespaceScoped},
		"clusterservicetokensecrets": {"ClusterServiceTokenSecret", "cstsec", apiextensionsv1.ClusterScoped},
		"servicetokenpushes":         {"ServiceTokenPush", "stpush", apiextensionsv1.NamespaceScoped},
	} {
		t.Run(is.kind, func(t *testing.T) {
			g := NewWithT(t)
			crd := decode[apiextensionsv1.CustomResourceDefinition](t, manifests, "CustomResourceDefinition/"+plural+".servicetoken.io")
			g.Expect(crd.Spec.Group).To(Equal("servicetoken.io"))
			g.Expect(crd.Spec.Names.Kind).To(Equal(is.kind))
			g.Expect(crd.Spec.Names.ShortNames).To(Equal([]string{is.short}))
			g.Expect(crd.Spec.Names.Categories).To(Equal([]string{"infisical"}), "kubectl get infisical, which alerts and docs ask for")
			g.Expect(crd.Spec.Scope).To(Equal(is.scope))
			g.Expect(crd.Spec.Versions).To(HaveLen(1))
			g.Expect(crd.Spec.Versions[0].Name).To(Equal("v1alpha1"))
			g.Expect(crd.Spec.Versions[0].Subresources.Status).NotTo(BeNil())
		})
	}
}

func TestNamespaceEnforcesTheRestrictedPodSecurityStandard(t *testing.T) {
	g := NewWithT(t)
	namespace := decode[corev1.Namespace](t, render(t, "default"), "Namespace/"+operatorNamespace)
	for _, mode := range []string{"enforce", "audit", "warn"} {
		g.Expect(namespace.Labels).To(HaveKeyWithValue("pod-security.kubernetes.io/"+mode, "restricted"))
	}
}

// https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and what we promise beyond it.
func TestDeploymentMeetsTheRestrictedPodSecurityStandard(t *testing.T) {
	g := NewWithT(t)
	pod := decode[appsv1.Deployment](t, render(t, "default"), "Deployment/"+operatorDeployment).Spec.Template.Spec

	g.Expect([]bool{pod.HostNetwork, pod.HostPID, pod.HostIPC}).To(HaveEach(false))
	g.Expect(pod.Volumes).To(BeEmpty())
	g.Expect(pod.SecurityContext.RunAsNonRoot).To(HaveValue(BeTrue()))
	g.Expect(pod.SecurityContext.RunAsUser).To(HaveValue(BeEquivalentTo(65532)))
	g.Expect(pod.SecurityContext.RunAsGroup).To(HaveValue(BeEquivalentTo(65532)))
	g.Expect(pod.SecurityContext.SeccompProfile.Type).To(Equal(corev1.SeccompProfileTypeRuntimeDefault))
	g.Expect(pod.SecurityContext.Sysctls).To(BeEmpty())
	g.Expect(pod.InitContainers).To(BeEmpty())
	g.Expect(pod.Containers).To(HaveLen(1))

	context := pod.Containers[0].SecurityContext
	g.Expect(context.AllowPrivilegeEscalation).To(HaveValue(BeFalse()))
	g.Expect(context.ReadOnlyRootFilesystem).To(HaveValue(BeTrue()))
	g.Expect(context.Capabilities.Drop).To(Equal([]corev1.Capability{"ALL"}))
	g.Expect(context.Capabilities.Add).To(BeEmpty())
	g.Expect(context.Privileged).To(BeNil())
	g.Expect(context.RunAsNonRoot).To(BeNil(), "it is said once, for the pod")
	g.Expect(context.RunAsUser).To(BeNil(), "it is said once, for the pod")
	g.Expect(context.SeccompProfile).To(BeNil(), "it is said once, for the pod")
}

func TestDeploymentRunsTheManagerWithProbesLimitsAndItsNamespace(t *testing.T) {
	g := NewWithT(t)
	manifests := render(t, "default")
	deployment := decode[appsv1.Deployment](t, manifests, "Deployment/"+operatorDeployment)
	container := deployment.Spec.Template.Spec.Containers[0]

	g.Expect(deployment.Spec.Selector.MatchLabels).NotTo(BeEmpty())
	for key, value := range deployment.Spec.Selector.MatchLabels {
		g.Expect(deployment.Spec.Template.Labels).To(HaveKeyWithValue(key, value))
	}
	g.Expect(container.Args).To(ContainElements("--leader-elect", "--metrics-bind-address=:8443", "--health-probe-bind-address=:8081"))
	g.Expect(container.Env).To(ContainElement(corev1.EnvVar{Name: "POD_NAMESPACE", ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"},
	}}))
	g.Expect(container.Resources.Requests.Cpu().String()).To(Equal("10m"))
	g.Expect(container.Resources.Requests.Memory().String()).To(Equal("64Mi"))
	g.Expect(container.Resources.Limits.Memory().String()).To(Equal("256Mi"))

	ports := map[string]int32{}
	for _, port := range container.Ports {
		ports[port.Name] = port.ContainerPort
	}
	g.Expect(container.LivenessProbe.HTTPGet.Path).To(Equal("/healthz"))
	g.Expect(container.ReadinessProbe.HTTPGet.Path).To(Equal("/readyz"))
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe} {
		g.Expect(ports).To(HaveKeyWithValue(probe.HTTPGet.Port.StrVal, BeEquivalentTo(8081)))
	}

	service := decode[corev1.Service](t, manifests, "Service/service-token-operator-controller-manager-metrics-service")
	g.Expect(service.Spec.Ports).To(HaveLen(1))
	g.Expect(service.Spec.Ports[0].TargetPort).To(Equal(intstr.FromString("metrics")))
	g.Expect(ports).To(HaveKeyWithValue("metrics", BeEquivalentTo(8443)))
	for key, value := range service.Spec.Selector {
		g.Expect(deployment.Spec.Template.Labels).To(HaveKeyWithValue(key, value))
	}
}

// Two releases in one namespace share no lease and no pods, and divide all objects between them.
func TestTwoReleasesAreKeptApart(t *testing.T) {
	g := NewWithT(t)
	manifests := render(t, "two-releases")
	var names []string
	for _, m := range manifests {
		names = append(names, m.String())
	}
	g.Expect(slices.Compact(slices.Sorted(slices.Values(names)))).To(HaveLen(len(names)))
	g.Expect(names).To(ContainElements("Namespace/"+operatorNamespace, "CustomResourceDefinition/servicetokensecrets.servicetoken.io"))

	works := map[string]labels.Selector{}
	for _, release := range []string{"a", "b"} {
		deployment := decode[appsv1.Deployment](t, manifests, "Deployment/"+operatorDeployment+"-"+release)
		service := decode[corev1.Service](t, manifests, "Service/service-token-operator-controller-manager-metrics-service-"+release)
		const instance = "app.kubernetes.io/instance"
		for _, pods := range []map[string]string{deployment.Spec.Selector.MatchLabels, deployment.Spec.Template.Labels, service.Spec.Selector} {
			g.Expect(pods).To(HaveKeyWithValue(instance, release))
		}
		lease := decode[rbacv1.Role](t, manifests, "Role/service-token-operator-leader-election-role-"+release).Rules[1]
		g.Expect(lease.ResourceNames).To(Equal([]string{release + ".servicetoken.io"}))
		args := deployment.Spec.Template.Spec.Containers[0].Args
		g.Expect(args).To(ContainElements("--leader-elect", "--leader-election-id="+release+".servicetoken.io"))
		i := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--object-selector=") })
		g.Expect(i).To(BeNumerically(">=", 0))
		selector, err := labels.Parse(strings.TrimPrefix(args[i], "--object-selector="))
		g.Expect(err).NotTo(HaveOccurred())
		works[release] = selector
	}
	for _, object := range []labels.Set{nil, {"team": "a"}, {"team": "other"}} {
		g.Expect(works["a"].Matches(object)).NotTo(Equal(works["b"].Matches(object)), "%v", object)
	}
}

func TestRolesGrantNoWildcards(t *testing.T) {
	g := NewWithT(t)
	manifests := render(t, "default")
	roles := 0
	for _, m := range manifests {
		var rules []rbacv1.PolicyRule
		switch m.Kind {
		case "ClusterRole":
			role := decode[rbacv1.ClusterRole](t, manifests, m.String())
			g.Expect(role.AggregationRule).To(BeNil(), "%s", m)
			rules = role.Rules
		case "Role":
			rules = decode[rbacv1.Role](t, manifests, m.String()).Rules
		default:
			continue
		}
		roles++
		g.Expect(rules).NotTo(BeEmpty(), "%s", m)
		for _, rule := range rules {
			for _, word := range slices.Concat(rule.APIGroups, rule.Resources, rule.ResourceNames, rule.NonResourceURLs, rule.Verbs) {
				g.Expect(word).NotTo(ContainSubstring("*"), "%s", m)
			}
			g.Expect(rule.Verbs).NotTo(ContainElement(BeElementOf("escalate", "bind", "impersonate")), "%s", m)
		}
	}
	g.Expect(roles).To(Equal(9))
}

// Every role for the operator is bound to its ServiceAccount, and no binding leads nowhere.
func TestBindingsBindTheOperatorsServiceAccountToItsRoles(t *testing.T) {
	g := NewWithT(t)
	manifests := render(t, "default")
	bound := map[string]bool{}
	for _, m := range manifests {
		var role rbacv1.RoleRef
		var subjects []rbacv1.Subject
		switch m.Kind {
		case "ClusterRoleBinding":
			binding := decode[rbacv1.ClusterRoleBinding](t, manifests, m.String())
			role, subjects = binding.RoleRef, binding.Subjects
		case "RoleBinding":
			binding := decode[rbacv1.RoleBinding](t, manifests, m.String())
			role, subjects = binding.RoleRef, binding.Subjects
		default:
			continue
		}
		bound[role.Kind+"/"+role.Name] = true
		g.Expect(subjects).To(Equal([]rbacv1.Subject{{Kind: "ServiceAccount", Name: operatorDeployment, Namespace: operatorNamespace}}), "%s", m)
	}
	g.Expect(bound).To(HaveLen(4))
	for role := range bound {
		g.Expect(manifests).To(ContainElement(HaveField("String()", role)))
	}
	g.Expect(decode[appsv1.Deployment](t, manifests, "Deployment/"+operatorDeployment).Spec.Template.Spec.ServiceAccountName).To(Equal(operatorDeployment))
}

// rootWith returns a folder with a copy of config/ whose default has an option.
func rootWith(t *testing.T, option string) string {
	t.Helper()
	g := NewWithT(t)
	root := t.TempDir()
	config := filepath.Join(root, "config")
	g.Expect(os.CopyFS(config, os.DirFS("../config"))).To(Succeed())
	file := filepath.Join(config, "default", "kustomization.yaml")
	text, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(text)).To(ContainSubstring("#- ../" + option + "\n"))
	asked := strings.Replace(string(text), "#- ../"+option+"\n", "- ../"+option+"\n", 1)
	g.Expect(os.WriteFile(file, []byte(asked), 0o600)).To(Succeed())
	return root
}

// The permissions to restart workloads and to push come each with the line that config/default has commented out, and with nothing else.
func TestRestartingWorkloadsAndPushingAreOptionsOfTheirOwn(t *testing.T) {
	without := render(t, "default")
	for option, is := range map[string]struct {
		added []grant
		more  int // manifests
	}{
		"rollout": {restarts(""), 2},
		"push":    {slices.Concat(pushing(""), pushers()), 3},
	} {
		t.Run(option, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(grants(t, ofOperator(without))).NotTo(ContainElement(BeElementOf(is.added)))
			with := build(t, filepath.Join(rootWith(t, option), "config", "default"))

			g.Expect(with).To(HaveLen(len(without) + is.more))
			g.Expect(grants(t, with)).To(ConsistOf(slices.Concat(grants(t, without), is.added)))
			role := "service-token-operator-" + option + "-role"
			g.Expect(decode[rbacv1.ClusterRole](t, with, "ClusterRole/"+role).Rules).NotTo(BeEmpty())
			binding := decode[rbacv1.ClusterRoleBinding](t, with, "ClusterRoleBinding/service-token-operator-"+option+"-rolebinding")
			g.Expect(binding.RoleRef).To(Equal(rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}))
			g.Expect(binding.Subjects).To(Equal([]rbacv1.Subject{{Kind: "ServiceAccount", Name: operatorDeployment, Namespace: operatorNamespace}}))
		})
	}
}

func TestUsersRolesAggregateIntoTheClustersOwn(t *testing.T) {
	g := NewWithT(t)
	manifests := render(t, "default")
	for _, kind := range []string{"servicetokensecret", "clusterservicetokensecret", "servicetokenpush"} {
		viewer := decode[rbacv1.ClusterRole](t, manifests, "ClusterRole/service-token-operator-"+kind+"-viewer-role")
		g.Expect(viewer.Labels).To(HaveKeyWithValue(aggregateTo+"view", "true"))
		for _, rule := range viewer.Rules {
			g.Expect(reading).To(ContainElements(rule.Verbs))
			g.Expect(rule.Resources).To(HaveEach(HavePrefix(kind)))
		}
	}
	for _, editor := range []*rbacv1.ClusterRole{
		decode[rbacv1.ClusterRole](t, manifests, "ClusterRole/service-token-operator-servicetokensecret-editor-role"),
		decode[rbacv1.ClusterRole](t, render(t, "push"), "ClusterRole/servicetokenpush-editor-role"),
	} {
		g.Expect(editor.Labels).To(And(HaveKeyWithValue(aggregateTo+"edit", "true"), HaveKeyWithValue(aggregateTo+"admin", "true")))
	}
}

func TestOptionalPartsSelectTheOperatorsPods(t *testing.T) {
	g := NewWithT(t)
	deployment := decode[appsv1.Deployment](t, render(t, "manager"), "Deployment/controller-manager")
	for _, folder := range []string{"network-policy", "prometheus"} {
		manifests := render(t, folder)
		g.Expect(manifests).To(HaveLen(1), folder)
		var selecting struct {
			Spec struct {
				PodSelector metav1.LabelSelector `json:"podSelector"` // of a NetworkPolicy
				Selector    metav1.LabelSelector `json:"selector"`    // of a ServiceMonitor: the Service's labels, which are the same
			} `json:"spec"`
		}
		g.Expect(yaml.Unmarshal([]byte(manifests[0].source), &selecting)).To(Succeed())
		labels := selecting.Spec.PodSelector.MatchLabels
		if folder == "prometheus" {
			labels = selecting.Spec.Selector.MatchLabels
		}
		g.Expect(labels).To(Equal(deployment.Spec.Selector.MatchLabels), folder)
	}
}
