package controllers

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/rollout"
	"github.com/service-token-operator/service-token-operator/internal/target"
)

// fleet is a world whose operator works on ClusterServiceTokenSecrets, with namespaces that only its objects select.
type fleet struct {
	*world
	members map[string]string // the label of its namespaces and objects
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	t.Parallel()
	w := newClusterWorld(t)
	f := &fleet{world: w, members: map[string]string{"fleet": w.ns}}
	w.infisical = devserver.New()
	server := httptest.NewServer(w.infisical)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.project = w.infisical.AddProject(1)
	w.project.Put("prod", "/shop", "A", "alpha")
	w.project.Put("prod", "/shop", "B", "beta")
	w.cluster, w.selector = true, labels.SelectorFromSet(f.members)
	w.start()
	return f
}

// member makes a namespace that is selected.
func (f *fleet) member() string {
	f.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "m-", Labels: f.members}}
	f.Expect(f.client.Create(f.ctx, ns)).To(Succeed())
	return ns.Name
}

// label makes a namespace selected, or not.
func (f *fleet) label(namespace string, selected bool) {
	f.t.Helper()
	ns := &corev1.Namespace{}
	ctx := context.WithoutCancel(f.ctx) // what is shared is put right when the test is over
	f.Expect(f.client.Get(ctx, client.ObjectKey{Name: namespace}, ns)).To(Succeed())
	delete(ns.Labels, "fleet")
	if selected {
		ns.Labels["fleet"] = f.ns
	}
	f.Expect(f.client.Update(ctx, ns)).To(Succeed())
}

// everywhere makes the ClusterServiceTokenSecret of the test, whose token is in the test's own namespace.
func (f *fleet) everywhere(change ...func(*stv1.ClusterServiceTokenSecret)) {
	f.t.Helper()
	f.putToken(f.token())
	c := f.described()
	for _, change := range change {
		change(c)
	}
	f.Expect(f.client.Create(f.ctx, c)).To(Succeed())
	f.t.Cleanup(func() { _ = f.client.Delete(context.Background(), c) })
}

// described is that object, not made yet.
func (f *fleet) described() *stv1.ClusterServiceTokenSecret {
	c := &stv1.ClusterServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Name: f.ns, Labels: f.members}}
	c.Spec.Namespace = f.ns
	c.Spec.NamespaceSelector.MatchLabels = f.members
	c.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{SecretRef: stv1.SecretKeyRef{Name: "infisical-token"}}
	c.Spec.Sources = []stv1.Source{{Environment: "prod", Path: "/shop"}}
	c.Spec.Target.Name = "shared"
	c.Spec.RefreshInterval = metav1.Duration{Duration: 5 * time.Second}
	return c
}

func (f *fleet) object() *stv1.ClusterServiceTokenSecret {
	f.t.Helper()
	c := &stv1.ClusterServiceTokenSecret{}
	f.Expect(f.client.Get(f.ctx, client.ObjectKey{Name: f.ns}, c)).To(Succeed())
	return c
}

func (f *fleet) ready() string {
	if c := meta.FindStatusCondition(f.object().Status.Conditions, stv1.ConditionReady); c != nil {
		return c.Reason
	}
	return ""
}

// in is the data of the Secret shared in a namespace.
func (f *fleet) in(namespace string) func() map[string]string {
	return func() map[string]string {
		secret := &corev1.Secret{}
		if err := f.client.Get(f.ctx, client.ObjectKey{Namespace: namespace, Name: "shared"}, secret); err != nil {
			return nil
		}
		data := map[string]string{}
		for k, v := range secret.Data {
			data[k] = string(v)
		}
		return data
	}
}

var both = map[string]string{"A": "alpha", "B": "beta"}

