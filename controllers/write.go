package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/target"
)

// placed is a target in one namespace, and what became of it.
type placed struct {
	namespace string
	target    stv1.TargetReference
	keys      int
	shape     error // err is that: it is the same in every namespace

	written target.Result
	removed []string      // those of the keys written that are not there any more
	err     error         // has a reason, or is the API server's and worth another try
	held    time.Duration // it was healed a moment ago, and is not to be looked at again before
	fought  bool          // it was healed now, as it was again and again
}

// writers is how many targets of one subject are written at the same time: of most there is one, of a cluster's one in each namespace.
const writers = 8

// write brings the subject's targets to what was read, each for itself: what fails does not stop the others. The result has them by
// namespace.
func (r *reconciler) write(ctx context.Context, s *subject, namespaces []string, read reading) []placed {
	targets := targetsOf(s.ServiceTokenSecret)
	all := make([]placed, len(namespaces)*len(targets))
	revision := ""
	if rolls(s.ServiceTokenSecret) {
		revision = target.NewRevision()
	}
	var work errgroup.Group
	work.SetLimit(writers)
	for i := range targets {
		t := &targets[i]
		shape, err := r.shape(ctx, s, t, read.data)
		for n, namespace := range namespaces {
			p := &all[n*len(targets)+i]
			*p = placed{namespace: namespace, target: referenceOf(s.ServiceTokenSecret, t), keys: len(shape.data), shape: err, err: err}
			switch {
			case err != nil:
			case len(all) == 1: // as for most, for whom a goroutine would be a waste
				r.place(ctx, s, t, shape, revision, p)
			default:
				work.Go(func() error {
					r.place(ctx, s, t, shape, revision, p)
					return nil // it is in p
				})
			}
		}
	}
	_ = work.Wait()
	var seen time.Time
	// Else it is the spec that changed, or something that was read long ago is written now, for another reason.
	if last := s.Status.LastSyncTime; s.Status.SyncedGeneration == s.Generation && last != nil && read.seen.After(last.Time) {
		seen = read.seen
	}
	for i := range all {
		r.counters.wrote(all[i].written, seen, r.clock.Now())
	}
	return all
}

// place writes one target in one namespace.
func (r *reconciler) place(ctx context.Context, s *subject, t *stv1.Target, shape shape, revision string, p *placed) {
	id := p.id(s)
	if r.heals.IsInBackOffSinceUpdate(id, r.clock.Now()) {
		p.held = r.heals.Get(id)
		return
	}
	desired := s.placement(p.namespace, t)
	desired.Type = corev1.SecretType(t.Type)
	desired.Immutable = t.Immutable
	desired.Labels, desired.Annotations, desired.Data = shape.labels, shape.annotations, shape.data
	// What a namespace had before its ClusterServiceTokenSecret took it over is not known of each.
	desired.Revision, desired.Known = revision, s.cluster == nil && slices.Contains(writtenBy(&s.Status), p.target)
	p.written, p.err = r.targets.Apply(ctx, desired)
	for _, key := range p.written.Keys {
		if _, kept := shape.data[key]; !kept {
			p.removed = append(p.removed, key)
		}
	}
	if p.err == nil && p.written.Healed {
		r.heals.Next(id, r.clock.Now())
		r.heals.GC()
		p.fought = r.heals.Get(id) >= healTold
	}
}

// foughtError says that somebody changes a target again and again, so that it is wrong most of the time.
type foughtError struct {
	target stv1.TargetReference
	by     string
}

func (e *foughtError) Error() string {
	return fmt.Sprintf("%s changes %s %s again and again; each repair waits longer, up to %s, and in between it is wrong: "+
		"docs/howto/targets.md says what to do", e.by, e.target.Kind, e.target.Name, healMax)
}

// culprits are who had changed what was healed, by the field managers of their writes.
func culprits(healed []placed) string {
	var managers []string
	for _, p := range healed {
		managers = append(managers, p.written.By...)
	}
	if len(managers) == 0 {
		return "somebody"
	}
	return listed(sorted(managers))
}

// id tells placed targets apart. It has the UID, as an object that is made anew begins anew.
func (p *placed) id(s *subject) string {
	return strings.Join([]string{string(s.UID), p.namespace, string(p.target.Kind), p.target.Name}, "/")
}

// placement is a target in a namespace, as far as it says which it is and whose.
func (s *subject) placement(namespace string, t *stv1.Target) target.Desired {
	ref := referenceOf(s.ServiceTokenSecret, t)
	return target.Desired{Kind: target.Kind(ref.Kind), Namespace: namespace, Name: ref.Name, Owner: s.owner(), Policy: target.CreationPolicy(t.CreationPolicy)}
}

