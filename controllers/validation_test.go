package controllers

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// valid is the least that can be written.
const valid = `{apiVersion: servicetoken.io/v1alpha1, kind: ServiceTokenSecret, metadata: {name: shop}, spec: {auth: {serviceToken: {secretRef: {name: infisical-token}}}}}`

// TestApplyRejectsWhatCanBeKnownToBeWrong checks the rules of the CRD at a real API server: each rejection names the field.
func TestApplyRejectsWhatCanBeKnownToBeWrong(t *testing.T) {
	w := newClusterWorld(t)
	for name, tt := range map[string]struct {
		spec string // merged over the least
		says string
	}{
		"no auth method":                       {`{auth: null}`, "spec.auth"},
		"an empty auth":                        {`{auth: {serviceToken: null}}`, "exactly one of the fields in [serviceToken universalAuth kubernetesAuth] must be set"},
		"no name of the Secret":                {`{auth: {serviceToken: {secretRef: {name: ""}}}}`, "secretRef.name"},
		"a relative path":                      {`{sources: [{environment: prod, path: shop}]}`, "path starts with /"},
		"no environment":                       {`{sources: [{path: /}]}`, "environment"},
		"a source twice":                       {`{sources: [{environment: prod, path: /a}, {environment: prod, path: /a, recursive: true}]}`, "unique by environment and path"},
		"a threshold of 0":                     {`{rotation: {threshold: 0}}`, "rotation.threshold"},
		"a negative threshold":                 {`{rotation: {threshold: -1}}`, "rotation.threshold"},
		"0 percent":                            {`{rotation: {warnAtPercent: 0}}`, "warnAtPercent"},
		"101 percent":                          {`{rotation: {warnAtPercent: 101}}`, "warnAtPercent"},
		"a negative time to expiry":            {`{rotation: {warnBeforeExpiry: -1h}}`, "warnBeforeExpiry is not negative"},
		"an interval of 4s":                    {`{refreshInterval: 4s}`, "refreshInterval is at least 5s"},
		"an interval that is none":             {`{refreshInterval: soon}`, "refreshInterval"},
		"a host without scheme":                {`{hostURL: app.infisical.com}`, "hostURL is https://"},
		"a host with a user":                   {`{hostURL: "https://me:pw@app.infisical.com"}`, "hostURL is https://"},
		"an unknown policy":                    {`{target: {creationPolicy: Steal}}`, "creationPolicy"},
		"an unknown deletion":                  {`{target: {deletionPolicy: Wipe}}`, "deletionPolicy"},
		"an unknown decryption":                {`{decryption: Nobody}`, "decryption"},
		"an unknown conflict":                  {`{keyConflicts: Merge}`, "keyConflicts"},
		"an unknown reference":                 {`{unresolvedReferences: Drop}`, "unresolvedReferences"},
		"no name for a Secret":                 {`{target: {name: Shop_Env}}`, "name is a valid name of a Secret"},
		"the operator's label":                 {`{target: {labels: {app.kubernetes.io/managed-by: me}}}`, "set by the operator"},
		"the operator's annotation":            {`{target: {annotations: {servicetoken.io/owned-by: me}}}`, "set by the operator"},
		"the token's own Secret":               {`{target: {name: infisical-token}}`, "must not be the Secret that holds the token"},
		"the token's own Secret among several": {`{targets: [{name: a}, {name: infisical-token}]}`, "no target may be the Secret that holds the token"},
		"target and targets":                   {`{target: {name: a}, targets: [{name: b}]}`, "target or targets, not both"},
		"a target without a name":              {`{targets: [{name: a}, {type: Opaque}]}`, "each of targets has a name"},
		"a target twice":                       {`{targets: [{name: a}, {name: a, kind: Secret}]}`, "unique by kind and name"},
		"a ConfigMap with everything":          {`{target: {kind: ConfigMap}}`, "list its keys"},
		"an immutable Secret of somebody else": {`{target: {immutable: true, creationPolicy: Merge}}`, "not made immutable"},
		"a ServiceAccount's token":             {`{target: {type: kubernetes.io/service-account-token}}`, "tokens of ServiceAccounts"},
		"a template of no key":                 {`{target: {template: {data: {"a b": x}}}}`, "letters, digits"},
		"a template as no key":                 {`{target: {template: {templateFrom: [{configMap: {name: a, items: [{key: b, as: "a b"}]}}]}}}`, "should match"},
		"the operator's label by template":     {`{target: {template: {labels: {app.kubernetes.io/managed-by: me}}}}`, "set by the operator"},
		"a pattern of two kinds":               {`{sources: [{environment: prod, include: [{glob: a, regexp: b}]}]}`, "exactly one of the fields"},
		"a pattern that is none":               {`{sources: [{environment: prod, exclude: [{regexp: "("}]}]}`, "exclude[0].regexp"},
		"a renaming that is none":              {`{sources: [{environment: prod, rename: [{regexp: {source: "(", target: b}}]}]}`, "rename[0].regexp.source"},
		"a renaming of two kinds":              {`{sources: [{environment: prod, rename: [{prefix: a, suffix: b}]}]}`, "exactly one of the fields"},
		"a key twice":                          {`{data: [{key: a}, {key: a, name: b}]}`, "spec.data[1]"},
		"an identity without sources":          {`{auth: {universalAuth: {project: p, secretRef: {name: i}}}, data: [{key: a}]}`, "has no scopes"},
		"an identity that decrypts":            {`{auth: {universalAuth: {project: p, secretRef: {name: i}}}, sources: [{environment: prod}], decryption: Client}`, "has no key"},
		"an identity's own Secret":             {`{auth: {universalAuth: {project: p, secretRef: {name: i}}}, sources: [{environment: prod}], target: {name: i}}`, "client secret"},
		"two ways to authenticate":             {`{auth: {serviceToken: {secretRef: {name: t}}, universalAuth: {project: p, secretRef: {name: i}}}}`, "exactly one of the fields"},
		"an unknown rollout":                   {`{rollout: {mode: Always}}`, "rollout.mode"},
		"an unknown case":                      {`{sources: [{environment: prod, rename: [{case: Title}]}]}`, "case"},
		"an unknown way with keys":             {`{invalidKeys: Drop}`, "invalidKeys"},
		"another kind of CA":                   {`{tls: {caBundleRef: {kind: Pod, name: ca}}}`, "caBundleRef.kind"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			obj := parse(t, valid)
			var spec map[string]any
			g.Expect(yaml.Unmarshal([]byte(tt.spec), &spec)).To(Succeed())
			for field, value := range spec {
				g.Expect(unstructured.SetNestedField(obj.Object, value, "spec", field)).To(Succeed())
			}
			obj.SetNamespace(w.ns)
			err := w.client.Create(w.ctx, obj)
			g.Expect(err).To(HaveOccurred())
			g.Expect(err.Error()).To(ContainSubstring(tt.says))
		})
	}
	t.Run("the token's own Secret, by the object's name", func(t *testing.T) {
		g := NewWithT(t)
		obj := parse(t, strings.Replace(valid, "metadata: {name: shop}", "metadata: {name: infisical-token}", 1))
		obj.SetNamespace(w.ns)
		g.Expect(w.client.Create(w.ctx, obj)).To(MatchError(ContainSubstring("must not be the Secret that holds the token")))
	})
}