func TestEachSelectedNamespaceHasTheSecret(t *testing.T) {
	f := newFleet(t)
	one, other := f.member(), f.member()
	outsider := newClusterWorld(t).ns
	f.everywhere()
	f.Eventually(f.in(one)).Should(Equal(both))
	f.Eventually(f.in(other)).Should(Equal(both))
	f.Eventually(f.ready).Should(Equal(stv1.ReasonSynced))
	status := f.object().Status
	f.Expect(status.Namespaces).To(Equal(&stv1.NamespaceCounts{Selected: 2, Synced: 2}))
	f.Expect(meta.FindStatusCondition(status.Conditions, stv1.ConditionReady).Message).To(Equal("Secret shared holds 2 keys, in 2 namespaces"))

	late := f.member()
	f.Eventually(f.in(late)).Should(Equal(both))
	f.project.Put("prod", "/shop", "A", "changed")
	f.Eventually(f.in(one)).Should(HaveKeyWithValue("A", "changed"))
	f.Eventually(f.in(late)).Should(HaveKeyWithValue("A", "changed"))
	f.Expect(f.in(outsider)()).To(BeNil())
	f.Expect(f.in(f.ns)()).To(BeNil(), "the token's own namespace is not selected")

	f.Expect(f.client.Delete(f.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: other, Name: "shared"}})).To(Succeed())
	f.Eventually(f.in(other)).Should(HaveKeyWithValue("A", "changed"))
	secret := &corev1.Secret{}
	f.Expect(f.client.Get(f.ctx, client.ObjectKey{Namespace: other, Name: "shared"}, secret)).To(Succeed())
	f.Expect(metav1.IsControlledBy(secret, f.object())).To(BeTrue())
	f.Expect(secret.Annotations).To(HaveKeyWithValue(target.OwnerAnnotation, "ClusterServiceTokenSecret/"+f.ns))
}

func TestANamespaceThatIsNotSelectedAnyLongerFollowsThePolicy(t *testing.T) {
	for _, policy := range []stv1.DeletionPolicy{stv1.DeletionPolicyRetain, stv1.DeletionPolicyDelete} {
		t.Run(string(policy), func(t *testing.T) {
			f := newFleet(t)
			stays, leaves := f.member(), f.member()
			f.everywhere(func(c *stv1.ClusterServiceTokenSecret) {
				c.Spec.Targets = []stv1.Target{
					{Name: "shared", DeletionPolicy: policy},
					{Name: "settings", Kind: stv1.TargetKindConfigMap, Keys: []string{"A"}, DeletionPolicy: policy},
				}
				c.Spec.Target = stv1.Target{}
			})
			f.Eventually(f.in(leaves)).Should(Equal(both))
			f.Eventually(f.ready).Should(Equal(stv1.ReasonSynced))
			f.label(leaves, false)
			f.Eventually(func() int32 { return f.object().Status.Namespaces.Selected }).Should(BeEquivalentTo(1))
			settings := func() error {
				return f.client.Get(f.ctx, client.ObjectKey{Namespace: leaves, Name: "settings"}, &corev1.ConfigMap{})
			}
			if policy == stv1.DeletionPolicyDelete {
				f.Eventually(f.in(leaves)).Should(BeNil())
				f.Eventually(settings).Should(Satisfy(apierrors.IsNotFound))
			} else {
				f.Consistently(f.in(leaves), "1s").Should(Equal(both))
				f.Expect(settings()).To(Succeed())
			}
			f.Expect(f.in(stays)()).To(Equal(both))
			f.label(leaves, true)
			f.Eventually(f.in(leaves)).Should(Equal(both))
			f.Eventually(func() int32 { return f.object().Status.Namespaces.Synced }).Should(BeEquivalentTo(2))
		})
	}
}

