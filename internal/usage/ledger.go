// Package usage counts how often each service token was used, and tells who asked to hear it when the count moves.
//
// One use is one request authenticated with the token. The figure to compare it with is 2^32: NIST SP 800-38D,
// section 8.3, allows at most 2^32 invocations of GCM's authenticated encryption with one key when the initialization
// vectors are random, because beyond that a repeated vector is too likely. Users rotate tokens by that figure, or by
// a smaller one of their own.
//
// The count survives restarts, leader changes and deleted objects, and it is never too low. Uses are reserved ahead:
// a mark that covers them is stored in one ConfigMap before they happen, and after a crash the count goes on from the
// mark. It may therefore be too high, by what was reserved and not used; a graceful stop gives that back.
//
// Several processes may count in one ConfigMap at the same time. Each reserves above the mark that it finds and gives back no more
// than its own, under the lock of the resourceVersion, so the mark covers what all of them have used and may still use; and each
// counts as used what the others have reserved.
//
// This package never sees a token. It knows ids, and it refuses whatever does not look like one.
package usage

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// DefaultName is the name of the ConfigMap that holds the marks.
	DefaultName = "service-token-operator-usage"
	// DefaultThreshold is how often a token may be used before it should be rotated: 2^32, NIST SP 800-38D section 8.3.
	DefaultThreshold int64 = 1 << 32
)

// maxMarks is how many tokens the ConfigMap holds before those that no object uses any more are dropped or, where that is not
// known, new ones are refused. A mark takes about 50 bytes of the 1 MiB that the API server stores.
const maxMarks = 16_000

// ErrStopped is what Use answers when the ledger has given back its reservations and covers nothing any more.
var ErrStopped = errors.New("the usage ledger has stopped")

// errID does not repeat what it was given: it might be a token.
var errID = errors.New("not a token id: neither a UUID nor 24 hexadecimal characters")

// tokenID is what a service token's id looks like. It keeps a whole token, passed by mistake, out of the ConfigMap.
var tokenID = regexp.MustCompile(`^(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{24})$`)

// NotCoveredError is the error of Use: the request must not be sent, because no stored mark covers it.
type NotCoveredError struct {
	TokenID string // empty when it did not look like an id
	Err     error
}

func (e *NotCoveredError) Error() string {
	if e.TokenID == "" {
		return fmt.Sprintf("the use of a token could not be counted: %v", e.Err)
	}
	return fmt.Sprintf("the use of token %s could not be counted: %v", e.TokenID, e.Err)
}

func (e *NotCoveredError) Unwrap() error { return e.Err }

// CorruptError says that a token's entry in the ConfigMap is not a count. The entry is left as it is, and the token is
// not used, until somebody corrects the entry or deletes it.
type CorruptError struct {
	ConfigMap string // namespace/name
	Key       string // the token's id
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("the entry %q in ConfigMap %s is not a count of uses: correct it, or delete it to count from zero", e.Key, e.ConfigMap)
}

// FullError says that the ConfigMap has no room for another token. Those that are in it go on; this one is not used until
// somebody deletes the entries of tokens that are of no use any more.
type FullError struct {
	ConfigMap string // namespace/name
}

func (e *FullError) Error() string {
	return fmt.Sprintf("ConfigMap %s counts the uses of %d tokens and has no room for more: delete the entries of tokens that no object uses any longer", e.ConfigMap, maxMarks)
}

// Options is what a Ledger needs. Reader must not be a cache: a stale mark would cost a conflict with every write.
type Options struct {
	Reader    client.Reader
	Writer    client.Writer
	Namespace string             // of the ConfigMap: the operator's
	Name      string             // of the ConfigMap; default DefaultName
	Clock     clock.PassiveClock // default: the real one

	// Shared says that other processes may count in the ConfigMap at the same time, for objects that are not seen here. Then
	// the marks are read every minute, and none is dropped to make room, as somebody may rely on it.
	Shared bool

	// Changed is called when the integer percent of a watched threshold has changed for a token. A warn mark is an
	// integer percent too, so crossing one is such a change. It is called outside the ledger's lock, from the goroutine
	// that used the token or stored its mark: it must be cheap and must not block. May be nil.
	Changed func(tokenID string)
}

// Ledger counts uses per token id. It is safe for concurrent use; the zero value is not usable.
type Ledger struct {
	store   store
	clock   clock.PassiveClock
	changed func(string)
	shared  bool

	mu         sync.Mutex
	accounts   map[string]*account
	watches    map[string]watch  // by owner
	stored     *corev1.ConfigMap // as last read or written; nil before the first read
	fresh      bool              // no sign that the store is ahead of stored
	waiting    []*use
	wantLoad   bool
	committing bool
	stopped    bool
	told       []string // tokens to call changed for, once the lock is released

	commits sync.WaitGroup
}

