// Package controllers holds one reconciler per kind: what it watches, in which order it calls the rooms under internal/, and
// how an outcome becomes status, events and the next look. How tokens, servers, data and Secrets work is known there, not here.
package controllers

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
	"github.com/service-token-operator/service-token-operator/internal/target"
	"github.com/service-token-operator/service-token-operator/internal/usage"
)

// +kubebuilder:rbac:groups=servicetoken.io,resources=servicetokensecrets,verbs=get;list;watch
// +kubebuilder:rbac:groups=servicetoken.io,resources=servicetokensecrets/status,verbs=update
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

const (
	// pendingRecheck is how long a first read may take before status says what it waits for.
	pendingRecheck = 5 * time.Second
	// slowRecheck is how often something that waits for a person is looked at again, should the watch on it have missed the change.
	slowRecheck = 10 * time.Minute
	// refusedRecheck is how soon a write that the API server refused is tried again: no watch tells when a quota or policy changes.
	refusedRecheck = time.Minute
	// healMin and healMax are how long after a heal the next may be at the earliest.
	healMin = time.Second
	healMax = 5 * time.Minute
	// usageAge is how old the counts in status may become while nothing else changes.
	usageAge = time.Hour
)

// reconciler keeps the target Secrets of ServiceTokenSecrets right.
type reconciler struct {
	selector labels.Selector // of the objects to work on
	client   client.Client   // reads from the cache, writes
	live     client.Reader   // the API server
	inputs   *inputs
	pool     *source.Pool
	ledger   *usage.Ledger
	targets  *target.Writer
	recorder events.EventRecorder
	counters *counters
	clock    clock.PassiveClock
	started  time.Time // set before the first look
	// heals keeps apart the heals of one object, ever further: whoever changes its Secret again and again, another controller or
	// a webhook, is not to be fought at the speed of the API server.
	heals *flowcontrol.Backoff
}

