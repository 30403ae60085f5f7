package test

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

const chartFolder = "../charts/service-token-operator"

// helm is the one that make passes in HELM.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	binary := os.Getenv("HELM")
	if binary == "" {
		t.Fatal("HELM names no helm: run `make test`, or `make bin/helm` and set HELM to the absolute path of bin/helm")
	}
	return output(exec.CommandContext(t.Context(), binary, args...))
}

// chart renders the chart with values, given as for helm's --set-json, as the release service-token-operator in the operator's namespace.
func chart(t *testing.T, values ...string) []manifest {
	t.Helper()
	text, err := template(t, values...)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

func template(t *testing.T, values ...string) (string, error) {
	t.Helper()
	args := []string{"template", "service-token-operator", chartFolder, "--namespace=" + operatorNamespace, "--kube-version=1.37"}
	for _, v := range values {
		args = append(args, "--set-json="+v)
	}
	return helm(t, args...)
}

func TestChartPassesLint(t *testing.T) {
	if out, err := helm(t, "lint", "--strict", chartFolder); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// grant is one thing that one role allows.
type grant struct{ Scope, Group, Resource, Name, Verb string }

// ofOperator leaves out the roles that are for people, as they are part of the cluster's own.
func ofOperator(manifests []manifest) []manifest {
	return slices.DeleteFunc(slices.Clone(manifests), func(m manifest) bool {
		return slices.ContainsFunc(slices.Collect(maps.Keys(m.Labels)), func(label string) bool { return strings.HasPrefix(label, aggregateTo) })
	})
}

// aggregateTo is how the labels begin that make a role part of others.
const aggregateTo = "rbac.authorization.k8s.io/aggregate-to-"

// grants are what the ClusterRoles and Roles allow, by the namespace they are for; cluster-wide ones have none.
func grants(t *testing.T, manifests []manifest) []grant {
	t.Helper()
	var all []grant
	for _, m := range manifests {
		var rules []rbacv1.PolicyRule
		switch m.Kind {
		case "ClusterRole":
			rules = decode[rbacv1.ClusterRole](t, manifests, m.String()).Rules
		case "Role":
			rules = decode[rbacv1.Role](t, []manifest{m}, m.String()).Rules
		default:
			continue
		}
		for _, rule := range rules {
			resources, groups, names := rule.Resources, rule.APIGroups, rule.ResourceNames
			if len(rule.NonResourceURLs) > 0 {
				resources, groups = rule.NonResourceURLs, []string{"-"}
			}
			if len(names) == 0 {
				names = []string{""}
			}
			for _, group := range groups {
				for _, resource := range resources {
					for _, name := range names {
						for _, verb := range rule.Verbs {
							all = append(all, grant{m.Namespace, group, resource, name, verb})
						}
					}
				}
			}
		}
	}
	return all
}

// TestChartInstallsWhatKustomizeInstalls compares the two ways: everything but names and labels is the same.
func TestChartInstallsWhatKustomizeInstalls(t *testing.T) {
	g := NewWithT(t)
	ours, theirs := chart(t), render(t, "default")

	var kinds, otherKinds []string
	for _, m := range ours {
		kinds = append(kinds, m.Kind)
	}
	for _, m := range theirs {
		if m.Kind != "Namespace" { // helm install --create-namespace
			otherKinds = append(otherKinds, m.Kind)
		}
	}
	g.Expect(slices.Compact(slices.Sorted(slices.Values(kinds)))).To(Equal(slices.Compact(slices.Sorted(slices.Values(otherKinds)))))
	g.Expect(grants(t, ours)).To(ConsistOf(grants(t, theirs)))

	for _, kind := range []string{"servicetokensecrets", "clusterservicetokensecrets", "servicetokenpushes"} {
		crd := "CustomResourceDefinition/" + kind + ".servicetoken.io"
		g.Expect(decode[apiextensionsv1.CustomResourceDefinition](t, ours, crd).Spec).To(Equal(decode[apiextensionsv1.CustomResourceDefinition](t, theirs, crd).Spec))
	}
	g.Expect(decode[corev1.Service](t, ours, "Service/service-token-operator-metrics").Spec.Ports[0].TargetPort.StrVal).To(Equal("metrics"))

	is := decode[appsv1.Deployment](t, ours, "Deployment/service-token-operator").Spec
	should := decode[appsv1.Deployment](t, theirs, "Deployment/"+operatorDeployment).Spec
	g.Expect(is.Replicas).To(Equal(should.Replicas))
	pod, other := is.Template.Spec, should.Template.Spec
	pod.ServiceAccountName, other.ServiceAccountName = "", ""
	pod.Containers[0].Image, other.Containers[0].Image = "", ""
	pod.TopologySpreadConstraints = nil // of more than one replica
	// What the chart says and kustomize leaves to the flags' own defaults.
	defaults := []string{
		"--leader-election-id=service-token-operator.servicetoken.io", "--infisical-url=https://app.infisical.com", "--request-timeout=30s", "--workers=16",
		"--log-level=info", "--log-format=json",
	}
	g.Expect(pod.Containers[0].Args).To(ConsistOf(slices.Concat(other.Containers[0].Args, defaults)))
	pod.Containers[0].Args, other.Containers[0].Args = nil, nil
	g.Expect(pod).To(Equal(other))
}

// combinations are sets of values that people install with.
var combinations = map[string][]string{
	"the defaults":                   nil,
	"three replicas":                 {`replicas=3`, `priorityClassName="system-cluster-critical"`, `podDisruptionBudget.maxUnavailable="50%"`},
	"no replica":                     {`replicas=0`},
	"two namespaces":                 {`watchNamespaces=["a","b"]`},
	"two namespaces, plain metrics":  {`watchNamespaces=["a","b"]`, `metrics.secure=false`, `rbac.aggregate=false`},
	"its own namespace":              {`watchNamespaces=["service-token-operator-system"]`, `metrics.enabled=false`, `crds.install=false`, `rbac.aggregate=false`},
	"restarts":                       {`rollout.enabled=true`},
	"restarts in two namespaces":     {`rollout.enabled=true`, `watchNamespaces=["a","b"]`, `rbac.aggregate=false`},
	"restarts, roles of its own":     {`rollout.enabled=true`, `rbac.create=false`},
	"webhooks":                       {`webhook.enabled=true`, `webhook.secretName="webhooks"`, `replicas=2`},
	"webhooks by HTTPS":              {`webhook.enabled=true`, `webhook.secretName="webhooks"`, `webhook.certificateSecret="tls"`, `networkPolicy.enabled=true`, `metrics.enabled=false`},
	"identities of ServiceAccounts":  {`kubernetesAuth.enabled=true`},
	"ConfigMaps as targets":          {`configMapTargets.enabled=true`},
	"many namespaces from one":       {`clusterSecrets.enabled=true`, `clusterSecrets.forbiddenNamespaces=["kube-*","infra"]`},
	"pushes":                         {`push.enabled=true`, `infisical.allowedHosts=["infisical.example.com"]`},
	"pushes in two namespaces":       {`push.enabled=true`, `watchNamespaces=["a","b"]`, `rbac.aggregate=false`},
	"pushes, roles of its own":       {`push.enabled=true`, `rbac.create=false`},
	"a selector":                     {`objectSelector="team in (a,b),!test"`, `fullnameOverride="team-a"`},
	"no metrics":                     {`metrics.enabled=false`, `metrics.serviceMonitor.enabled=true`, `metrics.dashboard.enabled=true`},
	"a certificate for metrics":      {`metrics.certificateSecret="metrics-tls"`, `metrics.port=9443`},
	"everything of metrics":          {`metrics.perObject=true`, `metrics.serviceMonitor={"enabled":true,"labels":{"release":"prometheus"},"endpoint":{"interval":"10s"}}`, `metrics.prometheusRule.enabled=true`, `metrics.dashboard.enabled=true`},
	"a network policy":               {`networkPolicy.enabled=true`},
	"a narrow network policy":        {`networkPolicy={"enabled":true,"metricsFrom":[{"namespaceSelector":{"matchLabels":{"metrics":"enabled"}}}],"dns":{"to":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}}}]},"apiServer":{"to":[{"ipBlock":{"cidr":"10.0.0.1/32"}}],"ports":[6443]},"infisical":{"to":[{"ipBlock":{"cidr":"192.0.2.0/24"}}],"ports":[8443]}}`},
	"a network policy, no metrics":   {`networkPolicy.enabled=true`, `metrics.enabled=false`},
	"a proxy":                        {`proxy={"http":"http://proxy:3128","https":"http://proxy:3128","noProxy":".svc,10.0.0.0/8"}`},
	"a CA in a ConfigMap":            {`caBundle.name="company-ca"`},
	"a CA in a Secret, and a volume": {`caBundle={"kind":"Secret","name":"company-ca","key":"tls.crt"}`, `extraVolumes=[{"name":"tmp","emptyDir":{}}]`, `extraVolumeMounts=[{"name":"tmp","mountPath":"/tmp"}]`},
	"a development server":           {`infisical={"url":"http://infisical.dev:8080","allowHTTP":true,"allowedHosts":["infisical.dev","*.example.com"]}`, `log={"level":"debug","format":"console"}`},
	"an image by digest":             {`image={"registry":"registry.example.com/team/","digest":"sha256:` + strings.Repeat("0123456789abcdef", 4) + `","pullPolicy":"Always"}`, `imagePullSecrets=[{"name":"pull"}]`},
	"an account of its own":          {`serviceAccount={"create":false,"name":"given"}`, `rbac.create=false`},
	"annotated and scheduled":        {`commonLabels={"team":"a"}`, `annotations={"a":"b"}`, `podAnnotations={"c":"d"}`, `podLabels={"e":"f"}`, `tolerations=[{"operator":"Exists"}]`, `affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"disk","operator":"Exists"}]}]}}}`, `topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule","labelSelector":{"matchLabels":{"app.kubernetes.io/name":"service-token-operator"}}}]`},
	"more arguments":                 {`extraArgs=["--pprof-bind-address=127.0.0.1:6060"]`, `extraEnv=[{"name":"GOMEMLIMIT","value":"200MiB"}]`, `resources={"requests":{"cpu":"1","memory":"1Gi"},"limits":{"memory":"1Gi"}}`},
	"CRDs that go":                   {`crds.keep=false`},
	"labels that are taken":          {`commonLabels={"app.kubernetes.io/name":"mine"}`, `podLabels={"app.kubernetes.io/instance":"mine"}`, `podAnnotations={"kubectl.kubernetes.io/default-container":"manager"}`},
	"other probes":                   {`livenessProbe=null`, `readinessProbe={"httpGet":{"path":"/readyz","port":8081},"periodSeconds":1}`},
	"hosts and DNS of its own":       {`hostAliases=[{"ip":"192.0.2.1","hostnames":["infisical.example.com"]}]`, `dnsConfig={"options":[{"name":"ndots","value":"1"}]}`, `extraObjects=[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"more","namespace":"service-token-operator-system"}}]`, `enabled=true`},
}

// reading are the verbs that change nothing.
var reading = []string{"get", "list", "watch"}

// everywhere is what may be allowed in the whole cluster in a release for some namespaces: nothing of users' objects.
func everywhere(all []grant) (found []grant) {
	for _, granted := range all {
		if granted.Scope == "" && !slices.Contains([]string{"authentication.k8s.io", "authorization.k8s.io", "-"}, granted.Group) {
			found = append(found, granted)
		}
	}
	return found
}

func TestChartGrantsNoMoreThanItsValuesNeed(t *testing.T) {
	for name, values := range combinations {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			manifests := chart(t, values...)
			all := grants(t, manifests)
			for _, granted := range all {
				g.Expect(granted.Group + granted.Resource + granted.Name + granted.Verb).NotTo(ContainSubstring("*"))
				g.Expect(granted.Verb).NotTo(BeElementOf("escalate", "bind", "impersonate"))
			}
			set := strings.Join(values, " ")
			if !strings.Contains(set, "rollout.enabled=true") {
				g.Expect(all).NotTo(ContainElement(HaveField("Group", BeElementOf("apps", "argoproj.io"))), "other people's workloads")
			}
			if !strings.Contains(set, "configMapTargets.enabled=true") {
				g.Expect(all).NotTo(ContainElement(And(HaveField("Scope", ""), HaveField("Resource", "configmaps"),
					HaveField("Verb", BeElementOf("create", "update", "patch", "delete")))), "other people's ConfigMaps")
			}
			if !strings.Contains(set, "kubernetesAuth.enabled=true") {
				g.Expect(all).NotTo(ContainElement(HaveField("Resource", "serviceaccounts/token")))
			}
			own := grants(t, ofOperator(manifests))
			if !strings.Contains(set, "clusterSecrets.enabled=true") {
				g.Expect(own).NotTo(ContainElement(HaveField("Resource", BeElementOf("namespaces", HavePrefix("clusterservicetokensecrets")))))
			}
			if !strings.Contains(set, "push.enabled=true") {
				g.Expect(own).NotTo(ContainElement(HaveField("Resource", HavePrefix("servicetokenpushes"))))
				g.Expect(all).NotTo(ContainElement(And(HaveField("Resource", HavePrefix("servicetokenpushes")), HaveField("Verb", Not(BeElementOf(reading))))), "nobody may push")
			}
			g.Expect(all).NotTo(ContainElement(And(HaveField("Resource", HavePrefix("clusterservicetokensecrets")),
				HaveField("Verb", Not(BeElementOf("get", "list", "watch", "update"))))), "a kind for platform admins")
			if strings.Contains(set, "watchNamespaces") && strings.Contains(set, "rbac.aggregate=false") {
				g.Expect(everywhere(all)).To(BeEmpty())
			}
			if strings.Contains(set, "metrics.enabled=false") || strings.Contains(set, "metrics.secure=false") {
				g.Expect(all).NotTo(ContainElement(HaveField("Group", "authentication.k8s.io")))
			}
			if strings.Contains(set, "rbac.create=false") {
				g.Expect(all).To(HaveEach(HaveField("Group", "servicetoken.io")), "for people")
			}
		})
	}
}