// summary is what the targets came to. The error is the API server's and worth another try; without a reason in the outcome it is no
// news yet.
func (r *reconciler) summary(s *subject, all []placed, skipped []string) (outcome, error) {
	out := outcome{placed: all}
	var failed []*placed
	var retry error
	held := false
	for i := range all {
		p := &all[i]
		if p.err == nil {
			held = held || p.held > 0
			out.sooner(p.held)
			r.troubles.over(p.id(s))
			if p.fought {
				p.err = &foughtError{p.target, culprits([]placed{*p})}
				failed = append(failed, p)
				out.sooner(r.heals.Get(p.id(s)))
			}
			continue
		}
		if _, known := reasonOf(p.err); !known {
			retry = errors.Join(retry, p.err)
			if !r.troubles.lasting(p.id(s), r.clock.Now()) {
				continue
			}
			p.err = &writeError{p.err}
		}
		failed = append(failed, p)
	}
	switch {
	case len(failed) > 0:
		s.fail(&out, failed)
	case retry == nil && !held: // else Ready is what it was
		s.succeed(&out, skipped)
	}
	return out, retry
}

// writeError says that the API server failed to write a target, for a while. It leaves out the server's words, which may be anybody's and
// repeat what was sent.
type writeError struct{ err error }

func (e *writeError) Error() string {
	var status apierrors.APIStatus
	if errors.As(e.err, &status) {
		return fmt.Sprintf("the API server fails to write it (status %d); the operator tries on", status.Status().Code)
	}
	return "the API server does not answer; the operator tries on"
}

// fail sets what is wrong, by the first that failed.
func (s *subject) fail(out *outcome, failed []*placed) {
	first := failedBy(failed[0].err)
	out.reason, out.message = first.reason, first.message
	for _, p := range failed {
		out.sooner(failedBy(p.err).recheck)
	}
	if s.cluster == nil {
		for _, p := range failed[1:] {
			out.message += "; " + p.err.Error()
		}
		return
	}
	out.spread = spreadOf(out.placed, failed)
	if failed[0].shape == nil {
		out.message = fmt.Sprintf("%d of %d namespaces failed, %s among them: %s", out.spread.counts.Failed, out.spread.counts.Selected, failed[0].namespace, first.message)
	}
}

// succeed sets what there is.
func (s *subject) succeed(out *outcome, skipped []string) {
	var holds []string
	var keys int32
	for _, p := range out.placed {
		if p.namespace != out.placed[0].namespace {
			break
		}
		noun := "keys"
		if p.keys == 1 {
			noun = "key"
		}
		holds = append(holds, fmt.Sprintf("%s %s holds %d %s", p.target.Kind, p.target.Name, p.keys, noun))
		keys += int32(p.keys) //nolint:gosec // targets of 1 MiB cannot hold 2^31 keys
	}
	out.reason, out.message, out.keys = stv1.ReasonSynced, strings.Join(holds, ", "), &keys
	if s.cluster != nil {
		out.spread = spreadOf(out.placed, nil)
		if out.message == "" {
			out.message = "no namespace is selected"
		} else {
			out.message += fmt.Sprintf(", in %d namespaces", out.spread.counts.Selected)
		}
	}
	if len(skipped) > 0 {
		out.message += "; left out, as they are no valid keys: " + listed(skipped)
	}
}

// written are the object's targets that are there: those that were right at this look, in a namespace at least, or were before.
func (s *subject) written(all []placed) []stv1.TargetReference {
	before := writtenBy(&s.Status)
	return slices.DeleteFunc(referencesOf(s.ServiceTokenSecret), func(ref stv1.TargetReference) bool {
		return !slices.Contains(before, ref) && !slices.ContainsFunc(all, func(p placed) bool { return p.target == ref && p.err == nil && p.held == 0 })
	})
}

// remove deletes those of the subject's targets whose deletion policy says so: in these namespaces, as all sources are gone.
func (r *reconciler) remove(ctx context.Context, s *subject, namespaces []string) (deleted []placed, err error) {
	targets := targetsOf(s.ServiceTokenSecret)
	for i := range targets {
		if targets[i].DeletionPolicy != stv1.DeletionPolicyDelete {
			continue
		}
		for _, namespace := range namespaces {
			gone, failed := r.targets.Delete(ctx, s.placement(namespace, &targets[i]))
			err = errors.Join(err, failed)
			if gone {
				deleted = append(deleted, placed{namespace: namespace, target: referenceOf(s.ServiceTokenSecret, &targets[i])})
			}
		}
	}
	return deleted, err
}

// deletes says whether a target is to be deleted when all sources are gone.
func deletes(obj *stv1.ServiceTokenSecret) bool {
	return slices.ContainsFunc(targetsOf(obj), func(t stv1.Target) bool { return t.DeletionPolicy == stv1.DeletionPolicyDelete })
}

// listed are names, the first ten of them.
func listed(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
