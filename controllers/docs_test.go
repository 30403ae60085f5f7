package controllers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/devserver"
)

// manifestsIn are the objects in the yaml blocks of a Markdown file.
func manifestsIn(t *testing.T, file string) (objects []*unstructured.Unstructured) {
	t.Helper()
	g := NewWithT(t)
	text, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "\n```")
		for _, document := range strings.Split(block, "\n---\n") {
			obj := &unstructured.Unstructured{}
			g.Expect(yaml.UnmarshalStrict([]byte(document), &obj.Object)).To(Succeed(), document)
			objects = append(objects, obj)
		}
	}
	return objects
}

// documented fills the test's project with what the manifests of docs/howto read.
func documented(w *world) {
	w.t.Helper()
	certificate, key := keyPair(w.t)
	for path, secrets := range map[string]map[string]string{
		"/shop": {
			"DB_URL": "postgres://${DB_HOST}/shop", "DB_HOST": "db", "DB_USER": "shop", "DB_PASSWORD": "p", "DB_OPTIONS": `{"host":"db"}`, "DB_X_TEST": "t",
			"API_KEY": "a2V5", "REGION": "EU", "LOG_LEVEL": "info", "FEATURES": "all", "TLS_CERT": certificate, "TLS_KEY": key,
		},
		"/payment": {"PAYMENT_TOKEN": "t", "REGISTRY_USER": "u", "REGISTRY_PASSWORD": "p"},
		"/shared":  {"THEME": "dark", "OTHER": "x"},
	} {
		for name, value := range secrets {
			w.project.Put("prod", path, name, value)
		}
	}
	w.project.Tag("prod", "/shared", "THEME", "web")
	w.project.Tag("prod", "/shop", "API_KEY", "web")
	w.project.Tag("prod", "/shop", "FEATURES", "web")
}

func keyPair(t *testing.T) (certificate, key string) {
	t.Helper()
	g := NewWithT(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "shop"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	g.Expect(err).NotTo(HaveOccurred())
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	g.Expect(err).NotTo(HaveOccurred())
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)
}

// TestEveryManifestOfTheHowTosBecomesItsSecrets applies them as they are printed.
func TestEveryManifestOfTheHowTosBecomesItsSecrets(t *testing.T) {
	pages, err := filepath.Glob("../docs/howto/*.md")
	if err != nil || len(pages) < 6 {
		t.Fatalf("pages: %v, %v", pages, err)
	}
	for _, page := range pages {
		objects := manifestsIn(t, page)
		if len(objects) == 0 {
			t.Errorf("%s has no manifest", page)
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			if objects[0].GetKind() == "ClusterServiceTokenSecret" {
				applyCluster(t, objects[0])
				return
			}
			w := newWorld(t)
			documented(w)
			w.putToken(w.token(func(s *devserver.TokenSpec) { s.Permissions = []string{"read", "write"} }))
			var named, pushes []string
			identity := w.project.AddIdentity(devserver.IdentitySpec{Accepts: func(string) bool { return true }})
			for _, obj := range objects {
				obj.SetNamespace(w.ns)
				filled(w, obj, identity)
				w.Expect(w.client.Create(w.ctx, obj, client.FieldValidation("Strict"))).To(Succeed())
				switch obj.GetKind() {
				case "ServiceTokenSecret":
					named = append(named, obj.GetName())
				case "ServiceTokenPush":
					pushes = append(pushes, obj.GetName())
				}
			}
			w.Expect(slices.Concat(named, pushes)).NotTo(BeEmpty())
			for _, name := range pushes {
				w.Eventually(func() string {
					var p stv1.ServiceTokenPush
					w.Expect(w.client.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &p)).To(Succeed())
					c := meta.FindStatusCondition(p.Status.Conditions, stv1.ConditionReady)
					if c == nil || p.Status.Written == nil {
						return ""
					}
					return c.Reason
				}).Should(Equal(stv1.ReasonSynced))
			}
			for _, name := range named {
				w.Eventually(w.reason(name)).Should(Equal(stv1.ReasonSynced), func() string { return w.message(name) })
				for _, ref := range referencesOf(w.get(name)) {
					data := w.data(ref.Name)
					if ref.Kind == stv1.TargetKindConfigMap {
						data = w.configMap(ref.Name)
					}
					w.Expect(data()).NotTo(BeEmpty(), "%s", ref)
				}
			}
		})
	}
}

// filled puts what a reader has to fill in into a manifest.
func filled(w *world, obj *unstructured.Unstructured, identity devserver.Identity) {
	w.t.Helper()
	raw, err := yaml.Marshal(obj.Object)
	w.Expect(err).NotTo(HaveOccurred())
	text := strings.NewReplacer("PROJECT", w.project.ID(), "IDENTITY", identity.ID,
		"00000000-0000-4000-8000-000000000001", identity.ClientID, "put-the-client-secret-here", identity.ClientSecret).Replace(string(raw))
	obj.Object = nil
	w.Expect(yaml.Unmarshal([]byte(text), &obj.Object)).To(Succeed())
}

// applyCluster has the manifest of a ClusterServiceTokenSecret as it is printed, but for what keeps tests apart.
func applyCluster(t *testing.T, obj *unstructured.Unstructured) {
	t.Helper()
	f := newFleet(t)
	documented(f.world)
	member := f.member()
	f.everywhere(func(c *stv1.ClusterServiceTokenSecret) {
		own := c.DeepCopy()
		raw, err := yaml.Marshal(obj.Object)
		f.Expect(err).NotTo(HaveOccurred())
		f.Expect(yaml.UnmarshalStrict(raw, c)).To(Succeed())
		c.ObjectMeta, c.Spec.Namespace, c.Spec.NamespaceSelector = own.ObjectMeta, own.Spec.Namespace, own.Spec.NamespaceSelector
	})
	f.Eventually(f.ready).Should(Equal(stv1.ReasonSynced))
	f.Expect(f.client.Get(f.ctx, client.ObjectKey{Namespace: member, Name: f.object().Spec.Target.Name}, &corev1.Secret{})).To(Succeed())
}