func TestChartLimitsItselfToTheNamespacesItWatches(t *testing.T) {
	g := NewWithT(t)
	manifests := chart(t, `watchNamespaces=["a","b"]`)
	var scopes []string
	for _, granted := range grants(t, manifests) {
		if granted.Resource == "secrets" {
			scopes = append(scopes, granted.Scope)
		}
	}
	g.Expect(slices.Compact(slices.Sorted(slices.Values(scopes)))).To(Equal([]string{"a", "b"}))
	g.Expect(decode[appsv1.Deployment](t, manifests, "Deployment/service-token-operator").Spec.Template.Spec.Containers[0].Args).To(ContainElement("--watch-namespaces=a,b"))
}

// restarts are the permissions to restart workloads in a namespace, or everywhere.
func restarts(scope string) (all []grant) {
	for _, resource := range []string{"deployments", "statefulsets", "daemonsets"} {
		all = append(all, grant{scope, "apps", resource, "", "list"}, grant{scope, "apps", resource, "", "patch"})
	}
	return append(all, grant{scope, "argoproj.io", "rollouts", "", "list"}, grant{scope, "argoproj.io", "rollouts", "", "patch"})
}

func TestChartAddsThePermissionToRestartWorkloadsOnlyWhereItIsAskedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		values []string
		added  []grant
		kind   string // of the binding
		scopes []string
	}{
		"everywhere":        {nil, restarts(""), "ClusterRoleBinding", []string{""}},
		"in two namespaces": {[]string{`watchNamespaces=["a","b"]`}, slices.Concat(restarts("a"), restarts("b")), "RoleBinding", []string{"a", "b"}},
		"by somebody else":  {[]string{`rbac.create=false`}, nil, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			without := chart(t, tc.values...)
			with := chart(t, append(slices.Clone(tc.values), `rollout.enabled=true`)...)
			g.Expect(grants(t, with)).To(ConsistOf(slices.Concat(grants(t, without), tc.added)))

			const role = operatorNamespace + ":service-token-operator:rollout"
			var scopes []string
			for _, m := range with {
				if m.Name != role || !strings.HasSuffix(m.Kind, "Binding") {
					continue
				}
				g.Expect(m.Kind).To(Equal(tc.kind))
				binding := decode[rbacv1.RoleBinding](t, []manifest{m}, m.String()) // a ClusterRoleBinding has the same fields
				g.Expect(binding.RoleRef).To(Equal(rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: strings.TrimSuffix(tc.kind, "Binding"), Name: role}))
				g.Expect(binding.Subjects).To(Equal([]rbacv1.Subject{{Kind: "ServiceAccount", Name: "service-token-operator", Namespace: operatorNamespace}}))
				scopes = append(scopes, m.Namespace)
			}
			g.Expect(scopes).To(Equal(tc.scopes))
		})
	}
}

