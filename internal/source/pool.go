package source

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Owner is an object that reads sources.
type Owner = types.NamespacedName

// Options of a Pool.
type Options struct {
	// Notify is called when what an owner reads has changed: with new content, a new failure, or the end of one. It must not
	// block.
	Notify func(Owner)
	// Clock defaults to the real one.
	Clock clock.Clock
	// Random spreads polls; it returns numbers in [0,1) and defaults to math/rand's.
	Random func() float64
}

// Pool holds the pollers of all sources, and who reads them.
type Pool struct {
	notify func(Owner)
	clock  clock.Clock
	random func() float64

	//nolint:containedctx // the life of all pollers, which outlives the calls that make them
	ctx    context.Context
	cancel context.CancelFunc
	live   sync.WaitGroup

	mu       sync.Mutex
	sessions map[Credential]*session
	sources  map[Key]*entry[*Snapshot]
	owners   map[Owner]*subscription
	hosts    map[string]*tally
}

// entry is a poller and who reads it.
type entry[T any] struct {
	*poller[T]
	stop    context.CancelFunc
	readers map[Owner]time.Duration // the interval each wants
	pace    time.Duration           // the shortest of them, when the last attempt was over
}

// session is what all sources of one credential share.
type session struct {
	entry[*Token] // the description
	access        *access
}

// subscription is what an owner reads: a token or an identity, and places with it.
type subscription struct {
	cred   Credential
	places []Place // few: a map would cost each owner more memory than all else here
}

// Reading is what an owner gets to see of its token and places.
type Reading struct {
	// Token is nil until it, or the identity, was described for the first time. TokenErr is why it could not be, or not any more.
	Token    *Token
	TokenErr error
	// Places has one result for each place asked for.
	Places map[Place]Result
}

// Result is what is known of one place. Neither field set means that it is being read for the first time.
type Result struct {
	Snapshot *Snapshot // the last good one; kept when Err is set
	AsOf     time.Time // what was done at the server before is in Snapshot, or has been undone
	Err      error     // *infisical.Error or one of this package's
}

