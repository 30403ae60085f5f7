package controllers

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// TestEveryKindOfProjectSyncsByteForByte reads the same secrets from projects of every version, with tokens with and without
// a key. The values are those recorded on a real server: blanks, CRLF, 60 KB, emoji, nothing at all.
func TestEveryKindOfProjectSyncsByteForByte(t *testing.T) {
	raw, err := os.ReadFile("../test/contract/plaintext.json")
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Plaintext map[string]map[string]map[string]string
	}
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	values := known.Plaintext["dev"]["/"]
	for name, tt := range map[string]struct {
		project func(*devserver.Server) *devserver.Project
		keyless bool
		trims   bool // the server decrypts, and trims
	}{
		"version 1":                  {func(s *devserver.Server) *devserver.Project { return s.AddProject(1) }, false, false},
		"version 2":                  {func(s *devserver.Server) *devserver.Project { return s.AddProject(2) }, false, false},
		"version 3":                  {func(s *devserver.Server) *devserver.Project { return s.AddProject(3) }, false, true},
		"no key at the server":       {func(s *devserver.Server) *devserver.Project { return s.AddStrictProject() }, false, false},
		"version 1, token w/o key":   {func(s *devserver.Server) *devserver.Project { return s.AddProject(1) }, true, true},
		"version 2, then migrated":   {func(s *devserver.Server) *devserver.Project { return s.AddProject(2) }, false, true},
		"version 3, token w/o a key": {func(s *devserver.Server) *devserver.Project { return s.AddProject(3) }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.project = tt.project(w.infisical)
			want := map[string]string{}
			for name, value := range values {
				w.project.Put("dev", "/all", name, value)
				want[name] = value
				if tt.trims {
					want[name] = strings.TrimSpace(value)
				}
			}
			if strings.Contains(t.Name(), "migrated") {
				w.project.Migrate()
			}
			token := w.token(func(s *devserver.TokenSpec) {
				s.Scopes = servicetoken.Scopes{{Environment: "dev", Path: "/all"}}
				s.WithoutKey = tt.keyless
			})
			w.putToken(token)
			w.object(func(o *stv1.ServiceTokenSecret) {
				o.Spec.Sources = nil // the token's only scope
				o.Spec.UnresolvedReferences = stv1.UnresolvedKeep
				o.Spec.KeyConflicts = ""
			})
			w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
			got := w.data("shop-env")()
			for _, resolved := range []string{"DATABASE_URL", "DOLLARS"} { // those hold references that lead somewhere
				delete(got, resolved)
				delete(want, resolved)
			}
			w.Expect(got).To(Equal(want))
			for _, r := range w.infisical.Requests() {
				if parts := strings.Split(token, "."); len(parts) == 4 && strings.Contains(r.Authorization, parts[3]) {
					t.Fatal("the token's key was sent to the server")
				}
			}
		})
	}
}

func TestReferencesAndImportsLeadThroughOtherPlaces(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/db/replica", "HOST", "replica.internal")
	w.project.Put("prod", "/db", "PASSWORD", "pw")
	w.project.Put("prod", "/shared", "REGION", "eu")
	w.project.Put("prod", "/shop", "URL", "pg://${prod.db.PASSWORD}@${prod.db.replica.HOST}/${REGION}")
	w.project.AddImport("prod", "/shop", "prod", "/shared")
	w.synced()
	w.Expect(w.data("shop-env")()).To(Equal(map[string]string{"A": "alpha", "B": "beta", "REGION": "eu", "URL": "pg://pw@replica.internal/eu"}))

	// A change of what a reference leads to arrives like any other.
	w.project.Put("prod", "/db", "PASSWORD", "new")
	w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("URL", "pg://new@replica.internal/eu"))
}

func TestLaterSourcesWinAndRecursiveOnesGoDown(t *testing.T) {
	w := newWorld(t)
	w.project.Put("prod", "/base", "A", "base")
	w.project.Put("prod", "/base/deep", "C", "deep")
	w.synced(func(o *stv1.ServiceTokenSecret) {
		o.Spec.Sources = []stv1.Source{{Environment: "prod", Path: "/base/", Recursive: true}, {Environment: "prod", Path: "/shop"}}
	})
	w.Expect(w.data("shop-env")()).To(Equal(map[string]string{"A": "alpha", "B": "beta", "C": "deep"}))
}

func TestAChangeAtTheServerArrivesAndSaysWhichKeys(t *testing.T) {
	w := newWorld(t)
	w.synced()
	first := w.get("shop").Status.LastSyncTime
	w.project.Put("prod", "/shop", "A", "changed")
	w.project.Delete("prod", "/shop", "B")
	w.project.Put("prod", "/shop", "C", "new")
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "changed", "C": "new"}))
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonUpdated, 1))
	w.Expect(w.get("shop").Status.LastSyncTime.Time).To(BeTemporally(">=", first.Time))
	w.Expect(*w.get("shop").Status.Secrets).To(BeEquivalentTo(2))
}