func TestChartAddsTheOtherPermissionsOnlyWhereTheyAreAskedFor(t *testing.T) {
	for value, added := range map[string][]grant{
		`configMapTargets.enabled=true`: {
			{"", "", "configmaps", "", "create"}, {"", "", "configmaps", "", "update"}, {"", "", "configmaps", "", "patch"}, {"", "", "configmaps", "", "delete"},
		},
		`kubernetesAuth.enabled=true`: {{"", "", "serviceaccounts/token", "", "create"}},
		`clusterSecrets.enabled=true`: {
			{"", "servicetoken.io", "clusterservicetokensecrets", "", "get"}, {"", "servicetoken.io", "clusterservicetokensecrets", "", "list"},
			{"", "servicetoken.io", "clusterservicetokensecrets", "", "watch"}, {"", "servicetoken.io", "clusterservicetokensecrets/status", "", "update"},
			{"", "", "namespaces", "", "get"}, {"", "", "namespaces", "", "list"}, {"", "", "namespaces", "", "watch"},
		},
		`push.enabled=true`: slices.Concat(pushing(""), pushers()),
	} {
		t.Run(value, func(t *testing.T) {
			NewWithT(t).Expect(grants(t, chart(t, value))).To(ConsistOf(slices.Concat(grants(t, chart(t)), added)))
		})
	}
}

