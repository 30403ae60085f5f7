//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// cluster is the one of KUBECONFIG, with what the tests need to know of it.
type cluster struct {
	*WithT
	t      *testing.T
	ctx    context.Context //nolint:containedctx // the test's
	client client.Client
	rest   kubernetes.Interface

	chart          string
	previous       release // what is installed first, to be upgraded
	helmBinary     string
	kubectl        string
	restart        string // command that restarts the API server
	image          string // of the operator, which the nodes have
	infisicalImage string // of the development server
	shellImage     string // with sh, echo, cat, sleep
}

// release is a chart with the operator's image that goes with it.
type release struct{ chart, image string }

func connect(t *testing.T) *cluster {
	t.Helper()
	need := func(name, what string) string {
		value := os.Getenv(name)
		if value == "" {
			t.Fatalf("%s is not set: %s; `make test-e2e` sets it", name, what)
		}
		return value
	}
	need("KUBECONFIG", "the cluster to test on")
	c := &cluster{
		ctx: t.Context(), chart: "../../charts/service-token-operator", helmBinary: need("HELM", "the helm to install with"),
		image: need("E2E_IMAGE", "the operator's image"), infisicalImage: need("E2E_INFISICAL_IMAGE", "the development Infisical's image"),
		restart:    need("E2E_RESTART", "the command that restarts the API server"),
		kubectl:    need("KUBECTL", "kubectl, to forward a port"),
		shellImage: need("E2E_SHELL_IMAGE", "an image with a shell"),
	}
	c.previous = release{cmp.Or(os.Getenv("E2E_PREVIOUS_CHART"), c.chart), cmp.Or(os.Getenv("E2E_PREVIOUS_IMAGE"), c.image)}
	g := c.forTest(t)
	scheme := runtime.NewScheme()
	g.Expect(clientgoscheme.AddToScheme(scheme)).To(Succeed())
	g.Expect(stv1.AddToScheme(scheme)).To(Succeed())
	config, err := ctrl.GetConfig()
	g.Expect(err).NotTo(HaveOccurred())
	config.QPS = -1
	c.client, err = client.New(config, client.Options{Scheme: scheme})
	g.Expect(err).NotTo(HaveOccurred())
	c.rest, err = kubernetes.NewForConfig(config)
	g.Expect(err).NotTo(HaveOccurred())
	if err := c.client.List(c.ctx, &stv1.ServiceTokenSecretList{}); err == nil {
		t.Fatal("the operator's CRD is there already: take a cluster where nobody uses it")
	}
	t.Cleanup(func() { c.clear(t) })
	return c
}

// clear removes what the test made.
func (c *cluster) clear(t *testing.T) {
	t.Helper()
	ctx := context.Background()                                                                            // the test's has ended
	_ = exec.CommandContext(ctx, c.helmBinary, "uninstall", "sto", "--namespace=operator", "--wait").Run() // if it is still there
	_ = exec.CommandContext(ctx, c.kubectl, "delete", "--ignore-not-found", "crd/servicetokensecrets.servicetoken.io", "crd/clusterservicetokensecrets.servicetoken.io", "crd/servicetokenpushes.servicetoken.io", "crd/infisicalsecrets.secrets.infisical.com", "crd/externalsecrets.external-secrets.io", "crd/secretstores.external-secrets.io", "clusterrolebinding/e2e-metrics-reader").Run()
	for _, name := range []string{"infisical", "operator", "shop", "elsewhere", "restarts"} {
		err := c.client.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	}
}

// forTest makes t the one that fails.
func (c *cluster) forTest(t *testing.T) *WithT {
	c.t, c.WithT = t, NewWithT(t)
	c.SetDefaultEventuallyTimeout(30 * time.Second)
	c.SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
	return c.WithT
}

// namespace makes one that enforces the restricted Pod Security Standard and goes with the test.
func (c *cluster) namespace(name string) {
	c.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	c.Expect(c.client.Create(c.ctx, ns)).To(Succeed())
}

