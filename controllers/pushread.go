package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

const (
	// readPatience is how long a look waits for the read of its folder, which is mostly over by then: workers are few. After that, the end
	// of the read wakes the push.
	readPatience = time.Second
	// readTold is after how long status tells that it is waited for.
	readTold = 15 * time.Second
)

// errReading says that the folder is still being read.
var errReading = errors.New("the folder is being read")

// rereading is the read of a folder that comes before what is written to it. It has a place in a queue with all who read from the server,
// and keeps it over looks: at a server that paces its readers, it takes minutes. It ends with the first look that does not wait for it: so
// it is never older than the way of its push through the queue of the controller, and never of a token that was taken away.
type rereading struct {
	folder *source.Folder
	began  time.Time
	stop   context.CancelFunc
	left   atomic.Bool // nobody waits for it, so that its end has to wake the push

	over chan struct{} // closed when err is known
	err  error
}

// reread has the job's folder read once more. It returns errReading until that is over, or how it ended.
func (j *job) reread(ctx context.Context) error {
	r := j.known.rereading
	if r != nil && !r.folder.Like(j.folder) {
		j.known.endRereading()
		r = nil
	}
	if r == nil {
		r = &rereading{folder: j.folder, began: j.clock.Now(), over: make(chan struct{})}
		r.stop = j.pool.Go(pushOwner(&j.push.ServiceTokenPush), func(ctx context.Context) bool {
			r.err = r.folder.Reread(ctx)
			close(r.over)
			return r.left.Load()
		})
		j.known.rereading = r
	}
	r.left.Store(false)
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	select {
	case <-r.over:
	case <-ctx.Done():
		if r.left.Store(true); !r.isOver() {
			return errReading
		}
	}
	j.folder = r.folder
	j.known.endRereading()
	return r.err
}

func (r *rereading) isOver() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

// endRereading ends the read that is under way, if one is, and forgets how it ended. No record has none.
func (r *record) endRereading() {
	if r != nil && r.rereading != nil {
		r.rereading.stop()
		r.rereading = nil
	}
}

// waits is the outcome of a look whose folder is still being read. It is no news to a push that is done as far as somebody knows, nor to one
// of which status says already what holds it back.
func (j *job) waits(done bool) pushOutcome {
	left := readTold - j.clock.Since(j.known.rereading.began)
	ready := meta.FindStatusCondition(j.push.Status.Conditions, stv1.ConditionReady)
	told := ready != nil && ready.Reason == stv1.ReasonRateLimited && ready.ObservedGeneration == j.push.Generation
	switch {
	case left > 0:
		return pushOutcome{reading: true, recheck: left}
	case done, told:
		return pushOutcome{reading: true, recheck: slowRecheck}
	}
	return pushOutcome{
		reading: true, recheck: slowRecheck, reason: stv1.ReasonRateLimited,
		message: fmt.Sprintf("writing waits for a read of %s, which the server's rate limit, or the time it takes to answer, holds back", j.place),
	}
}
