package controllers

import (
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
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
			w.Expect(w.events("shop")()).To(BeEmpty())
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
