//go:build e2e

package e2e

import (
	"bytes"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/service-token-operator/service-token-operator/internal/convert"
)

// peersCRD has the other operator's group and kind, and takes any spec.
const peersCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: infisicalsecrets.secrets.infisical.com}
spec:
  group: secrets.infisical.com
  names: {kind: InfisicalSecret, listKind: InfisicalSecretList, plural: infisicalsecrets, singular: infisicalsecret}
  scope: Namespaced
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

const peersObject = `
apiVersion: secrets.infisical.com/v1alpha1
kind: InfisicalSecret
metadata: {name: moved, namespace: shop}
spec:
  authentication:
    serviceToken:
      serviceTokenSecretReference: {secretName: their-token, secretNamespace: shop}
      secretsScope: {envSlug: prod, secretsPath: /shop}
  managedSecretReference: {secretName: moved-env, secretNamespace: shop, creationPolicy: Owner}
`

// apply makes the object of a manifest.
func (c *cluster) apply(manifest string) *unstructured.Unstructured {
	c.t.Helper()
	obj := &unstructured.Unstructured{}
	c.Expect(yaml.Unmarshal([]byte(manifest), &obj.Object)).To(Succeed())
	c.Eventually(func() error { return c.client.Create(c.ctx, obj) }).Should(Succeed())
	return obj
}

// migrate follows docs/migration.md with the Secret that an InfisicalSecret made, and returns the versions of the Secret before and after the
// takeover.
func (c *cluster) migrate(token string, data map[string]string) (before, after string) {
	c.t.Helper()
	c.apply(peersCRD)
	theirs := c.apply(peersObject)
	c.secret("shop", "their-token", map[string]string{"infisicalToken": token})
	owner := metav1.OwnerReference{
		APIVersion: theirs.GetAPIVersion(), Kind: theirs.GetKind(), Name: theirs.GetName(), UID: theirs.GetUID(), Controller: ptr.To(true),
	}
	c.Expect(c.client.Create(c.ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "moved-env", OwnerReferences: []metav1.OwnerReference{owner}}, StringData: data,
	})).To(Succeed())

	var out, notes bytes.Buffer
	connect := func() (client.Reader, error) { return c.client, nil }
	c.Expect(convert.Command(c.ctx, []string{"--namespace=shop"}, nil, &out, &notes, connect)).To(Succeed())

	c.Expect(c.client.Delete(c.ctx, theirs, client.PropagationPolicy(metav1.DeletePropagationOrphan))).To(Succeed())
	secret := &corev1.Secret{}
	get := func() *corev1.Secret {
		c.Expect(c.client.Get(c.ctx, client.ObjectKey{Namespace: "shop", Name: "moved-env"}, secret)).To(Succeed())
		return secret
	}
	c.Eventually(func() []metav1.OwnerReference { return get().OwnerReferences }).Should(BeEmpty(), "what is orphaned belongs to nobody")
	c.Expect(c.client.Patch(c.ctx, secret, client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"servicetoken.io/adopt":"true"}}}`)))).To(Succeed())
	before = get().ResourceVersion
	c.apply(out.String())
	c.Eventually(c.reason("shop", "moved")).Should(Equal("Synced"))
	return before, get().ResourceVersion
}
