package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// failedMin and failedMax are how soon writes are tried again that failed in a way that heals by itself, unless the server wants to
	// be left alone for longer. Each try that fails keeps all who read from that host for a moment.
	failedMin = 10 * time.Second
	failedMax = 5 * time.Minute
	// pushPrefix tells the owner of a push, to the pool and the ledger, from a ServiceTokenSecret of the same name: no name of an object
	// has a slash.
	pushPrefix = "push/"
)

// pusher keeps folders at Infisical as ServiceTokenPushes say. Unlike the reconciler it waits for the server, a step of some writes at a
// time (job): each depends on how the last one went.
type pusher struct {
	selector labels.Selector // of the objects to work on
	client   client.Client   // reads from the cache, writes
	live     client.Reader   // the API server
	inputs   *inputs
	pool     *source.Pool
	ledger   *usage.Ledger
	recorder events.EventRecorder
	counters *counters
	clock    clock.PassiveClock
	started  time.Time // set before the first look
	records  records
	troubles troubles
	failures *flowcontrol.Backoff // of writes
	// heals keeps apart the heals of one push, as the reconciler's do: two that write one name would else undo each other's writes
	// hundreds of times a second.
	heals *flowcontrol.Backoff
}

// newPusher returns a pusher that shares with a reconciler what there is to be one of.
func newPusher(r *reconciler) *pusher {
	return &pusher{
		selector: r.selector, client: r.client, live: r.live, inputs: r.inputs, pool: r.pool, ledger: r.ledger,
		recorder: r.recorder, counters: r.counters, clock: r.clock,
		records:  records{known: map[source.Owner]*record{}},
		failures: flowcontrol.NewBackOff(failedMin, failedMax), heals: flowcontrol.NewBackOff(healMin, healMax),
	}
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
	reading         bool // the folder is being read, for the next look
}

