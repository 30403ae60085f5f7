package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/compose"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/push"
	"github.com/service-token-operator/service-token-operator/internal/source"
	"github.com/service-token-operator/service-token-operator/internal/usage"
)

// The roles of pushes are in config/push/role.yaml, apart from the operator's own role.

const (
	// transientRecheck is how soon what heals by itself is tried again, unless the server wants to be left alone for longer.
	transientRecheck = 10 * time.Second
	// pushPrefix tells the owner of a push, to the pool and the ledger, from a ServiceTokenSecret of the same name: no name of an object
	// has a slash.
	pushPrefix = "push/"
)

// pusher keeps folders at Infisical as ServiceTokenPushes say. Unlike the reconciler it waits for the server: a push is several writes
// one after the other, of which each depends on how the last one went.
type pusher struct {
	selector labels.Selector // of the objects to work on
	client   client.Client   // reads from the cache, writes
	live     client.Reader   // the API server
	inputs   *inputs
	pool     *source.Pool
	ledger   *usage.Ledger
	memory   *push.Memory
	recorder events.EventRecorder
	counters *counters
	clock    clock.PassiveClock
	troubles troubles
	// heals keeps apart the heals of one push, as the reconciler's do: two that write one name would else undo each other's writes
	// hundreds of times a second.
	heals   *flowcontrol.Backoff
	settled settled
}

// settled remembers which version of its Secret a push last brought to the server: what differs without a newer one was changed there.
type settled struct {
	mu       sync.Mutex
	versions map[source.Owner]string
}

func (s *settled) at(owner source.Owner, version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.versions[owner] == version
}

func (s *settled) set(owner source.Owner, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.versions[owner] = version
}

func (s *settled) forget(owner source.Owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.versions, owner)
}

// newPusher returns a pusher that shares with a reconciler what there is to be one of.
func newPusher(r *reconciler) (*pusher, error) {
	memory, err := push.NewMemory()
	if err != nil {
		return nil, err
	}
	return &pusher{
		selector: r.selector, client: r.client, live: r.live, inputs: r.inputs, pool: r.pool, ledger: r.ledger, memory: memory,
		recorder: r.recorder, counters: r.counters, clock: r.clock,
		heals: flowcontrol.NewBackOff(healMin, healMax), settled: settled{versions: map[source.Owner]string{}},
	}, nil
}

func pushOwner(p *stv1.ServiceTokenPush) source.Owner {
	return source.Owner{Namespace: p.Namespace, Name: pushPrefix + p.Name}
}

// pushOf is the push that an owner is, if it is one.
func pushOf(owner source.Owner) (key types.NamespacedName, is bool) {
	name, is := strings.CutPrefix(owner.Name, pushPrefix)
	return types.NamespacedName{Namespace: owner.Namespace, Name: name}, is
}

// pushOutcome is what one look at a push came to.
type pushOutcome struct {
	reason, message string        // of the condition Ready; no reason means that it stays what it is
	token           *tokenOutcome // the token in use, when there is one
	done            pushed
	secrets         *int32 // names that are right
	left            string // what is not its own any longer, for an event
	recheck         time.Duration
}