// pushing are the operator's permissions to push from a namespace, or everywhere.
func pushing(scope string) (all []grant) {
	for _, verb := range append([]string{"patch"}, reading...) {
		all = append(all, grant{scope, "servicetoken.io", "servicetokenpushes", "", verb})
	}
	return append(all, grant{scope, "servicetoken.io", "servicetokenpushes/status", "", "update"})
}

// pushers are the permissions of people to have something pushed.
func pushers() (all []grant) {
	for _, verb := range []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"} {
		all = append(all, grant{"", "servicetoken.io", "servicetokenpushes", "", verb})
	}
	return append(all, grant{"", "servicetoken.io", "servicetokenpushes/status", "", "get"})
}

func TestChartTurnsPushesOnByFlag(t *testing.T) {
	g := NewWithT(t)
	args := func(values ...string) []string {
		return decode[appsv1.Deployment](t, chart(t, values...), "Deployment/service-token-operator").Spec.Template.Spec.Containers[0].Args
	}
	g.Expect(args()).NotTo(ContainElement(HavePrefix("--push")))
	g.Expect(args(`push.enabled=true`)).To(ContainElement("--push"))

	namespaces := []string{`watchNamespaces=["a","b"]`, `rbac.aggregate=false`}
	with := chart(t, append(namespaces, `push.enabled=true`)...)
	g.Expect(grants(t, with)).To(ConsistOf(slices.Concat(grants(t, chart(t, namespaces...)), pushing("a"), pushing("b"))))
	const role = operatorNamespace + ":service-token-operator:push"
	bound := 0
	for _, m := range with {
		if m.Name == role && m.Kind == "RoleBinding" {
			bound++
			binding := decode[rbacv1.RoleBinding](t, []manifest{m}, m.String())
			g.Expect(binding.RoleRef).To(Equal(rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role}))
			g.Expect(binding.Subjects).To(Equal([]rbacv1.Subject{{Kind: "ServiceAccount", Name: "service-token-operator", Namespace: operatorNamespace}}))
		}
	}
	g.Expect(bound).To(Equal(2))
}

