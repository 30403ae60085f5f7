package controllers

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/rollout"
)

// rolls says whether workloads are to be restarted for the object.
func rolls(obj *stv1.ServiceTokenSecret) bool {
	return obj.Spec.Rollout != nil && obj.Spec.Rollout.Mode != stv1.RolloutNever
}

// rollOut restarts what uses a target whose data has changed. That this is due stays written on the target until it is done, so what a
// crash or a failure leaves is done later. Nothing is done twice, not even for a workload that uses several targets of the object: what was
// written together has one revision, and so one mark.
func (r *reconciler) rollOut(ctx context.Context, s *subject, t *stv1.Target, p *placed) {
	if p.written.Due == "" {
		return
	}
	changed := rollout.Target{Kind: string(p.target.Kind), Name: p.target.Name}
	p.restarted, p.unrolled = r.rollouts.Restart(ctx, p.namespace, changed, rollout.Mode(s.Spec.Rollout.Mode), s.Name+"."+p.written.Due)
	if p.unrolled == nil {
		p.unrolled = r.targets.RolledOut(ctx, s.placement(p.namespace, t), p.written.Due)
	}
}

// setRolledOut sets whether all workloads were restarted that had to be.
func setRolledOut(obj *stv1.ServiceTokenSecret, all []placed, now metav1.Time) {
	if !rolls(obj) {
		meta.RemoveStatusCondition(&obj.Status.Conditions, stv1.ConditionRolledOut)
		return
	}
	if len(all) == 0 {
		return
	}
	for _, p := range all {
		if p.unrolled != nil {
			setCondition(obj, stv1.ConditionRolledOut, metav1.ConditionFalse, stv1.ReasonRolloutFailed,
				fmt.Sprintf("not everything that uses %s %s in namespace %s was restarted: %s", p.target.Kind, p.target.Name, p.namespace, unrolledMessage(p.unrolled)), now)
			return
		}
	}
	setCondition(obj, stv1.ConditionRolledOut, metav1.ConditionTrue, stv1.ReasonRolloutDone, "no workload is left to restart", now)
}

// unrolledMessage leaves out the API server's own words.
func unrolledMessage(err error) string {
	if is[*rollout.Error](err) {
		return err.Error()
	}
	return (&writeError{err}).Error()
}
