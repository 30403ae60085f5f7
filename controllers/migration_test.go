package controllers

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/convert"
	"github.com/service-token-operator/service-token-operator/internal/target"
)

// What the users of the other operators have, with the names of docs/migration.md. Words in capitals are the test's.
const (
	theirInfisicalSecret = `
apiVersion: secrets.infisical.com/v1alpha1
kind: InfisicalSecret
metadata: {name: shop, labels: {team: shop}, finalizers: [secrets.finalizers.infisical.com]}
spec:
  hostAPI: SERVER/api
  syncConfig: {resyncInterval: 5s}
  authentication:
    serviceToken:
      serviceTokenSecretReference: {secretName: their-token, secretNamespace: NAMESPACE}
      secretsScope: {envSlug: prod, secretsPath: /shop}
  managedKubeSecretReferences:
  - {secretName: shop-env, secretNamespace: NAMESPACE, creationPolicy: POLICY}
`
	theirStore = `
apiVersion: external-secrets.io/v1
kind: STORE
metadata: {name: NAMESPACE}
spec:
  provider:
    infisical:
      hostAPI: SERVER
      auth: {universalAuthCredentials: {clientId: {name: identity, key: id}, clientSecret: {name: identity, key: secret}}}
      secretsScope: {projectSlug: shop, environmentSlug: prod, secretsPath: /shop}
`
	theirExternalSecret = `
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: shop, labels: {team: shop}}
spec:
  refreshInterval: INTERVAL
  secretStoreRef: {name: NAMESPACE, kind: STORE}
  target: {name: shop-env, TARGET}
  dataFrom: [{find: {name: {regexp: ".*"}}}]
`
)

// theirs is what another operator is told to do.
type theirs struct {
	kind     string // of the object
	policy   string // of creation
	target   string // more of an ExternalSecret's target
	store    string // the kind of an ExternalSecret's store; SecretStore if it is empty
	interval string // of an ExternalSecret; 5s if it is empty
	old      bool   // the version of External Secrets
}

func (m theirs) manifest(w *world) string {
	text := theirInfisicalSecret
	if m.kind == "ExternalSecret" {
		text = theirStore + "---" + theirExternalSecret
	}
	store, interval, more := m.store, m.interval, "creationPolicy: "+m.policy
	if store == "" {
		store = "SecretStore"
	}
	if interval == "" {
		interval = "5s"
	}
	if m.target != "" {
		more += ", " + m.target
	}
	return strings.NewReplacer("NAMESPACE", w.ns, "SERVER", w.url, "POLICY", m.policy, "STORE", store, "INTERVAL", interval, "TARGET", more).Replace(text)
}

// converted is what convert makes of the objects in the test's namespace.
func (w *world) converted() string {
	w.t.Helper()
	var out, notes bytes.Buffer
	connect := func() (client.Reader, error) { return w.client, nil }
	w.Expect(convert.Command(w.ctx, []string{"--namespace=" + w.ns}, nil, &out, &notes, connect)).To(Succeed(), "%s", &notes)
	return out.String()
}

// settled says that the operator has done what the object says now.
func (w *world) settled() bool {
	obj := w.get("shop")
	ready := meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionReady)
	return ready != nil && ready.Reason == stv1.ReasonSynced && ready.ObservedGeneration == obj.Generation && obj.Status.Target == "shop-env"
}

