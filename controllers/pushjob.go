package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/push"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

const (
	// stepWrites and stepTime bound what one look does at the server, so that a large push, or one to a server that paces it, neither keeps
	// others waiting nor is deaf to a change of its own spec. What was done is in status after each step.
	stepWrites = 50
	stepTime   = 15 * time.Second
)

// errStep is the end of a step's time.
var errStep = errors.New("the step has taken its time")

// job is one step of a push on its way to the server.
type job struct {
	*pusher

	push     *item
	cred     source.Credential
	place    source.Place
	folder   *source.Folder
	snapshot *source.Snapshot  // what the folder was read to hold, if it could be read
	asOf     time.Time         // and when that was so
	undone   bool              // by what is known of the folder, there is something to write
	blind    bool              // the token cannot read it
	values   map[string][]byte // by name; none at the end of a push
	version  string            // of the Secret that has them, with the project that they go to

	known   *record
	written *stv1.PushedNames // part of the push's status once something is to be done
	own     sets.Set[string]  // written.Names while they change

	round  *round
	done   pushed
	unsure []string // names of which nobody knows whether they were created
}

// pushed are the names that were written.
type pushed struct{ created, updated, deleted []string }

func (d pushed) count() int { return len(d.created) + len(d.updated) + len(d.deleted) }

// describe tells what was done, for an event.
func (d pushed) describe(in source.Place) string {
	var parts []string
	for _, part := range []struct {
		verb  string
		names []string
	}{{"created", d.created}, {"updated", d.updated}, {"deleted", d.deleted}} {
		if len(part.names) > 0 {
			parts = append(parts, part.verb+" "+listed(part.names))
		}
	}
	return fmt.Sprintf("in %s: %s", in, strings.Join(parts, "; "))
}

// nameError is a failure that is about one name.
type nameError struct {
	name string
	err  error
}

func (e *nameError) Error() string { return e.name + ": " + e.err.Error() }
func (e *nameError) Unwrap() error { return e.err }

// open gets the folder of the job's place, with what is known of it. No folder and no error mean: not yet.
func (j *job) open() (*source.Token, error) {
	cred, owner, interval := j.cred, pushOwner(&j.push.ServiceTokenPush), j.push.Spec.RefreshInterval.Duration
	known := j.pool.Read(owner, cred, interval)
	if err := known.TokenErr; err != nil && (known.Token == nil || !source.Transient(err)) {
		return known.Token, err
	}
	if known.Token == nil {
		return nil, nil
	}
	folder, err := j.pool.Folder(cred, known.Token, j.place)
	if err != nil {
		return known.Token, err
	}
	read := map[source.Place]struct{}{}
	if j.blind = !known.Token.CanRead(); !j.blind {
		read[j.place] = struct{}{}
		result := j.pool.Read(owner, cred, interval, j.place).Places[j.place]
		switch {
		case is[*source.DecryptionError](result.Err): // of what may be somebody else's; what is there is asked for
		case result.Err != nil:
			return known.Token, result.Err
		case result.Snapshot == nil:
			return known.Token, nil
		default:
			j.snapshot, j.asOf = result.Snapshot, result.AsOf
			folder.Holds(j.snapshot)
		}
	}
	j.pool.Keep(owner, read)
	j.folder = folder
	j.known = j.records.of(&j.push.ServiceTokenPush, folder.ProjectID()+" "+j.place.String())
	return known.Token, nil
}