func TestChartTurnsClusterSecretsOnByFlag(t *testing.T) {
	g := NewWithT(t)
	args := func(values ...string) []string {
		return decode[appsv1.Deployment](t, chart(t, values...), "Deployment/service-token-operator").Spec.Template.Spec.Containers[0].Args
	}
	g.Expect(args()).NotTo(ContainElement(HavePrefix("--cluster-secrets")))
	g.Expect(args(`clusterSecrets.enabled=true`)).To(ContainElements("--cluster-secrets", "--forbidden-namespaces=kube-system,kube-public,kube-node-lease"))
	_, err := helm(t, "template", "x", chartFolder, "--kube-version=1.34.0", "--set-json=clusterSecrets.enabled=true", `--set-json=watchNamespaces=["a"]`)
	g.Expect(err).To(MatchError(ContainSubstring("watchNamespaces")))
}

func TestChartKeepsItsCRDsUnlessToldOtherwise(t *testing.T) {
	g := NewWithT(t)
	const crd = "CustomResourceDefinition/servicetokensecrets.servicetoken.io"
	const keep = "helm.sh/resource-policy"
	g.Expect(decode[apiextensionsv1.CustomResourceDefinition](t, chart(t), crd).Annotations).To(HaveKeyWithValue(keep, "keep"))
	g.Expect(decode[apiextensionsv1.CustomResourceDefinition](t, chart(t, `crds.keep=false`), crd).Annotations).NotTo(HaveKey(keep))
	g.Expect(chart(t, `crds.install=false`)).NotTo(ContainElement(HaveField("Kind", "CustomResourceDefinition")))
}

