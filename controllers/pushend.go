package controllers

import (
	"context"
	"errors"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// finish deletes what a push has written, if that is to go with it, and lets the push go. What cannot be deleted, because of something
// that only a person can mend, is left: the object and its namespace must not hang on it.
func (r *pusher) finish(ctx context.Context, p *item) (ctrl.Result, error) {
	owner := pushOwner(&p.ServiceTokenPush)
	if !controllerutil.ContainsFinalizer(p, stv1.PushFinalizer) {
		r.release(owner)
		return ctrl.Result{}, nil
	}
	p.look()
	out, failed := r.withdraw(ctx, p)
	r.read(p, out)
	switch reason, known := reasonOf(failed); {
	case failed == nil || !known:
	case passes(failed):
		out.reason, out.message = reason, "names are not deleted yet: "+failed.Error()
		out.recheck = r.patience(owner.String(), failed)
		failed = nil
	default:
		out.left, failed = "names that were pushed stay at Infisical: "+failed.Error(), nil
	}
	// What is left of the names is noted first, whatever went wrong: else what somebody else makes under one would be deleted.
	result, err := r.report(ctx, p, out)
	if err := errors.Join(failed, err); err != nil {
		return ctrl.Result{}, err
	}
	if out.recheck > 0 {
		return result, nil
	}
	r.release(owner)
	return ctrl.Result{}, client.IgnoreNotFound(r.finalize(ctx, p, false))
}

// withdraw deletes what the push has written, or a part of it; then the outcome says to look again. An error with a reason says why the
// rest stays.
func (r *pusher) withdraw(ctx context.Context, p *item) (pushOutcome, error) {
	written := p.Status.Written
	if p.Spec.DeletionPolicy != stv1.DeletionPolicyDelete || written == nil {
		return pushOutcome{}, nil
	}
	if p.Spec.Suspend {
		return pushOutcome{}, missing(stv1.ReasonSuspended, "spec.suspend is true")
	}
	cred, err := r.credential(ctx, p)
	if err != nil {
		return pushOutcome{}, err
	}
	j := &job{pusher: r, push: p, cred: cred, place: source.Place{Environment: written.Environment, Path: written.Path}}
	known, err := j.open()
	switch {
	case gone(err):
		return pushOutcome{left: goneWith(written)}, nil
	case err != nil:
		return pushOutcome{}, err
	case j.folder == nil:
		return pushOutcome{recheck: pendingRecheck}, nil
	case j.folder.ProjectID() != written.ProjectID:
		return pushOutcome{}, missing(stv1.ReasonScopeDenied, "the token is of another project than they are")
	}
	out, err := j.run(ctx)
	switch left := p.Status.Written; {
	case gone(err):
		out.left, err = goneWith(left), nil
	case err == nil && out.recheck == 0 && left != nil && len(left.Names) > 0:
		out.left = "there are several secrets of these names, and it is not known which of them was pushed: " + listed(left.Names)
	}
	out.reason, out.message, out.token = "", "", describe(cred, known)
	return out, err
}

// gone says whether an error is that there is no such folder.
func gone(err error) bool {
	missing, is := errors.AsType[*source.NotFoundError](err)
	return is && !missing.Environment
}

// goneWith says what went with a folder that is gone, as far as somebody knows.
func goneWith(written *stv1.PushedNames) string {
	place := source.Place{Environment: written.Environment, Path: written.Path}
	return fmt.Sprintf("there is no %s any longer; if it, or its environment, has another name now, these names stay there: %s", place, listed(written.Names))
}
