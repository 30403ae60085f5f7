package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// announce tells of what turned, in events and in the log. Each is told once: a condition that stays what it is says nothing.
func (r *reconciler) announce(ctx context.Context, before, s *subject, out outcome) {
	object := s.object()
	tell := func(kind, reason, action, message string) {
		message = cut(message)
		r.recorder.Eventf(object, nil, kind, reason, action, "%s", message)
		log.FromContext(ctx).Info(message, "reason", reason, "sources", specPlaces(s.ServiceTokenSecret), "target", targetNames(s.ServiceTokenSecret))
	}
	announceToken(before.ServiceTokenSecret, s.ServiceTokenSecret, tell)
	announceReady(before, s, out, tell)
	announceRollout(before, s, out, tell)
	announceTurn(before, s, stv1.ConditionRefreshDelayed, metav1.ConditionTrue, "Read", tell)
}

// announceToken tells that another token is in use, and of what is due for it.
func announceToken(before, obj *stv1.ServiceTokenSecret, tell teller) {
	last, now := before.Status.Token, obj.Status.Token
	sameToken := last != nil && now != nil && last.ID == now.ID
	if last != nil && now != nil && !sameToken {
		tell(corev1.EventTypeNormal, stv1.ReasonTokenRotated, "Read", "now reading with token "+now.ID)
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

// teller tells of one thing.
type teller func(kind, reason, action, message string)

// announceTurn warns of a condition that has turned to a status.
func announceTurn(before, s *subject, condition string, to metav1.ConditionStatus, action string, tell teller) {
	is := meta.FindStatusCondition(s.Status.Conditions, condition)
	if is != nil && is.Status == to && !meta.IsStatusConditionPresentAndEqual(before.Status.Conditions, condition, to) {
		tell(corev1.EventTypeWarning, is.Reason, action, is.Message)
	}
}

// announceReady tells of the condition Ready and of the targets.
func announceReady(before, s *subject, out outcome, tell teller) {
	was, is := meta.FindStatusCondition(before.Status.Conditions, stv1.ConditionReady), meta.FindStatusCondition(s.Status.Conditions, stv1.ConditionReady)
	failed := is != nil && is.Status == metav1.ConditionFalse
	switch {
	case is == nil: // what there is to tell is told with it
	case was == nil && !failed:
		// Nothing turned: a new object came to what it is for, as its status says. An event for it would be a third write, beside
		// Secret and status, for every object of a cluster that starts.
	case was == nil || was.Reason != is.Reason || (failed && was.Message != is.Message):
		kind := corev1.EventTypeNormal
		if failed && is.Reason != stv1.ReasonSuspended {
			kind = corev1.EventTypeWarning
		}
		tell(kind, is.Reason, "Sync", is.Message)
	default:
		announceWrites(before, s, out, tell)
	}
	var left []string
	for _, ref := range writtenBy(&before.Status) {
		if !slices.Contains(writtenBy(&s.Status), ref) {
			left = append(left, string(ref.Kind)+" "+ref.Name)
		}
	}
	if len(left) > 0 {
		tell(corev1.EventTypeNormal, stv1.ReasonTargetLeft, "Sync",
			fmt.Sprintf("not written any longer, and left as it was: %s; delete it when nothing uses it", listed(left)))
	}
	if len(out.deleted) > 0 {
		why := "all its sources are gone"
		if !out.gone {
			why = "the namespace is not selected any longer"
		}
		tell(corev1.EventTypeWarning, stv1.ReasonTargetDeleted, "Delete",
			fmt.Sprintf("deleted, as %s and its deletionPolicy is Delete: %s", why, s.together(out.deleted)))
	}
}

// announceWrites tells of the targets that were written while the object stayed Ready. What happened alike is told in one event: several
// in a moment, for the same reason, would be counted as one of the first's words.
func announceWrites(before, s *subject, out outcome, tell teller) {
	known := writtenBy(&before.Status)
	var another, healed, changed []placed
	for _, p := range out.placed {
		switch {
		case p.written.Created && (s.cluster != nil || !slices.Contains(known, p.target)): // of a cluster's, in a namespace that is new, or healed
			another = append(another, p)
		case p.written.Healed, p.written.Created:
			healed = append(healed, p)
		case p.written.Changed:
			changed = append(changed, p)
		}
	}
	if len(another) > 0 {
		tell(corev1.EventTypeNormal, stv1.ReasonUpdated, "Sync", "wrote another target: "+s.together(another))
	}
	if len(healed) > 0 {
		tell(corev1.EventTypeNormal, stv1.ReasonHealed, "Heal", "undid a change that "+culprits(healed)+" made: "+s.together(healed))
	}
	if len(changed) > 0 {
		tell(corev1.EventTypeNormal, stv1.ReasonUpdated, "Sync", "wrote a change: "+s.together(changed))
	}
}

// announceRollout tells which workloads were restarted, and of the first that could not be.
func announceRollout(before, s *subject, out outcome, tell teller) {
	var restarted []string
	for _, restart := range out.restarts {
		for _, workload := range restart.done {
			if s.cluster != nil {
				workload = restart.namespace + "/" + workload
			}
			restarted = append(restarted, workload)
		}
	}
	if len(restarted) > 0 {
		tell(corev1.EventTypeNormal, stv1.ReasonRestarted, "Restart", "restarted, as data that they use has changed: "+listed(restarted))
	}
	announceTurn(before, s, stv1.ConditionRolledOut, metav1.ConditionFalse, "Restart", tell)
}

// together names targets with the keys that were written, never their values; those of a ClusterServiceTokenSecret once for all
// namespaces.
func (s *subject) together(all []placed) string {
	namespaces := map[stv1.TargetReference]int{}
	for _, p := range all {
		namespaces[p.target]++
	}
	var told []string
	for _, p := range all {
		n := namespaces[p.target]
		if n == 0 {
			continue // told with another namespace
		}
		namespaces[p.target] = 0
		text := string(p.target.Kind) + " " + p.target.Name
		if set := slices.DeleteFunc(slices.Clone(p.written.Keys), func(key string) bool { return slices.Contains(p.removed, key) }); len(set) > 0 {
			text += ", keys " + listed(set)
		}
		if len(p.removed) > 0 {
			text += ", removed " + listed(p.removed)
		}
		if s.cluster != nil {
			text += ", in namespace " + p.namespace
			if n > 1 {
				text += fmt.Sprintf(" and %d more", n-1)
			}
		}
		told = append(told, text)
	}
	return strings.Join(told, "; ")
}

func targetNames(obj *stv1.ServiceTokenSecret) string {
	refs := referencesOf(obj)
	names := make([]string, len(refs))
	for i, ref := range refs {
		names[i] = ref.Name
	}
	return strings.Join(names, ",")
}
