package controllers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/usage"
)

// setToken sets what is said of the token in use: its expiry, its uses, and the two conditions that ask for a new one.
func setToken(ledger *usage.Ledger, obj *stv1.ServiceTokenSecret, token *tokenOutcome, now metav1.Time) {
	if token == nil {
		return
	}
	if obj.Status.Token == nil || obj.Status.Token.ID != token.id {
		obj.Status.Token = &stv1.TokenStatus{ID: token.id}
		meta.RemoveStatusCondition(&obj.Status.Conditions, stv1.ConditionTokenExpiring)
		meta.RemoveStatusCondition(&obj.Status.Conditions, stv1.ConditionRotationDue)
	}
	if token.described {
		obj.Status.Token.ExpiresAt = token.expiresAt
	}
	if token.identity {
		obj.Status.Usage = nil
		return
	}
	setExpiry(obj, token, now)
	setUsage(ledger, obj, token, now)
}

func setExpiry(obj *stv1.ServiceTokenSecret, token *tokenOutcome, now metav1.Time) {
	at := obj.Status.Token.ExpiresAt
	if at == nil {
		obj.Status.Token.Expires = ""
		if token.described {
			setCondition(obj, stv1.ConditionTokenExpiring, metav1.ConditionFalse, stv1.ReasonNoExpiry, "the token never expires", now)
		}
		return
	}
	left := at.Sub(now.Time)
	obj.Status.Token.Expires = spell(left)
	date := at.UTC().Format(time.RFC3339)
	if left > obj.Spec.Rotation.WarnBeforeExpiry.Duration {
		setCondition(obj, stv1.ConditionTokenExpiring, metav1.ConditionFalse, stv1.ReasonExpiryNotDue, "the token expires at "+date, now)
		return
	}
	verb := "expires"
	if left <= 0 {
		verb = "expired"
	}
	setCondition(obj, stv1.ConditionTokenExpiring, metav1.ConditionTrue, stv1.ReasonTokenExpiring,
		fmt.Sprintf("token %s %s at %s: make a new one and put it into its Secret", token.id, verb, date), now)
}

func setUsage(ledger *usage.Ledger, obj *stv1.ServiceTokenSecret, token *tokenOutcome, now metav1.Time) {
	if !ledger.Loaded() {
		return // what is in status is closer to the truth
	}
	count, threshold := ledger.Count(token.id), obj.Spec.Rotation.Threshold
	percent := usage.Percent(count, threshold)
	obj.Status.Usage = &stv1.UsageStatus{Count: count, Threshold: threshold, Percent: percent, Used: fmt.Sprintf("%d%%", percent), Time: now}
	warnAt := int64(obj.Spec.Rotation.WarnAtPercent)
	switch {
	case count >= threshold:
		setCondition(obj, stv1.ConditionRotationDue, metav1.ConditionTrue, stv1.ReasonRotationThresholdExceeded,
			fmt.Sprintf("token %s was used as often as it may be, %d times: make a new one now and put it into its Secret", token.id, threshold), now)
	case percent >= warnAt:
		setCondition(obj, stv1.ConditionRotationDue, metav1.ConditionTrue, stv1.ReasonRotationThresholdReached,
			fmt.Sprintf("token %s was used %d%% of the %d times it may be: make a new one and put it into its Secret", token.id, percent, threshold), now)
	default:
		setCondition(obj, stv1.ConditionRotationDue, metav1.ConditionFalse, stv1.ReasonRotationNotDue,
			fmt.Sprintf("the token was used less than %d%% of the %d times it may be", warnAt, threshold), now)
	}
}

// outdated says whether counts are so old that new ones are worth a write.
func outdated(counts *stv1.UsageStatus, token *tokenOutcome, now metav1.Time) bool {
	return counts != nil && token != nil && now.Sub(counts.Time.Time) >= usageAge
}

// settle takes out of a status what changes all the time.
func settle(token *stv1.TokenStatus, counts *stv1.UsageStatus) {
	if counts != nil {
		counts.Count, counts.Time = 0, metav1.Time{}
	}
	if token != nil {
		token.Expires = ""
	}
}

// tokenLooks are after how long something is to be said of the token; those that are not positive are past.
func tokenLooks(obj *stv1.ServiceTokenSecret, token *tokenOutcome, now metav1.Time) []time.Duration {
	looks := []time.Duration{wait.Jitter(usageAge, 0.2)} // objects that were synced together are not to be written together each hour
	if at := token.expiresAt; at != nil {
		left := at.Sub(now.Time)
		looks = append(looks, left-obj.Spec.Rotation.WarnBeforeExpiry.Duration, left)
	}
	return looks
}

// spell says how far away an expiry is, as kubectl says how old things are.
func spell(left time.Duration) string {
	switch {
	case left <= 0:
		return "expired"
	case left >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(left.Hours()/24))
	case left >= time.Hour:
		return fmt.Sprintf("%dh", int(left.Hours()))
	default:
		return fmt.Sprintf("%dm", int(left.Minutes()))
	}
}
