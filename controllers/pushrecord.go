package controllers

import (
	"errors"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/push"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// record is what the operator knows of a push besides its status. It is lost with the process, and all that it costs then is requests
// that change nothing, and names that a person has to decide about.
type record struct {
	of     types.UID
	folder string // that the rest is about

	memory     *push.Memory
	rereading  *rereading       // of the folder, before something is written to it
	unfinished bool             // there was something to write, and not all was
	change     string           // what was brought to the server last, to the end
	wrote      time.Time        // when something was last written: what was known of the folder before is out of date
	round      *round           // the steps of a change that is being brought
	arrived    sets.Set[string] // names that were absent, and there when they were to be created: by an earlier request, perhaps
}

// round is what the steps of one change have met that none of them is to try again, for a while after the last step too.
type round struct {
	change string
	met    map[string]error // by name: errLeft, errTaken, or the server's verdict about it
	ended  time.Time        // zero as long as there is more to do
	waits  bool             // for somebody's approval, so that asking again would only ask for another one
}

var (
	errLeft  = errors.New("the name is there, and stays as it is")
	errTaken = errors.New("the name is there, and somebody else has written it")
)

// roundOf returns the round of a change: the one that there is, or a new one.
func (r *record) roundOf(change string, now time.Time) *round {
	if r.round == nil || r.round.change != change || !r.round.ended.IsZero() && !r.round.waits && now.Sub(r.round.ended) >= slowRecheck {
		r.round = &round{change: change, met: map[string]error{}}
	}
	return r.round
}

// verdict is what a round has to say that is wrong about a plan, when all else is done, and which names of it stay as they are.
func (r *round) verdict(plan *push.Plan) (left []string, err error) {
	var taken []string
	for _, name := range slices.Concat(plan.Create, plan.Update, plan.Delete) {
		switch is := r.met[name]; {
		case is == nil:
		case errors.Is(is, errLeft):
			left = append(left, name)
		case errors.Is(is, errTaken):
			taken = append(taken, name)
		case err == nil:
			err = &nameError{name, is}
		}
	}
	if err == nil && len(taken) > 0 {
		err = &push.ConflictError{Names: taken}
	}
	return left, err
}

// records has one for each push. Only one look at a push is made at a time, so what it gets is its own.
type records struct {
	mu    sync.Mutex
	known map[source.Owner]*record
}

// of returns what is known of a push and the folder that it writes to now. Of another object of the name, and of another folder, nothing is.
func (r *records) of(p *stv1.ServiceTokenPush, folder string) *record {
	r.mu.Lock()
	defer r.mu.Unlock()
	owner := pushOwner(p)
	known := r.known[owner]
	if known == nil || known.of != p.UID || known.folder != folder {
		known.endRereading()
		known = &record{of: p.UID, folder: folder, memory: push.NewMemory(), arrived: sets.Set[string]{}}
		r.known[owner] = known
	}
	return known
}

func (r *records) forget(owner source.Owner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[owner].endRereading()
	delete(r.known, owner)
}

// endRereading ends the read that is under way for a push.
func (r *records) endRereading(owner source.Owner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[owner].endRereading()
}