func TestTheLeastGetsItsDefaults(t *testing.T) {
	w := newClusterWorld(t)
	obj := parse(t, valid)
	obj.SetNamespace(w.ns)
	w.Expect(w.client.Create(w.ctx, obj)).To(Succeed())
	spec := w.get("shop").Spec
	w.Expect(spec.Auth.ServiceToken.SecretRef.Key).To(Equal("token"))
	w.Expect(spec.RefreshInterval.Duration.String()).To(Equal("1m0s"))
	w.Expect(spec.Rotation.Threshold).To(BeEquivalentTo(1 << 32))
	w.Expect(spec.Rotation.WarnAtPercent).To(BeEquivalentTo(90))
	w.Expect(spec.Rotation.WarnBeforeExpiry.Duration.Hours()).To(BeEquivalentTo(14 * 24))
	w.Expect(spec.Target).To(BeZero(), "all of it has its meaning without being written")
	w.Expect(spec.Decryption).To(Equal(stv1.DecryptionAuto))
	w.Expect(spec.KeyConflicts).To(Equal(stv1.KeyConflictsOverride))
	w.Expect(spec.UnresolvedReferences).To(Equal(stv1.UnresolvedError))
	w.Expect(spec.InvalidKeys).To(Equal(stv1.InvalidKeysError))

	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.Target.Name = "shop-env" })
	w.Expect(w.get("shop").Spec.Target).To(Equal(stv1.Target{
		Kind: stv1.TargetKindSecret, Name: "shop-env", Type: "Opaque", CreationPolicy: stv1.CreationPolicyOwner, DeletionPolicy: stv1.DeletionPolicyRetain,
	}))
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &obj.Object); err != nil {
		t.Fatal(err)
	}
	return obj
}
