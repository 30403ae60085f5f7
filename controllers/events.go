package controllers

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// announce tells of what turned, in events and in the log. Each is told once: a condition that stays what it is says nothing.
func (r *reconciler) announce(ctx context.Context, before, obj *stv1.ServiceTokenSecret, out outcome) {
	tell := func(kind, reason, action, message string) {
		message = cut(message)
		r.recorder.Eventf(obj, nil, kind, reason, action, "%s", message)
		log.FromContext(ctx).Info(message, "reason", reason, "sources", specPlaces(obj), "target", targetName(obj))
	}
	last, now := before.Status.Token, obj.Status.Token
	sameToken := last != nil && now != nil && last.ID == now.ID
	if last != nil && now != nil && !sameToken {
		tell(corev1.EventTypeNormal, stv1.ReasonTokenRotated, "Read", "now reading with token "+now.ID)
	}
	announceReady(before, obj, out, tell)
	if is := meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionRefreshDelayed); is != nil && is.Status == metav1.ConditionTrue &&
		!meta.IsStatusConditionTrue(before.Status.Conditions, stv1.ConditionRefreshDelayed) {
		tell(corev1.EventTypeWarning, is.Reason, "Read", is.Message)
	}
	for _, kind := range []string{stv1.ConditionRotationDue, stv1.ConditionTokenExpiring} {
		was, is := meta.FindStatusCondition(before.Status.Conditions, kind), meta.FindStatusCondition(obj.Status.Conditions, kind)
		if !sameToken {
			was = nil // it was about another token
		}
		if is == nil || is.Status != metav1.ConditionTrue || (was != nil && was.Reason == is.Reason) {
			continue
		}
		if is.Reason == stv1.ReasonRotationThresholdExceeded && (was == nil || was.Status != metav1.ConditionTrue) {
			tell(corev1.EventTypeWarning, stv1.ReasonRotationThresholdReached, "Rotate", is.Message) // both marks were passed at once
		}
		tell(corev1.EventTypeWarning, is.Reason, "Rotate", is.Message)
	}
}

// announceReady tells of the condition Ready and of the target.
func announceReady(before, obj *stv1.ServiceTokenSecret, out outcome, tell func(kind, reason, action, message string)) {
	was, is := meta.FindStatusCondition(before.Status.Conditions, stv1.ConditionReady), meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionReady)
	failed := is.Status == metav1.ConditionFalse
	switch {
	case was == nil && !failed:
		// Nothing turned: a new object came to what it is for, as its status says. An event for it would be a third write, beside
		// Secret and status, for every object of a cluster that starts.
	case was == nil || was.Reason != is.Reason || (failed && was.Message != is.Message):
		kind := corev1.EventTypeNormal
		if failed && is.Reason != stv1.ReasonSuspended {
			kind = corev1.EventTypeWarning
		}
		tell(kind, is.Reason, "Sync", is.Message)
	case out.written.Created && before.Status.Target != targetName(obj):
		tell(corev1.EventTypeNormal, stv1.ReasonUpdated, "Sync", "wrote another target: "+changedKeys(obj, out))
	case out.written.Healed, out.written.Created:
		tell(corev1.EventTypeNormal, stv1.ReasonHealed, "Heal", "undid a change that somebody made: "+changedKeys(obj, out))
	case out.written.Changed:
		tell(corev1.EventTypeNormal, stv1.ReasonUpdated, "Sync", "wrote a change: "+changedKeys(obj, out))
	}
	if left := before.Status.Target; left != "" && left != obj.Status.Target {
		tell(corev1.EventTypeNormal, stv1.ReasonTargetLeft, "Sync",
			fmt.Sprintf("Secret %s is not written any longer and stays as it was: delete it when nothing uses it", left))
	}
	if out.deleted {
		tell(corev1.EventTypeWarning, stv1.ReasonTargetDeleted, "Delete",
			fmt.Sprintf("deleted Secret %s, since all its sources are gone and spec.target.deletionPolicy is Delete", targetName(obj)))
	}
}

// changedKeys names the keys that were written, never their values.
func changedKeys(obj *stv1.ServiceTokenSecret, out outcome) string {
	const most = 10
	keys := out.written.Keys
	if len(keys) > most {
		keys = append(append([]string{}, keys[:most]...), fmt.Sprintf("and %d more", len(out.written.Keys)-most))
	}
	if len(keys) == 0 {
		return "Secret " + targetName(obj)
	}
	return fmt.Sprintf("Secret %s, keys %s", targetName(obj), strings.Join(keys, ", "))
}