func TestMigrationKeepsTheSecretAtEveryMoment(t *testing.T) {
	for name, tc := range map[string]theirs{
		"an InfisicalSecret that owns it":                  {kind: "InfisicalSecret", policy: "Owner"},
		"an InfisicalSecret that does not":                 {kind: "InfisicalSecret", policy: "Orphan"},
		"an ExternalSecret that owns it":                   {kind: "ExternalSecret", policy: "Owner", store: "ClusterSecretStore"},
		"an ExternalSecret that deletes it by a finalizer": {kind: "ExternalSecret", policy: "Owner", target: "deletionPolicy: Delete"},
		"an ExternalSecret that is not looked at again":    {kind: "ExternalSecret", policy: "Owner", interval: `"0"`},
		"an ExternalSecret of an old version":              {kind: "ExternalSecret", policy: "Owner", old: true},
		"an ExternalSecret that made it immutable":         {kind: "ExternalSecret", policy: "Owner", target: "immutable: true"},
		"an ExternalSecret that does not own it":           {kind: "ExternalSecret", policy: "Orphan"},
		"an ExternalSecret that merges into somebody's":    {kind: "ExternalSecret", policy: "Merge"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.playPeers(tc.old)
			(&rehearsal{terminal: w.terminal(), theirs: tc}).perform()
		})
	}
}

// rehearsal is docs/migration.md from its beginning to its end, for one Secret of another operator.
type rehearsal struct {
	*terminal
	theirs
	manifest string
	uid      types.UID
}

func (r *rehearsal) perform() {
	data := map[string]string{"A": "alpha", "B": "beta"}
	if r.policy == "Merge" {
		r.putSecret("shop-env", map[string]string{"THEIRS": "stays"})
		data["THEIRS"] = "stays"
	}
	r.write("theirs.yaml", r.theirs.manifest(r.world))
	r.run("kubectl apply -f theirs.yaml")
	r.Eventually(r.data("shop-env")).Should(Equal(data))
	r.asTheyLeaveIt()

	unharmed := r.watched("shop-env")
	r.convert()
	r.look()
	r.letGo()
	r.takeOver()
	if r.old || r.store != "" {
		// One of the same name for what could not be converted, with another target.
		r.write("rest.yaml", strings.ReplaceAll(r.theirs.manifest(r.world), "shop-env", "shop-rest"))
		r.run("kubectl apply -f rest.yaml")
		r.Eventually(r.data("shop-rest")).ShouldNot(BeEmpty())
		r.run("kubectl delete externalsecret shop")
	}
	unharmed()

	r.project.Put("prod", "/shop", "A", "changed")
	r.refresh("shop")
	if strings.Contains(r.target, "immutable") {
		r.Eventually(r.reason("shop")).Should(Equal(stv1.ReasonTargetConflict))
		r.Expect(r.message("shop")).To(ContainSubstring("it is immutable"))
	} else {
		data["A"] = "changed"
		r.Eventually(r.settled).Should(BeTrue())
		r.Eventually(r.data("shop-env")).Should(Equal(data))
		r.asWeHaveIt()
	}
	unharmed = r.watched("shop-env")
	r.back()
	unharmed()
	r.Expect(r.data("shop-env")()).To(Equal(data))
}

// asTheyLeaveIt says that the peers are real: the Secret looks like theirs.
func (r *rehearsal) asTheyLeaveIt() {
	r.t.Helper()
	secret, err := r.secret("shop-env")
	r.Expect(err).NotTo(HaveOccurred())
	r.uid = secret.UID
	owner := metav1.GetControllerOf(secret)
	r.Expect(owner != nil).To(Equal(r.policy == "Owner"))
	if owner != nil {
		r.Expect(owner.Kind).To(Equal(r.kind))
	}
	r.Expect(secret.Labels).To(HaveKeyWithValue("team", "shop"))
	if r.kind == "InfisicalSecret" {
		r.Expect(secret.Annotations).To(And(HaveKey(infisicalVersion), HaveKeyWithValue(infisicalLabels, "team")))
		return
	}
	r.Expect(secret.Annotations).To(HaveKey(dataHash))
	_, createdBy := secret.Labels[createdByLabel]
	r.Expect(createdBy).To(Equal(r.policy == "Owner"))
	r.Expect(secret.ManagedFields).To(ContainElement(HaveField("Manager", externalSecretsManager+"shop")))
	finalizers := r.run("kubectl get externalsecret shop -o jsonpath='{.metadata.finalizers}'")
	r.Expect(strings.Contains(finalizers, cleanupFinalizer)).NotTo(Equal(r.old))
}