// Reconcile looks at one push once.
func (r *pusher) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var p stv1.ServiceTokenPush
	if err := r.client.Get(ctx, req.NamespacedName, &p); err != nil {
		if apierrors.IsNotFound(err) {
			r.release(source.Owner{Namespace: req.Namespace, Name: pushPrefix + req.Name})
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !p.DeletionTimestamp.IsZero() {
		return r.finish(ctx, &p)
	}
	if err := r.finalize(ctx, &p, p.Spec.DeletionPolicy == stv1.DeletionPolicyDelete); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	before := p.DeepCopy()
	if refreshWanted(&p, p.Status.LastHandledRefresh) {
		r.pool.Refresh(pushOwner(&p))
		r.memory.Forget(pushOwner(&p)) // who cannot look sends everything again
		p.Status.SecretVersion = ""
	}
	out, failed := r.sync(ctx, &p)
	result, err := r.report(ctx, before, &p, out)
	if err := errors.Join(failed, err); err != nil {
		return ctrl.Result{}, err
	}
	return result, nil
}

// release ends all that is done for a push.
func (r *pusher) release(owner source.Owner) {
	r.pool.Leave(owner)
	r.ledger.Forget(owner.String())
	r.memory.Forget(owner)
	r.settled.forget(owner)
	r.troubles.over(owner.String())
}

// finalize puts the finalizer on the push, or takes it off.
func (r *pusher) finalize(ctx context.Context, p *stv1.ServiceTokenPush, on bool) error {
	patch := client.MergeFromWithOptions(p.DeepCopy(), client.MergeFromWithOptimisticLock{})
	change := controllerutil.RemoveFinalizer
	if on {
		change = controllerutil.AddFinalizer
	}
	if !change(p, stv1.PushFinalizer) {
		return nil
	}
	return r.client.Patch(ctx, p, patch)
}

// sync does the work: token Secret → credential → folder → what differs. An error is one of the API server's and worth another try;
// everything else is an outcome. It keeps the written names in p's status.
func (r *pusher) sync(ctx context.Context, p *stv1.ServiceTokenPush) (pushOutcome, error) {
	owner := pushOwner(p)
	if p.Spec.Suspend {
		r.release(owner)
		return pushOutcome{reason: stv1.ReasonSuspended, message: "spec.suspend is true: nothing is read or written"}, nil
	}
	cred, err := r.credential(ctx, p)
	if err != nil {
		r.pool.Leave(owner)
		return r.failed(p, nil, err)
	}
	values, version, err := r.values(ctx, p)
	if err != nil {
		return r.failed(p, nil, err)
	}
	place := destinationOf(p)
	folder, known, err := r.folder(owner, cred, p.Spec.RefreshInterval.Duration, place)
	token := describe(cred, known)
	if err != nil {
		return r.failed(p, token, err)
	}
	if folder == nil {
		return pushOutcome{recheck: pendingRecheck}, nil
	}
	j := &job{pusher: r, push: p, place: place, folder: folder, values: values, version: fmt.Sprintf("%s/%s", version, folder.ProjectID()), blind: !known.CanRead()}
	out, err := j.run(ctx)
	if err != nil {
		failed, err := r.failed(p, token, err)
		failed.done, failed.left = out.done, out.left
		return failed, err
	}
	r.troubles.over(owner.String())
	out.token = token
	return out, nil
}

// credential reads what the push authenticates with, and has its uses counted.
func (r *pusher) credential(ctx context.Context, p *stv1.ServiceTokenPush) (source.Credential, error) {
	cred, err := r.inputs.credential(ctx, p.Namespace, connection{&p.Spec.Auth, p.Spec.HostURL, p.Spec.TLS, p.Spec.Encryption})
	switch owner := pushOwner(p).String(); {
	case err != nil:
	case p.Spec.Auth.ServiceToken != nil:
		r.ledger.Watch(owner, cred.Token.ID(), p.Spec.Rotation.Threshold)
	default:
		r.ledger.Forget(owner)
	}
	return cred, err
}

func destinationOf(p *stv1.ServiceTokenPush) source.Place {
	return source.Place{Environment: p.Spec.Destination.Environment, Path: cleanPath(p.Spec.Destination.Path)}
}

// folder is the destination with what was read of it last, where the token may read; no folder means: not yet.
func (r *pusher) folder(owner source.Owner, cred source.Credential, interval time.Duration, place source.Place) (*source.Folder, *source.Token, error) {
	known := r.pool.Read(owner, cred, interval)
	if err := known.TokenErr; err != nil && (known.Token == nil || !source.Transient(err)) {
		return nil, known.Token, err
	}
	if known.Token == nil {
		return nil, nil, nil
	}
	folder, err := r.pool.Folder(cred, known.Token, place)
	if err != nil {
		return nil, known.Token, err
	}
	read := map[source.Place]struct{}{}
	if known.Token.CanRead() {
		read[place] = struct{}{}
		result := r.pool.Read(owner, cred, interval, place).Places[place]
		switch {
		case result.Err != nil:
			return nil, known.Token, result.Err
		case result.Snapshot == nil:
			return nil, known.Token, nil
		}
		folder.Holds(result.Snapshot)
	}
	r.pool.Keep(owner, read)
	return folder, known.Token, nil
}

// values are what is to be pushed, by name, and which version of the Secret has it.
func (r *pusher) values(ctx context.Context, p *stv1.ServiceTokenPush) (map[string][]byte, string, error) {
	selection, err := pushSelection(&p.Spec.Source)
	if err != nil {
		return nil, "", err
	}
	// Not by way of the inputs, which keep what they read: this is other people's Secret, and it is looked at when it changes.
	var secret corev1.Secret
	err = r.live.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: p.Spec.Source.SecretRef.Name}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, "", missing(stv1.ReasonSecretNotFound, "there is no Secret %s; what was pushed of it stays", p.Spec.Source.SecretRef.Name)
	case apierrors.IsForbidden(err):
		return nil, "", missing(stv1.ReasonSecretNotFound, "the operator's roles do not let it read Secret %s", p.Spec.Source.SecretRef.Name)
	case err != nil:
		return nil, "", fmt.Errorf("reading Secret %s: %w", p.Spec.Source.SecretRef.Name, err)
	}
	entries := make([]push.Entry, len(p.Spec.Source.Data))
	for i, e := range p.Spec.Source.Data {
		entries[i] = push.Entry{Key: e.Key, Name: e.Name}
	}
	values, err := push.Select(secret.Data, selection, entries)
	if err == nil && len(values) == 0 {
		err = missing(stv1.ReasonSourceEmpty, "nothing of Secret %s is taken; what was pushed of it stays", secret.Name)
	}
	return values, fmt.Sprintf("%s/%s", secret.UID, secret.ResourceVersion), err
}

