package source

import "time"

// delayBuckets are the upper bounds, in seconds, that delays are counted by: from an answer without any wait to the poll of a
// source that shares a narrow rate limit with hundreds.
var delayBuckets = [...]float64{0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600}

// Load is what the sources of one host come to at a moment.
type Load struct {
	Sources int           // polled
	Readers int           // of these sources: an object counts once for each that it reads
	Overdue time.Duration // of the poll that is due and has waited longest; 0 when none is
	// How late polls ended since the host had its first source, those that failed aside: how many, the sum in seconds, and how many
	// up to each bound.
	Polls   uint64
	Late    float64
	Buckets map[float64]uint64
	// Saved is how many more polls there would have been if each reader had polled by itself.
	Saved float64
	// Undecryptable is how many fields did not open, each time they were read.
	Undecryptable uint64
}

// tally counts the polls of one host's sources.
type tally struct {
	sources int
	polls   uint64
	late    float64
	buckets [len(delayBuckets)]uint64 // each with those of the buckets before it
	saved   float64

	undecryptable uint64
}

// Load is what there is to poll, and how late that is, by host.
func (p *Pool) Load() map[string]Load {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	loads := make(map[string]Load, len(p.hosts))
	for host, t := range p.hosts {
		l := Load{Sources: t.sources, Polls: t.polls, Late: t.late, Saved: t.saved, Undecryptable: t.undecryptable, Buckets: make(map[float64]uint64, len(delayBuckets))}
		for i, bound := range delayBuckets {
			l.Buckets[bound] = t.buckets[i]
		}
		loads[host] = l
	}
	for key, e := range p.sources {
		host := key.Server.Host()
		l := loads[host]
		l.Overdue = max(l.Overdue, e.overdue(now))
		l.Readers += len(e.readers)
		loads[host] = l
	}
	return loads
}

// joined counts a new source. p.mu is held.
func (p *Pool) joined(host string) {
	t := p.hosts[host]
	if t == nil {
		t = &tally{}
		p.hosts[host] = t
	}
	t.sources++
}

// left is the end of joined: with its last source a host is forgotten. p.mu is held.
func (p *Pool) left(host string) {
	t := p.hosts[host]
	if t.sources--; t.sources == 0 {
		delete(p.hosts, host)
	}
}

// polled counts a good poll of one of the host's sources.
func (p *Pool) polled(host string, e *entry[*Snapshot], late time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.hosts[host]
	if t == nil {
		return // the source was left meanwhile
	}
	t.polls++
	t.late += late.Seconds()
	t.saved += e.saves()
	for i, bound := range delayBuckets {
		if late.Seconds() <= bound {
			t.buckets[i]++
		}
	}
}

// saves is how many more polls than its own one stands for: each reader's share of one, by the interval it wants. Pool.mu is held.
func (e *entry[T]) saves() float64 {
	if e == nil || len(e.readers) == 0 {
		return 0
	}
	shortest, rate := time.Duration(0), 0.0
	for _, interval := range e.readers {
		if shortest == 0 || interval < shortest {
			shortest = interval
		}
		rate += 1 / interval.Seconds()
	}
	return rate*shortest.Seconds() - 1
}

// undecryptable counts fields of one of the host's sources that did not open.
func (p *Pool) undecryptable(host string, fields int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.hosts[host]; t != nil { // else the source was left meanwhile
		t.undecryptable += uint64(fields) //nolint:gosec // a count
	}
}