// Reconcile looks at one object once. It never waits for a server: what has to be fetched first is fetched by the pool, which
// wakes the object when it is there.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var obj stv1.ServiceTokenSecret
	if err := r.client.Get(ctx, req.NamespacedName, &obj); err != nil {
		if apierrors.IsNotFound(err) {
			r.release(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	if !obj.DeletionTimestamp.IsZero() {
		r.release(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	out, err := r.sync(ctx, &obj)
	if err != nil {
		return ctrl.Result{}, err
	}
	if out.reason == "" { // nothing is known yet, so there is nothing to say
		return ctrl.Result{RequeueAfter: out.recheck}, nil
	}
	if r.refreshWanted(&obj) {
		r.pool.Refresh(req.NamespacedName)
	}
	return r.report(ctx, &obj, out)
}

// release ends all that is done for an object.
func (r *reconciler) release(owner source.Owner) {
	r.pool.Leave(owner)
	r.ledger.Forget(owner.String())
	r.heals.DeleteEntry(owner.String())
}

// outcome is what one look at an object came to.
type outcome struct {
	reason, message string        // of the condition Ready; no reason means: nothing is known yet
	token           *tokenOutcome // the token in use, when there is one
	written         target.Result
	keys            *int32        // in the target, when it is right
	gone            bool          // every source is, and the deletion policy is Delete: there is no target
	deleted         bool          // it was deleted just now
	recheck         time.Duration // look again after at most this
}

// tokenOutcome is what is known of the token in use.
type tokenOutcome struct {
	id        string
	expiresAt *metav1.Time
	described bool // expiresAt is known
}

// sync does the work: token Secret → credential → snapshots → data → target Secret. An error is one of the API server's and
// worth another try; everything else is an outcome.
func (r *reconciler) sync(ctx context.Context, obj *stv1.ServiceTokenSecret) (outcome, error) {
	owner := client.ObjectKeyFromObject(obj)
	if obj.Spec.Suspend {
		r.release(owner)
		return outcome{reason: stv1.ReasonSuspended, message: "spec.suspend is true: nothing is read or written"}, nil
	}
	cred, err := r.inputs.credential(ctx, obj)
	if err != nil {
		if _, known := reasonOf(err); !known {
			return outcome{}, err
		}
		r.pool.Leave(owner) // a token that was taken away is not used any longer
		return failed(err, nil), nil
	}
	r.ledger.Watch(owner.String(), cred.Token.ID(), obj.Spec.Rotation.Threshold)

	read := r.read(obj, owner, cred)
	token := describe(cred, read.token)
	switch {
	case read.graced:
		return outcome{recheck: r.grace(obj)}, nil
	case read.pending:
		never := meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionReady) == nil
		if never && !cred.Server.PacedUntil().IsZero() && r.clock.Since(obj.CreationTimestamp.Time) > pendingRecheck {
			return outcome{reason: stv1.ReasonRateLimited, message: "the server's rate limit holds back the first read", token: token}, nil
		}
		return outcome{recheck: pendingRecheck}, nil
	case read.gone && obj.Spec.Target.DeletionPolicy == stv1.DeletionPolicyDelete && obj.Status.SyncedGeneration == obj.Generation:
		deleted, err := r.targets.Delete(ctx, obj.Namespace, targetName(obj), ownerReference(obj))
		if err != nil {
			return classified(err, token)
		}
		out := failed(read.err, token)
		out.gone, out.deleted = true, deleted
		return out, nil
	case read.err != nil:
		return classified(read.err, token)
	}
	if now := r.clock.Now(); r.heals.IsInBackOffSinceUpdate(owner.String(), now) {
		return outcome{recheck: r.heals.Get(owner.String())}, nil
	}
	written, err := r.targets.Apply(ctx, wantedTarget(obj, read.data))
	if err != nil {
		return classified(err, token)
	}
	var seen time.Time
	// Else it is the spec that changed, or something that was read long ago is written now, for another reason.
	if last := obj.Status.LastSyncTime; obj.Status.SyncedGeneration == obj.Generation && last != nil && read.seen.After(last.Time) {
		seen = read.seen
	}
	r.counters.wrote(written, seen, r.clock.Now())
	if written.Healed {
		r.heals.Next(owner.String(), r.clock.Now())
	}
	keys := int32(len(read.data)) //nolint:gosec // a Secret of 1 MiB cannot hold 2^31 keys
	return outcome{reason: stv1.ReasonSynced, message: syncedMessage(obj, len(read.data)), token: token, written: written, keys: &keys}, nil
}

// describe is what is known of the token in use.
func describe(cred source.Credential, known *source.Token) *tokenOutcome {
	token := &tokenOutcome{id: cred.Token.ID()}
	if known == nil {
		return token
	}
	token.described = true
	if at := known.ExpiresAt; at != nil {
		token.expiresAt = &metav1.Time{Time: at.Truncate(time.Second)}
	}
	return token
}

// failed is the outcome of a failure that has a reason.
func failed(err error, token *tokenOutcome) outcome {
	reason, _ := reasonOf(err)
	recheck := slowRecheck
	if is[*target.RefusedError](err) {
		recheck = refusedRecheck
	}
	return outcome{reason: reason, message: err.Error(), token: token, recheck: recheck}
}

// classified sorts failures: those that have a reason are an outcome, the API server's are errors.
func classified(err error, token *tokenOutcome) (outcome, error) {
	if _, known := reasonOf(err); !known {
		return outcome{}, err
	}
	return failed(err, token), nil
}

// wantedTarget is the Secret that the object describes.
func wantedTarget(obj *stv1.ServiceTokenSecret, data map[string][]byte) target.Desired {
	return target.Desired{
		Namespace:   obj.Namespace,
		Name:        targetName(obj),
		Owner:       ownerReference(obj),
		Policy:      target.CreationPolicy(obj.Spec.Target.CreationPolicy),
		Type:        secretType(obj),
		Labels:      obj.Spec.Target.Labels,
		Annotations: obj.Spec.Target.Annotations,
		Data:        data,
	}
}

func ownerReference(obj *stv1.ServiceTokenSecret) metav1.OwnerReference {
	return *metav1.NewControllerRef(obj, stv1.GroupVersion.WithKind("ServiceTokenSecret"))
}