// NewPool returns a pool without pollers. Close ends it.
func NewPool(o Options) *Pool {
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	p := &Pool{
		notify: o.Notify, clock: o.Clock, random: o.Random,
		sessions: map[Credential]*session{}, sources: map[Key]*entry[*Snapshot]{}, owners: map[Owner]*subscription{},
		hosts: map[string]*tally{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Start makes the pool a runnable of the manager: it closes it when ctx ends.
func (p *Pool) Start(ctx context.Context) error {
	<-ctx.Done()
	p.Close()
	return nil
}

// Close ends all pollers and waits for their requests to end.
func (p *Pool) Close() {
	p.mu.Lock() // of two, the other is launch, which must not add to live what is not waited for
	p.cancel()
	p.mu.Unlock()
	p.live.Wait()
}

// Read subscribes the owner to a token and to places, in addition to those it reads already, and returns what is known of
// them now. What becomes known later is told through Notify. What the owner read with another credential ends here.
func (p *Pool) Read(owner Owner, cred Credential, interval time.Duration, places ...Place) Reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	sub := p.owners[owner]
	if sub != nil && sub.cred != cred {
		p.leave(owner, sub)
		sub = nil
	}
	if sub == nil {
		sub = &subscription{cred: cred}
		p.owners[owner] = sub
	}
	session := p.session(cred.session())
	session.readers[owner] = interval
	r := Reading{Places: make(map[Place]Result, len(places))}
	r.Token, _, r.TokenErr = session.read()
	for _, place := range places {
		e := p.source(Key{Credential: cred, Place: place}, session)
		if !slices.Contains(sub.places, place) {
			sub.places = append(sub.places, place)
		}
		e.readers[owner] = interval
		if interval < e.pace {
			e.pace = interval
			e.hurry() // or the shorter interval would begin after the longer one's end
		}
		var result Result
		result.AsOf = e.asOf()
		result.Snapshot, _, result.Err = e.read() // which may be newer, and not older
		r.Places[place] = result
	}
	return r
}

// Period is how often an owner's sources are read, if the rarest of them is read clearly less often than the owner wants. known
// is false as long as that is not known, which takes a minute or two. A change is told through Notify.
func (p *Pool) Period(owner Owner) (longest Period, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sub := p.owners[owner]
	if sub == nil {
		return Period{}, false
	}
	known = true
	for _, place := range sub.places {
		e := p.sources[Key{Credential: sub.cred, Place: place}]
		period, ok := e.period()
		if period = period.against(e.readers[owner]); period.Max > longest.Max {
			longest = period
		}
		known = known && ok
	}
	return longest, known || longest != Period{}
}

// Keep ends the owner's reading of all places but these.
func (p *Pool) Keep(owner Owner, places map[Place]struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sub := p.owners[owner]; sub != nil {
		p.keep(owner, sub, places)
	}
}

// Leave ends all reading of an owner that is gone, suspended, or has no token.
func (p *Pool) Leave(owner Owner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sub := p.owners[owner]; sub != nil {
		p.leave(owner, sub)
	}
}

// Refresh makes everything the owner reads be read now.
func (p *Pool) Refresh(owner Owner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sub := p.owners[owner]
	if sub == nil {
		return
	}
	session := p.sessions[sub.cred.session()]
	session.access.retry()
	session.poke()
	for _, place := range sub.places {
		p.sources[Key{Credential: sub.cred, Place: place}].poke()
	}
}

// Go runs what takes its time at a server, and notifies the owner when it is done, if do says so. stop ends its context before, as Close
// does; then nobody is notified.
func (p *Pool) Go(owner Owner, do func(context.Context) (tell bool)) (stop context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.launch(func(ctx context.Context) {
		if do(ctx) && ctx.Err() == nil {
			p.notify(owner)
		}
	})
}

// keep ends the owner's reading of all places but those kept. p.mu is held.
func (p *Pool) keep(owner Owner, sub *subscription, kept map[Place]struct{}) {
	sub.places = slices.DeleteFunc(sub.places, func(place Place) bool {
		if _, ok := kept[place]; ok {
			return false
		}
		key := Key{Credential: sub.cred, Place: place}
		if p.sources[key].leave(owner) {
			delete(p.sources, key)
			p.left(key.Server.Host())
		}
		return true
	})
}

// leave ends the owner's reading of all places and of the token. p.mu is held.
func (p *Pool) leave(owner Owner, sub *subscription) {
	p.keep(owner, sub, nil)
	delete(p.owners, owner)
	if p.sessions[sub.cred.session()].leave(owner) {
		delete(p.sessions, sub.cred.session())
	}
}

// leave says whether nobody is left; the poller is stopped then.
func (e *entry[T]) leave(owner Owner) bool {
	delete(e.readers, owner)
	if len(e.readers) > 0 {
		return false
	}
	e.stop()
	return true
}

func (p *Pool) session(cred Credential) *session {
	if e := p.sessions[cred]; e != nil {
		return e
	}
	e := &session{access: p.newAccess(cred)}
	e.entry = entry[*Token]{poller: p.newSession(cred, e.access), readers: map[Owner]time.Duration{}}
	var last *Token
	e.changed = func() { // the sources hear of it by themselves
		token, _, _ := e.read()
		renewed := last != nil && token != last
		last = token
		// Who reads a place is told of a failure and of the first success from there: at a start, that is everybody.
		p.tell(e.readers, func(owner Owner) bool { return renewed || len(p.owners[owner].places) == 0 })
	}
	p.sessions[cred] = e
	e.stop = p.launch(e.run)
	if login := e.access.login; login != nil {
		stopDescribing, stopLogins := e.stop, p.launch(login.run)
		e.stop = func() { stopDescribing(); stopLogins() }
	}
	return e
}

func (p *Pool) source(key Key, session *session) *entry[*Snapshot] {
	if e := p.sources[key]; e != nil {
		return e
	}
	e := &entry[*Snapshot]{poller: newPoller[*Snapshot](p.clock, p.random), readers: map[Owner]time.Duration{}}
	host := key.Server.Host()
	r := &reader{Key: key, session: session, undecryptable: func(fields int) { p.undecryptable(host, fields) }}
	e.fetch = r.read
	e.outdated = func() <-chan struct{} { return r.outdated }
	e.same = (*Snapshot).equal
	e.interval = func() time.Duration {
		p.mu.Lock()
		defer p.mu.Unlock()
		e.pace = 0 // with nobody left it is stopped already
		for _, d := range e.readers {
			if e.pace == 0 || d < e.pace {
				e.pace = d
			}
		}
		return e.pace
	}
	e.changed = func() { p.tell(e.readers, func(Owner) bool { return true }) }
	e.ended = func(late time.Duration) { p.polled(host, e, late) }
	p.joined(host)
	p.sources[key] = e
	e.stop = p.launch(e.run)
	return e
}

// tell notifies those readers of an entry who care, outside of the lock that guards them.
func (p *Pool) tell(readers map[Owner]time.Duration, cares func(Owner) bool) {
	p.mu.Lock()
	owners := make([]Owner, 0, len(readers))
	for owner := range readers {
		if cares(owner) {
			owners = append(owners, owner)
		}
	}
	p.mu.Unlock()
	for _, owner := range owners {
		p.notify(owner)
	}
}

// launch starts a poller, unless the pool is closed. p.mu is held.
func (p *Pool) launch(run func(context.Context)) context.CancelFunc {
	ctx, cancel := context.WithCancel(p.ctx)
	if p.ctx.Err() == nil {
		p.live.Go(func() { run(ctx) })
	}
	return cancel
}
