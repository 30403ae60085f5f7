// Package target owns the Kubernetes Secrets that the operator writes: what should be there, what is there, and whether a
// write is needed. It creates, updates, replaces what is immutable, takes over when asked to, refuses, heals what somebody else
// changed, and retains. A ConfigMap, for data that is no secret, is dealt with by the same rules; where a comment says Secret, it
// is meant too.
//
// It never writes when nothing would change, never takes over a Secret that is not the operator's without being asked to,
// never deletes one that is not the object's, and never puts a value into an error or a result: keys go by name. What it
// reads from the cache is a digest (Digester), so that deciding "nothing to do" costs no request and keeps no plaintext.
package target

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// ManagedByLabel with ManagedByValue is on every Secret that the operator made or took over; its informer is limited to it.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedByValue = "service-token-operator"
	// OwnerAnnotation names the object whose data the Secret holds, as OwnerMark writes it.
	OwnerAnnotation = "servicetoken.io/owned-by"
	// AdoptAnnotation, set to "true" by a user, allows the operator to take a Secret over, once: the write that does so removes it,
	// or two objects that want the same Secret would take it from each other for ever.
	AdoptAnnotation = "servicetoken.io/adopt"
	// RevisionAnnotation names the state of the data, and RolledOutAnnotation the one that was rolled out last, on Secrets whose
	// Desired has a Revision.
	RevisionAnnotation  = "servicetoken.io/revision"
	RolledOutAnnotation = "servicetoken.io/rolled-out"

	// fieldManager is the name of our writes in the Secrets' managedFields. A Merge has one of its own (mergeManager).
	fieldManager = "service-token-operator"
	// rolloutManager is that of RolledOutAnnotation alone: the time of our last write of the data tells who changed it since.
	rolloutManager = "service-token-operator-rollout"
)

// CreationPolicy says whose the Secret is.
type CreationPolicy string

const (
	// Owner: made by the operator, with an owner reference; garbage collection takes it along with the object.
	Owner CreationPolicy = "Owner"
	// Orphan: made by the operator, without an owner reference; it stays when the object goes.
	Orphan CreationPolicy = "Orphan"
	// Merge: made by somebody else; only the wanted keys are the object's.
	Merge CreationPolicy = "Merge"
)

// Desired is what a Secret or a ConfigMap should be.
type Desired struct {
	Kind            Kind // default KindSecret
	Namespace, Name string
	// Owner is the object. Its Controller and BlockOwnerDeletion are ignored.
	Owner  metav1.OwnerReference
	Policy CreationPolicy    // default Owner
	Type   corev1.SecretType // default Opaque; of no importance to a Merge and to a ConfigMap
	// Labels and Annotations are the user's, on top of the operator's own.
	Labels, Annotations map[string]string
	Data                map[string][]byte
	// Immutable makes the Secret immutable. When its data or type is to change, it is deleted and made anew at once, and what
	// others put on it goes. It cannot be taken back: without it, an immutable Secret stays one, and its data may not differ.
	Immutable bool
	// Revision asks for marks that tell whether something is still to be done after a change of the data (revision.go), and is the name of
	// such a change, from NewRevision: one for all that is written together. Known says that the object had the Secret right before, so that
	// other data is a change even where there are no marks yet.
	Revision string
	Known    bool
}

// Result is what Apply did.
type Result struct {
	Changed  bool     // something was written
	Created  bool     // the Secret did not exist
	Replaced bool     // the Secret was deleted and made anew
	Healed   bool     // some of what was written had been changed or added by somebody else
	By       []string // the field managers that had done so, sorted, as far as their writes can still be told
	Keys     []string // names of the keys that were added, changed or removed, sorted
	Due      string   // the revision of a change that is to be rolled out, until RolledOut is told of it; empty for none
}

// Writer brings Secrets to their desired state. It keeps nothing about them.
type Writer struct {
	managed  client.Reader
	live     client.Reader
	client   client.Client
	digester Digester
}

// NewWriter returns a Writer that decides by managed, the cache of digests (NewCache), and looks at live, which must be
// uncached, before it changes what exists.
func NewWriter(managed, live client.Reader, c client.Client, d Digester) *Writer {
	return &Writer{managed: managed, live: live, client: c, digester: d}
}

// Apply makes the Secret what is desired, with no request at all when the cache shows that it is. The error is a
// *ConflictError, *TooLargeError, *IncompleteError, *InvalidError or *RefusedError when the user has to act; any other is worth
// trying again. Whatever the error, the Secret is as it was, but where a replacement breaks off between its deletion and its
// creation: then it is missing until Apply is called again.
func (w *Writer) Apply(ctx context.Context, d Desired) (Result, error) {
	d = d.defaulted()
	if err := checkSize(d); err != nil {
		return Result{}, err
	}
	if d.Policy == Merge {
		return w.merge(ctx, d)
	}
	if d.Kind == KindConfigMap {
		return w.applyUncached(ctx, d)
	}
	if err := checkType(d); err != nil {
		return Result{}, err
	}

	cached := &corev1.Secret{}
	err := w.managed.Get(ctx, d.key(), cached)
	switch {
	case apierrors.IsNotFound(err):
		// It does not exist, or is not ours, or the cache lags behind. The first is by far the most frequent, so that is
		// tried without a look.
		result, err := w.create(ctx, d)
		if !apierrors.IsAlreadyExists(err) {
			return result, err
		}
	case err != nil:
		return Result{}, fmt.Errorf("read %s from the cache: %w", d.object(), err)
	case w.inSync(cached, d):
		return Result{Due: marksIn(cached).due()}, nil
	}
	return w.applyUncached(ctx, d)
}

