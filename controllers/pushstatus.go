package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// report writes what a look at a push came to: into status, if a reader would act on the difference, and into events where something
// turned. It decides when to look again. before is the push as it was before the look, which may have written status on its way.
func (r *pusher) report(ctx context.Context, before, p *stv1.ServiceTokenPush, out pushOutcome) (ctrl.Result, error) {
	// What was written is told even if the operator is being stopped: it is the push's only right to change it later.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	now := metav1.NewTime(r.clock.Now().Truncate(time.Second))
	was, is := accountOf(before), accountOf(p)
	setToken(r.ledger, is, out.token, now)
	turned := false
	if out.reason != "" {
		status := metav1.ConditionFalse
		if out.reason == stv1.ReasonSynced {
			status = metav1.ConditionTrue
		}
		reason, message := out.reason, out.message
		if reason == stv1.ReasonTokenRevoked && knownExpired(is, out.token, now) {
			reason, message = stv1.ReasonTokenExpired, expiredMessage
		}
		turned = setCondition(is, stv1.ConditionReady, status, reason, message, now)
		p.Status.ObservedGeneration = p.Generation
		p.Status.LastHandledRefresh = p.Annotations[stv1.RefreshAnnotation]
	}
	p.Status.Conditions, p.Status.Token, p.Status.Usage = is.Status.Conditions, is.Status.Token, is.Status.Usage
	if out.secrets != nil {
		p.Status.Secrets = out.secrets
	}
	if w := p.Status.Written; w != nil && len(w.Names)+len(w.Creating) == 0 {
		p.Status.Written = nil
	}
	if turned || out.done.any() {
		p.Status.LastSyncTime = &now
	}
	if outdated(before.Status.Usage, out.token, now) || !equality.Semantic.DeepEqual(lastingPush(before.Status), lastingPush(p.Status)) {
		if err := r.save(ctx, p); err != nil {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
	}
	r.turns(ctx, was, is, p)
	if out.left != "" {
		r.tell(ctx, p, corev1.EventTypeNormal, stv1.ReasonNamesLeft, "Push", out.left)
	}
	r.announce(ctx, p, out.done)
	if out.reason != "" {
		r.counters.syncs.WithLabelValues(meta.FindStatusCondition(p.Status.Conditions, stv1.ConditionReady).Reason).Inc()
	}
	return ctrl.Result{RequeueAfter: nextPushLook(is, out, now)}, nil
}

// accountOf is what a push says of its token and in its conditions, as a ServiceTokenSecret has it.
func accountOf(p *stv1.ServiceTokenPush) *stv1.ServiceTokenSecret {
	status := p.Status.DeepCopy()
	return &stv1.ServiceTokenSecret{
		TypeMeta:   metav1.TypeMeta{Kind: "ServiceTokenPush"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Generation: p.Generation},
		Spec:       stv1.ServiceTokenSecretSpec{Auth: p.Spec.Auth, Rotation: p.Spec.Rotation},
		Status:     stv1.ServiceTokenSecretStatus{Conditions: status.Conditions, Token: status.Token, Usage: status.Usage, LastSyncTime: status.LastSyncTime},
	}
}

// lastingPush is a status without what changes all the time.
func lastingPush(s stv1.ServiceTokenPushStatus) stv1.ServiceTokenPushStatus {
	s = *s.DeepCopy()
	settle(s.Token, s.Usage)
	return s
}

// save writes the status, which nobody else does: a conflict is about something else, and ours is written over what there is. It tries
// again while the API server cannot be reached.
func (r *pusher) save(ctx context.Context, p *stv1.ServiceTokenPush) error {
	wanted := p.Status.DeepCopy()
	worthAnotherTry := func(err error) bool { return !apierrors.IsNotFound(err) && ctx.Err() == nil }
	err := retry.OnError(retry.DefaultBackoff, worthAnotherTry, func() error {
		written := p.DeepCopy() // a failed write leaves its traces
		written.Status = *wanted
		err := r.client.Status().Update(ctx, written)
		if err == nil {
			p.ResourceVersion = written.ResourceVersion
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		var fresh stv1.ServiceTokenPush
		if err := r.live.Get(ctx, client.ObjectKeyFromObject(p), &fresh); err != nil {
			return err
		}
		if fresh.UID != p.UID || !r.selector.Matches(labels.Set(fresh.Labels)) {
			return apierrors.NewNotFound(stv1.GroupVersion.WithResource("servicetokenpushes").GroupResource(), p.Name) // it is not ours any more
		}
		p.ResourceVersion = fresh.ResourceVersion // of its spec, what was looked at stays: the new one is looked at next
		return err
	})
	return err
}

// tell tells of one thing, as an event and in the log.
func (r *pusher) tell(ctx context.Context, p *stv1.ServiceTokenPush, kind, reason, action, message string) {
	message = cut(message)
	r.recorder.Eventf(p, nil, kind, reason, action, "%s", message)
	log.FromContext(ctx).Info(message, "reason", reason, "destination", destinationOf(p), "secret", p.Spec.Source.SecretRef.Name)
}

// turns tells of the conditions that turned.
func (r *pusher) turns(ctx context.Context, was, is *stv1.ServiceTokenSecret, p *stv1.ServiceTokenPush) {
	tell := func(kind, reason, action, message string) { r.tell(ctx, p, kind, reason, action, message) }
	announceToken(was, is, tell)
	before, now := meta.FindStatusCondition(was.Status.Conditions, stv1.ConditionReady), meta.FindStatusCondition(is.Status.Conditions, stv1.ConditionReady)
	if now == nil {
		return
	}
	failed := now.Status == metav1.ConditionFalse
	switch {
	case before == nil && !failed:
	case before == nil || before.Reason != now.Reason || failed && before.Message != now.Message:
		kind := corev1.EventTypeNormal
		if failed && now.Reason != stv1.ReasonSuspended {
			kind = corev1.EventTypeWarning
		}
		tell(kind, now.Reason, "Push", now.Message)
	}
}

// announce tells what was written, and counts it.
func (r *pusher) announce(ctx context.Context, p *stv1.ServiceTokenPush, done pushed) {
	r.counters.pushed(done)
	if done.any() {
		r.tell(ctx, p, corev1.EventTypeNormal, stv1.ReasonPushed, "Push", done.describe(p))
	}
}

// nextPushLook is when to look again if nothing wakes the push before.
func nextPushLook(is *stv1.ServiceTokenSecret, out pushOutcome, now metav1.Time) time.Duration {
	next := out.recheck
	if out.token == nil {
		return next
	}
	for _, d := range tokenLooks(is, out.token, now) {
		if d > 0 && (next == 0 || d < next) {
			next = d
		}
	}
	return next
}