// Reconcile looks at one push once.
func (r *pusher) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	p := &item{}
	if err := r.client.Get(ctx, req.NamespacedName, &p.ServiceTokenPush); err != nil {
		if apierrors.IsNotFound(err) {
			r.release(source.Owner{Namespace: req.Namespace, Name: pushPrefix + req.Name})
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !p.DeletionTimestamp.IsZero() {
		return r.finish(ctx, p)
	}
	if err := r.finalize(ctx, p, p.Spec.DeletionPolicy == stv1.DeletionPolicyDelete); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	p.look()
	if refreshWanted(p, p.Status.LastHandledRefresh) {
		r.pool.Refresh(pushOwner(&p.ServiceTokenPush))
		r.records.forget(pushOwner(&p.ServiceTokenPush)) // who cannot look sends everything again
		p.Status.SecretVersion, p.Status.LastHandledRefresh = "", p.Annotations[stv1.RefreshAnnotation]
	}
	out, failed := r.sync(ctx, p)
	r.read(p, out)
	result, err := r.report(ctx, p, out)
	if err := errors.Join(failed, err); err != nil {
		return ctrl.Result{}, err
	}
	return result, nil
}

// read ends the read of a folder that nobody waits for any longer.
func (r *pusher) read(p *item, out pushOutcome) {
	if !out.reading {
		r.records.endRereading(pushOwner(&p.ServiceTokenPush))
	}
}

// item is a push that is being looked at.
type item struct {
	stv1.ServiceTokenPush

	before stv1.ServiceTokenPushStatus // as it was before the look
	saved  stv1.ServiceTokenPushStatus // as the API server has it
}

// look begins one.
func (p *item) look() { p.before, p.saved = *p.Status.DeepCopy(), *p.Status.DeepCopy() }

// release ends all that is done for a push.
func (r *pusher) release(owner source.Owner) {
	r.pool.Leave(owner)
	r.ledger.Forget(owner.String())
	r.records.forget(owner)
	r.troubles.over(owner.String())
	r.failures.DeleteEntry(owner.String())
	r.heals.DeleteEntry(owner.String())
}

// finalize puts the finalizer on the push, or takes it off.
func (r *pusher) finalize(ctx context.Context, p *item, on bool) error {
	patch := client.MergeFromWithOptions(p.DeepCopy(), client.MergeFromWithOptimisticLock{})
	change := controllerutil.RemoveFinalizer
	if on {
		change = controllerutil.AddFinalizer
	}
	if !change(p, stv1.PushFinalizer) {
		return nil
	}
	return r.client.Patch(ctx, &p.ServiceTokenPush, patch)
}

// sync does the work: token Secret → credential → folder → what differs. An error is one of the API server's and worth another try;
// everything else is an outcome. It keeps the written names in p's status.
func (r *pusher) sync(ctx context.Context, p *item) (pushOutcome, error) {
	owner := pushOwner(&p.ServiceTokenPush)
	if p.Spec.Suspend {
		r.release(owner)
		return pushOutcome{reason: stv1.ReasonSuspended, message: "spec.suspend is true: nothing is read or written"}, nil
	}
	cred, err := r.credential(ctx, p)
	if err != nil {
		if _, known := reasonOf(err); known {
			r.pool.Leave(owner) // a token that was taken away is not used any longer
		}
		return r.refused(p, nil, err)
	}
	j := &job{pusher: r, push: p, cred: cred, place: destinationOf(p)}
	known, err := j.open()
	token := describe(cred, known)
	switch {
	case err != nil:
		return r.refused(p, token, err)
	case j.folder == nil:
		return r.pending(p, cred, token), nil
	}
	if j.values, j.version, err = r.values(ctx, p); err != nil {
		return r.refused(p, token, err)
	}
	j.version += "/" + j.folder.ProjectID()
	out, err := j.run(ctx)
	if err != nil {
		out, err = r.failed(p, out, err)
	}
	out.token = token
	return out, err
}

// pending is the outcome while something is read for the first time.
func (r *pusher) pending(p *item, cred source.Credential, token *tokenOutcome) pushOutcome {
	never := meta.FindStatusCondition(p.Status.Conditions, stv1.ConditionReady) == nil
	if never && !cred.Server.PacedUntil().IsZero() && r.clock.Since(p.CreationTimestamp.Time) > pendingRecheck {
		return pushOutcome{reason: stv1.ReasonRateLimited, message: "the server's rate limit holds back the first read", token: token}
	}
	return pushOutcome{recheck: pendingRecheck}
}

// credential reads what the push authenticates with, and has its uses counted.
func (r *pusher) credential(ctx context.Context, p *item) (source.Credential, error) {
	cred, err := r.inputs.credential(ctx, p.Namespace, connection{&p.Spec.Auth, p.Spec.HostURL, p.Spec.TLS, p.Spec.Encryption})
	switch owner := pushOwner(&p.ServiceTokenPush).String(); {
	case err != nil:
	case p.Spec.Auth.ServiceToken != nil:
		r.ledger.Watch(owner, cred.Token.ID(), p.Spec.Rotation.Threshold)
	default:
		r.ledger.Forget(owner)
	}
	return cred, err
}

func destinationOf(p *item) source.Place {
	return source.Place{Environment: p.Spec.Destination.Environment, Path: cleanPath(p.Spec.Destination.Path)}
}

// values are what is to be pushed, by name, and which version of the Secret has it.
func (r *pusher) values(ctx context.Context, p *item) (map[string][]byte, string, error) {
	selection, err := pushSelection(&p.Spec.Source)
	if err != nil {
		return nil, "", err
	}
	// Not by way of the inputs, which keep what they read: this is other people's Secret, and it is looked at when something has changed.
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

// refused is the outcome of a failure before anything was to be written: of an input, or of a read, whose end the pool tells. A process
// that has just started keeps to itself for a while what heals by itself, as the reconciler does. An error without a reason is the API
// server's.
func (r *pusher) refused(p *item, token *tokenOutcome, err error) (pushOutcome, error) {
	reason, known := reasonOf(err)
	if !known {
		return pushOutcome{}, err
	}
	out := pushOutcome{reason: reason, message: err.Error(), token: token, recheck: slowRecheck}
	if left := grace(p.Status.Conditions, p.Generation, r.started, r.clock); passes(err) && left > 0 {
		out.reason, out.recheck = "", left
	}
	return out, nil
}

// failed is what an outcome comes to when writing fails. What heals by itself is tried again ever more rarely, and kept from the status
// of a push that is Ready until it lasts.
func (r *pusher) failed(p *item, out pushOutcome, err error) (pushOutcome, error) {
	reason, known := reasonOf(err)
	if !known {
		return out, err
	}
	out.reason, out.message, out.recheck = reason, err.Error(), slowRecheck
	id := pushOwner(&p.ServiceTokenPush).String()
	if !passes(err) {
		r.troubles.over(id)
		return out, nil
	}
	out.recheck = r.patience(id, err)
	if !r.troubles.lasting(id, r.clock.Now()) && meta.IsStatusConditionTrue(p.Status.Conditions, stv1.ConditionReady) {
		out.reason = ""
	}
	return out, nil
}

// patience is how long to wait with another try of writes that failed in a way that heals by itself.
func (r *pusher) patience(id string, err error) time.Duration {
	r.failures.Next(id, r.clock.Now())
	r.failures.GC()
	wait := r.failures.Get(id)
	if e, ok := errors.AsType[*infisical.Error](err); ok {
		return max(wait, e.RetryAfter)
	}
	return wait
}

// passes says whether a failure of a server heals by itself. What the server says about one write in a way that it is not known for, it
// says again.
func passes(err error) bool {
	e, ours := errors.AsType[*infisical.Error](err)
	if !ours && !is[*source.JWTError](err) && !is[*usage.NotCoveredError](err) || ours && e.Kind == infisical.KindUnexpected {
		return false
	}
	return source.Transient(err)
}

// grace is how much of startGrace is left for an object that is Ready, as the process has started lately.
func grace(conditions []metav1.Condition, generation int64, started time.Time, now clock.PassiveClock) time.Duration {
	ready := meta.FindStatusCondition(conditions, stv1.ConditionReady)
	if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != generation {
		return 0
	}
	return startGrace - now.Since(started)
}
