package controllers

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/rollout"
	"github.com/service-token-operator/service-token-operator/internal/target"
)

// rolls says whether workloads are to be restarted for the object.
func rolls(obj *stv1.ServiceTokenSecret) bool {
	return obj.Spec.Rollout != nil && obj.Spec.Rollout.Mode != stv1.RolloutNever
}

// rollOut restarts what uses a target whose data has changed. That this is due stays written on the target until it is done, so what a
// crash or a failure leaves is done later, and nothing is done twice.
func (r *reconciler) rollOut(ctx context.Context, s *subject, desired target.Desired, p *placed) {
	mark := p.target.Name + "." + p.written.Due
	p.restarted, p.unrolled = r.rollouts.Restart(ctx, p.namespace,
		rollout.Target{Kind: string(p.target.Kind), Name: p.target.Name}, rollout.Mode(s.Spec.Rollout.Mode), mark)
	if p.unrolled == nil {
		p.unrolled = r.targets.RolledOut(ctx, desired, p.written.Due)
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
