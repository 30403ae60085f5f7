package source

import (
	"math"
	"time"
)

const (
	// delayMemory is how long a delay counts. With two of the windows in which servers count requests, a source that is read
	// in time in the first half of each and not at all in the second has one period, not two that alternate.
	delayMemory = 2 * time.Minute
	// delayProbation is how long a source is polled before anything is said of its delay: one such window.
	delayProbation = time.Minute
)

// Period is how long it takes from one read to the next where that is clearly longer than asked for: from Min to Max, in
// steps so coarse that they seldom change. The zero value means: as asked for, or not much longer.
type Period struct{ Min, Max time.Duration }

// delay is how late a poller's attempts end after they were due, since they wait for the rate limit and for the answer: the
// mean of the good ones, the younger the more they count, sorted into a class for those who are to act on it.
type delay struct {
	first, last time.Time // when the first and the last good attempt ended
	mean        float64   // seconds
	weight      float64   // how much time is behind mean, as a share of all that could be remembered

	known    bool          // class was decided
	class    int           // 0: up to one interval late; n: from 2^(n-1) to 2^n intervals
	interval time.Duration // that class counts in
}

// add takes in a good attempt that ended so much later than it was due. It says whether the period became another.
func (d *delay) add(late time.Duration, ended time.Time, interval time.Duration) (changed bool) {
	if d.first.IsZero() {
		d.first, d.last = ended, ended // all sources begin at once, so this one's delay is its place in the queue and no more
		return false
	}
	if share := -math.Expm1(-ended.Sub(d.last).Seconds() / delayMemory.Seconds()); share > 0 {
		d.weight += (1 - d.weight) * share
		d.mean += (late.Seconds() - d.mean) * share / d.weight
	}
	d.last = ended
	if interval <= 0 || ended.Sub(d.first) < delayProbation {
		return false
	}
	before := d.period()
	if !d.known || interval != d.interval || !d.holds() {
		d.known, d.interval = true, interval
		d.class = classOf(d.mean / interval.Seconds())
	}
	return d.period() != before
}

// holds says whether the mean is still of the class, or so little below that it may come back.
func (d *delay) holds() bool {
	intervals := d.mean / d.interval.Seconds()
	return intervals <= math.Ldexp(1, d.class) && (d.class == 0 || intervals >= math.Ldexp(1, d.class-2))
}

func classOf(intervals float64) (class int) {
	for intervals > math.Ldexp(1, class) {
		class++
	}
	return class
}

// period is what class and interval come to.
func (d *delay) period() Period {
	if d.class == 0 {
		return Period{}
	}
	return Period{Min: d.interval + d.interval<<(d.class-1), Max: d.interval + d.interval<<d.class}
}

// against is p for a reader who wants such an interval: the source may be read more often for another one, so that what is late
// for that one is in time for this one.
func (p Period) against(interval time.Duration) Period {
	if p.Min < 2*interval {
		return Period{}
	}
	return p
}