// TestChartPassesValuesOn looks at what is easily lost between values and the pod.
func TestChartPassesValuesOn(t *testing.T) {
	pod := func(values ...string) corev1.PodSpec {
		return decode[appsv1.Deployment](t, chart(t, values...), "Deployment/service-token-operator").Spec.Template.Spec
	}
	g := NewWithT(t)
	g.Expect(pod(`image={"registry":"registry.example.com/team/","tag":"v1"}`).Containers[0].Image).To(Equal("registry.example.com/team/service-token-operator:v1"))
	g.Expect(pod(combinations["an image by digest"]...).Containers[0].Image).To(HavePrefix("registry.example.com/team/service-token-operator@sha256:0123"))

	proxied := pod(combinations["a proxy"]...).Containers[0].Env
	g.Expect(proxied).To(ContainElements(
		corev1.EnvVar{Name: "HTTPS_PROXY", Value: "http://proxy:3128"},
		corev1.EnvVar{Name: "NO_PROXY", Value: "$(KUBERNETES_SERVICE_HOST),.svc,10.0.0.0/8"},
	))

	trusting := pod(combinations["a CA in a Secret, and a volume"]...)
	g.Expect(trusting.Volumes).To(HaveLen(2))
	g.Expect(trusting.Volumes[0].Secret.Items).To(Equal([]corev1.KeyToPath{{Key: "tls.crt", Path: "ca.crt"}}))
	g.Expect(trusting.Containers[0].VolumeMounts[0].MountPath).To(Equal("/var/run/service-token-operator/ca"))
	g.Expect(trusting.Containers[0].Env).To(ContainElement(corev1.EnvVar{Name: "SSL_CERT_DIR", Value: "/etc/ssl/certs:/var/run/service-token-operator/ca"}))

	g.Expect(pod(combinations["a certificate for metrics"]...).Containers[0].Args).To(ContainElements("--metrics-bind-address=:9443", "--metrics-cert-dir=/var/run/service-token-operator/metrics"))
	g.Expect(pod(`metrics.enabled=false`).Containers[0].Args).To(ContainElement("--metrics-bind-address=0"))
	g.Expect(pod(combinations["a development server"]...).Containers[0].Args).To(ContainElements("--allow-http", "--allowed-hosts=infisical.dev,*.example.com", "--log-format=console"))
}

func TestChartRefusesValuesThatCannotBeMeant(t *testing.T) {
	for values, names := range map[string]string{
		`replica=2`:                              "replica",
		`replicas=-1`:                            "replicas",
		`replicas="2"`:                           "replicas",
		`workers=0`:                              "workers",
		`infisical.url="app.infisical.com"`:      "url",
		`infisical.url="http://x"`:               "allowHTTP",
		`infisical.requestTimeout="30"`:          "requestTimeout",
		`infisical.allowedHosts=["a, b"]`:        "allowedHosts",
		`watchNamespaces="a"`:                    "watchNamespaces",
		`watchNamespaces=["A"]`:                  "watchNamespaces",
		`watchNamespaces=["a","a"]`:              "watchNamespaces",
		`log.level="loud"`:                       "level",
		`image.digest="latest"`:                  "digest",
		`image.pullPolicy="Sometimes"`:           "pullPolicy",
		`caBundle.kind="File"`:                   "kind",
		`metrics.port=0`:                         "port",
		`metrics.serviceMonitor.interval="soon"`: "interval",
		`metrics.prometheusRule.runbookUrl="x"`:  "runbookUrl",
		`networkPolicy.infisical.ports=[]`:       "ports",
		`podDisruptionBudget.minAvailable=1`:     "minAvailable",
		`extraArgs=["workers=3"]`:                "extraArgs",
		`rollout.enabled="yes"`:                  "enabled",
		`rollout.restart=true`:                   "restart",
		`webhook.enabled=true`:                   "secretName",
		`configMapTargets.kind="Secret"`:         "kind",
		`clusterSecrets.forbiddenNamespaces="a"`: "forbiddenNamespaces",
		`push.enabled="yes"`:                     "enabled",
		`push.hosts=["infisical.example.com"]`:   "hosts",
		`crds.enabled=true`:                      "enabled",
		`infisical.requestTimeout="0s"`:          "requestTimeout",
		`infisical.url="https://"`:               "url",
	} {
		if out, err := template(t, values); err == nil {
			t.Errorf("%s renders:\n%.200s", values, out)
		} else if !strings.Contains(err.Error(), "don't meet the specifications of the schema") || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v", values, err)
		}
	}
}