func pushSelection(s *stv1.PushSource) (compose.Selection, error) {
	selection, err := selectionOf(&stv1.Source{Include: s.Include, Exclude: s.Exclude, Rename: s.Rename})
	if err != nil {
		return selection, &specError{"spec.source." + err.field, err.err}
	}
	return selection, nil
}

// failed is the outcome of a failure. One that heals by itself is kept from the status of a push that is Ready, until it lasts. An
// error that has no reason is the API server's.
func (r *pusher) failed(p *stv1.ServiceTokenPush, token *tokenOutcome, err error) (pushOutcome, error) {
	reason, known := reasonOf(err)
	if !known {
		return pushOutcome{}, err
	}
	out := pushOutcome{reason: reason, message: err.Error(), token: token, recheck: slowRecheck}
	id := pushOwner(p).String()
	if !passes(err) {
		r.troubles.over(id)
		return out, nil
	}
	out.recheck = patience(err)
	if !r.troubles.lasting(id, r.clock.Now()) && meta.IsStatusConditionTrue(p.Status.Conditions, stv1.ConditionReady) {
		out.reason = ""
	}
	return out, nil
}

// passes says whether a failure of a server heals by itself.
func passes(err error) bool {
	if _, ours := errors.AsType[*infisical.Error](err); !ours && !is[*source.JWTError](err) && !is[*usage.NotCoveredError](err) {
		return false
	}
	return source.Transient(err)
}

// patience is how long to wait with another try of what heals by itself.
func patience(err error) time.Duration {
	if e, ok := errors.AsType[*infisical.Error](err); ok {
		return max(transientRecheck, e.RetryAfter)
	}
	return transientRecheck
}

// finish deletes what a push has written, if that is to go with it, and lets the push go. What cannot be deleted, because of something
// that only a person can mend, is left: the object and its namespace must not hang on it.
func (r *pusher) finish(ctx context.Context, p *stv1.ServiceTokenPush) (ctrl.Result, error) {
	owner := pushOwner(p)
	if !controllerutil.ContainsFinalizer(p, stv1.PushFinalizer) {
		r.release(owner)
		return ctrl.Result{}, nil
	}
	before := p.DeepCopy()
	deleted, pending, err := r.withdraw(ctx, p)
	if is[*source.NotFoundError](err) {
		err = nil // and with the folder all that was written
	}
	if done := (pushed{deleted: deleted}); done.any() {
		r.announce(ctx, p, done)
		if saved := r.save(ctx, p); saved != nil { // or what somebody else makes under such a name would be deleted at the next try
			return ctrl.Result{}, client.IgnoreNotFound(saved)
		}
	}
	if pending {
		return ctrl.Result{RequeueAfter: pendingRecheck}, nil
	}
	if err != nil {
		reason, known := reasonOf(err)
		if !known {
			return ctrl.Result{}, err
		}
		if passes(err) {
			return r.report(ctx, before, p, pushOutcome{reason: reason, message: "names are not deleted yet: " + err.Error(), recheck: patience(err)})
		}
		r.tell(ctx, p, corev1.EventTypeWarning, stv1.ReasonNamesLeft, "Delete", "names that were pushed stay at Infisical: "+err.Error())
	}
	r.release(owner)
	return ctrl.Result{}, client.IgnoreNotFound(r.finalize(ctx, p, false))
}

// withdraw deletes what the push has written.
func (r *pusher) withdraw(ctx context.Context, p *stv1.ServiceTokenPush) (deleted []string, pending bool, err error) {
	written := p.Status.Written
	if p.Spec.DeletionPolicy != stv1.DeletionPolicyDelete || written == nil || len(written.Names) == 0 {
		return nil, false, nil
	}
	if p.Spec.Suspend {
		return nil, false, missing(stv1.ReasonSuspended, "spec.suspend is true")
	}
	cred, err := r.credential(ctx, p)
	if err != nil {
		return nil, false, err
	}
	known := r.pool.Read(pushOwner(p), cred, p.Spec.RefreshInterval.Duration)
	switch {
	case known.Token != nil:
	case known.TokenErr != nil:
		return nil, false, known.TokenErr
	default:
		return nil, true, nil
	}
	folder, err := r.pool.Folder(cred, known.Token, source.Place{Environment: written.Environment, Path: written.Path})
	if err != nil {
		return nil, false, err
	}
	if folder.ProjectID() != written.ProjectID {
		return nil, false, missing(stv1.ReasonScopeDenied, "the token is of another project than they are")
	}
	blind := !known.Token.CanRead()
	if !blind {
		if err := folder.Reread(ctx); err != nil {
			return nil, false, err
		}
	}
	for len(written.Names) > 0 {
		name := written.Names[0]
		if state := folder.State(name, nil); blind || state != source.Absent && state != source.Twice {
			if err := folder.Delete(ctx, name); err != nil && infisical.KindOf(err) != infisical.KindSecretNotFound {
				return deleted, false, err
			}
			deleted = append(deleted, name)
		}
		written.Names = written.Names[1:]
	}
	return deleted, false, nil
}