func TestAHandEditIsHealed(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Secret){
		"a value changed": func(s *corev1.Secret) { s.Data["A"] = []byte("mallory") },
		"a key removed":   func(s *corev1.Secret) { delete(s.Data, "B") }, // looks like a key that is new at the server
		"a key added":     func(s *corev1.Secret) { s.Data["X"] = []byte("x") },
		"the label taken": func(s *corev1.Secret) { s.Labels = nil; s.Data["A"] = []byte("mallory") },
	} {
		event := stv1.ReasonHealed
		if name == "a key removed" {
			event = stv1.ReasonUpdated
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.synced()
			secret, err := w.secret("shop-env")
			w.Expect(err).NotTo(HaveOccurred())
			edit(secret)
			w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
			w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "alpha", "B": "beta"}))
			w.Eventually(w.events("shop")).Should(HaveKeyWithValue(event, 1))
		})
	}
	t.Run("the Secret deleted", func(t *testing.T) {
		w := newWorld(t)
		w.synced()
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(w.client.Delete(w.ctx, secret)).To(Succeed())
		w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "alpha", "B": "beta"}))
		w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonHealed, 1))
	})
}

func TestRestartWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.synced()
	w.stop()
	before, err := w.secret("shop-env")
	w.Expect(err).NotTo(HaveOccurred())
	status := w.get("shop").ResourceVersion
	w.writes = &requestCounter{}
	asked := w.infisical.Count("/api/v3/secrets", "")
	w.start()
	w.Eventually(func() int { return w.infisical.Count("/api/v3/secrets", "") }).Should(BeNumerically(">", asked+1), "two polls")
	after, err := w.secret("shop-env")
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(after.ResourceVersion).To(Equal(before.ResourceVersion))
	w.Expect(w.get("shop").ResourceVersion).To(Equal(status))
	for _, write := range w.writes.seen() {
		w.Expect(write).To(ContainSubstring("/configmaps/service-token-operator-usage"), "nothing but the count of uses is written")
	}
}

func TestRestartKeepsAFailureThatPassesToItself(t *testing.T) {
	for name, fault := range map[string]devserver.Fault{
		"the server fails once":     {Status: 500, Times: 1},
		"the rate limit is used up": {Status: 429, RetryAfter: time.Second, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.synced()
			w.stop()
			status := w.get("shop").ResourceVersion
			w.infisical.ResetLog()
			w.infisical.SetFault(fault)
			w.start()
			w.Eventually(func() int { return w.infisical.Count("/api/v3/secrets", "") }).Should(BeNumerically(">", 0))
			w.Consistently(func() string { return w.get("shop").ResourceVersion }, "1s").Should(Equal(status))
			w.Expect(w.events("shop")()).To(Equal(map[string]int{stv1.ReasonSynced: 1}))
		})
	}
}

func TestIdleWritesNothing(t *testing.T) {
	w := newWorld(t)
	w.synced()
	w.Consistently(func() int { return len(w.writes.seen()) }, "200ms").Should(BeNumerically(">", 0))
	before := w.writes.seen()
	asked := w.infisical.Count("/api/v3/secrets", "")
	w.Eventually(func() int { return w.infisical.Count("/api/v3/secrets", "") }).Should(BeNumerically(">=", asked+2))
	w.Expect(w.writes.seen()).To(Equal(before))
}

func TestManyObjectsShareOneRequest(t *testing.T) {
	w := newWorld(t)
	w.putToken(w.token())
	const objects = 20
	names := make([]string, objects)
	for i := range names {
		names[i] = "shop-" + string(rune('a'+i))
		w.object(func(o *stv1.ServiceTokenSecret) {
			o.Name, o.Spec.Target.Name = names[i], ""
			o.Spec.RefreshInterval = metav1.Duration{Duration: time.Hour}
		})
	}
	for _, name := range names {
		w.Eventually(w.data(name)).Should(HaveLen(2))
	}
	w.Expect(w.infisical.Count("", "")).To(Equal(3), "the token, its project and one source, each once")
}

func TestRefreshAnnotationFetchesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.RefreshInterval = metav1.Duration{Duration: time.Hour} })
	w.project.Put("prod", "/shop", "A", "changed")
	w.refresh("shop")
	w.Eventually(w.data("shop-env"), "3s").Should(HaveKeyWithValue("A", "changed"))
	w.Expect(w.get("shop").Status.LastHandledRefresh).To(Equal(w.get("shop").Annotations[stv1.RefreshAnnotation]))
}

