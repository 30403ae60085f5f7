package controllers

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

const (
	// readPatience is how long a look waits for the read of its folder, which is mostly over by then: workers are few. After that, the end
	// of the read wakes the push.
	readPatience = time.Second
	// readTold is after how long status tells that it is waited for.
	readTold = 15 * time.Second
	// readFresh is how old a read may be when its push gets to write.
	readFresh = 15 * time.Second
)

// errReading says that the folder is still being read.
var errReading = errors.New("the folder is being read")

// rereading is the read of a folder that comes before what is written to it. It has a place in a queue with all who read from the server,
// and keeps it over looks: at a server that paces its readers, it takes minutes.
type rereading struct {
	cred   source.Credential
	folder *source.Folder
	began  time.Time
	stop   context.CancelFunc
	left   atomic.Bool // nobody waits for it, so that its end has to wake the push

	over  chan struct{} // closed when the rest is known
	ended time.Time
	err   error
}

// reread has the job's folder read once more. It returns errReading until that is over, or how it ended.
func (j *job) reread(ctx context.Context) error {
	r := j.known.rereading
	if r != nil && (r.cred != j.cred || r.folder.Token() != j.folder.Token() || r.stale(j.clock.Now())) {
		j.known.endRereading()
		r = nil
	}
	if r == nil {
		r = &rereading{cred: j.cred, folder: j.folder, began: j.clock.Now(), over: make(chan struct{})}
		r.stop = j.pool.Go(pushOwner(&j.push.ServiceTokenPush), func(ctx context.Context) bool {
			r.err = r.folder.Reread(ctx)
			r.ended = j.clock.Now()
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

// stale says whether a read ended too long ago to write by it.
func (r *rereading) stale(now time.Time) bool {
	return r.isOver() && now.Sub(r.ended) > readFresh
}

// endRereading ends the read that is under way, if one is, and forgets how it ended. No record has none.
func (r *record) endRereading() {
	if r != nil && r.rereading != nil {
		r.rereading.stop()
		r.rereading = nil
	}
}

// waits is the outcome of a look whose folder is still being read.
func (j *job) waits() pushOutcome {
	began := j.known.rereading.began
	if left := readTold - j.clock.Since(began); left > 0 {
		return pushOutcome{recheck: left}
	}
	return pushOutcome{
		reason: stv1.ReasonRateLimited,
		message: "writing waits for a read of " + j.place.String() + ", which the server's rate limit, or the time it takes to answer, has held back since " +
			began.UTC().Format(time.RFC3339),
		recheck: slowRecheck,
	}
}
