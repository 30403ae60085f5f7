package controllers

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The marks that External Secrets puts on its object and on a Secret, and Infisical's operator on a Secret.
const (
	cleanupFinalizer = "externalsecrets.external-secrets.io/externalsecret-cleanup"
	createdByLabel   = "reconcile.external-secrets.io/created-by"
	managedLabel     = "reconcile.external-secrets.io/managed"
	dataHash         = "reconcile.external-secrets.io/data-hash"

	infisicalVersion     = "secrets.infisical.com/version"
	infisicalLabels      = "secrets.infisical.com/managed-labels"
	infisicalAnnotations = "secrets.infisical.com/managed-annotations"

	externalSecretsManager = "externalsecrets.external-secrets.io/"
)

// installPeers is done once: all tests of the package have the one API server, and nobody else looks at these kinds.
var installPeers = sync.OnceValue(func() error {
	_, err := envtest.InstallCRDs(testConfig, envtest.CRDInstallOptions{Paths: []string{"testdata/peers"}, ErrorIfPathMissing: true})
	return err
})

// peers plays the other operators in the test's namespace, as far as a migration meets them: what they put on a Secret, and what they do
// when their object changes or goes. It follows the source of external-secrets (pkg/controllers/externalsecret) and of Infisical's
// kubernetes-operator (internal/controller, internal/services/infisicalsecret). Their server is the test's project, prod:/shop. As there is
// no kube-controller-manager, it plays the garbage collector too, and always after the operators: that is the worst order.
type peers struct {
	*world
	// old is an External Secrets that has no finalizer and leaves a reference where it is once it has set it.
	old    bool
	synced map[types.UID]bool // the ExternalSecrets that it has read once
}

// playPeers lasts until the test ends.
func (w *world) playPeers(old bool) {
	w.t.Helper()
	w.Expect(installPeers()).To(Succeed())
	p := &peers{world: w, old: old, synced: map[types.UID]bool{}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		wait.UntilWithContext(w.ctx, func(ctx context.Context) {
			if err := p.step(context.WithoutCancel(ctx)); err != nil {
				w.t.Errorf("the peers: %v", err)
			}
		}, 100*time.Millisecond)
	}()
	w.t.Cleanup(func() { <-ended })
}

// step is one look of everybody at the same state.
func (p *peers) step(ctx context.Context) error {
	var seen []*unstructured.Unstructured
	var failed error
	for _, kind := range []struct {
		apiVersion, kind string
		reconcile        func(context.Context, *unstructured.Unstructured) error
	}{
		{"external-secrets.io/v1", "ExternalSecret", p.externalSecret},
		{"secrets.infisical.com/v1alpha1", "InfisicalSecret", p.infisicalSecret},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(kind.apiVersion)
		list.SetKind(kind.kind + "List")
		if err := p.client.List(ctx, list, client.InNamespace(p.ns)); err != nil {
			return err
		}
		for i := range list.Items {
			seen = append(seen, list.Items[i].DeepCopy())
			failed = errors.Join(failed, orLater(kind.reconcile(ctx, &list.Items[i])))
		}
	}
	return errors.Join(failed, orLater(p.collectGarbage(ctx, seen)))
}