func TestOneNamespacesFailureDoesNotStopTheOthers(t *testing.T) {
	f := newFleet(t)
	bad, good := f.member(), f.member()
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: bad, Name: "shared"}, StringData: map[string]string{"MINE": "x"}}
	f.Expect(f.client.Create(f.ctx, theirs)).To(Succeed())
	f.everywhere()
	f.Eventually(f.in(good)).Should(Equal(both))
	f.Eventually(f.ready).Should(Equal(stv1.ReasonTargetConflict))
	status := f.object().Status
	f.Expect(*status.Namespaces).To(Equal(stv1.NamespaceCounts{Selected: 2, Synced: 1, Failed: 1}))
	f.Expect(status.Failures).To(HaveLen(1))
	f.Expect(status.Failures[0].Namespace).To(Equal(bad))
	f.Expect(status.Failures[0].Reason).To(Equal(stv1.ReasonTargetConflict))
	f.Expect(meta.FindStatusCondition(status.Conditions, stv1.ConditionReady).Message).To(ContainSubstring("1 of 2 namespaces"))
	f.Expect(f.in(bad)()).To(Equal(map[string]string{"MINE": "x"}))
	f.Eventually(func() []string {
		var list eventsv1.EventList
		f.Expect(f.client.List(f.ctx, &list)).To(Succeed())
		var reasons []string
		for _, e := range list.Items {
			if e.Regarding.Kind == "ClusterServiceTokenSecret" && e.Regarding.Name == f.ns {
				reasons = append(reasons, e.Reason)
			}
		}
		return reasons
	}).Should(ContainElement(stv1.ReasonTargetConflict))

	f.Expect(f.client.Delete(f.ctx, theirs)).To(Succeed())
	f.Eventually(f.in(bad)).Should(Equal(both))
	f.Eventually(f.ready).Should(Equal(stv1.ReasonSynced))
	f.Expect(f.object().Status.Failures).To(BeEmpty())
}

func TestWhatAllNamespacesHaveGoesWithItsSources(t *testing.T) {
	f := newFleet(t)
	one, other := f.member(), f.member()
	theirs := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.member(), Name: "shared"}}
	f.Expect(f.client.Create(f.ctx, theirs)).To(Succeed())
	f.everywhere(func(c *stv1.ClusterServiceTokenSecret) { c.Spec.Target.DeletionPolicy = stv1.DeletionPolicyDelete })
	f.Eventually(f.in(one)).Should(Equal(both))
	f.Eventually(f.ready).Should(Equal(stv1.ReasonTargetConflict))
	f.Expect(f.object().Status.Target).To(Equal("shared"), "it is in some of them")
	f.project.DeleteFolder("prod", "/shop")
	f.Eventually(f.ready).Should(Equal(stv1.ReasonPathNotFound))
	f.Eventually(f.in(one)).Should(BeNil())
	f.Eventually(f.in(other)).Should(BeNil())
	f.Expect(f.client.Get(f.ctx, client.ObjectKeyFromObject(theirs), theirs)).To(Succeed())
	f.Expect(f.object().Status.Namespaces).To(BeNil(), "nothing is known of them while nothing is read")
}

// TestANamespaceIsLeftWhateverElseIsWrong has one namespace leave while the token is missing.
func TestANamespaceIsLeftWhateverElseIsWrong(t *testing.T) {
	f := newFleet(t)
	leaves := f.member()
	f.everywhere(func(c *stv1.ClusterServiceTokenSecret) { c.Spec.Target.DeletionPolicy = stv1.DeletionPolicyDelete })
	f.Eventually(f.in(leaves)).Should(Equal(both))
	f.Expect(f.client.Delete(f.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: "infisical-token"}})).To(Succeed())
	f.Eventually(f.ready).Should(Equal(stv1.ReasonTokenSecretNotFound))
	f.label(leaves, false)
	f.Eventually(f.in(leaves)).Should(BeNil())
}

