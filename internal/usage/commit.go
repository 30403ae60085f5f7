package usage

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// storeTimeout limits what one round at the store may take; Use waits at most two of them.
const storeTimeout = 10 * time.Second

// lookEvery is how often a shared ledger looks at what the others have reserved, as its own writes may be days apart; and how
// often any ledger tries again to read marks that it could not.
const lookEvery = time.Minute

// use is somebody who waits in Use.
type use struct {
	tokenID string
	done    chan error // has room for the one answer
	settled bool       // answered, or gone
	covered bool
}

// Start reads the marks, keeps up with what others write, and on the end of ctx gives back what was reserved and not used, so that
// the counts are exact after a graceful stop. From then on Use covers nothing. It implements the manager's Runnable.
func (l *Ledger) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, l.look, lookEvery)

	l.mu.Lock()
	l.stopped = true
	l.mu.Unlock()
	l.commits.Wait()

	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := l.giveBack(last); err != nil {
		// The marks stay as they are: too high, which is safe, and no reason to fail the stop.
		logf.FromContext(ctx).Info("Reserved token uses were not given back, they count as used", "reason", err.Error())
	}
	return nil
}

// look has the marks read, unless they are known to be as last seen.
func (l *Ledger) look(context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shared {
		l.fresh = false
	}
	l.wantLoad = true
	l.wakeCommit()
}

// NeedLeaderElection says that only the leader uses tokens, so only the leader counts.
func (l *Ledger) NeedLeaderElection() bool { return true }

// spendOrWait counts the use if one is reserved; else it returns a place in the queue for the next write.
func (l *Ledger) spendOrWait(id string) (*use, error) {
	l.mu.Lock()
	defer l.unlockAndTell()
	if l.stopped {
		return nil, ErrStopped
	}
	a := l.account(id)
	if a.spend() {
		l.noteTurn(id, a)
		return nil, nil
	}
	if a.blocked != nil {
		l.fresh = false // somebody may have corrected it, or made room
	}
	u := &use{tokenID: id, done: make(chan error, 1)}
	l.waiting = append(l.waiting, u)
	l.wakeCommit()
	return u, nil
}

// leave gives up waiting. A use that was covered meanwhile is counted, and may as well happen.
func (l *Ledger) leave(u *use, reason error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u.covered {
		return nil
	}
	u.settled = true
	return reason
}

// wakeCommit makes sure that a commit is under way. The caller holds the lock.
func (l *Ledger) wakeCommit() {
	if l.committing || l.stopped {
		return
	}
	l.committing = true
	l.commits.Go(l.commit)
}

// commit writes for everybody who waits, one write at a time, until nobody does. Who comes while a write is under way
// shares the next one: that merges the reservations of many tokens without a delay.
func (l *Ledger) commit() {
	for {
		l.mu.Lock()
		if l.stopped {
			l.answer(ErrStopped)
		}
		if len(l.waiting) == 0 && !l.wantLoad {
			l.committing = false
			l.mu.Unlock()
			return
		}
		l.wantLoad = false
		l.mu.Unlock()

		// Not the context of one of the waiting: when it gives up, the others still wait.
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		err := retry.OnError(retry.DefaultRetry, lostRace, func() error { return l.round(ctx) })
		cancel()
		if err != nil {
			l.mu.Lock()
			l.answer(err)
			l.mu.Unlock()
		}
	}
}

