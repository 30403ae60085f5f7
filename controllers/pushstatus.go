package controllers

import (
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// report writes what a look at a push came to: into status, if a reader would act on the difference, and into events where something
// turned. It decides when to look again.
func (r *pusher) report(ctx context.Context, p *item, out pushOutcome) (ctrl.Result, error) {
	// What was written is told even if the operator is being stopped: it is the push's only right to change it later.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	now := metav1.NewTime(r.clock.Now().Truncate(time.Second))
	was, is := accountOf(&p.ServiceTokenPush, &p.before), accountOf(&p.ServiceTokenPush, &p.Status)
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
	}
	p.Status.Conditions, p.Status.Token, p.Status.Usage = is.Status.Conditions, is.Status.Token, is.Status.Usage
	if out.secrets != nil {
		p.Status.Secrets = out.secrets
	}
	if w := p.Status.Written; w != nil && len(w.Names)+len(w.Creating) == 0 {
		p.Status.Written = nil
	}
	if turned || out.done.count() > 0 {
		p.Status.LastSyncTime = &now
	}
	if outdated(p.before.Usage, out.token, now) || !equality.Semantic.DeepEqual(lastingPush(p.saved), lastingPush(p.Status)) {
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
func accountOf(p *stv1.ServiceTokenPush, status *stv1.ServiceTokenPushStatus) *stv1.ServiceTokenSecret {
	account := &stv1.ServiceTokenSecret{
		TypeMeta:   metav1.TypeMeta{Kind: "ServiceTokenPush"},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Generation: p.Generation},
		Spec:       stv1.ServiceTokenSecretSpec{Auth: p.Spec.Auth, Rotation: p.Spec.Rotation},
		Status:     stv1.ServiceTokenSecretStatus{Conditions: slices.Clone(status.Conditions), LastSyncTime: status.LastSyncTime},
	}
	if status.Token != nil {
		account.Status.Token = ptr.To(*status.Token)
	}
	if status.Usage != nil {
		account.Status.Usage = ptr.To(*status.Usage)
	}
	return account
}

// lastingPush is a status without what changes all the time.
func lastingPush(s stv1.ServiceTokenPushStatus) stv1.ServiceTokenPushStatus {
	s = *s.DeepCopy()
	settle(s.Token, s.Usage)
	return s
}

// save writes the status, and tries again while the API server cannot be reached. A conflict about something else is none; one about the
// status, which a leader before this one may still write, is an error: what that has written counts.
func (r *pusher) save(ctx context.Context, p *item) error {
	wanted := *p.Status.DeepCopy()
	patience := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.1, Steps: 7} // about as long as a report may take
	worthAnotherTry := func(err error) bool {
		return !apierrors.IsNotFound(err) && !errors.Is(err, errOutrun) && ctx.Err() == nil
	}
	return retry.OnError(patience, worthAnotherTry, func() error {
		written := p.ServiceTokenPush.DeepCopy() // a failed write leaves its traces
		written.Status = *wanted.DeepCopy()
		err := r.client.Status().Update(ctx, written)
		if err == nil {
			p.ResourceVersion, p.saved = written.ResourceVersion, wanted
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		var fresh stv1.ServiceTokenPush
		if err := r.live.Get(ctx, client.ObjectKeyFromObject(p), &fresh); err != nil {
			return err
		}
		switch {
		case fresh.UID != p.UID || !r.selector.Matches(labels.Set(fresh.Labels)): // it is not ours any more
			return apierrors.NewNotFound(stv1.GroupVersion.WithResource("servicetokenpushes").GroupResource(), p.Name)
		case !equality.Semantic.DeepEqual(fresh.Status, p.saved):
			return errOutrun
		}
		p.ResourceVersion = fresh.ResourceVersion // of its spec, what was looked at stays: the new one is looked at next
		return err
	})
}

// errOutrun says that somebody else has written the status.
var errOutrun = errors.New("another process has written the status of the ServiceTokenPush meanwhile; it is looked at again")

// tell tells of one thing, as an event and in the log.
func (r *pusher) tell(ctx context.Context, p *item, kind, reason, action, message string) {
	message = cut(message)
	r.recorder.Eventf(&p.ServiceTokenPush, nil, kind, reason, action, "%s", message)
	log.FromContext(ctx).Info(message, "reason", reason, "destination", destinationOf(p), "secret", p.Spec.Source.SecretRef.Name)
}

// turns tells of the conditions that turned.
func (r *pusher) turns(ctx context.Context, was, is *stv1.ServiceTokenSecret, p *item) {
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
func (r *pusher) announce(ctx context.Context, p *item, done pushed) {
	r.counters.pushed(done)
	if done.count() > 0 {
		r.tell(ctx, p, corev1.EventTypeNormal, stv1.ReasonPushed, "Push", done.describe(destinationOf(p)))
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