func TestWorkloadsOfEachNamespaceAreRestarted(t *testing.T) {
	f := newFleet(t)
	one, other := f.member(), f.member()
	outsider := newClusterWorld(t)
	for _, namespace := range []string{one, other, outsider.ns} {
		f.deploy(namespace, "user", "shared")
	}
	mark := func(namespace string) string {
		d := &appsv1.Deployment{}
		f.Expect(f.client.Get(f.ctx, client.ObjectKey{Namespace: namespace, Name: "user"}, d)).To(Succeed())
		return d.Spec.Template.Annotations[rollout.MarkOf("cluster."+f.ns)]
	}
	f.everywhere(func(c *stv1.ClusterServiceTokenSecret) { c.Spec.Rollout = &stv1.Rollout{Mode: stv1.RolloutReferencing} })
	f.Eventually(f.ready).Should(Equal(stv1.ReasonSynced))
	late := f.member()
	f.deploy(late, "user", "shared")
	f.Eventually(f.in(late)).Should(Equal(both))
	f.Consistently(func() string { return mark(one) + mark(late) }, "1s").Should(BeEmpty(), "nothing has changed for anybody")
	f.project.Put("prod", "/shop", "A", "changed")
	for _, namespace := range []string{one, other, late} {
		f.Eventually(func() string { return mark(namespace) }).ShouldNot(BeEmpty())
	}
	f.Expect(mark(outsider.ns)).To(BeEmpty())
}

func TestTheClusterKindHasItsRules(t *testing.T) {
	f := newFleet(t)
	for says, change := range map[string]func(*stv1.ClusterServiceTokenSecret){
		"set target.name, or targets": func(c *stv1.ClusterServiceTokenSecret) { c.Spec.Target = stv1.Target{} },
		"no target may have the name": func(c *stv1.ClusterServiceTokenSecret) { c.Spec.Target.Name = "infisical-token" },
		"Merge goes with deletionPolicy Retain": func(c *stv1.ClusterServiceTokenSecret) {
			c.Spec.Target.CreationPolicy, c.Spec.Target.DeletionPolicy = stv1.CreationPolicyMerge, stv1.DeletionPolicyDelete
		},
		"spec.namespace": func(c *stv1.ClusterServiceTokenSecret) { c.Spec.Namespace = "" },
	} {
		c := f.described()
		change(c)
		f.Expect(f.client.Create(f.ctx, c)).To(MatchError(ContainSubstring(says)))
	}
	c := f.described()
	c.Spec.NamespaceSelector = metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}
	f.Expect(f.client.Create(f.ctx, c)).To(Succeed())
	f.t.Cleanup(func() { _ = f.client.Delete(context.Background(), c) })
	f.Eventually(f.ready).Should(Equal(stv1.ReasonSpecInvalid))
}

func TestAStatusListsABoundedNumberOfFailures(t *testing.T) {
	f := newFleet(t)
	for range maxFailures + 2 {
		f.Expect(f.client.Create(f.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: f.member(), Name: "shared"}})).To(Succeed())
	}
	f.everywhere()
	f.Eventually(f.ready).Should(Equal(stv1.ReasonTargetConflict))
	status := f.object().Status
	f.Expect(status.Namespaces.Failed).To(BeEquivalentTo(maxFailures + 2))
	f.Expect(status.Failures).To(HaveLen(maxFailures))
}

