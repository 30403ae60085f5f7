package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/rollout"
)

const (
	// restartMin and restartMax are how long after a restart that failed, for a reason that a person has to mend, the next try is at the
	// earliest. Each lists the workloads of a namespace.
	restartMin = time.Minute
	restartMax = 10 * time.Minute
)

// restart is what became of the workloads of one namespace that use a target whose data has changed.
type restart struct {
	namespace string
	due       []*placed

	done []string      // workloads
	err  error         // why not all
	wait time.Duration // it failed a moment ago, and is not tried again before
}

// rolls says whether workloads are to be restarted for the object.
func rolls(obj *stv1.ServiceTokenSecret) bool {
	return obj.Spec.Rollout != nil && obj.Spec.Rollout.Mode != stv1.RolloutNever
}

// rollOut restarts what uses targets whose data has changed, when all are written, as a workload may use several. That this is due
// stays written on a target until it is done, so what a crash or a failure leaves is done later. Nothing is done twice: what was written
// together has one revision, and a workload that has it is left alone.
func (r *reconciler) rollOut(ctx context.Context, s *subject, all []placed) []restart {
	var restarts []restart
	for i := range all {
		p := &all[i]
		if p.written.Due == "" {
			continue
		}
		if n := len(restarts); n == 0 || restarts[n-1].namespace != p.namespace {
			restarts = append(restarts, restart{namespace: p.namespace})
		}
		last := &restarts[len(restarts)-1]
		last.due = append(last.due, p)
	}
	var work errgroup.Group
	work.SetLimit(writers)
	for i := range restarts {
		work.Go(func() error {
			r.restart(ctx, s, &restarts[i])
			return nil // it is in restarts
		})
	}
	_ = work.Wait()
	return restarts
}

// restart does what is due in one namespace.
func (r *reconciler) restart(ctx context.Context, s *subject, out *restart) {
	mark := s.Name
	if s.cluster != nil {
		mark = "cluster." + mark
	}
	changes := make([]rollout.Change, len(out.due))
	id := []string{string(s.UID), out.namespace}
	for i, p := range out.due {
		changes[i] = rollout.Change{Kind: string(p.target.Kind), Name: p.target.Name, Revision: p.written.Due}
		id = append(id, p.written.Due) // of another change, nothing has failed yet
	}
	trial := strings.Join(id, "/")
	if r.restarts.IsInBackOffSinceUpdate(trial, r.clock.Now()) {
		out.wait = r.restarts.Get(trial)
		return
	}
	out.done, out.err = r.rollouts.Restart(ctx, out.namespace, rollout.Mode(s.Spec.Rollout.Mode), rollout.MarkOf(mark), changes)
	if out.err != nil {
		if failed, is := out.err.(*rollout.Error); is && !failed.Transient() { //nolint:errorlint // it comes as it is
			r.restarts.Next(trial, r.clock.Now())
			r.restarts.GC()
		}
		out.wait = max(r.restarts.Get(trial), restartMin)
		return
	}
	targets := targetsOf(s.ServiceTokenSecret)
	for _, p := range out.due {
		i := slices.IndexFunc(targets, func(t stv1.Target) bool { return referenceOf(s.ServiceTokenSecret, &t) == p.target })
		if err := r.targets.RolledOut(ctx, s.placement(p.namespace, &targets[i]), p.written.Due); err != nil {
			out.err, out.wait = err, restartMin
		}
	}
}

// setRolledOut sets whether all workloads were restarted that had to be. What was not looked at leaves it as it is.
func setRolledOut(obj *stv1.ServiceTokenSecret, out outcome, now metav1.Time) {
	if !rolls(obj) {
		meta.RemoveStatusCondition(&obj.Status.Conditions, stv1.ConditionRolledOut)
		return
	}
	known := len(out.placed) > 0
	for _, restart := range out.restarts {
		if restart.err != nil {
			setCondition(obj, stv1.ConditionRolledOut, metav1.ConditionFalse, stv1.ReasonRolloutFailed,
				fmt.Sprintf("in namespace %s not everything was restarted that uses what has changed: %s", restart.namespace, unrolledMessage(restart.err)), now)
			return
		}
		known = known && restart.wait == 0
	}
	for _, p := range out.placed {
		known = known && p.err == nil && p.held == 0
	}
	// What is due of a Merge is not known afterwards, so only one that was done makes up for one that was not.
	merges := slices.ContainsFunc(targetsOf(obj), func(t stv1.Target) bool { return t.CreationPolicy == stv1.CreationPolicyMerge })
	if known && (!merges || len(out.restarts) > 0) {
		setCondition(obj, stv1.ConditionRolledOut, metav1.ConditionTrue, stv1.ReasonRolloutDone, "no workload is left to restart", now)
	}
}

// unrolledMessage leaves out the API server's own words.
func unrolledMessage(err error) string {
	if _, known := reasonOf(err); known || is[*rollout.Error](err) {
		return err.Error()
	}
	return (&writeError{err}).Error()
}
