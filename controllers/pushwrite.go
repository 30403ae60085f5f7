package controllers

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/push"
)

// carryOut does a step of what is planned, and keeps account of it. more says that there is more.
func (j *job) carryOut(ctx context.Context, plan *push.Plan) (more bool, err error) {
	w := j.written
	budget := stepWrites
	part := func(names []string) []string {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return j.round.met[name] != nil })
		now := names[:min(len(names), budget)]
		budget -= len(now)
		more = more || len(now) < len(names)
		return now
	}
	create, update, remove := part(plan.Create), part(plan.Update), part(plan.Delete)

	// What counts as written without a write, such as what was created just before the operator was killed, is noted whatever comes.
	was, begun, before := sets.New(w.Names...), sets.New(plan.Create...).Insert(plan.Update...), sets.New(w.Creating...)
	j.own = sets.New(plan.Delete...)
	for _, name := range plan.Names {
		if was.Has(name) || !begun.Has(name) {
			j.own.Insert(name)
		}
	}
	// What may have been created by an earlier request may still arrive, such as when somebody approves of it.
	doubtful := slices.DeleteFunc(slices.Clone(plan.Create), func(name string) bool { return !before.Has(name) || slices.Contains(create, name) })
	w.Names, w.Creating = sets.List(j.own), sorted(doubtful, create)
	if len(create) > 0 {
		// Noted before it is done: a name that is there and not noted is somebody else's.
		if err := j.save(ctx, j.push); err != nil {
			return false, err
		}
	}
	err = j.write(ctx, before, create, update, remove)
	for _, name := range create {
		met := j.round.met[name]
		refused := met != nil && !j.blind && !errors.Is(met, errTaken) && j.known.memory.Has(name)
		if before.Has(name) && !j.own.Has(name) && (met == nil || refused) {
			doubtful = append(doubtful, name) // it was not reached, or only refused now
		}
	}
	w.Names, w.Creating = sets.List(j.own), sorted(doubtful, j.unsure)
	if j.done.count() > 0 || err != nil || len(j.unsure) > 0 {
		j.known.wrote = j.clock.Now()
		// What is known of the folder is not true any more. Not only this push is to see it: so do those who read the folder.
		j.pool.Modified(j.folder.ProjectID(), j.place.Environment, j.place.Path)
	}
	if infisical.KindOf(err) == infisical.KindNoBlindIndex {
		j.pool.Refresh(pushOwner(&j.push.ServiceTokenPush)) // the project has another version by now, and with it another way to write
	}
	return more, err
}

// write does one thing after the other. What the server says about a single name is no reason to leave the others.
func (j *job) write(ctx context.Context, before sets.Set[string], create, update, remove []string) error {
	for _, part := range []struct {
		names []string
		do    func(ctx context.Context, name string) error
	}{
		{create, func(ctx context.Context, name string) error { return j.create(ctx, name, before.Has(name)) }}, {update, j.update}, {remove, j.remove},
	} {
		for _, name := range part.names {
			switch err := part.do(ctx, name); {
			case err == nil:
			case !verdict(err):
				return &nameError{name, err}
			default:
				j.round.met[name] = err
			}
		}
	}
	return nil
}

// verdict says whether an error is the server's about one name, from which nothing follows for others.
func verdict(err error) bool {
	switch infisical.KindOf(err) {
	case infisical.KindPermissionDenied, infisical.KindValidation, infisical.KindUnexpected, infisical.KindUnsendable, infisical.KindApprovalNeeded,
		infisical.KindRouteNotFound, infisical.KindNotFound:
		return true
	}
	return false
}

// create makes a name that there should be none of. For somebody who cannot look, that is how to learn that there is one. tried says that
// it may have been made before.
func (j *job) create(ctx context.Context, name string, tried bool) error {
	mine := j.blind && tried && j.known.memory.Has(name) // by a request whose answer did not arrive
	err := j.folder.Create(ctx, name, j.values[name])
	switch spec := &j.push.Spec; {
	case err == nil:
		j.wrote(&j.done.created, name)
		return nil
	case infisical.KindOf(err) != infisical.KindSecretExists:
		j.doubt(name, err)
		return err
	case mine:
		return j.update(ctx, name)
	case j.blind && spec.UpdatePolicy == stv1.UpdatePolicyIfNotExists:
		j.round.met[name] = errLeft
	case j.blind && spec.ExistingNames == stv1.ExistingNamesTakeOver:
		return j.update(ctx, name)
	case !j.blind && tried && !j.known.arrived.Has(name):
		j.known.arrived.Insert(name) // once: what does not show then is not ours
		j.unsure = append(j.unsure, name)
		return errArrived
	default:
		j.round.met[name] = errTaken
	}
	return nil
}

// errArrived says that a name was absent a moment ago, and is there now, by an earlier request of ours perhaps. The next look knows.
var errArrived = errors.New("it has arrived meanwhile")

// doubt notes that a name may have been created by a request that failed.
func (j *job) doubt(name string, err error) {
	kind := infisical.KindOf(err)
	j.round.waits = j.round.waits || kind == infisical.KindApprovalNeeded
	if kind == infisical.KindApprovalNeeded && j.blind {
		return // it may come much later, or never: who cannot look would take somebody else's for it
	}
	cut := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	if cut || kind == infisical.KindNetwork || kind == infisical.KindServer || kind == infisical.KindBadAnswer || kind == infisical.KindApprovalNeeded {
		j.unsure = append(j.unsure, name)
		j.known.memory.Sent(name, j.folder.Trimmed(j.values[name])) // as it will be read
	}
}

// update changes a name, or makes it anew if somebody has deleted it a moment ago.
func (j *job) update(ctx context.Context, name string) error {
	err := j.folder.Update(ctx, name, j.values[name])
	if infisical.KindOf(err) == infisical.KindSecretNotFound {
		err = j.folder.Create(ctx, name, j.values[name])
	}
	if err == nil {
		j.wrote(&j.done.updated, name)
	}
	j.round.waits = j.round.waits || infisical.KindOf(err) == infisical.KindApprovalNeeded
	return err
}

func (j *job) wrote(list *[]string, name string) {
	*list = append(*list, name)
	j.own.Insert(name)
	if j.blind {
		j.known.memory.Sent(name, j.values[name])
	} else {
		j.known.memory.Drop(name) // it is seen from now on
	}
	j.known.arrived.Delete(name)
}

func (j *job) remove(ctx context.Context, name string) error {
	if err := j.folder.Delete(ctx, name); err != nil && infisical.KindOf(err) != infisical.KindSecretNotFound {
		return err
	}
	j.done.deleted = append(j.done.deleted, name)
	j.own.Delete(name)
	j.known.memory.Drop(name)
	return nil
}

// sorted are all names of some lists, each once.
func sorted(lists ...[]string) []string {
	names := slices.Concat(lists...)
	slices.Sort(names)
	return slices.Compact(names)
}