// helm runs helm and fails with what it said.
func (c *cluster) helm(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(c.ctx, c.helmBinary, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// values are a --set that all installations have, and more.
func (c *cluster) values(more ...string) string { return valuesOf(c.image, more...) }

func valuesOf(image string, more ...string) string {
	at := strings.LastIndexByte(image, ':')
	return "--set=" + strings.Join(append([]string{
		"image.repository=" + image[:at], "image.tag=" + image[at+1:], "image.pullPolicy=IfNotPresent",
		"infisical.url=http://infisical.infisical.svc:8080", "infisical.allowHTTP=true",
	}, more...), ",")
}

func restricted() (*corev1.PodSecurityContext, *corev1.SecurityContext) {
	return &corev1.PodSecurityContext{
			RunAsNonRoot: ptr.To(true), RunAsUser: ptr.To[int64](65532), RunAsGroup: ptr.To[int64](65532),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		}, &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr.To(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
}

// startInfisical runs the development Infisical as a pod with a Service.
func (c *cluster) startInfisical(namespace string) {
	c.t.Helper()
	labels := map[string]string{"app": "infisical"}
	ofPod, ofContainer := restricted()
	c.Expect(c.client.Create(c.ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "infisical"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0), Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					SecurityContext: ofPod,
					Containers: []corev1.Container{{
						Name: "infisical", Image: c.infisicalImage, ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"--listen=:8080"}, SecurityContext: ofContainer,
						ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1},
					}},
				},
			},
		},
	})).To(Succeed())
	c.Expect(c.client.Create(c.ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "infisical"},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 8080}}},
	})).To(Succeed())
	c.scale(namespace, "infisical", 1)
}

// manage makes a request of the development Infisical's management API, by way of the API server.
func (c *cluster) manage(namespace, method, path string, in, out any) {
	c.t.Helper()
	body, err := json.Marshal(in)
	c.Expect(err).NotTo(HaveOccurred())
	var text []byte
	c.Eventually(func() error {
		text, err = c.rest.CoreV1().RESTClient().Verb(method).Namespace(namespace).Resource("services").Name("infisical:8080").SubResource("proxy").
			Suffix("dev", path).SetHeader("Content-Type", "application/json").Body(body).DoRaw(c.ctx)
		return err
	}).Should(Succeed())
	if out != nil {
		c.Expect(json.Unmarshal(text, out)).To(Succeed())
	}
}

// project makes one of version 1, whose folder /shop of the environment prod holds the secrets, and returns its id.
func (c *cluster) project(namespace string, secrets map[string]string) string {
	c.t.Helper()
	var made struct{ ID string }
	c.manage(namespace, "POST", "projects", map[string]any{"version": 1, "secrets": map[string]any{"prod": map[string]any{"/shop": secrets}}}, &made)
	return made.ID
}

// token makes one that reads /shop of prod, or what permissions say.
func (c *cluster) token(namespace, project string, permissions ...string) string {
	c.t.Helper()
	var made struct{ Token string }
	c.manage(namespace, "POST", "projects/"+project+"/tokens", map[string]any{
		"name": "e2e", "scopes": []map[string]string{{"environment": "prod", "secretPath": "/shop"}}, "permissions": permissions,
	}, &made)
	return made.Token
}

// identity is a machine identity of the development Infisical.
type identity struct {
	ID           string `json:"identityId"`
	ClientID     string `json:"clientId"`
	ClientSecret string `json:"clientSecret"`
}

// identity makes one that may use the project, and that a ServiceAccount may log in as, too.
func (c *cluster) identity(namespace, project, account string) (made identity) {
	c.t.Helper()
	c.manage(namespace, "POST", "projects/"+project+"/identities", map[string]any{"ttl": "10s", "maxTTL": "20s", "serviceAccount": account}, &made)
	return made
}

// webhook has the project's changes told to a URL.
func (c *cluster) webhook(namespace, project, url, secret string) {
	c.t.Helper()
	c.manage(namespace, "POST", "projects/"+project+"/webhooks", map[string]any{"url": url, "secret": secret}, nil)
}

func (c *cluster) change(namespace, project string, values map[string]string) {
	c.t.Helper()
	c.manage(namespace, "PUT", "projects/"+project+"/secrets", map[string]any{"environment": "prod", "path": "/shop", "values": values}, nil)
}

// consumer is a pod that has a Secret in its environment, as a whole and one key of it, and as files, and says so.
func (c *cluster) consumer(namespace, secret string) {
	c.t.Helper()
	ofPod, ofContainer := restricted()
	c.Expect(c.client.Create(c.ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "consumer"},
		Spec: corev1.PodSpec{
			SecurityContext: ofPod, TerminationGracePeriodSeconds: ptr.To[int64](0),
			Containers: []corev1.Container{{
				Name: "consumer", Image: c.shellImage, ImagePullPolicy: corev1.PullIfNotPresent, SecurityContext: ofContainer,
				Command: []string{"sh", "-c", `echo "env PASSWORD=$PASSWORD"; echo "valueFrom=$ONE"; while :; do echo "file=$(cat /secrets/PASSWORD)"; sleep 1; done`},
				EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}}},
				Env: []corev1.EnvVar{{Name: "ONE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
					LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "URL",
				}}}},
				VolumeMounts: []corev1.VolumeMount{{Name: "secrets", MountPath: "/secrets", ReadOnly: true}},
			}},
			Volumes: []corev1.Volume{{Name: "secrets", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}},
		},
	})).To(Succeed())
}

