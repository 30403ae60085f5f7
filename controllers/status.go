package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// report writes what a look at an object came to: into status, once and only if a reader would act on the difference, and into
// events where something turned. It decides when to look again.
func (r *reconciler) report(ctx context.Context, s *subject, out outcome) (ctrl.Result, error) {
	// What was done is told even if the operator is being stopped: the next process finds all in order, and has nothing to tell.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	uid, generation := s.UID, s.Generation
	for {
		now := metav1.NewTime(r.clock.Now().Truncate(time.Second))
		before := s.copied()
		s.setReady(out, now)
		setToken(r.ledger, s.ServiceTokenSecret, out.token, now)
		r.setDelay(s.ServiceTokenSecret, out, now)
		setRolledOut(s.ServiceTokenSecret, out, now)
		s.Status.LastHandledRefresh = s.Annotations[stv1.RefreshAnnotation]
		err := r.writeStatus(ctx, before, s, out, now)
		if err == nil {
			// Events follow the status that tells the same: a look that fails before it is told once more, one after it is not
			// told twice.
			r.announce(ctx, before, s, out)
			r.counters.ended(s.ServiceTokenSecret, out)
			return ctrl.Result{RequeueAfter: r.nextLook(s.ServiceTokenSecret, out, now)}, nil
		}
		if !apierrors.IsConflict(err) {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		// The cache has not seen our own last write yet, and what was told then would be told again; or somebody changed the object.
		if s, err = load(ctx, r.live, s.key()); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		if s.UID != uid || s.Generation != generation {
			return ctrl.Result{}, nil // another object or spec: its own event is on its way
		}
		if !r.selector.Matches(labels.Set(s.Labels)) {
			return ctrl.Result{}, nil // another release's by now, and the cache would wait in vain for the version that is written here
		}
	}
}

// reportTimeout limits how long a report may take, retries included.
const reportTimeout = 10 * time.Second

// writeStatus writes what a reader would act on, and tries again while the API server cannot be reached.
func (r *reconciler) writeStatus(ctx context.Context, before, s *subject, out outcome, now metav1.Time) error {
	if !worthWriting(before, s, out, now) {
		return nil
	}
	worthAnotherTry := func(err error) bool {
		return !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && ctx.Err() == nil
	}
	wanted := s.copied()
	return retry.OnError(retry.DefaultBackoff, worthAnotherTry, func() error {
		*s = *wanted.copied() // a failed write leaves its traces
		// Not a patch: that costs more here, to find the difference, and more at the API server, to apply it; and as what was read
		// must be the latest for either, it could not save a conflict.
		return r.client.Status().Update(ctx, s.object())
	})
}

func (s *subject) setReady(out outcome, now metav1.Time) {
	obj := s.ServiceTokenSecret
	if len(out.placed) > 0 {
		setWritten(&obj.Status, s.written(out.placed))
	}
	if out.changed() {
		obj.Status.LastSyncTime = &now
	}
	if out.reason == "" {
		return // Ready is what it was
	}
	obj.Status.ObservedGeneration = obj.Generation
	status := metav1.ConditionFalse
	if out.reason == stv1.ReasonSynced {
		status = metav1.ConditionTrue
	}
	reason, message := out.reason, out.message
	if reason == stv1.ReasonTokenRevoked && knownExpired(obj, out.token, now) {
		reason, message = stv1.ReasonTokenExpired, expiredMessage
	}
	if setCondition(obj, stv1.ConditionReady, status, reason, message, now) {
		obj.Status.LastSyncTime = &now
	}
	if out.keys != nil {
		obj.Status.Secrets = out.keys
	}
	if out.read {
		obj.Status.SyncedGeneration = obj.Generation
	}
	if out.gone {
		obj.Status.Secrets = nil
	}
	if s.cluster != nil {
		s.cluster.Status.Namespaces, s.cluster.Status.Failures = nil, nil // of what is not written, nothing is known
		if out.spread != nil {
			counts := out.spread.counts
			s.cluster.Status.Namespaces, s.cluster.Status.Failures = &counts, out.spread.failures
		}
	}
}

const expiredMessage = "the token has expired; put a new one into its Secret"

// knownExpired says whether a token that the server does not know any more is one of which status says that it has expired: the
// server deletes an expired token at its next use, and this may be a new process that never saw it.
func knownExpired(obj *stv1.ServiceTokenSecret, token *tokenOutcome, now metav1.Time) bool {
	last := obj.Status.Token
	return last != nil && token != nil && last.ID == token.id && last.ExpiresAt != nil && !now.Before(last.ExpiresAt)
}

// setDelay sets whether sources are read as often as the object asks for. What is not known yet, as at the start of a process,
// stays as status says it.
func (r *reconciler) setDelay(obj *stv1.ServiceTokenSecret, out outcome, now metav1.Time) {
	if out.reason == "" && out.token == nil {
		return // nothing is known yet
	}
	if out.token == nil { // nothing is read
		meta.RemoveStatusCondition(&obj.Status.Conditions, stv1.ConditionRefreshDelayed)
		return
	}
	period, known := r.pool.Period(client.ObjectKeyFromObject(obj))
	switch {
	case !known:
	case period != source.Period{}:
		setCondition(obj, stv1.ConditionRefreshDelayed, metav1.ConditionTrue, stv1.ReasonPollsLate,
			fmt.Sprintf("a source is read every %s to %s instead of every %s: the server's rate limit, or the time it takes to answer, does not allow more",
				period.Min, period.Max, obj.Spec.RefreshInterval.Duration), now)
	case meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionRefreshDelayed) != nil:
		setCondition(obj, stv1.ConditionRefreshDelayed, metav1.ConditionFalse, stv1.ReasonPollsOnTime,
			"sources are read about as often as spec.refreshInterval asks for", now)
	}
}

