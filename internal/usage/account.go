package usage

import (
	"math"
	"math/bits"
	"time"
)

const (
	maxCount = math.MaxInt64

	// firstChunk and maxChunk bound how much is reserved at once: enough that a token which is polled every minute
	// costs a write in hours, little enough that a crash does not move its count visibly.
	firstChunk = 1 << 10
	maxChunk   = 1 << 20

	// A chunk that lasts between these two is right; a shorter one is doubled, a longer one halved.
	shortLife = time.Hour
	longLife  = 4 * time.Hour
)

// account is what the ledger knows of one token: used ≤ reserved, and reserved ≤ the stored mark.
type account struct {
	used     int64
	reserved int64
	blocked  error // the stored mark cannot be read, or there is no room for one; nothing is reserved meanwhile

	chunk int64     // how much was reserved ahead last time; 0 before the first time
	since time.Time // when that was
	spent int64     // how much was used since then, by this process

	thresholds map[int64]int // watched threshold → number of owners
	tellAt     int64         // the count at which the percent of one of them changes next
}

// spend counts one use, and says whether there was one reserved.
func (a *account) spend() bool {
	if a.blocked != nil || a.used >= a.reserved {
		return false
	}
	a.used++
	a.spent++
	return true
}

// meet takes note of the mark that is stored. What it is above our own reservation was reserved by another process, and
// counts as used: there is no way to know how much of it was. A mark below ours was lowered by hand and is not believed.
func (a *account) meet(mark int64, err error) {
	a.blocked = err
	if err == nil && mark > a.reserved {
		a.used += mark - a.reserved
		a.reserved = mark
	}
}

// reservation is what to add to an account's mark, and the chunk by which that was decided.
type reservation struct {
	amount int64
	chunk  int64
}

// plan says what to reserve for so many waiting uses. With none waiting, it fills up an account that has run down to
// less than half of its chunk, so that one write serves many tokens; the amount is 0 when that is not worth it.
func (a *account) plan(now time.Time, waiting int64) reservation {
	left := a.reserved - a.used
	if waiting == 0 && (a.chunk <= 1 || left >= a.chunk/2) {
		return reservation{}
	}
	chunk := a.nextChunk(now)
	return reservation{amount: max(0, chunk-left, waiting-left), chunk: chunk}
}

// nextChunk adapts the chunk to the pace seen since the last reservation, within 1 % of the smallest threshold watched.
// A token that nobody watches yet is counted one by one, as its threshold may turn out to be tiny.
func (a *account) nextChunk(now time.Time) int64 {
	if len(a.thresholds) == 0 {
		return 1
	}
	chunk := a.chunk
	if chunk == 0 {
		chunk = firstChunk
	} else if a.spent > 0 {
		life := now.Sub(a.since).Hours() * float64(chunk) / float64(a.spent)
		switch {
		case life < shortLife.Hours():
			chunk *= 2
		case life > longLife.Hours():
			chunk /= 2
		}
	}
	limit := int64(maxChunk)
	for threshold := range a.thresholds {
		limit = min(limit, threshold/100)
	}
	return max(1, min(chunk, limit))
}

// reserve books what has been stored.
func (a *account) reserve(r reservation, now time.Time) {
	a.reserved += r.amount
	a.since, a.spent = now, 0
	if len(a.thresholds) > 0 {
		a.chunk = r.chunk
	}
}

// watch and unwatch count the owners of a threshold.
func (a *account) watch(threshold int64) {
	if a.thresholds == nil {
		a.thresholds = map[int64]int{}
	}
	a.thresholds[threshold]++
	a.aim()
}

func (a *account) unwatch(threshold int64) {
	if a.thresholds[threshold]--; a.thresholds[threshold] == 0 {
		delete(a.thresholds, threshold)
	}
	a.aim()
}

// turned says whether the percent of a watched threshold has changed since it was last asked.
func (a *account) turned() bool {
	if a.used < a.tellAt || len(a.thresholds) == 0 {
		return false
	}
	a.aim()
	return true
}

// aim computes tellAt anew.
func (a *account) aim() {
	a.tellAt = maxCount
	for threshold := range a.thresholds {
		a.tellAt = min(a.tellAt, nextPercentAt(a.used, threshold))
	}
}

// nextPercentAt returns the smallest count above this one at which Percent is another.
func nextPercentAt(count, threshold int64) int64 {
	next := Percent(count, threshold)
	if next == maxCount || threshold <= 0 {
		return maxCount
	}
	next = max(0, next) + 1
	hi, lo := bits.Mul64(uint64(next), uint64(threshold))
	if hi >= 100 {
		return maxCount
	}
	at, rest := bits.Div64(hi, lo, 100)
	if rest > 0 {
		at++
	}
	return int64(min(at, uint64(maxCount)))
}