// convert is step 2, with the token.
func (r *rehearsal) convert() {
	r.t.Helper()
	r.manifest = r.converted()
	r.write("FILE", r.token())
	if r.kind == "InfisicalSecret" {
		r.run("kubectl create secret generic their-token --from-file=infisicalToken=FILE")
		return
	}
	asked := commands(r.manifest)
	create := asked[len(asked)-1]
	r.Expect(create).To(HavePrefix("kubectl create secret generic infisical-token "))
	r.run(create)
}

// look is step 3.
func (r *rehearsal) look() {
	r.t.Helper()
	other := strings.Replace(r.manifest, "name: shop-env\n", "name: shop-env-new\n", 1)
	r.Expect(other).NotTo(Equal(r.manifest))
	steps := r.runbook("3. Look before you take over")
	if r.policy == "Merge" {
		other = strings.Replace(other, "creationPolicy: Merge", "creationPolicy: Orphan", 1)
		steps, _, _ = strings.Cut(steps, "diff ") // the other keys are somebody else's
	}
	r.write("converted.yaml", other)
	said := r.run(steps)
	r.Expect(said).To(ContainSubstring("Synced"))
	if r.policy == "Merge" {
		ours := r.data("shop-env")()
		maps.DeleteFunc(ours, func(key, _ string) bool { return key == "THEIRS" })
		r.Expect(r.data("shop-env-new")()).To(Equal(ours))
	} else {
		r.Expect(said).To(HaveSuffix("\nequal\n"))
	}
}

// letGo is step 4, up to the permission.
func (r *rehearsal) letGo() {
	r.t.Helper()
	for _, command := range commands(r.manifest) {
		switch {
		case strings.HasPrefix(command, "kubectl create "):
			continue // the token
		case strings.HasPrefix(command, "kubectl delete "):
			r.Expect(r.run(r.runbook("4. Take over"))).To(BeEmpty(), "references")
		}
		r.run(command)
	}
	secret, err := r.secret("shop-env")
	r.Expect(err).NotTo(HaveOccurred())
	r.Expect(secret.OwnerReferences).To(BeEmpty())
	r.Expect(secret.Labels).NotTo(HaveKey(createdByLabel))
	_, allowed := secret.Annotations[target.AdoptAnnotation]
	r.Expect(allowed).NotTo(Equal(r.policy == "Merge"))
	r.Expect(r.run("kubectl get " + strings.ToLower(r.kind) + " --ignore-not-found -o name")).To(BeEmpty())
}

// takeOver is the end of step 4, and the way back as long as nothing is written. Nothing of it writes to the Secret.
func (r *rehearsal) takeOver() {
	r.t.Helper()
	version := r.version("shop-env")
	unwritten := func() {
		r.t.Helper()
		r.Eventually(r.settled).Should(BeTrue())
		r.refresh("shop")
		r.Consistently(func() string { return r.version("shop-env") }, "500ms").Should(Equal(version))
	}
	r.write("converted.yaml", r.manifest)
	r.run("kubectl apply -f converted.yaml")
	unwritten()
	r.run("kubectl delete stsec shop")
	r.Consistently(func() string { return r.version("shop-env") }, "500ms").Should(Equal(version))
	r.run("kubectl apply -f converted.yaml")
	unwritten()
	r.Expect(slices.DeleteFunc(r.writes.seen(), func(request string) bool {
		return !strings.HasSuffix(request, "/secrets/shop-env")
	})).To(BeEmpty())
}

// asWeHaveIt says what the first write did.
func (r *rehearsal) asWeHaveIt() {
	r.t.Helper()
	secret, err := r.secret("shop-env")
	r.Expect(err).NotTo(HaveOccurred())
	r.Expect(secret.UID).To(Equal(r.uid))
	r.Expect(secret.Annotations).NotTo(HaveKey(target.AdoptAnnotation))
	_, managed := secret.Labels[target.ManagedByLabel]
	r.Expect(managed).NotTo(Equal(r.policy == "Merge"))
	owner := metav1.GetControllerOf(secret)
	r.Expect(owner != nil).To(Equal(r.policy == "Owner"))
	if owner != nil {
		r.Expect(owner.UID).To(Equal(r.get("shop").UID))
	}
}

