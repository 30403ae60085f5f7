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
	err     error         // has a reason, or is the API server's and worth another try
	held    time.Duration // it was healed a moment ago, and is not to be looked at again before

	restarted []string // workloads
	unrolled  error    // why not all were
}

// writers is how many targets of one subject are written at the same time: of most there is one, of a cluster's one in each namespace.
const writers = 8

// write brings the subject's targets to what was read, each for itself: what fails does not stop the others.
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
			if err == nil {
				work.Go(func() error {
					r.place(ctx, s, t, shape, revision, p)
					return nil // it is in p
				})
			}
		}
	}
	_ = work.Wait()
	for i := range all {
		r.rollOut(ctx, s, &targets[i%len(targets)], &all[i]) // when all are written, as a workload may use several
	}
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
	// The UID, as an object that is made anew begins anew.
	id := strings.Join([]string{string(s.UID), p.namespace, string(p.target.Kind), p.target.Name}, "/")
	if r.heals.IsInBackOffSinceUpdate(id, r.clock.Now()) {
		p.held = r.heals.Get(id)
		return
	}
	desired := s.placement(p.namespace, t)
	desired.Type = corev1.SecretType(t.Type)
	desired.Immutable = t.Immutable
	desired.Labels, desired.Annotations, desired.Data = shape.labels, shape.annotations, shape.data
	desired.Revision, desired.Known = revision, slices.Contains(writtenBy(&s.Status), p.target)
	if p.written, p.err = r.targets.Apply(ctx, desired); p.err == nil && p.written.Healed {
		r.heals.Next(id, r.clock.Now())
		r.heals.GC()
	}
}

// placement is a target in a namespace, as far as it says which it is and whose.
func (s *subject) placement(namespace string, t *stv1.Target) target.Desired {
	ref := referenceOf(s.ServiceTokenSecret, t)
	return target.Desired{Kind: target.Kind(ref.Kind), Namespace: namespace, Name: ref.Name, Owner: s.owner(), Policy: target.CreationPolicy(t.CreationPolicy)}
}

// summary is what the targets came to. The error is the API server's and worth another try; if it is alone, nothing else is to be told.
func (s *subject) summary(all []placed, read reading) (outcome, error) {
	out := outcome{reason: stv1.ReasonSynced, placed: all}
	var failed []*placed
	var retry error
	quiet := true // but for what is held back
	for i := range all {
		p := &all[i]
		out.sooner(p.held)
		if p.unrolled != nil {
			out.sooner(refusedRecheck)
		}
		quiet = quiet && p.held > 0
		if p.err == nil {
			continue
		}
		if _, known := reasonOf(p.err); !known {
			retry = errors.Join(retry, p.err)
			if s.cluster == nil {
				continue
			}
			p.err = &writeError{p.err}
		}
		failed = append(failed, p)
	}
	switch {
	case len(all) > 0 && quiet:
		return outcome{recheck: out.recheck}, nil
	case retry != nil && len(failed) == 0:
		return outcome{}, retry
	case len(failed) > 0:
		s.fail(&out, failed)
		return out, retry
	}
	s.succeed(&out, read.skipped)
	return out, nil
}

// writeError is an error of the API server without a reason of ours, in a namespace of many. It leaves out the server's words, which
// may repeat what was sent.
type writeError struct{ err error }

func (e *writeError) Error() string {
	return fmt.Sprintf("the API server could not write it (%s)", apierrors.ReasonForError(e.err))
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
	keys := 0
	for _, p := range out.placed {
		if p.namespace != out.placed[0].namespace {
			break
		}
		noun := "keys"
		if p.keys == 1 {
			noun = "key"
		}
		holds = append(holds, fmt.Sprintf("%s %s holds %d %s", p.target.Kind, p.target.Name, p.keys, noun))
		keys += p.keys
	}
	out.message = strings.Join(holds, ", ")
	count := int32(keys)
	out.keys = &count
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

// spread is how the namespaces of a cluster's object fare.
type spread struct {
	counts   stv1.NamespaceCounts
	failures []stv1.NamespaceFailure
}

// maxFailures bounds what a status lists.
const maxFailures = 20

func spreadOf(all []placed, failed []*placed) *spread {
	out := &spread{}
	last := ""
	for _, p := range all {
		if p.namespace != last {
			out.counts.Selected++
			last = p.namespace
		}
	}
	last = ""
	for _, p := range failed { // in the order of namespaces
		if p.namespace == last {
			continue
		}
		last = p.namespace
		out.counts.Failed++
		if len(out.failures) < maxFailures {
			f := failedBy(p.err)
			out.failures = append(out.failures, stv1.NamespaceFailure{Namespace: p.namespace, Reason: f.reason, Message: cutTo(f.message, maxFailureMessage)})
		}
	}
	out.counts.Synced = out.counts.Selected - out.counts.Failed
	return out
}

// maxFailureMessage is in bytes. Twenty of them are to stay small beside what an object may take.
const maxFailureMessage = 256

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
	for _, t := range targetsOf(obj) {
		if t.DeletionPolicy == stv1.DeletionPolicyDelete {
			return true
		}
	}
	return false
}

// listed are names, the first ten of them.
func listed(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