// run writes what differs, or a step of it, and keeps account of the names that count as written in the push's status, whatever comes of
// it.
func (j *job) run(ctx context.Context) (out pushOutcome, err error) {
	id := pushOwner(&j.push.ServiceTokenPush).String()
	repeated := len(j.values) > 0 && j.known.change == j.change()
	if out, idle := j.idle(repeated); idle {
		return out, nil
	}
	j.written, out.left = j.account()
	plan, err := j.plan(ctx, &out)
	switch {
	case errors.Is(err, errReading):
		return j.waits(repeated && !j.undone), nil
	case err != nil:
		return pushOutcome{}, err
	}
	step, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	if j.known.unfinished = !plan.Empty(); !j.known.unfinished {
		j.known.round = nil // what it has met is over
	}
	j.push.Status.Written, j.round = j.written, j.known.roundOf(j.change(), j.clock.Now())
	more, err := j.carryOut(step, &plan)
	out.done = j.done
	switch err = j.ended(ctx, err); {
	case errors.Is(err, errArrived):
		out.recheck = pendingRecheck
		return out, nil
	case errors.Is(err, errStep):
		more = true
	case err != nil:
		return out, err
	}
	j.failures.DeleteEntry(id)
	j.troubles.over(id)
	if more {
		out.recheck = time.Millisecond
		if j.done.count() < stepWrites && len(j.values) > 0 {
			out.reason, out.message = stv1.ReasonRateLimited, fmt.Sprintf(
				"writing takes its time: the server's rate limit, or the time it takes to answer, holds back %d of %d names", j.behind(&plan), len(j.values))
		}
		return out, nil
	}
	if j.round.ended.IsZero() || j.done.count() > 0 {
		j.round.ended = j.clock.Now()
	}
	left, err := j.round.verdict(&plan)
	if err != nil {
		return out, err
	}
	plan.Left = sorted(plan.Left, left)
	j.settle(&out, &plan, repeated)
	return out, nil
}

// idle is the outcome of a look that has nothing to do for now, if that is so. repeated says that all was done once of what is to be done.
func (j *job) idle(repeated bool) (pushOutcome, bool) {
	id := pushOwner(&j.push.ServiceTokenPush).String()
	if message, done := j.sent(); done {
		return pushOutcome{reason: stv1.ReasonSynced, message: message, secrets: j.count()}, true
	}
	if repeated && j.heals.IsInBackOffSinceUpdate(id, j.clock.Now()) {
		return pushOutcome{recheck: j.heals.Get(id)}, true // it was healed a moment ago, and Ready stays what it is
	}
	w := j.push.Status.Written
	if repeated && !j.known.unfinished && j.snapshot != nil && !j.asOf.After(j.known.wrote) && (w == nil || len(w.Creating) == 0) {
		return pushOutcome{recheck: readTold}, true // all was written, and the folder was not read since
	}
	return pushOutcome{}, false
}

// ended is what an error comes to: nothing is wrong when it is the end of the step, unless the operator ends.
func (j *job) ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return errStep
	}
	return err
}

// behind is how many names of a plan are still to be written.
func (j *job) behind(plan *push.Plan) int {
	return len(plan.Create) + len(plan.Update) + len(plan.Delete) - j.done.count()
}

// settle says what is there when all is done.
func (j *job) settle(out *pushOutcome, plan *push.Plan, repeated bool) {
	j.push.Status.SecretVersion = ""
	if j.blind {
		j.push.Status.SecretVersion = j.version
	}
	j.known.change, j.known.unfinished = j.change(), false
	out.reason, out.message, out.secrets = stv1.ReasonSynced, j.summary(plan), j.count()
	if !j.blind && j.snapshot == nil && len(j.values) > 0 {
		out.recheck = j.push.Spec.RefreshInterval.Duration // no poll tells what is there, beside a secret that does not open
	}
	if j.done.count() == 0 {
		return
	}
	if j.snapshot != nil && len(j.values) > 0 {
		out.recheck = readTold // if the next poll finds what the last one did, which is not this, it tells nobody
	}
	if !repeated {
		return
	}
	// Nothing is new here, so it was changed at the server.
	id := pushOwner(&j.push.ServiceTokenPush).String()
	j.heals.Next(id, j.clock.Now())
	j.heals.GC()
	out.recheck = j.heals.Get(id)
	if out.recheck >= healTold {
		out.reason = stv1.ReasonNameConflict
		out.message = fmt.Sprintf("somebody changes what was pushed again and again; each repair waits longer, up to %s, and in between it is wrong: %s", healMax, j.done.describe(j.place))
	}
}

