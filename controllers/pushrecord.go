package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/push"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// record is what the operator knows of a push besides its status. It is lost with the process, and all that it costs then is requests
// that change nothing, and names that a person has to decide about.
type record struct {
	of     types.UID
	folder string // that the rest is about

	memory   *push.Memory
	change   string              // what was brought to the server last, to the end
	wrote    *source.Snapshot    // what was known of the folder when something was last written: it is out of date
	approval string              // a change that waits for somebody's approval
	arrived  map[string]struct{} // names that were absent, and there when they were to be created: by an earlier request, perhaps
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
		known = &record{of: p.UID, folder: folder, memory: push.NewMemory(), arrived: map[string]struct{}{}}
		r.known[owner] = known
	}
	return known
}

func (r *records) forget(owner source.Owner) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, owner)
}
