// Package controllers holds the reconciler of ServiceTokenSecrets and ClusterServiceTokenSecrets, which are the same in almost all
// (subject): what it watches, in which order it calls the rooms under internal/, and how an outcome becomes status, events and the next
// look. How tokens, servers, data and Secrets work is known there, not here.
package controllers

import (
	"context"
	"errors"
	"slices"
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
	"github.com/service-token-operator/service-token-operator/internal/rollout"
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
	// healTold is from when on status says that somebody fights: the target is wrong for longer than a moment.
	healTold = 15 * time.Second
	// usageAge is how old the counts in status may become while nothing else changes.
	usageAge = time.Hour
)

// reconciler keeps the targets of ServiceTokenSecrets right, and those of ClusterServiceTokenSecrets.
type reconciler struct {
	selector labels.Selector // of the objects to work on
	client   client.Client   // reads from the cache, writes
	live     client.Reader   // the API server
	inputs   *inputs
	pool     *source.Pool
	ledger   *usage.Ledger
	targets  *target.Writer
	rollouts *rollout.Restarter
	fanout   *fanout // nil where ClusterServiceTokenSecrets are off
	recorder events.EventRecorder
	counters *counters
	clock    clock.PassiveClock
	started  time.Time // set before the first look
	// heals keeps apart the heals of one object, ever further: whoever changes its Secret again and again, another controller or
	// a webhook, is not to be fought at the speed of the API server.
	heals    *flowcontrol.Backoff
	restarts *flowcontrol.Backoff // that failed
	troubles troubles
}