// back is the last section: after the first write, if there was one.
func (r *rehearsal) back() {
	r.t.Helper()
	steps := r.runbook("Back")
	if r.policy == "Merge" || strings.Contains(r.target, "immutable") {
		steps = "kubectl delete stsec shop"
	}
	r.run(steps)
	r.Consistently(func() error { _, err := r.secret("shop-env"); return err }, "500ms").Should(Succeed())
	mark := dataHash
	if r.kind == "InfisicalSecret" {
		mark = infisicalVersion
	}
	r.run("kubectl annotate secret shop-env " + mark + "-")
	r.run("kubectl apply -f theirs.yaml")
	r.Eventually(func() map[string]string {
		secret, err := r.secret("shop-env")
		r.Expect(err).NotTo(HaveOccurred())
		return secret.Annotations
	}).Should(HaveKey(mark), "they write to it again")
}

// TestMigrationInAnotherWayLosesTheSecret also shows that the peers of the rehearsal are not harmless.
func TestMigrationInAnotherWayLosesTheSecret(t *testing.T) {
	const (
		toOrphan = `kubectl patch externalsecret shop --type=merge -p '{"spec":{"target":{"creationPolicy":"Orphan","deletionPolicy":"Retain"}}}'` + "\n"
		deleteES = "kubectl delete externalsecret shop"
	)
	for name, tc := range map[string]struct {
		theirs
		commands string
	}{
		"an ExternalSecret, and garbage is collected": {theirs{kind: "ExternalSecret", policy: "Owner"}, deleteES},
		"an ExternalSecret with a finalizer, orphaned": {
			theirs{kind: "ExternalSecret", policy: "Owner", target: "deletionPolicy: Delete"}, deleteES + " --cascade=orphan",
		},
		"an ExternalSecret that is not looked at again": {theirs{kind: "ExternalSecret", policy: "Owner", interval: `"0"`}, toOrphan + deleteES},
		"an ExternalSecret of an old version":           {theirs{kind: "ExternalSecret", policy: "Owner", old: true}, toOrphan + deleteES},
		"an ExternalSecret that gets another target": {
			theirs{kind: "ExternalSecret", policy: "Owner"}, `kubectl patch externalsecret shop --type=merge -p '{"spec":{"target":{"name":"shop-rest"}}}'`,
		},
		"an InfisicalSecret":           {theirs{kind: "InfisicalSecret", policy: "Owner"}, "kubectl delete infisicalsecret shop"},
		"an InfisicalSecret, orphaned": {theirs{kind: "InfisicalSecret", policy: "Owner"}, "kubectl delete infisicalsecret shop --cascade=orphan"},
		"an InfisicalSecret that is only set to Orphan": {
			theirs{kind: "InfisicalSecret", policy: "Owner"},
			`kubectl patch infisicalsecret shop --type=json -p '[{"op":"replace","path":"/spec/managedKubeSecretReferences/0/creationPolicy","value":"Orphan"}]'`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.playPeers(tc.old)
			user := w.terminal()
			user.write("theirs.yaml", tc.manifest(w))
			user.run("kubectl apply -f theirs.yaml")
			w.Eventually(w.data("shop-env")).Should(HaveLen(2))
			secret, err := w.secret("shop-env")
			w.Expect(err).NotTo(HaveOccurred())
			user.run(tc.commands)
			w.Eventually(func() types.UID {
				now, err := w.secret("shop-env")
				w.Expect(client.IgnoreNotFound(err)).To(Succeed())
				return now.UID
			}).ShouldNot(Equal(secret.UID), "it is gone, or another one")
		})
	}
}