// round reads the marks if need be, stores reservations for all who wait, and lets them go.
func (l *Ledger) round(ctx context.Context) error {
	if err := l.refresh(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	l.serve()
	next, planned := l.propose()
	l.unlockAndTell()
	if len(planned) == 0 {
		return nil
	}

	err := l.store.save(ctx, next)

	l.mu.Lock()
	defer l.unlockAndTell()
	if err != nil {
		l.fresh = false // even a failed write may have been stored
		return err
	}
	l.stored = next
	now := l.clock.Now()
	for id, r := range planned {
		l.accounts[id].reserve(r, now)
	}
	l.serve()
	return nil
}

// refresh reads the marks unless they are known to be as last seen.
func (l *Ledger) refresh(ctx context.Context) error {
	l.mu.Lock()
	fresh := l.fresh
	l.mu.Unlock()
	if fresh {
		return nil
	}
	cm, err := l.store.load(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.unlockAndTell()
	if cm.ResourceVersion == "" && l.stored != nil {
		cm.Data = l.stored.Data // deleted under our hands: what we know of other tokens is put back with the next write
	}
	l.stored, l.fresh = cm, true
	for id, a := range l.accounts {
		a.meet(l.mark(id))
		l.noteTurn(id, a)
	}
	return nil
}

// propose returns the ConfigMap to store next, and what it reserves for whom; nothing when nobody waits. The caller holds
// the lock and has served all who can be.
func (l *Ledger) propose() (*corev1.ConfigMap, map[string]reservation) {
	need := map[string]int64{}
	for _, u := range l.waiting {
		need[u.tokenID]++
	}
	if len(need) == 0 {
		return nil, nil
	}
	now := l.clock.Now()
	next := l.stored.DeepCopy()
	if len(next.Data) > maxMarks && !l.shared {
		l.evict(next, need)
	}
	planned := map[string]reservation{}
	for id, a := range l.accounts {
		if a.blocked != nil {
			continue
		}
		r := a.plan(now, need[id])
		if r.amount > 0 {
			planned[id] = r
		}
		// Also where nothing is added: a mark that was lowered by hand must cover what we hold.
		if mark := a.reserved + r.amount; mark > 0 {
			setMark(next, id, mark)
		}
	}
	return next, planned
}

// evict takes the marks of tokens that nobody watches out of a ConfigMap that gets too large to be stored: they would start from
// zero if they were used again, where otherwise no token could be used at all. The caller holds the lock.
func (l *Ledger) evict(next *corev1.ConfigMap, need map[string]int64) {
	for id := range next.Data {
		a := l.accounts[id]
		if tokenID.MatchString(id) && need[id] == 0 && (a == nil || len(a.thresholds) == 0) {
			delete(next.Data, id)
			delete(l.accounts, id)
		}
	}
}

// serve answers those whose token's account can cover them, or is blocked, and drops those who left. The caller holds the
// lock.
func (l *Ledger) serve() {
	still := l.waiting[:0]
	for _, u := range l.waiting {
		if u.settled {
			continue
		}
		a := l.account(u.tokenID)
		switch {
		case a.spend():
			l.noteTurn(u.tokenID, a)
			u.settled, u.covered = true, true
			u.done <- nil
		case a.blocked != nil:
			u.settled = true
			u.done <- a.blocked
		default:
			still = append(still, u)
		}
	}
	clear(l.waiting[len(still):])
	l.waiting = still
}

// answer gives everybody who waits the same error. The caller holds the lock.
func (l *Ledger) answer(err error) {
	for _, u := range l.waiting {
		if !u.settled {
			u.settled = true
			u.done <- err
		}
	}
	l.waiting = nil
}

// giveBack lowers the marks to what was used, if nobody has written since: the resourceVersion sees to that.
func (l *Ledger) giveBack(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stored == nil || l.stored.ResourceVersion == "" {
		return nil
	}
	if !l.fresh {
		return errors.New("the last read or write failed, so it is not known what is stored")
	}
	next, changed := l.stored.DeepCopy(), false
	for id, a := range l.accounts {
		// A mark that was lowered by hand is raised to the count by this, too.
		if mark, err := l.mark(id); err == nil && mark != a.used {
			setMark(next, id, a.used)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return l.store.save(ctx, next)
}

// noteTurn remembers to tell about the token when its percent has changed. The caller holds the lock.
func (l *Ledger) noteTurn(id string, a *account) {
	if a.turned() {
		l.told = append(l.told, id)
	}
}

// unlockAndTell releases the lock and then calls back.
func (l *Ledger) unlockAndTell() {
	told := l.told
	l.told = nil
	l.mu.Unlock()
	for _, id := range told {
		l.changed(id)
	}
}
