//go:build e2e

// Package e2e uses the operator as a user does: installed by Helm into a real cluster, where pods consume its Secrets. It works on the
// cluster of KUBECONFIG, in namespaces of its own; `make test-e2e` calls it.
package e2e

import (
	"encoding/json"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// TestAsAUser goes through the life of one installation, so its steps are in order.
func TestAsAUser(t *testing.T) {
	c := connect(t)
	c.namespace("infisical")
	c.namespace("operator")
	c.namespace("shop")
	c.startInfisical("infisical")
	project := c.project("infisical", map[string]string{"PASSWORD": "first", "URL": "postgres://shop"})
	token := c.token("infisical", project)

	step := func(name string, do func(t *testing.T, g *WithT)) {
		if !t.Run(name, func(t *testing.T) { do(t, c.forTest(t)) }) {
			c.explain(t)
			t.FailNow()
		}
	}

	step("helm install waits until the operator is ready", func(t *testing.T, _ *WithT) {
		c.helm(t, "install", "sto", c.previous.chart, "--namespace=operator", "--wait", "--timeout=2m", valuesOf(c.previous.image, "replicas=2"))
	})

	step("the README's manifest becomes a Secret", func(_ *testing.T, g *WithT) {
		c.secret("shop", "infisical-token", map[string]string{"token": token})
		c.object("shop", "shop", "shop-env")
		g.Eventually(c.reason("shop", "shop")).Should(Equal(stv1.ReasonSynced))
		g.Expect(c.data("shop", "shop-env")()).To(Equal(map[string]string{"PASSWORD": "first", "URL": "postgres://shop"}))
	})

	step("pods consume it as environment and as files, in a restricted namespace", func(_ *testing.T, g *WithT) {
		c.consumer("shop", "shop-env")
		g.Eventually(c.logs("shop", "consumer")).Should(And(
			ContainSubstring("env PASSWORD=first"), ContainSubstring("valueFrom=postgres://shop"), ContainSubstring("file=first")))
	})

	step("a change at the server reaches the Secret and the mounted file", func(_ *testing.T, g *WithT) {
		c.change("infisical", project, map[string]string{"PASSWORD": "second"})
		g.Eventually(c.data("shop", "shop-env")).Should(HaveKeyWithValue("PASSWORD", "second"))
		g.Eventually(c.logs("shop", "consumer"), 3*time.Minute).Should(ContainSubstring("file=second"), "kubelets look once a minute or so")
	})

	step("nothing is written while nothing changes", func(_ *testing.T, g *WithT) {
		before := c.quiet("shop")
		g.Consistently(func() map[string]string { return c.versions("shop") }, 15*time.Second, time.Second).Should(Equal(before))
	})

	step("the leader's pod is killed: another one goes on, and writes nothing twice", func(_ *testing.T, g *WithT) {
		before, leader := c.quiet("shop"), c.leader("operator")
		c.kill("operator", podOf(leader))
		g.Eventually(func() string { return c.leader("operator") }, time.Minute).ShouldNot(Equal(leader))
		g.Consistently(func() map[string]string { return c.versions("shop") }, 10*time.Second, time.Second).Should(Equal(before))
		c.change("infisical", project, map[string]string{"PASSWORD": "third"})
		g.Eventually(c.data("shop", "shop-env"), time.Minute).Should(HaveKeyWithValue("PASSWORD", "third"))
	})

	step("all its pods are killed while 50 objects are made: each ends with its Secret", func(_ *testing.T, g *WithT) {
		names := map[string]bool{}
		for i := range 50 {
			name := "many-" + string(rune('a'+i/26)) + string(rune('a'+i%26))
			names[name] = true
			c.object("shop", name, name)
			if i == 25 {
				c.kill("operator", "")
			}
		}
		g.Eventually(func() (ready int) {
			for _, o := range c.objects("shop") {
				if names[o.Name] && meta.IsStatusConditionTrue(o.Status.Conditions, stv1.ConditionReady) {
					ready++
				}
			}
			return ready
		}, 2*time.Minute).Should(Equal(50))
		for _, name := range slices.Sorted(maps.Keys(names)) {
			g.Expect(c.data("shop", name)()).To(HaveKeyWithValue("PASSWORD", "third"))
		}
	})

	step("the server goes away and comes back: the Secret stays, and the object says why", func(_ *testing.T, g *WithT) {
		before := c.data("shop", "shop-env")()
		c.scale("infisical", "infisical", 0)
		g.Eventually(c.reason("shop", "shop"), 2*time.Minute).Should(Equal(stv1.ReasonBackendUnavailable))
		g.Expect(c.data("shop", "shop-env")()).To(Equal(before))
		g.Eventually(func() []string { return c.events("shop", "shop") }).Should(ContainElement(stv1.ReasonBackendUnavailable))
		// It keeps everything in memory, so another one comes up, with another project.
		c.scale("infisical", "infisical", 1)
		project = c.project("infisical", map[string]string{"PASSWORD": "fourth"})
		c.secret("shop", "infisical-token", map[string]string{"token": c.token("infisical", project)})
		g.Eventually(c.reason("shop", "shop"), time.Minute).Should(Equal(stv1.ReasonSynced))
		g.Expect(c.data("shop", "shop-env")()).To(Equal(map[string]string{"PASSWORD": "fourth"}))
	})

	step("the API server restarts: nothing is lost, and nothing is written twice", func(_ *testing.T, g *WithT) {
		before := c.quiet("shop")
		out, err := exec.CommandContext(c.ctx, "sh", "-c", c.restart).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(out))
		g.Eventually(func() error { return c.client.List(c.ctx, &corev1.NamespaceList{}) }, 2*time.Minute).Should(Succeed())
		g.Expect(c.quiet("shop")).To(Equal(before))
		c.change("infisical", project, map[string]string{"PASSWORD": "fourth and a half"})
		g.Eventually(c.data("shop", "shop-env"), 2*time.Minute).Should(HaveKeyWithValue("PASSWORD", "fourth and a half"))
		c.change("infisical", project, map[string]string{"PASSWORD": "fourth"})
		g.Eventually(c.data("shop", "shop-env"), time.Minute).Should(HaveKeyWithValue("PASSWORD", "fourth"))
	})

	step("an upgrade keeps objects and Secrets as they are", func(t *testing.T, g *WithT) {
		before := c.quiet("shop")
		versions := c.versions
		if c.previous.image != c.image { // which may say something else in status
			versions = func(namespace string) map[string]string { return onlySecrets(c.versions(namespace)) }
			before = onlySecrets(before)
		}
		c.helm(t, "upgrade", "sto", c.chart, "--namespace=operator", "--wait", "--timeout=2m", c.values("replicas=1", "workers=4", "log.level=debug",
			"rollout.enabled=true", "configMapTargets.enabled=true", "clusterSecrets.enabled=true"))
		g.Consistently(func() map[string]string { return versions("shop") }, 20*time.Second, time.Second).Should(Equal(before))
		g.Expect(c.allReady("shop")).To(BeTrue())
		c.change("infisical", project, map[string]string{"PASSWORD": "fifth"})
		g.Eventually(c.data("shop", "shop-env"), time.Minute).Should(HaveKeyWithValue("PASSWORD", "fifth"))
	})

	step("metrics are served to those who may see them", func(t *testing.T, g *WithT) {
		g.Eventually(func() string { return c.metrics(t, "operator", "sto-service-token-operator") }).Should(And(
			ContainSubstring(`servicetoken_objects{condition="Ready",reason="Synced",status="True"} 51`), ContainSubstring("servicetoken_build_info")))
	})

	step("a Deployment restarts once for a change, when asked to", func(_ *testing.T, g *WithT) {
		c.namespace("restarts")
		c.secret("restarts", "infisical-token", map[string]string{"token": c.token("infisical", project)})
		c.object("restarts", "web", "", func(o *stv1.ServiceTokenSecret) {
			o.Spec.Targets = []stv1.Target{
				{Name: "web-env", Template: &stv1.Template{Data: map[string]string{"GREETING": "hello {{ .PASSWORD }}"}}},
				{Name: "web-settings", Kind: stv1.TargetKindConfigMap, Keys: []string{"PASSWORD"}},
			}
			o.Spec.Rollout = &stv1.Rollout{Mode: stv1.RolloutReferencing}
		})
		g.Eventually(c.reason("restarts", "web")).Should(Equal(stv1.ReasonSynced))
		c.web("restarts", "web-env", "web-settings")
		g.Eventually(c.said("restarts"), time.Minute).Should(Equal("hello fifth, fifth"))
		before := c.generation("restarts", "web")

		c.change("infisical", project, map[string]string{"PASSWORD": "restarted"})
		g.Eventually(c.said("restarts"), 2*time.Minute).Should(Equal("hello restarted, restarted"))
		g.Expect(c.events("restarts", "web")).To(ContainElement(stv1.ReasonRestarted))
		c.kill("operator", "")
		g.Consistently(func() int64 { return c.generation("restarts", "web") }, 15*time.Second, time.Second).Should(Equal(before + 1))
	})

	step("one token serves the namespaces that are selected", func(_ *testing.T, g *WithT) {
		c.label("shop", "true")
		c.label("restarts", "true")
		shared := &stv1.ClusterServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Name: "shared"}}
		shared.Spec.Namespace, shared.Spec.NamespaceSelector.MatchLabels = "restarts", map[string]string{"e2e": "true"}
		shared.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: "infisical-token"}}
		shared.Spec.Target = stv1.Target{Name: "shared", DeletionPolicy: stv1.DeletionPolicyDelete}
		g.Expect(c.client.Create(c.ctx, shared)).To(Succeed())
		for _, namespace := range []string{"shop", "restarts"} {
			g.Eventually(c.data(namespace, "shared"), time.Minute).Should(HaveKeyWithValue("PASSWORD", "restarted"))
		}
		c.label("shop", "false")
		g.Eventually(c.data("shop", "shared")).Should(BeNil())
		g.Expect(c.data("restarts", "shared")()).To(HaveKey("PASSWORD"))
		g.Expect(c.client.Delete(c.ctx, shared)).To(Succeed())
		g.Eventually(c.data("restarts", "shared"), time.Minute).Should(BeNil(), "it goes with its owner")
	})

	step("Secrets of an InfisicalSecret and an ExternalSecret are taken over without a write", func(_ *testing.T, g *WithT) {
		before, after := c.migrate(c.token("infisical", project), c.data("shop", "shop-env")())
		g.Expect(after).To(Equal(before))
		c.change("infisical", project, map[string]string{"PASSWORD": "migrated"})
		for name := range peersObjects {
			g.Eventually(c.data("shop", name+"-env"), 2*time.Minute).Should(HaveKeyWithValue("PASSWORD", "migrated"), "it is read each minute")
		}
		g.Eventually(c.data("shop", "shop-env"), time.Minute).Should(HaveKeyWithValue("PASSWORD", "migrated"))
	})

	step("a webhook makes a change arrive long before the next read", func(t *testing.T, g *WithT) {
		c.secret("operator", "webhooks", map[string]string{"e2e": "webhook-secret"})
		c.helm(t, "upgrade", "sto", c.chart, "--namespace=operator", "--wait", "--timeout=2m", "--reuse-values",
			"--set=webhook.enabled=true,webhook.secretName=webhooks,kubernetesAuth.enabled=true,push.enabled=true,replicas=2")
		c.webhook("infisical", project, "http://sto-service-token-operator-webhook.operator.svc:9443/", "webhook-secret")
		c.secret("shop", "rarely-token", map[string]string{"token": c.token("infisical", project)}) // the others' source is read every 5s
		c.object("shop", "rarely", "rarely-env", func(o *stv1.ServiceTokenSecret) {
			o.Spec.Auth.ServiceToken.SecretRef.Name, o.Spec.RefreshInterval = "rarely-token", metav1.Duration{Duration: time.Hour}
		})
		g.Eventually(c.data("shop", "rarely-env")).Should(HaveKeyWithValue("PASSWORD", "migrated"))
		// A rollout of the operator may be under way still, and nobody tries a delivery again that found no leader.
		var value string
		var changed time.Time
		g.Eventually(func() string {
			if now := time.Now(); now.Sub(changed) > 5*time.Second {
				value, changed = "by webhook at "+now.String(), now
				c.change("infisical", project, map[string]string{"PASSWORD": value})
			}
			return c.data("shop", "rarely-env")()["PASSWORD"]
		}, time.Minute).Should(HavePrefix("by webhook"))
	})

	step("machine identities read, by a client secret and as a ServiceAccount, and leave the Secret as it is", func(_ *testing.T, g *WithT) {
		before := c.quiet("shop")
		g.Expect(c.client.Create(c.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reader"}})).To(Succeed())
		identity := c.identity("infisical", project, "shop/reader")
		c.secret("shop", "infisical-identity", map[string]string{"clientId": identity.ClientID, "clientSecret": identity.ClientSecret})
		for name, auth := range map[string]stv1.Auth{
			"many-aa": {UniversalAuth: &stv1.UniversalAuth{Project: project, SecretRef: stv1.ClientSecretRef{Name: "infisical-identity"}}},
			"many-ab": {KubernetesAuth: &stv1.KubernetesAuth{Project: project, IdentityID: identity.ID, ServiceAccountRef: stv1.ServiceAccountRef{Name: "reader"}}},
		} {
			var obj stv1.ServiceTokenSecret
			g.Expect(c.client.Get(c.ctx, client.ObjectKey{Namespace: "shop", Name: name}, &obj)).To(Succeed())
			obj.Spec.Auth = auth
			g.Expect(c.client.Update(c.ctx, &obj)).To(Succeed())
		}
		after := c.quiet("shop")
		for _, name := range []string{"many-aa", "many-ab"} {
			g.Expect(after["Secret "+name]).To(Equal(before["Secret "+name]), "nothing is written")
			g.Expect(c.reason("shop", name)()).To(Equal(stv1.ReasonSynced))
		}
		c.change("infisical", project, map[string]string{"PASSWORD": "for identities"})
		for _, name := range []string{"many-aa", "many-ab"} {
			g.Eventually(c.data("shop", name), time.Minute).Should(HaveKeyWithValue("PASSWORD", "for identities"))
		}
	})

	step("what is made in the cluster is pushed, and read by another object at once", func(_ *testing.T, g *WithT) {
		c.secret("shop", "made-here", map[string]string{"PUSHED": " made\r\nhere "})
		c.secret("shop", "push-token", map[string]string{"token": c.token("infisical", project, "read", "write")})
		push := &stv1.ServiceTokenPush{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "made-here"}}
		push.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: "push-token"}}
		push.Spec.Source.SecretRef.Name, push.Spec.Destination = "made-here", stv1.PushDestination{Environment: "prod", Path: "/shop"}
		push.Spec.DeletionPolicy = stv1.DeletionPolicyDelete
		g.Expect(c.client.Create(c.ctx, push)).To(Succeed())
		g.Eventually(c.data("shop", "shop-env"), time.Minute).Should(HaveKeyWithValue("PUSHED", " made\r\nhere "))
		c.kill("operator", "")
		c.secret("shop", "made-here", map[string]string{"PUSHED": "changed"})
		g.Eventually(c.data("shop", "shop-env"), 2*time.Minute).Should(HaveKeyWithValue("PUSHED", "changed"))
		g.Expect(c.client.Delete(c.ctx, push)).To(Succeed())
		g.Eventually(c.data("shop", "shop-env"), time.Minute).ShouldNot(HaveKey("PUSHED"))
		g.Expect(c.data("shop", "shop-env")()).To(HaveKey("PASSWORD"), "it deletes what it wrote and nothing else")
	})

	step("uninstalling leaves objects and Secrets", func(t *testing.T, g *WithT) {
		before := c.quiet("shop")
		c.helm(t, "uninstall", "sto", "--namespace=operator", "--wait")
		g.Expect(c.versions("shop")).To(Equal(before))
		c.helm(t, "install", "sto", c.chart, "--namespace=operator", "--wait", "--timeout=2m", c.values())
		g.Consistently(func() map[string]string { return c.versions("shop") }, 20*time.Second, time.Second).Should(Equal(before))
		c.helm(t, "uninstall", "sto", "--namespace=operator", "--wait")
	})

	step("a release for one namespace works there, and can read nothing else", func(t *testing.T, g *WithT) {
		c.namespace("elsewhere")
		c.secret("elsewhere", "infisical-token", map[string]string{"token": c.token("infisical", project)})
		c.helm(t, "install", "sto", c.chart, "--namespace=operator", "--wait", "--timeout=2m", c.values("watchNamespaces={shop}"))
		account := "system:serviceaccount:operator:sto-service-token-operator"
		for namespace, verbs := range map[string]map[string]bool{
			"shop":        {"get": true, "list": true, "watch": true, "create": true, "update": true, "delete": true},
			"elsewhere":   {"get": false, "list": false, "watch": false, "create": false, "update": false, "delete": false},
			"kube-system": {"get": false, "list": false},
			"":            {"get": false, "list": false, "watch": false},
		} {
			for verb, may := range verbs {
				g.Expect(c.can(account, verb, "secrets", namespace)).To(Equal(may), "%s secrets in %q", verb, namespace)
			}
		}
		c.object("elsewhere", "shop", "shop-env")
		c.change("infisical", project, map[string]string{"PASSWORD": "sixth"})
		g.Eventually(c.data("shop", "shop-env"), time.Minute).Should(HaveKeyWithValue("PASSWORD", "sixth"))
		g.Expect(c.data("elsewhere", "shop-env")()).To(BeNil())
	})

	step("deleting an object takes its Secret along", func(_ *testing.T, g *WithT) {
		g.Expect(c.client.Delete(c.ctx, &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shop"}})).To(Succeed())
		g.Eventually(c.data("shop", "shop-env"), time.Minute).Should(BeNil())
	})
}

// object makes a ServiceTokenSecret as the README has it.
func (c *cluster) object(namespace, name, target string, change ...func(*stv1.ServiceTokenSecret)) {
	c.t.Helper()
	obj := &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	obj.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: "infisical-token"}}
	obj.Spec.Sources = []stv1.Source{{Environment: "prod", Path: "/shop"}}
	obj.Spec.Target.Name = target
	obj.Spec.RefreshInterval = metav1.Duration{Duration: 5 * time.Second}
	for _, change := range change {
		change(obj)
	}
	c.Expect(c.client.Create(c.ctx, obj)).To(Succeed())
}

