package controllers

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// TestNoReferenceLeavesTheNamespace has everything that a ServiceTokenSecret can name lie in another namespace, under the same name:
// none of it is found, even if the reference is given a namespace that its type does not have.
func TestNoReferenceLeavesTheNamespace(t *testing.T) {
	for name, tt := range map[string]struct {
		refer  func(spec map[string]any, namespace string)
		reason string
		says   string
	}{
		"the token": {func(spec map[string]any, namespace string) {
			spec["auth"] = map[string]any{"serviceToken": map[string]any{"secretRef": map[string]any{"name": "theirs", "namespace": namespace}}}
		}, stv1.ReasonTokenSecretNotFound, "Secret theirs"},
		"a CA bundle in a ConfigMap": {func(spec map[string]any, namespace string) {
			spec["tls"] = map[string]any{"caBundleRef": map[string]any{"name": "theirs", "namespace": namespace}}
		}, stv1.ReasonTokenSecretNotFound, "ConfigMap theirs"},
		"a CA bundle in a Secret": {func(spec map[string]any, namespace string) {
			spec["tls"] = map[string]any{"caBundleRef": map[string]any{"kind": "Secret", "name": "theirs", "namespace": namespace}}
		}, stv1.ReasonTokenSecretNotFound, "Secret theirs"},
		"templates": {func(spec map[string]any, namespace string) {
			spec["target"] = map[string]any{"template": map[string]any{"templateFrom": []any{map[string]any{"configMap": map[string]any{"name": "theirs", "namespace": namespace}}}}}
		}, stv1.ReasonTemplateFailed, "ConfigMap theirs"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			other := newClusterWorld(t)
			token := w.token()
			w.putToken(token)
			other.putSecret("theirs", map[string]string{"token": token, "ca.crt": "x"})
			other.putMap("theirs", map[string]string{"ca.crt": "x", "t": "{{ .A }}"})
			obj := parse(t, valid)
			obj.SetNamespace(w.ns)
			spec, _, err := unstructured.NestedMap(obj.Object, "spec")
			w.Expect(err).NotTo(HaveOccurred())
			spec["sources"] = []any{map[string]any{"environment": "prod", "path": "/shop"}}
			tt.refer(spec, other.ns)
			w.Expect(unstructured.SetNestedMap(obj.Object, spec, "spec")).To(Succeed())
			w.Expect(w.client.Create(w.ctx, obj)).To(Succeed())
			w.Eventually(w.reason("shop")).Should(Equal(tt.reason))
			w.Expect(w.message("shop")).To(And(ContainSubstring("there is no "+tt.says), ContainSubstring(w.ns)))
		})
	}
	t.Run("the target", func(t *testing.T) {
		w := newWorld(t)
		other := newClusterWorld(t)
		other.putSecret("shop-env", map[string]string{"MINE": "x"})
		w.putToken(w.token())
		obj := parse(t, valid)
		obj.SetNamespace(w.ns)
		w.Expect(unstructured.SetNestedField(obj.Object, map[string]any{"name": "shop-env", "namespace": other.ns}, "spec", "target")).To(Succeed())
		w.Expect(unstructured.SetNestedSlice(obj.Object, []any{map[string]any{"environment": "prod", "path": "/shop"}}, "spec", "sources")).To(Succeed())
		w.Expect(w.client.Create(w.ctx, obj)).To(Succeed())
		w.Eventually(w.data("shop-env")).Should(HaveLen(2))
		w.Expect(other.data("shop-env")()).To(Equal(map[string]string{"MINE": "x"}))
	})
}

// TestOnlyTheGatedFieldNamesANamespace reads the CRDs: a field that names a namespace is a way out of it, and needs a gate and a test.
func TestOnlyTheGatedFieldNamesANamespace(t *testing.T) {
	g := NewWithT(t)
	var found []string
	for _, kind := range []string{"servicetokensecrets", "clusterservicetokensecrets"} {
		raw, err := os.ReadFile(fmt.Sprintf("../config/crd/bases/servicetoken.io_%s.yaml", kind))
		g.Expect(err).NotTo(HaveOccurred())
		var crd apiextensionsv1.CustomResourceDefinition
		g.Expect(yaml.Unmarshal(raw, &crd)).To(Succeed())
		schema, err := json.Marshal(crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"])
		g.Expect(err).NotTo(HaveOccurred())
		var spec any
		g.Expect(json.Unmarshal(schema, &spec)).To(Succeed())
		found = append(found, namespaceFields(spec, crd.Spec.Names.Kind+".spec")...)
	}
	slices.Sort(found)
	g.Expect(found).To(Equal([]string{
		"ClusterServiceTokenSecret.spec.namespace",         // TestForbiddenNamespacesAreClosed/for_tokens
		"ClusterServiceTokenSecret.spec.namespaceSelector", // TestForbiddenNamespacesAreClosed/for_targets
	}))
}

// namespaceFields are the paths of the properties of a schema that have to do with namespaces.
func namespaceFields(schema any, path string) (found []string) {
	node, is := schema.(map[string]any)
	if !is {
		return nil
	}
	properties, _ := node["properties"].(map[string]any)
	for name, property := range properties {
		if strings.Contains(strings.ToLower(name), "namespace") {
			found = append(found, path+"."+name)
		}
		found = append(found, namespaceFields(property, path+"."+name)...)
	}
	for _, inner := range []string{"items", "additionalProperties"} {
		found = append(found, namespaceFields(node[inner], path+"[]")...)
	}
	return found
}

// TestAClustersObjectReadsInItsOneNamespaceOnly has the token in a namespace that is selected, but is not the one that the object names.
func TestAClustersObjectReadsInItsOneNamespaceOnly(t *testing.T) {
	f := newFleet(t)
	member := f.member()
	f.Expect(f.client.Create(f.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: member, Name: "only-here"}, StringData: map[string]string{"token": f.token()},
	})).To(Succeed())
	f.everywhere(func(c *stv1.ClusterServiceTokenSecret) { c.Spec.Auth.ServiceToken.SecretRef.Name = "only-here" })
	f.Eventually(f.ready).Should(Equal(stv1.ReasonTokenSecretNotFound))
	f.Expect(f.in(member)()).To(BeNil())
}
