package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/push"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// job is one push on its way to the server.
type job struct {
	*pusher

	push    *stv1.ServiceTokenPush
	place   source.Place
	folder  *source.Folder
	values  map[string][]byte // by name
	version string            // of the Secret that has them, with the project that they go to
	blind   bool              // the token cannot read what the folder holds

	written   *stv1.PushedNames // part of the push's status once something is to be done
	done      pushed
	left      []string // names that were found to be there, and stay as they are
	conflicts []string // and such that may not
}

// pushed are the names that were written.
type pushed struct{ created, updated, deleted []string }

func (d pushed) any() bool { return len(d.created)+len(d.updated)+len(d.deleted) > 0 }

// describe tells what was done, for an event.
func (d pushed) describe(p *stv1.ServiceTokenPush) string {
	var parts []string
	for _, part := range []struct {
		verb  string
		names []string
	}{{"created", d.created}, {"updated", d.updated}, {"deleted", d.deleted}} {
		if len(part.names) > 0 {
			parts = append(parts, part.verb+" "+listed(part.names))
		}
	}
	return fmt.Sprintf("in %s: %s", destinationOf(p), strings.Join(parts, "; "))
}

// run writes what differs, and keeps account of the names that count as written in the push's status, whatever comes of it.
func (j *job) run(ctx context.Context) (out pushOutcome, err error) {
	var left string
	j.written, left = j.own()
	if message, done := j.sent(); done {
		out.reason, out.message, out.secrets = stv1.ReasonSynced, message, j.count()
		return out, nil
	}
	id := pushOwner(j.push).String()
	known := j.settled.at(pushOwner(j.push), j.change())
	if known && j.heals.IsInBackOffSinceUpdate(id, j.clock.Now()) {
		out.recheck = j.heals.Get(id)
		return out, nil // it was healed a moment ago, and Ready stays what it is
	}
	plan, err := j.plan()
	if err == nil && !plan.Empty() && !j.blind {
		// What was planned with may be older than the last write, of this push or of somebody else.
		if err = j.folder.Reread(ctx); err == nil {
			plan, err = j.plan()
		}
	}
	if err != nil {
		return out, err
	}
	j.push.Status.Written, out.left = j.written, left
	err = j.carryOut(ctx, &plan)
	out.done = j.done
	if j.done.any() || err != nil {
		// What is known of the folder is not true any more. Not only this push is to see it: so do those who read the folder.
		j.pool.Modified(j.folder.ProjectID(), j.place.Environment, j.place.Path)
	}
	if infisical.KindOf(err) == infisical.KindNoBlindIndex {
		j.pool.Refresh(pushOwner(j.push)) // the project has another version by now, and with it another way to write
	}
	if err != nil {
		return out, err
	}
	j.push.Status.SecretVersion = ""
	if j.blind {
		j.push.Status.SecretVersion = j.version
	}
	j.settled.set(pushOwner(j.push), j.change())
	out.reason, out.message, out.secrets = stv1.ReasonSynced, j.summary(plan.Left), j.count()
	if known && j.done.any() {
		// Nothing is new here, so it was changed at the server.
		j.heals.Next(id, j.clock.Now())
		j.heals.GC()
		out.recheck = j.heals.Get(id)
		if out.recheck >= healTold {
			out.reason = stv1.ReasonNameConflict
			out.message = fmt.Sprintf("somebody changes what was pushed again and again, and it is put right ever more rarely, at least every %s: %s", healMax, j.done.describe(j.push))
		}
	}
	return out, nil
}

// change is what a push brings to the server: a version of its Secret, as its spec wants it.
func (j *job) change() string { return fmt.Sprintf("%d/%s", j.push.Generation, j.version) }

// sent says whether this version of the Secret was pushed, as far as somebody can know who cannot look, and what was said of it.
func (j *job) sent() (message string, done bool) {
	status := &j.push.Status
	ready := meta.FindStatusCondition(status.Conditions, stv1.ConditionReady)
	if !j.blind || ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != j.push.Generation {
		return "", false
	}
	return ready.Message, status.SecretVersion == j.version
}

// own is what counts as written where the push leads now. What was written elsewhere is its own no longer once something is right here.
func (j *job) own() (own *stv1.PushedNames, left string) {
	own = &stv1.PushedNames{ProjectID: j.folder.ProjectID(), Environment: j.place.Environment, Path: j.place.Path}
	w := j.push.Status.Written
	switch {
	case w == nil:
	case w.ProjectID == own.ProjectID && w.Environment == own.Environment && w.Path == own.Path:
		own = w.DeepCopy()
	case len(w.Names) > 0:
		left = fmt.Sprintf("not written any longer, and left as they were, in %s: %s", source.Place{Environment: w.Environment, Path: w.Path}, listed(w.Names))
	}
	return own, left
}

func (j *job) plan() (push.Plan, error) {
	w, spec := j.written, &j.push.Spec
	state := j.folder.State
	if j.blind {
		state = j.guess
	}
	return push.Make(j.values, state, push.Written{Names: w.Names, Creating: w.Creating}, push.Policy{
		IfNotExists: spec.UpdatePolicy == stv1.UpdatePolicyIfNotExists,
		TakeOver:    spec.ExistingNames == stv1.ExistingNamesTakeOver,
		Delete:      spec.DeletionPolicy == stv1.DeletionPolicyDelete,
	})
}