func (c *cluster) objects(namespace string) []stv1.ServiceTokenSecret {
	c.t.Helper()
	var list stv1.ServiceTokenSecretList
	c.Expect(c.client.List(c.ctx, &list, client.InNamespace(namespace))).To(Succeed())
	return list.Items
}

// quiet waits until all objects of a namespace are Ready and nothing was written for a while, longer than the interval at which they are read,
// and returns the versions there are.
func (c *cluster) quiet(namespace string) map[string]string {
	c.t.Helper()
	last, since := c.versions(namespace), time.Now()
	c.Eventually(func() bool {
		if now := c.versions(namespace); !maps.Equal(now, last) || !c.allReady(namespace) {
			last, since = now, time.Now()
		}
		return time.Since(since) > 7*time.Second
	}, 2*time.Minute).Should(BeTrue())
	return last
}

func (c *cluster) allReady(namespace string) bool {
	return !slices.ContainsFunc(c.objects(namespace), func(o stv1.ServiceTokenSecret) bool {
		return !meta.IsStatusConditionTrue(o.Status.Conditions, stv1.ConditionReady)
	})
}

func (c *cluster) reason(namespace, name string) func() string {
	return func() string {
		for _, o := range c.objects(namespace) {
			if ready := meta.FindStatusCondition(o.Status.Conditions, stv1.ConditionReady); o.Name == name && ready != nil {
				return ready.Reason
			}
		}
		return ""
	}
}