func TestAServerOfOnesOwnAuthorityIsTrustedThroughTheBundle(t *testing.T) {
	for _, kind := range []string{"ConfigMap", "Secret"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			server := httptest.NewTLSServer(w.infisical)
			t.Cleanup(server.Close)
			w.putToken(w.token())
			w.object(func(o *stv1.ServiceTokenSecret) { o.Spec.HostURL = server.URL + "/api/" })
			w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonBackendUnavailable))
			w.Expect(w.message("shop")).To(ContainSubstring("caBundleRef"))

			w.change("shop", func(o *stv1.ServiceTokenSecret) {
				o.Spec.TLS = &stv1.TLS{CABundleRef: stv1.CABundleRef{Kind: kind, Name: "ca"}}
			})
			w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonTokenSecretNotFound))
			bundle := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
			if kind == "Secret" {
				w.putSecret("ca", map[string]string{"ca.crt": bundle})
			} else {
				cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "ca"}, Data: map[string]string{"ca.crt": bundle}}
				w.Expect(w.client.Create(w.ctx, cm)).To(Succeed())
			}
			w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
			w.Expect(w.data("shop-env")()).To(HaveLen(2))
		})
	}
}

func TestSuspendStopsReadingAndResumes(t *testing.T) {
	w := newWorld(t)
	w.synced()
	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.Suspend = true })
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSuspended))
	w.project.Put("prod", "/shop", "A", "changed")
	w.infisical.ResetLog()
	w.Consistently(func() int { return w.infisical.Count("", "") }, "6s", "500ms").Should(BeZero())
	w.Expect(w.data("shop-env")()).To(HaveKeyWithValue("A", "alpha"))
	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.Suspend = false })
	w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("A", "changed"))
}

func TestAllowEmptyEmptiesTheSecret(t *testing.T) {
	w := newWorld(t)
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.AllowEmpty = true })
	w.project.Delete("prod", "/shop", "A")
	w.project.Delete("prod", "/shop", "B")
	w.Eventually(w.data("shop-env")).Should(BeEmpty())
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
}

func TestDeletionPolicyDeletesOnlyWhatIsConfirmedGone(t *testing.T) {
	w := newWorld(t)
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.project.Delete("prod", "/shop", "A")
	w.project.Delete("prod", "/shop", "B")
	w.refresh("shop")
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSourceEmpty))
	w.Expect(w.data("shop-env")()).To(HaveLen(2), "empty is not gone")
	w.project.DeleteFolder("prod", "/shop")
	w.refresh("shop")
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonPathNotFound))
	w.Eventually(w.data("shop-env")).Should(BeNil())
	w.Eventually(w.events("shop")).Should(HaveKeyWithValue(stv1.ReasonTargetDeleted, 1))
	w.project.Put("prod", "/shop", "A", "again")
	w.refresh("shop")
	w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "again"}))
}

func TestDeletionPolicySparesTheSecretFromATypo(t *testing.T) {
	w := newWorld(t)
	w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.DeletionPolicy = stv1.DeletionPolicyDelete })
	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.Sources[0].Path = "/shpo" })
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonPathNotFound))
	w.Expect(w.data("shop-env")()).To(HaveLen(2), "this source was never there")
}

func TestAnotherTargetLeavesTheOneBefore(t *testing.T) {
	w := newWorld(t)
	w.synced()
	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.Target.Name = "another" })
	w.Eventually(w.data("another")).Should(HaveLen(2))
	w.Eventually(w.events("shop")).Should(And(HaveKeyWithValue(stv1.ReasonTargetLeft, 1), HaveKeyWithValue(stv1.ReasonUpdated, 1), Not(HaveKey(stv1.ReasonHealed))))
	w.Expect(w.data("shop-env")()).To(HaveLen(2))
	w.Expect(w.get("shop").Status.Target).To(Equal("another"))
}

func TestAWriteThatTheAPIServerRefusesIsSaid(t *testing.T) {
	w := newWorld(t)
	w.synced()
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	policy.Spec.MatchConstraints = &admissionv1.MatchResources{
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.ns}},
		ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Update},
			Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
		}}},
	}
	policy.Spec.Validations = []admissionv1.Validation{{Expression: "false"}}
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	binding.Spec = admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: w.ns, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}}
	w.Expect(w.client.Create(w.ctx, policy)).To(Succeed())
	w.Expect(w.client.Create(w.ctx, binding)).To(Succeed())
	t.Cleanup(func() {
		_ = w.client.Delete(context.Background(), binding)
		_ = w.client.Delete(context.Background(), policy)
	})
	w.Eventually(func() error { // until the policy acts
		return w.client.Update(w.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "infisical-token"}}, client.DryRunAll)
	}).Should(MatchError(ContainSubstring("denied")))
	w.project.Put("prod", "/shop", "A", "changed")
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonTargetConflict))
	w.Expect(w.message("shop")).To(ContainSubstring("the API server refused the write"))
	w.Eventually(w.events("shop")).Should(HaveKey(stv1.ReasonTargetConflict))
	w.Expect(w.data("shop-env")()).To(HaveKeyWithValue("A", "alpha"))
}