// web is a Deployment whose pod has a Secret and a ConfigMap in its environment, and says so once.
func (c *cluster) web(namespace, secret, configMap string) {
	c.t.Helper()
	labels := map[string]string{"app": "web"}
	ofPod, ofContainer := restricted()
	c.Expect(c.client.Create(c.ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					SecurityContext: ofPod, TerminationGracePeriodSeconds: ptr.To[int64](0),
					Containers: []corev1.Container{{
						Name: "web", Image: c.shellImage, ImagePullPolicy: corev1.PullIfNotPresent, SecurityContext: ofContainer,
						Command: []string{"sh", "-c", `echo "$GREETING, $PASSWORD"; while :; do sleep 1; done`},
						EnvFrom: []corev1.EnvFromSource{
							{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}},
							{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: configMap}}},
						},
					}},
				},
			},
		},
	})).To(Succeed())
}

// said is what web's pod says, once there is only one.
func (c *cluster) said(namespace string) func() string {
	return func() string {
		var pods corev1.PodList
		if err := c.client.List(c.ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{"app": "web"}); err != nil || len(pods.Items) != 1 {
			return ""
		}
		return strings.TrimSpace(c.logs(namespace, pods.Items[0].Name)())
	}
}

// generation is how often a Deployment's spec was changed.
func (c *cluster) generation(namespace, name string) int64 {
	c.t.Helper()
	deployment := &appsv1.Deployment{}
	c.Expect(c.client.Get(c.ctx, client.ObjectKey{Namespace: namespace, Name: name}, deployment)).To(Succeed())
	return deployment.Generation
}

// label sets the label e2e of a namespace.
func (c *cluster) label(namespace, value string) {
	c.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	patch := []byte(`{"metadata":{"labels":{"e2e":"` + value + `"}}}`)
	c.Expect(c.client.Patch(c.ctx, ns, client.RawPatch("application/merge-patch+json", patch))).To(Succeed())
}

// logs are what a pod has said so far.
func (c *cluster) logs(namespace, pod string) func() string {
	return func() string {
		text, err := c.rest.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{}).DoRaw(c.ctx)
		if err != nil {
			return err.Error()
		}
		return string(text)
	}
}

// metrics asks for a release's metrics as an account that may see them, through a port that kubectl forwards: the API server's own proxy
// passes no credentials on.
func (c *cluster) metrics(t *testing.T, namespace, release string) string {
	t.Helper()
	const reader = "metrics-reader"
	_ = c.client.Create(c.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: reader}}) // or it is there
	_ = c.client.Create(c.ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-" + reader},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: namespace + ":" + release + ":metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: reader}},
	})
	request, err := c.rest.CoreV1().ServiceAccounts(namespace).CreateToken(c.ctx, reader, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	c.Expect(err).NotTo(HaveOccurred())

	forward := exec.CommandContext(c.ctx, c.kubectl, "--namespace="+namespace, "port-forward", "service/"+release+"-metrics", ":8443")
	out, err := forward.StdoutPipe()
	c.Expect(err).NotTo(HaveOccurred())
	c.Expect(forward.Start()).To(Succeed())
	defer func() { _, _ = forward.Process.Kill(), forward.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n') // Forwarding from 127.0.0.1:43210 -> 8443
	c.Expect(err).NotTo(HaveOccurred())
	fields := strings.Fields(line)
	c.Expect(len(fields)).To(BeNumerically(">", 2), line)

	https := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // it is signed by itself
	q, err := http.NewRequestWithContext(c.ctx, http.MethodGet, "https://"+fields[2]+"/metrics", http.NoBody)
	c.Expect(err).NotTo(HaveOccurred())
	refused, err := https.Do(q)
	c.Expect(err).NotTo(HaveOccurred())
	_ = refused.Body.Close()
	c.Expect(refused.StatusCode).To(Equal(http.StatusUnauthorized))
	q.Header.Set("Authorization", "Bearer "+request.Status.Token)
	answer, err := https.Do(q)
	c.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	c.Expect(err).NotTo(HaveOccurred())
	return string(text)
}

// explain prints what somebody needs who looks for the reason of a failure.
func (c *cluster) explain(t *testing.T) {
	t.Helper()
	for _, namespace := range []string{"operator", "infisical", "shop"} {
		var pods corev1.PodList
		if err := c.client.List(context.Background(), &pods, client.InNamespace(namespace)); err != nil {
			t.Log(err)
			continue
		}
		for i := range pods.Items {
			p := &pods.Items[i]
			t.Logf("pod %s/%s is %s: %+v", p.Namespace, p.Name, p.Status.Phase, p.Status.ContainerStatuses)
			stream, err := c.rest.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{TailLines: ptr.To[int64](30)}).Stream(context.Background())
			if err == nil {
				text, _ := io.ReadAll(stream)
				t.Logf("%s", text)
			}
		}
	}
}