// worthWriting says whether a reader of status would act on the difference, or new counts replace some that are an hour old.
func worthWriting(before, s *subject, out outcome, now metav1.Time) bool {
	if outdated(before.Status.Usage, out.token, now) {
		return true
	}
	if s.cluster != nil && (!equality.Semantic.DeepEqual(before.cluster.Status.Namespaces, s.cluster.Status.Namespaces) ||
		!equality.Semantic.DeepEqual(before.cluster.Status.Failures, s.cluster.Status.Failures)) {
		return true
	}
	return !equality.Semantic.DeepEqual(lasting(before.Status), lasting(s.Status))
}

// lasting is a status without what changes all the time.
func lasting(s stv1.ServiceTokenSecretStatus) stv1.ServiceTokenSecretStatus {
	s = *s.DeepCopy()
	settle(s.Token, s.Usage)
	return s
}

// nextLook is when to look again if nothing wakes the object before.
func (r *reconciler) nextLook(obj *stv1.ServiceTokenSecret, out outcome, now metav1.Time) time.Duration {
	next := out.recheck
	sooner := func(d time.Duration) {
		if d > 0 && (next == 0 || d < next) {
			next = d
		}
	}
	if out.token == nil {
		return next
	}
	if _, known := r.pool.Period(client.ObjectKeyFromObject(obj)); !known && meta.IsStatusConditionTrue(obj.Status.Conditions, stv1.ConditionRefreshDelayed) {
		sooner(2 * obj.Spec.RefreshInterval.Duration) // nobody tells that all is in time, as nobody needs to know it of those that were
	}
	for _, d := range tokenLooks(obj, out.token, now) {
		sooner(d)
	}
	return next
}

func setCondition(obj *stv1.ServiceTokenSecret, kind string, status metav1.ConditionStatus, reason, message string, now metav1.Time) (changed bool) {
	message = cut(message)
	before := meta.FindStatusCondition(obj.Status.Conditions, kind)
	changed = before == nil || before.Status != status || before.Reason != reason || before.Message != message
	meta.SetStatusCondition(&obj.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: obj.Generation, LastTransitionTime: now,
	})
	return changed
}

// cut shortens a message to the 1,024 bytes that the API server takes for an event's; a condition could be longer, but says the
// same.
func cut(message string) string { return cutTo(message, 1024) }

func cutTo(message string, longest int) string {
	const mark = "…"
	if len(message) <= longest {
		return message
	}
	return strings.ToValidUTF8(message[:longest-len(mark)], "") + mark
}

// refreshWanted says whether the user asks, by the annotation, for a fetch that has not been made yet.
func refreshWanted(obj client.Object, handled string) bool {
	asked := obj.GetAnnotations()[stv1.RefreshAnnotation]
	return asked != "" && asked != handled
}
