//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/service-token-operator/service-token-operator/internal/convert"
)

// peersCRDs have the other operators' groups and kinds, and take any spec.
var peersCRDs = []string{`
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
`, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: externalsecrets.external-secrets.io}
spec:
  group: external-secrets.io
  names: {kind: ExternalSecret, listKind: ExternalSecretList, plural: externalsecrets, singular: externalsecret}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: secretstores.external-secrets.io}
spec:
  group: external-secrets.io
  names: {kind: SecretStore, listKind: SecretStoreList, plural: secretstores, singular: secretstore}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`}

const peersStore = `
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: infisical, namespace: shop}
spec:
  provider:
    infisical:
      hostAPI: http://infisical.infisical.svc:8080
      secretsScope: {projectSlug: shop, environmentSlug: prod, secretsPath: /shop}
`

// peersObjects are what there is to move, by name.
var peersObjects = map[string]string{
	"moved": `
apiVersion: secrets.infisical.com/v1alpha1
kind: InfisicalSecret
metadata: {name: moved, namespace: shop}
spec:
  authentication:
    serviceToken:
      serviceTokenSecretReference: {secretName: their-token, secretNamespace: shop}
      secretsScope: {envSlug: prod, secretsPath: /shop}
  managedSecretReference: {secretName: moved-env, secretNamespace: shop, creationPolicy: Owner}
`,
	"synced": `
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: synced, namespace: shop}
spec:
  secretStoreRef: {name: infisical}
  refreshInterval: 30s
  target: {name: synced-env, creationPolicy: Owner}
  dataFrom: [{find: {path: /shop}}]
`,
}

// apply makes the object of a manifest.
func (c *cluster) apply(manifest string) *unstructured.Unstructured {
	c.t.Helper()
	obj := &unstructured.Unstructured{}
	c.Expect(yaml.Unmarshal([]byte(manifest), &obj.Object)).To(Succeed())
	c.Eventually(func() error { return c.client.Create(c.ctx, obj) }).Should(Succeed())
	return obj
}

// migrate follows docs/migration.md with the Secrets that the other operators made, by the commands that convert prints, and returns the
// Secrets' versions before and after the takeover. What the other operators do when their objects go is rehearsed in controllers; here the
// garbage collector is real.
func (c *cluster) migrate(token string, data map[string]string) (before, after map[string]string) {
	c.t.Helper()
	for _, crd := range peersCRDs {
		c.apply(crd)
	}
	c.apply(peersStore)
	c.secret("shop", "their-token", map[string]string{"infisicalToken": token})
	before, after = map[string]string{}, map[string]string{}
	for name, manifest := range peersObjects {
		theirs := c.apply(manifest)
		owner := metav1.OwnerReference{
			APIVersion: theirs.GetAPIVersion(), Kind: theirs.GetKind(), Name: theirs.GetName(), UID: theirs.GetUID(), Controller: ptr.To(true),
		}
		c.Expect(c.client.Create(c.ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name + "-env", OwnerReferences: []metav1.OwnerReference{owner}}, StringData: data,
		})).To(Succeed())
	}
	for name := range peersObjects {
		converted := c.convert(name)
		for _, command := range kubectlCommands(converted) {
			out, err := exec.CommandContext(c.ctx, "bash", "-c", c.kubectl+strings.TrimPrefix(command, "kubectl")).CombinedOutput()
			c.Expect(err).NotTo(HaveOccurred(), "%s\n%s", command, out)
		}
		before[name] = c.version(name + "-env")
		c.apply(converted)
		c.Eventually(c.reason("shop", name)).Should(Equal("Synced"))
		after[name] = c.version(name + "-env")
	}
	return before, after
}

// convert is what the command makes of one of the objects in the namespace.
func (c *cluster) convert(name string) string {
	c.t.Helper()
	var out, notes bytes.Buffer
	connect := func() (client.Reader, error) { return c.client, nil }
	c.Expect(convert.Command(c.ctx, []string{"--namespace=shop"}, nil, &out, &notes, connect)).To(Succeed())
	for _, manifest := range strings.Split(out.String(), "\n---\n") {
		if strings.Contains(manifest, "\n  name: "+name+"\n") {
			// An ExternalSecret has no service token that could be found.
			return strings.ReplaceAll(manifest, "name: infisical-token\n", "name: their-token\n        key: infisicalToken\n")
		}
	}
	c.Expect(out.String()).To(ContainSubstring("name: " + name))
	return ""
}

// kubectlCommands are the commands for the takeover, from the comment in front of a manifest.
func kubectlCommands(manifest string) (commands []string) {
	head, _, _ := strings.Cut(manifest, "apiVersion:")
	for line := range strings.Lines(head) {
		if command := strings.TrimSpace(strings.TrimPrefix(line, "#")); strings.HasPrefix(command, "kubectl ") {
			commands = append(commands, command)
		}
	}
	return commands
}

// version is that of a Secret, with its UID: another Secret of the same name is another.
func (c *cluster) version(name string) string {
	c.t.Helper()
	secret := &corev1.Secret{}
	c.Expect(c.client.Get(c.ctx, client.ObjectKey{Namespace: "shop", Name: name}, secret)).To(Succeed())
	text, _ := json.Marshal(secret.OwnerReferences)
	return string(secret.UID) + " " + secret.ResourceVersion + " " + string(text)
}