func TestCreationPolicies(t *testing.T) {
	t.Run("Owner", func(t *testing.T) {
		w := newWorld(t)
		w.synced()
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(metav1.IsControlledBy(secret, w.get("shop"))).To(BeTrue())
	})
	t.Run("Orphan", func(t *testing.T) {
		w := newWorld(t)
		w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.CreationPolicy = stv1.CreationPolicyOrphan })
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(secret.OwnerReferences).To(BeEmpty())
	})
	t.Run("Merge", func(t *testing.T) {
		w := newWorld(t)
		w.putSecret("shop-env", map[string]string{"MINE": "x"})
		w.synced(func(o *stv1.ServiceTokenSecret) { o.Spec.Target.CreationPolicy = stv1.CreationPolicyMerge })
		w.Expect(w.data("shop-env")()).To(Equal(map[string]string{"MINE": "x", "A": "alpha", "B": "beta"}))
		w.project.Delete("prod", "/shop", "B")
		w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"MINE": "x", "A": "alpha"}))
		// Our key is healed, other people's are theirs.
		w.putSecret("shop-env", map[string]string{"MINE": "y", "A": "mallory"})
		w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"MINE": "y", "A": "alpha"}))
	})
	t.Run("a conflict ends when the other Secret goes, or may be adopted", func(t *testing.T) {
		w := newWorld(t)
		w.putSecret("shop-env", map[string]string{"A": "theirs"})
		w.putToken(w.token())
		w.object()
		w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonTargetConflict))
		w.Expect(w.data("shop-env")()).To(Equal(map[string]string{"A": "theirs"}))
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "servicetoken.io/adopt", "true")
		w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
		w.Eventually(w.data("shop-env")).Should(Equal(map[string]string{"A": "alpha", "B": "beta"}))
		w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonSynced))
		secret, err = w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(secret.Annotations).NotTo(HaveKey("servicetoken.io/adopt"), "it allows one taking over")
	})
	t.Run("adopting equal bytes writes nothing", func(t *testing.T) {
		w := newWorld(t)
		w.putSecret("shop-env", map[string]string{"A": "alpha", "B": "beta"})
		secret, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		metav1.SetMetaDataAnnotation(&secret.ObjectMeta, "servicetoken.io/adopt", "true")
		w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
		w.synced()
		after, err := w.secret("shop-env")
		w.Expect(err).NotTo(HaveOccurred())
		w.Expect(after.ResourceVersion).To(Equal(secret.ResourceVersion))
	})
	t.Run("two objects, one Secret", func(t *testing.T) {
		w := newWorld(t)
		w.synced()
		w.object(func(o *stv1.ServiceTokenSecret) { o.Name = "second" })
		w.Eventually(w.reason("second")).Should(Equal(stv1.ReasonTargetConflict))
		w.Expect(w.reason("shop")()).To(Equal(stv1.ReasonSynced))
	})
}

func TestDeletedObjectIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.synced()
	w.Expect(w.client.Delete(w.ctx, w.get("shop"))).To(Succeed())
	w.Eventually(func() error {
		return w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "shop"}, &stv1.ServiceTokenSecret{})
	}).ShouldNot(Succeed())
	w.infisical.ResetLog()
	w.Consistently(func() int { return w.infisical.Count("", "") }, "6s", "500ms").Should(BeZero(), "longer than the interval")
}

func TestNothingSecretIsInStatusOrEvents(t *testing.T) {
	w := newWorld(t)
	token := w.synced()
	w.project.Put("prod", "/shop", "A", "a-value-to-look-for ${NOPE}")
	w.refresh("shop")
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonReferenceUnresolved))
	w.Eventually(w.events("shop")).Should(HaveKey(stv1.ReasonReferenceUnresolved))
	var events corev1.EventList
	w.Expect(w.client.List(w.ctx, &events, client.InNamespace(w.ns))).To(Succeed())
	seen, err := json.Marshal([]any{w.get("shop"), events})
	w.Expect(err).NotTo(HaveOccurred())
	parts := strings.Split(token, ".")
	for _, secret := range []string{parts[2], parts[3], "a-value-to-look-for", w.project.Key()} {
		w.Expect(string(seen)).NotTo(ContainSubstring(secret))
	}
	w.Expect(meta.IsStatusConditionFalse(w.get("shop").Status.Conditions, stv1.ConditionReady)).To(BeTrue())
}