// applyUncached decides by live reads until nobody else writes in between.
func (w *Writer) applyUncached(ctx context.Context, d Desired) (Result, error) {
	var result Result
	err := retry.OnError(retry.DefaultRetry, lostRace, func() error {
		var err error
		result, err = w.applyLive(ctx, d)
		return err
	})
	return result, err
}

// inSync says that the cached Secret is as desired.
func (w *Writer) inSync(cached *corev1.Secret, d Desired) bool {
	return w.digester.of(cached) == w.digester.sum(d.Data) &&
		cached.Type == d.Type &&
		(frozen(cached) || !d.Immutable) &&
		marksIn(cached).fit(d) &&
		contains(cached.Labels, d.labels()) &&
		contains(cached.Annotations, d.annotations()) &&
		ownershipFits(cached, d) &&
		!w.digester.metaOf(cached).leftBehind(d)
}

func (w *Writer) create(ctx context.Context, d Desired) (Result, error) {
	m := d.first(d.Immutable && d.Known)
	if err := w.client.Create(ctx, d.Kind.toSend(d.secret(m)), client.FieldOwner(fieldManager)); err != nil {
		return Result{}, writeError("create", d.object(), err)
	}
	return Result{Changed: true, Created: true, Keys: slices.Sorted(maps.Keys(d.Data)), Due: m.due()}, nil
}

// applyLive decides by what is at the API server, whatever the cache says.
func (w *Writer) applyLive(ctx context.Context, d Desired) (Result, error) {
	live, err := w.get(ctx, d.object())
	if apierrors.IsNotFound(err) {
		return w.create(ctx, d)
	}
	if err != nil {
		return Result{}, err
	}
	ours, err := claim(live, d)
	if err != nil {
		return Result{}, err
	}
	keys := differingKeys(live.Data, d.Data)
	anew, err := toReplace(live, d, ours, keys)
	if err != nil {
		return Result{}, err
	}
	if !ours && len(keys) == 0 {
		// To be adopted, and equal: not a byte is written, so nothing that uses it notices.
		return Result{}, nil
	}
	m := d.first(d.Known)
	if ours {
		m = d.next(marksIn(live), d.tracked() && news(live, keys))
	}
	if anew {
		if err := w.replace(ctx, live, d, m); err != nil {
			return Result{}, err
		}
		return healing(live, keys, Result{Changed: true, Replaced: true, Healed: drifted(live, d, keys), Keys: keys, Due: m.due()}), nil
	}

	secret := live.DeepCopy()
	changed := shape(secret, d, m)
	if !ours {
		delete(secret.Annotations, AdoptAnnotation)
	}
	if !changed && len(keys) == 0 {
		return Result{Due: m.due()}, nil // the cache lags behind our own write, or there is none
	}
	secret.Data = maps.Clone(d.Data)
	// The resourceVersion of the read is in it, so nobody's change in between is lost.
	if err := w.client.Update(ctx, d.Kind.toSend(secret), client.FieldOwner(fieldManager)); err != nil {
		return Result{}, writeError("update", d.object(), err)
	}
	return healing(live, keys, Result{Changed: true, Healed: ours && drifted(live, d, keys), Keys: keys, Due: m.due()}), nil
}

// secret is what is desired, where nothing is there yet.
func (d Desired) secret(m marks) *corev1.Secret {
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name, Labels: d.labels(), Annotations: d.annotations()},
		Type:       d.Type,
		Data:       maps.Clone(d.Data),
	}
	m.stamp(secret.Annotations)
	setOwnership(secret, d)
	freeze(secret, d)
	return secret
}

func (d Desired) object() Object { return Object{Kind: d.Kind, NamespacedName: d.key()} }

func (d Desired) key() types.NamespacedName {
	return types.NamespacedName{Namespace: d.Namespace, Name: d.Name}
}

func (d Desired) defaulted() Desired {
	if d.Policy == "" {
		d.Policy = Owner
	}
	switch {
	case d.Kind == KindConfigMap:
		d.Type = "" // as it is read
	case d.Type == "":
		d.Type = corev1.SecretTypeOpaque
	}
	if d.Kind == "" {
		d.Kind = KindSecret
	}
	return d
}

// labels and annotations are the user's and, whatever the user wants, ours.
func (d Desired) labels() map[string]string {
	return with(d.Labels, ManagedByLabel, ManagedByValue)
}

func (d Desired) annotations() map[string]string {
	return with(d.Annotations, OwnerAnnotation, OwnerMark(d.Owner))
}

func with(m map[string]string, key, value string) map[string]string {
	all := make(map[string]string, len(m)+1)
	maps.Copy(all, m)
	all[key] = value
	return all
}

func contains(all, some map[string]string) bool {
	for key, value := range some {
		if got, ok := all[key]; !ok || got != value {
			return false
		}
	}
	return true
}

func differingKeys(a, b map[string][]byte) []string {
	var keys []string
	for key, value := range a {
		if other, ok := b[key]; !ok || !bytes.Equal(value, other) {
			keys = append(keys, key)
		}
	}
	for key := range b {
		if _, ok := a[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// checkSize applies the API server's own rule, which counts values and not names, of a ConfigMap too, before anything is sent.
func checkSize(d Desired) error {
	size := 0
	for _, value := range d.Data {
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		return &TooLargeError{Object: d.object(), Size: size}
	}
	return nil
}

// lostRace says that the Secret was created, changed or deleted between our look and our write.
func lostRace(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)
}