// watch is what one owner watches.
type watch struct {
	tokenID   string
	threshold int64
}

// NewLedger returns a ledger that reads the ConfigMap before the first use, not now.
func NewLedger(o Options) *Ledger {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Changed == nil {
		o.Changed = func(string) {}
	}
	return &Ledger{
		store:    store{reader: o.Reader, writer: o.Writer, key: client.ObjectKey{Namespace: o.Namespace, Name: o.Name}},
		clock:    o.Clock,
		changed:  o.Changed,
		shared:   o.Shared,
		accounts: map[string]*account{},
		watches:  map[string]watch{},
	}
}

// Use counts one use of the token. It is to be called before each request that is authenticated with it, and returns
// when a stored mark covers the use: at once while the reservation lasts, else after a write that it shares with
// everybody who waits. Any error is a *NotCoveredError, and the request must not be sent.
func (l *Ledger) Use(ctx context.Context, id string) error {
	if !tokenID.MatchString(id) {
		return &NotCoveredError{Err: errID}
	}
	if err := ctx.Err(); err != nil {
		return &NotCoveredError{TokenID: id, Err: err}
	}
	u, err := l.spendOrWait(id)
	if err != nil {
		return &NotCoveredError{TokenID: id, Err: err}
	}
	if u == nil {
		return nil
	}
	select {
	case err = <-u.done:
	case <-ctx.Done():
		err = l.leave(u, ctx.Err())
	}
	if err != nil {
		return &NotCoveredError{TokenID: id, Err: err}
	}
	return nil
}

// Count returns how often the token was used, over all processes so far; never less than it was when the marks were last
// read or written. It is 0 for a token that nobody used, and before the marks could be read (Loaded).
func (l *Ledger) Count(id string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a, ok := l.accounts[id]; ok {
		return a.used
	}
	mark, err := l.mark(id)
	if err != nil {
		return 0
	}
	return mark
}

// Loaded says whether the stored marks have been read, so that Count knows of earlier uses. It is true after the first
// Use that succeeded.
func (l *Ledger) Loaded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stored != nil
}

// Watch makes the ledger call Options.Changed when the token's use reaches another whole percent of threshold. An owner
// watches one token and one threshold: another call replaces the first, so a rotated token takes its owner along. The
// smallest threshold that is watched decides how much is reserved ahead for the token.
func (l *Ledger) Watch(owner, id string, threshold int64) {
	if threshold <= 0 {
		l.Forget(owner)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w := watch{tokenID: id, threshold: threshold}
	if l.watches[owner] == w {
		return
	}
	l.unwatch(owner)
	l.watches[owner] = w
	l.account(id).watch(threshold)
}

// Forget ends what Watch began. The token's count stays.
func (l *Ledger) Forget(owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unwatch(owner)
}

// Percent returns how many whole percent of threshold count is. It goes on above 100, and is 0 without a threshold.
func Percent(count, threshold int64) int64 {
	if count <= 0 || threshold <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(count), 100)
	if hi >= uint64(threshold) {
		return maxCount
	}
	percent, _ := bits.Div64(hi, lo, uint64(threshold))
	return int64(min(percent, uint64(maxCount)))
}

// account returns the token's account, opening it at the stored mark. The caller holds the lock.
func (l *Ledger) account(id string) *account {
	a, ok := l.accounts[id]
	if !ok {
		a = &account{tellAt: maxCount}
		a.meet(l.mark(id))
		l.accounts[id] = a
	}
	return a
}

// mark returns what is stored for the token, 0 when nothing is, or why it cannot be counted. The caller holds the lock.
func (l *Ledger) mark(id string) (int64, error) {
	if l.stored == nil {
		return 0, nil
	}
	if _, found := l.stored.Data[id]; !found && l.shared && len(l.stored.Data) >= maxMarks {
		return 0, &FullError{ConfigMap: l.store.key.String()}
	}
	return l.store.mark(l.stored, id)
}

// unwatch removes the owner's watch, if there is one. The caller holds the lock.
func (l *Ledger) unwatch(owner string) {
	w, ok := l.watches[owner]
	if !ok {
		return
	}
	delete(l.watches, owner)
	l.accounts[w.tokenID].unwatch(w.threshold)
}