// TestForbiddenNamespacesAreClosed is the gate of the one kind whose references can leave a namespace: neither its token nor its
// targets may be in one that is forbidden.
func TestForbiddenNamespacesAreClosed(t *testing.T) {
	t.Run("for tokens", func(t *testing.T) {
		f := newFleet(t)
		token := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: f.ns}, StringData: map[string]string{"token": f.token()}}
		f.Expect(f.client.Create(f.ctx, token)).To(Succeed())
		f.member()
		f.everywhere(func(c *stv1.ClusterServiceTokenSecret) {
			c.Spec.Namespace, c.Spec.Auth.ServiceToken.SecretRef.Name = "kube-system", f.ns
		})
		f.Eventually(f.ready).Should(Equal(stv1.ReasonNamespaceForbidden))
		f.Expect(meta.FindStatusCondition(f.object().Status.Conditions, stv1.ConditionReady).Message).To(ContainSubstring("spec.namespace"))
		f.Expect(f.infisical.Requests()).To(BeEmpty(), "the token was not even read")
	})
	t.Run("for targets", func(t *testing.T) {
		f := newFleet(t)
		f.label("kube-public", true)
		t.Cleanup(func() { f.label("kube-public", false) })
		member := f.member()
		f.everywhere(func(c *stv1.ClusterServiceTokenSecret) { c.Spec.Target.Name = f.ns })
		f.Eventually(f.ready).Should(Equal(stv1.ReasonSynced))
		f.Expect(f.object().Status.Namespaces.Selected).To(BeEquivalentTo(1))
		for namespace, there := range map[string]bool{member: true, "kube-public": false} {
			err := f.client.Get(f.ctx, client.ObjectKey{Namespace: namespace, Name: f.ns}, &corev1.Secret{})
			f.Expect(err == nil).To(Equal(there), "%s: %v", namespace, err)
		}
	})
}

func TestManyNamespacesAreOneRead(t *testing.T) {
	f := newFleet(t)
	var members []string
	for range 20 {
		members = append(members, f.member())
	}
	f.everywhere()
	for _, ns := range members {
		f.Eventually(f.in(ns)).Should(Equal(both))
	}
	f.Eventually(f.ready).Should(Equal(stv1.ReasonSynced))
	f.Expect(f.infisical.Count("/api/v3/secrets", "")).To(BeNumerically("<", 5), "for %d namespaces", len(members))
}

func TestTheKindIsLeftAloneUnlessItIsOn(t *testing.T) {
	w := newWorld(t)
	f := &fleet{world: w, members: map[string]string{"fleet": w.ns}}
	member := f.member()
	f.everywhere()
	w.object()
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
	f.Consistently(f.in(member), "1s").Should(BeNil())
	f.Expect(f.object().Status.Conditions).To(BeEmpty())
}

// TestOneIdentityServesTheNamespacesThatAreSelected: what it logs in with is in the object's own namespace, in no other.
func TestOneIdentityServesTheNamespacesThatAreSelected(t *testing.T) {
	f := newFleet(t)
	one, other := f.member(), f.member()
	identity, byClient := f.identified(devserver.IdentitySpec{TTL: 2 * time.Second, ServiceAccount: f.ns + "/shop"})
	f.Expect(f.client.Create(f.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: f.ns, Name: "shop"}})).To(Succeed())
	f.everywhere(func(c *stv1.ClusterServiceTokenSecret) {
		c.Spec.Auth = stv1.Auth{KubernetesAuth: &stv1.KubernetesAuth{
			Project: f.project.ID(), IdentityID: identity.ID, ServiceAccountRef: stv1.ServiceAccountRef{Name: "shop"},
		}}
	})
	f.Eventually(f.in(one)).Should(Equal(both))
	f.Eventually(f.in(other)).Should(Equal(both))
	f.Eventually(f.ready).Should(Equal(stv1.ReasonSynced))

	c := f.object()
	c.Spec.Auth = asked(byClient)
	f.Expect(f.client.Update(f.ctx, c)).To(Succeed())
	f.Eventually(func() string { return f.object().Status.Token.ID }).Should(Equal(identity.ClientID))
	f.project.Put("prod", "/shop", "A", "changed")
	f.Eventually(f.in(one)).Should(HaveKeyWithValue("A", "changed"))
	f.Eventually(f.in(other)).Should(HaveKeyWithValue("A", "changed"))
	f.Expect(f.object().Status.Usage).To(BeNil())
}

// asked is how an object authenticates after a change.
func asked(change func(*stv1.ServiceTokenSecret)) stv1.Auth {
	var o stv1.ServiceTokenSecret
	change(&o)
	return o.Spec.Auth
}