// change is what a push brings to the server: a version of its Secret, as its spec wants it.
func (j *job) change() string { return fmt.Sprintf("%d/%s", j.push.Generation, j.version) }

// sent says whether this version of the Secret was pushed, as far as somebody can know who cannot look, and what was said of it.
func (j *job) sent() (message string, done bool) {
	status := &j.push.Status
	ready := meta.FindStatusCondition(status.Conditions, stv1.ConditionReady)
	if !j.blind || len(j.values) == 0 || ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != j.push.Generation {
		return "", false
	}
	return ready.Message, status.SecretVersion == j.version
}

// account is what counts as written where the push leads now. What was written elsewhere is its own no longer once something is to be
// written here.
func (j *job) account() (own *stv1.PushedNames, left string) {
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

// plan plans with what is known of the folder, and anew with what is there if that comes to a write: what is known may be older than the
// last write, of this push or of somebody else.
func (j *job) plan(ctx context.Context, out *pushOutcome) (push.Plan, error) {
	if !j.blind && j.snapshot != nil && j.asOf.After(j.known.wrote) && len(j.written.Creating) == 0 {
		plan, err := j.planned()
		if err != nil || plan.Empty() && len(plan.Names) >= len(j.written.Names) {
			return plan, err
		}
		j.undone = true
	}
	if !j.blind {
		if err := j.reread(ctx); err != nil {
			return push.Plan{}, err
		}
	}
	j.adopt(out)
	return j.planned()
}

// adopt counts as written what was about to be created when the last step ended, where it is known to have been. Of what is not wanted any
// longer, and cannot be known, somebody is told.
func (j *job) adopt(out *pushOutcome) {
	var lost []string
	for _, name := range j.written.Creating {
		value, there := j.folder.Value(name)
		_, wanted := j.values[name]
		switch {
		case there && j.known.memory.Knows(name, j.folder.Trimmed(value)):
			j.written.Names = sorted(j.written.Names, []string{name})
		case !wanted && (j.blind || j.folder.State(name, nil) != source.Absent || j.known.round != nil && j.known.round.waits):
			lost = append(lost, name)
		}
	}
	if len(lost) > 0 && out.left == "" {
		out.left = fmt.Sprintf("the operator was interrupted when it created these names in %s, or they wait for an approval, and it does not know whether they are its own: %s", j.place, listed(lost))
	}
}

func (j *job) planned() (push.Plan, error) {
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
	_, ours := slices.BinarySearch(j.written.Names, name)
	switch {
	case !ours:
		return source.Absent
	case j.known.memory.Knows(name, value):
		return source.Same
	default:
		return source.Differs
	}
}

// count is how many names are as they should be.
func (j *job) count() *int32 { return ptr.To(int32(len(j.values))) } //nolint:gosec // there are at most 2000

// summary says what is at the server.
func (j *job) summary(plan *push.Plan) string {
	noun := "names"
	if len(j.values) == 1 {
		noun = "name"
	}
	text := fmt.Sprintf("%s has %d %s of Secret %s", j.place, len(j.values), noun, j.push.Spec.Source.SecretRef.Name)
	var trimmed []string
	for _, name := range slices.Sorted(maps.Keys(j.values)) {
		if value := j.values[name]; len(j.folder.Trimmed(value)) != len(value) {
			trimmed = append(trimmed, name)
		}
	}
	for _, note := range []struct {
		text  string
		names []string
	}{
		{"with other values, and left as they are by updatePolicy IfNotExists", plan.Left},
		{"there before, and not this object's, so that a change will be a NameConflict (existingNames TakeOver makes them its own)", plan.Foreign},
		{"without the white space around their values, which this server removes", trimmed},
	} {
		if len(note.names) > 0 {
			text += "; " + note.text + ": " + listed(note.names)
		}
	}
	return text
}