// orLater leaves to the next step what somebody else was faster with.
func orLater(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// look reads a Secret, and says whether it is there.
func (p *peers) look(ctx context.Context, secret *corev1.Secret) (bool, error) {
	err := p.client.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	return err == nil, client.IgnoreNotFound(err)
}

func (p *peers) atServer() map[string][]byte {
	data := map[string][]byte{}
	for name, secret := range p.project.Secrets("prod", "/shop") {
		data[name] = []byte(secret.Value)
	}
	return data
}

func sum(of any) string {
	text, _ := json.Marshal(of)
	return fmt.Sprintf("%x", sha256.Sum224(text))
}

// externalSecret is the reconciler of External Secrets, with the defaults of its CRD.
func (p *peers) externalSecret(ctx context.Context, es *unstructured.Unstructured) error {
	var o struct {
		Spec struct {
			RefreshInterval string `json:"refreshInterval"`
			Target          struct {
				Name           string `json:"name"`
				CreationPolicy string `json:"creationPolicy"`
				DeletionPolicy string `json:"deletionPolicy"`
				Immutable      bool   `json:"immutable"`
			} `json:"target"`
		} `json:"spec"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(es.Object, &o); err != nil {
		return err
	}
	target := o.Spec.Target
	owner := target.CreationPolicy == "" || target.CreationPolicy == "Owner"
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.ns, Name: target.Name}}
	found, err := p.look(ctx, secret)
	if err != nil {
		return err
	}

	if es.GetDeletionTimestamp() != nil {
		if !p.old && target.DeletionPolicy == "Delete" && found && metav1.IsControlledBy(secret, es) {
			if err := p.client.Delete(ctx, secret); err != nil {
				return err
			}
		}
		if controllerutil.RemoveFinalizer(es, cleanupFinalizer) {
			return p.client.Update(ctx, es)
		}
		return nil
	}
	if !p.old && controllerutil.AddFinalizer(es, cleanupFinalizer) {
		return p.client.Update(ctx, es)
	}
	if o.Spec.RefreshInterval == "0" && p.synced[es.GetUID()] {
		return nil // even when the spec has changed
	}
	p.synced[es.GetUID()] = true

	createdBy := sum(p.ns + "/" + es.GetName())
	before := secret.DeepCopy()
	switch {
	case target.CreationPolicy == "Merge":
		if !found {
			return nil
		}
		maps.Copy(secret.Data, p.atServer())
	case !found || !target.Immutable:
		secret.Data = p.atServer()
	}
	if target.Immutable {
		secret.Immutable = ptr.To(true)
	}
	secret.Labels = marked(secret.Labels, es.GetLabels())
	secret.Annotations = marked(secret.Annotations, map[string]string{dataHash: sum(secret.Data)})
	if !p.old {
		secret.Labels = marked(secret.Labels, map[string]string{managedLabel: "true"})
	}
	switch {
	case owner:
		if err := p.deleteOthers(ctx, createdBy, target.Name); err != nil {
			return err
		}
		secret.Labels = marked(secret.Labels, map[string]string{createdByLabel: createdBy})
		if err := controllerutil.SetControllerReference(es, secret, testScheme); err != nil {
			return err
		}
	case !p.old:
		delete(secret.Labels, createdByLabel)
		if metav1.IsControlledBy(secret, es) {
			if err := controllerutil.RemoveControllerReference(es, secret, testScheme); err != nil {
				return err
			}
		}
	}
	manager := client.FieldOwner(externalSecretsManager + es.GetName())
	switch {
	case !found:
		return p.client.Create(ctx, secret, manager)
	case apiequality.Semantic.DeepEqual(before, secret):
		return nil
	}
	return p.client.Update(ctx, secret, manager)
}

// deleteOthers deletes what an ExternalSecret made under another name.
func (p *peers) deleteOthers(ctx context.Context, createdBy, target string) error {
	var secrets corev1.SecretList
	if err := p.client.List(ctx, &secrets, client.InNamespace(p.ns), client.MatchingLabels{createdByLabel: createdBy}); err != nil {
		return err
	}
	for i := range secrets.Items {
		if secrets.Items[i].Name != target {
			if err := p.client.Delete(ctx, &secrets.Items[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func marked(all, more map[string]string) map[string]string {
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, more)
	return all
}

// infisicalSecret is the reconciler of Infisical's operator. It sets a reference only on what it makes.
func (p *peers) infisicalSecret(ctx context.Context, is *unstructured.Unstructured) error {
	var o struct {
		Spec struct {
			Managed []struct {
				SecretName     string `json:"secretName"`
				CreationPolicy string `json:"creationPolicy"`
			} `json:"managedKubeSecretReferences"`
		} `json:"spec"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(is.Object, &o); err != nil {
		return err
	}
	if is.GetDeletionTimestamp() != nil {
		is.SetFinalizers(nil) // all of them: there was one of its own in older versions
		return p.client.Update(ctx, is)
	}
	owned := map[string]bool{}
	for _, target := range o.Spec.Managed {
		owned[target.SecretName] = target.CreationPolicy == "Owner"
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.ns, Name: target.SecretName}}
		found, err := p.look(ctx, secret)
		if err != nil {
			return err
		}
		before := secret.DeepCopy()
		secret.Data = p.atServer()
		secret.Labels = marked(secret.Labels, is.GetLabels())
		secret.Annotations = marked(secret.Annotations, map[string]string{
			infisicalVersion: sum(secret.Data), infisicalLabels: strings.Join(slices.Sorted(maps.Keys(is.GetLabels())), ","), infisicalAnnotations: "",
		})
		switch {
		case !found && owned[target.SecretName]:
			if err := controllerutil.SetControllerReference(is, secret, testScheme); err != nil {
				return err
			}
			fallthrough
		case !found:
			err = p.client.Create(ctx, secret)
		case !apiequality.Semantic.DeepEqual(before, secret):
			err = p.client.Update(ctx, secret)
		}
		if err != nil {
			return err
		}
	}
	// What it owns and is not to own any more, it deletes.
	var secrets corev1.SecretList
	if err := p.client.List(ctx, &secrets, client.InNamespace(p.ns)); err != nil {
		return err
	}
	for i := range secrets.Items {
		if secret := &secrets.Items[i]; metav1.IsControlledBy(secret, is) && !owned[secret.Name] {
			if err := p.client.Delete(ctx, secret); err != nil {
				return err
			}
		}
	}
	return nil
}