// versions are those of all objects and managed Secrets of a namespace, by kind and name.
func (c *cluster) versions(namespace string) map[string]string {
	c.t.Helper()
	versions := map[string]string{}
	for _, o := range c.objects(namespace) {
		versions["object "+o.Name] = o.ResourceVersion
	}
	var secrets corev1.SecretList
	c.Expect(c.client.List(c.ctx, &secrets, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/managed-by": "service-token-operator"})).To(Succeed())
	for _, s := range secrets.Items {
		versions["Secret "+s.Name] = s.ResourceVersion
	}
	return versions
}

// onlySecrets are the versions of Secrets among some.
func onlySecrets(versions map[string]string) map[string]string {
	secrets := maps.Clone(versions)
	maps.DeleteFunc(secrets, func(name, _ string) bool { return !strings.HasPrefix(name, "Secret ") })
	return secrets
}

// secret makes a Secret, or gives it other data.
func (c *cluster) secret(namespace, name string, data map[string]string) {
	c.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, StringData: data}
	err := c.client.Create(c.ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		patch, _ := json.Marshal(map[string]any{"stringData": data})
		err = c.client.Patch(c.ctx, secret, client.RawPatch("application/merge-patch+json", patch))
	}
	c.Expect(err).NotTo(HaveOccurred())
}

// data is that of a Secret, nil when there is none.
func (c *cluster) data(namespace, name string) func() map[string]string {
	return func() map[string]string {
		var secret corev1.Secret
		if err := c.client.Get(c.ctx, client.ObjectKey{Namespace: namespace, Name: name}, &secret); err != nil {
			return nil
		}
		data := map[string]string{}
		for key, value := range secret.Data {
			data[key] = string(value)
		}
		return data
	}
}

// events are the reasons of an object's events.
func (c *cluster) events(namespace, name string) (reasons []string) {
	c.t.Helper()
	var list eventsv1.EventList
	c.Expect(c.client.List(c.ctx, &list, client.InNamespace(namespace))).To(Succeed())
	for _, e := range list.Items {
		if e.Regarding.Kind == "ServiceTokenSecret" && e.Regarding.Name == name {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

// leader is who holds the operator's lease.
func (c *cluster) leader(namespace string) string {
	c.t.Helper()
	var lease coordinationv1.Lease
	c.Expect(c.client.Get(c.ctx, client.ObjectKey{Namespace: namespace, Name: "sto-service-token-operator.servicetoken.io"}, &lease)).To(Succeed())
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// podOf is the pod of a lease's holder.
func podOf(holder string) string {
	pod, _, _ := strings.Cut(holder, "_")
	return pod
}

// kill ends an operator's pod without notice, or all of them.
func (c *cluster) kill(namespace, pod string) {
	c.t.Helper()
	now := client.GracePeriodSeconds(0)
	if pod != "" {
		c.Expect(c.client.Delete(c.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod}}, now)).To(Succeed())
		return
	}
	c.Expect(c.client.DeleteAllOf(c.ctx, &corev1.Pod{}, client.InNamespace(namespace), client.MatchingLabels{"app.kubernetes.io/name": "service-token-operator"}, now)).To(Succeed())
}

// scale sets a Deployment's replicas and waits until there are so many.
func (c *cluster) scale(namespace, name string, replicas int32) {
	c.t.Helper()
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	patch, _ := json.Marshal(map[string]any{"spec": map[string]any{"replicas": replicas}})
	c.Expect(c.client.Patch(c.ctx, deployment, client.RawPatch("application/merge-patch+json", patch))).To(Succeed())
	c.Eventually(func() int32 {
		_ = c.client.Get(c.ctx, client.ObjectKeyFromObject(deployment), deployment)
		return deployment.Status.ReadyReplicas
	}, time.Minute).Should(Equal(replicas))
}

// can asks whether an account may do something.
func (c *cluster) can(account, verb, resource, namespace string) bool {
	c.t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:operator", "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: verb, Resource: resource},
	}}
	c.Expect(c.client.Create(c.ctx, review)).To(Succeed())
	return review.Status.Allowed
}