// guess is the state of a name for somebody who cannot look: what was written is there.
func (j *job) guess(name string, value []byte) source.State {
	switch {
	case !slices.Contains(j.written.Names, name):
		return source.Absent
	case j.memory.Knows(pushOwner(j.push), name, value):
		return source.Same
	default:
		return source.Differs
	}
}

// carryOut does what is planned, and keeps account of it in the push's status.
func (j *job) carryOut(ctx context.Context, plan *push.Plan) error {
	w := j.written
	// What is ours already and needs no write, such as what the operator created just before it was killed, is noted whatever comes.
	w.Names = slices.DeleteFunc(slices.Clone(plan.Names), func(name string) bool {
		return !slices.Contains(w.Names, name) && (slices.Contains(plan.Create, name) || slices.Contains(plan.Update, name))
	})
	w.Names = sorted(w.Names, plan.Delete)
	w.Creating = plan.Create
	if len(plan.Create) > 0 {
		// Noted before it is done: a name that is there and not noted is somebody else's.
		if err := j.save(ctx, j.push); err != nil {
			return err
		}
	}
	unsure, err := j.write(ctx, plan)
	w.Creating = unsure
	if err == nil {
		w.Names = slices.DeleteFunc(plan.Names, func(name string) bool { return slices.Contains(j.left, name) })
		plan.Left = append(plan.Left, j.left...)
		return nil
	}
	w.Names = slices.DeleteFunc(sorted(w.Names, j.done.created, j.done.updated), func(name string) bool { return slices.Contains(j.done.deleted, name) })
	return err
}

// sorted are all names of some lists, each once.
func sorted(lists ...[]string) []string {
	names := slices.Concat(lists...)
	slices.Sort(names)
	return slices.Compact(names)
}

// write does one thing after the other, until one fails. unsure are names of which nobody knows whether they were created.
func (j *job) write(ctx context.Context, plan *push.Plan) (unsure []string, err error) {
	for _, name := range plan.Create {
		err := j.create(ctx, name)
		if err != nil && mayBeDone(err) {
			unsure = []string{name}
			j.remember(name)
		}
		if err != nil {
			return unsure, err
		}
	}
	for _, name := range plan.Update {
		if err := j.update(ctx, name); err != nil {
			return nil, err
		}
	}
	for _, name := range plan.Delete {
		if err := j.folder.Delete(ctx, name); err != nil && infisical.KindOf(err) != infisical.KindSecretNotFound {
			return nil, err
		}
		j.done.deleted = append(j.done.deleted, name)
		j.memory.Drop(pushOwner(j.push), name)
	}
	if len(j.conflicts) > 0 {
		return nil, &push.ConflictError{Names: j.conflicts}
	}
	return nil, nil
}

// create makes a name that there should be none of. For somebody who cannot look, that is how to learn that there is one.
func (j *job) create(ctx context.Context, name string) error {
	err := j.folder.Create(ctx, name, j.values[name])
	switch spec := &j.push.Spec; {
	case err == nil:
		j.wrote(&j.done.created, name)
		return nil
	case infisical.KindOf(err) != infisical.KindSecretExists:
		return err
	case j.blind && j.memory.Has(pushOwner(j.push), name): // by a request whose answer did not arrive
		return j.update(ctx, name)
	case j.blind && spec.UpdatePolicy == stv1.UpdatePolicyIfNotExists:
		j.left = append(j.left, name)
	case j.blind && spec.ExistingNames == stv1.ExistingNamesTakeOver:
		return j.update(ctx, name)
	default:
		j.conflicts = append(j.conflicts, name)
	}
	return nil
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
	return err
}

func (j *job) wrote(list *[]string, name string) {
	*list = append(*list, name)
	j.remember(name)
}

// remember notes what was sent, for somebody who cannot look.
func (j *job) remember(name string) {
	if j.blind {
		j.memory.Wrote(pushOwner(j.push), name, j.values[name])
	}
}

// mayBeDone says whether a request that failed may have been carried out all the same.
func mayBeDone(err error) bool {
	e, answered := errors.AsType[*infisical.Error](err)
	if !answered {
		return true // its context ended
	}
	return e.Kind == infisical.KindNetwork || e.Kind == infisical.KindServer || e.Kind == infisical.KindBadAnswer
}

// count is how many names are as they should be.
func (j *job) count() *int32 { return ptr.To(int32(len(j.values))) } //nolint:gosec // there are at most 2000

// summary says what is at the server.
func (j *job) summary(left []string) string {
	noun := "names"
	if len(j.values) == 1 {
		noun = "name"
	}
	text := fmt.Sprintf("%s has %d %s of Secret %s", j.place, len(j.values), noun, j.push.Spec.Source.SecretRef.Name)
	if len(left) > 0 {
		text += "; with other values, and left as they are by updatePolicy IfNotExists: " + listed(left)
	}
	var trimmed []string
	for _, name := range slices.Sorted(maps.Keys(j.values)) {
		if value := j.values[name]; len(j.folder.Trimmed(value)) != len(value) {
			trimmed = append(trimmed, name)
		}
	}
	if len(trimmed) > 0 {
		text += "; without the white space around their values, which this server removes: " + listed(trimmed)
	}
	return text
}