// Reconcile looks at one object once. It never waits for a server: what has to be fetched first is fetched by the pool, which
// wakes the object when it is there.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	s, err := load(ctx, r.client, req.NamespacedName)
	if err != nil {
		if apierrors.IsNotFound(err) {
			r.release(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	if !s.DeletionTimestamp.IsZero() {
		r.release(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	out, retry := r.sync(ctx, s)
	if out.reason == "" && !out.news() { // nothing is known yet, so there is nothing to say
		return ctrl.Result{RequeueAfter: out.recheck}, retry
	}
	if refreshWanted(s, s.Status.LastHandledRefresh) {
		r.pool.Refresh(req.NamespacedName)
	}
	result, err := r.report(ctx, s, out)
	if retry != nil {
		return ctrl.Result{}, errors.Join(retry, err)
	}
	return result, err
}

// release ends all that is done for an object.
func (r *reconciler) release(owner source.Owner) {
	r.pool.Leave(owner)
	r.ledger.Forget(owner.String())
}

// outcome is what one look at an object came to.
type outcome struct {
	reason, message string        // of the condition Ready; no reason means: nothing is known yet, or it is what it was
	token           *tokenOutcome // the token in use, when there is one
	placed          []placed      // each target in each namespace, where it came to that
	restarts        []restart     // for those whose data has changed
	spread          *spread       // how the namespaces of a ClusterServiceTokenSecret fare, where it came to that
	keys            *int32        // in the targets of one namespace, when all are right
	read            bool          // all sources were, for the spec as it is
	gone            bool          // all sources are, and the deletion policy of a target is Delete
	deleted         []placed      // what was deleted just now
	recheck         time.Duration // look again after at most this
}

// sooner makes the next look come no later than after d, unless d is 0.
func (o *outcome) sooner(d time.Duration) {
	if d > 0 && (o.recheck == 0 || d < o.recheck) {
		o.recheck = d
	}
}

// changed says whether anything was written, restarted or deleted.
func (o *outcome) changed() bool {
	return len(o.deleted) > 0 || slices.ContainsFunc(o.placed, func(p placed) bool { return p.written.Changed }) ||
		slices.ContainsFunc(o.restarts, func(r restart) bool { return len(r.done) > 0 })
}

// news says whether there is something to tell even where Ready stays what it was.
func (o *outcome) news() bool {
	return o.changed() || slices.ContainsFunc(o.restarts, func(r restart) bool { return r.err != nil })
}

// tokenOutcome is what is known of the token in use.
type tokenOutcome struct {
	id        string
	identity  bool // it is a machine identity, which neither is counted nor expires
	expiresAt *metav1.Time
	described bool // expiresAt is known
}

// sync does the work: token Secret → credential → snapshots → data → targets. An error is one of the API server's and worth another
// try; everything else is an outcome.
func (r *reconciler) sync(ctx context.Context, s *subject) (outcome, error) {
	if s.Spec.Suspend {
		r.release(s.key())
		return outcome{reason: stv1.ReasonSuspended, message: "spec.suspend is true: nothing is read or written"}, nil
	}
	if s.cluster == nil {
		return r.bring(ctx, s, []string{s.Namespace})
	}
	namespaces, err := r.fanout.selected(ctx, s.cluster)
	if err == nil {
		err = r.fanout.allows(s)
	}
	if err != nil {
		r.pool.Leave(s.key())
		return classified(err)
	}
	left, failed := r.fanout.leave(ctx, r.targets, s, namespaces) // whatever comes of the others
	out, err := r.bring(ctx, s, namespaces)
	out.deleted = append(out.deleted, left...)
	if _, known := reasonOf(failed); known && out.reason == stv1.ReasonSynced {
		refused := failedBy(failed)
		out.reason, out.message = refused.reason, "in a namespace that is not selected any longer: "+refused.message
		out.sooner(refused.recheck)
		return out, err
	}
	return out, errors.Join(err, failed)
}

// bring reads what the subject asks for, and writes it to the namespaces.
func (r *reconciler) bring(ctx context.Context, s *subject, namespaces []string) (outcome, error) {
	obj, owner := s.ServiceTokenSecret, s.key()
	cred, err := r.inputs.credential(ctx, s.home(), connectionOf(&obj.Spec))
	if err != nil {
		if _, known := reasonOf(err); !known {
			return outcome{}, err
		}
		r.pool.Leave(owner) // a token that was taken away is not used any longer
		return failedBy(err), nil
	}
	if obj.Spec.Auth.ServiceToken != nil {
		r.ledger.Watch(owner.String(), cred.Token.ID(), obj.Spec.Rotation.Threshold)
	} else {
		r.ledger.Forget(owner.String())
	}

	read := r.read(obj, owner, cred)
	token := describe(cred, read.token)
	var out outcome
	switch {
	case read.graced:
		return outcome{recheck: r.grace(obj)}, nil
	case read.pending:
		never := meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionReady) == nil
		if never && !cred.Server.PacedUntil().IsZero() && r.clock.Since(obj.CreationTimestamp.Time) > pendingRecheck {
			return outcome{reason: stv1.ReasonRateLimited, message: "the server's rate limit holds back the first read", token: token}, nil
		}
		return outcome{recheck: pendingRecheck}, nil
	case read.gone && deletes(obj) && obj.Status.SyncedGeneration == obj.Generation:
		out, err = r.withdraw(ctx, s, namespaces, read)
	case read.err != nil:
		out, err = classified(read.err)
	default:
		out, err = r.deliver(ctx, s, namespaces, read)
	}
	out.token = token
	return out, err
}

// deliver writes what was read to where it belongs, and restarts what uses it.
func (r *reconciler) deliver(ctx context.Context, s *subject, namespaces []string, read reading) (outcome, error) {
	all := r.write(ctx, s, namespaces, read)
	restarts := r.rollOut(ctx, s, all)
	out, err := r.summary(s, all, read.skipped)
	out.read, out.restarts = true, restarts
	for _, restart := range restarts {
		out.sooner(restart.wait)
	}
	return out, err
}

// withdraw deletes what is to go with its sources.
func (r *reconciler) withdraw(ctx context.Context, s *subject, namespaces []string, read reading) (outcome, error) {
	deleted, err := r.remove(ctx, s, namespaces)
	out := failedBy(read.err)
	if err != nil {
		out, err = classified(err)
	}
	out.gone, out.deleted = true, deleted
	return out, err
}

// describe is what is known of the token in use.
func describe(cred source.Credential, known *source.Token) *tokenOutcome {
	token := &tokenOutcome{id: cred.ID(), identity: !cred.Identity.IsZero()}
	if known == nil {
		return token
	}
	token.described = true
	if at := known.ExpiresAt; at != nil {
		token.expiresAt = &metav1.Time{Time: at.Truncate(time.Second)}
	}
	return token
}

// failedBy is the outcome of a failure that has a reason.
func failedBy(err error) outcome {
	reason, _ := reasonOf(err)
	recheck := slowRecheck
	if is[*target.RefusedError](err) {
		recheck = refusedRecheck
	}
	return outcome{reason: reason, message: err.Error(), recheck: recheck}
}

// classified sorts failures: those that have a reason are an outcome, the API server's are errors.
func classified(err error) (outcome, error) {
	if _, known := reasonOf(err); !known {
		return outcome{}, err
	}
	return failedBy(err), nil
}