// collectGarbage does what Kubernetes does with Secrets of owners that go or are gone: it orphans them where that was asked for, as long as
// the finalizer for it is there, and deletes them when no owner is left.
func (p *peers) collectGarbage(ctx context.Context, owners []*unstructured.Unstructured) error {
	var secrets corev1.SecretList
	list := func() error { return p.client.List(ctx, &secrets, client.InNamespace(p.ns)) }
	if err := list(); err != nil {
		return err
	}
	for _, owner := range owners {
		if owner.GetDeletionTimestamp() == nil || !controllerutil.ContainsFinalizer(owner, metav1.FinalizerOrphanDependents) {
			continue
		}
		if err := p.client.Get(ctx, client.ObjectKeyFromObject(owner), owner); err != nil {
			return err
		}
		for i := range secrets.Items {
			secret := &secrets.Items[i]
			kept := slices.DeleteFunc(slices.Clone(secret.OwnerReferences), func(r metav1.OwnerReference) bool { return r.UID == owner.GetUID() })
			if len(kept) == len(secret.OwnerReferences) {
				continue
			}
			secret.OwnerReferences = kept
			if err := p.client.Update(ctx, secret); err != nil {
				return err
			}
		}
		controllerutil.RemoveFinalizer(owner, metav1.FinalizerOrphanDependents)
		if err := p.client.Update(ctx, owner); err != nil {
			return err
		}
	}
	if err := list(); err != nil {
		return err
	}
	for i := range secrets.Items {
		secret := &secrets.Items[i]
		left := len(secret.OwnerReferences) == 0
		for _, ref := range secret.OwnerReferences {
			owner := &unstructured.Unstructured{}
			owner.SetAPIVersion(ref.APIVersion)
			owner.SetKind(ref.Kind)
			err := p.client.Get(ctx, client.ObjectKey{Namespace: p.ns, Name: ref.Name}, owner)
			if client.IgnoreNotFound(err) != nil {
				return err
			}
			left = left || err == nil && owner.GetUID() == ref.UID
		}
		if left {
			continue
		}
		if err := p.client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}); err != nil {
			return err
		}
	}
	return nil
}
