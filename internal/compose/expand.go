package compose

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// expansion is the work on the references of one Compose call, in three steps, none of which recurses:
//
//  1. discover walks from the secrets of the output along their references, level by level, and looks up what they lead to;
//  2. settle decides which references hold, and knows the length of every value before one is made (settle.go);
//  3. text writes each value once, into a buffer of its final length; what contains it copies it from there (text.go).
//
// So time and memory grow with input and output, not with the number of ways through the references.
type expansion struct {
	in      *Input
	sources []*folder
	held    map[Location]place // folders that the sources hold; made for the first reference with a location
	places  map[string]place   // by what stands before the key in a reference

	nodes   []*node // in the order of discovery
	scanned int     // of nodes
	quiet   bool    // nothing in the output depends on what is discovered now

	asked   []Location // of Lookup
	pending []Location
	broken  []BrokenReference
}

// node is a secret that has references or that a reference leads to.
type node struct {
	pick
	refs  []ref
	quiet bool   // nothing in the output depends on it
	text  []byte // the expansion, once written; never nil then

	size   int // of the expansion
	height int // the longest chain of references from here

	visit, low, component int // work of settle, 0 = not yet
}

// ref is a reference in a node's value; target is nil when it is unresolved.
type ref struct {
	start, end int32
	target     *node
}

// place is where references with a location lead: a path in a folder, and what to say where nothing is there.
type place struct {
	*folder
	path string
	why  string
}

// Reasons why a reference is unresolved, besides what Lookup says.
const (
	whyMissing = "no such secret"
	whyCyclic  = "leads back to itself"
)

// maxBroken limits what is kept about broken references. Nobody reads more, and one hostile value can hold a million.
const maxBroken = 1000

// add makes a secret and what it refers to part of the work.
func (x *expansion) add(p pick) {
	if hasReference(p.value()) {
		x.node(p)
	}
}

func (x *expansion) node(p pick) *node {
	n := p.node()
	if n == nil {
		n = &node{pick: p, quiet: x.quiet}
		p.setNode(n)
		x.nodes = append(x.nodes, n)
	}
	return n
}

// discover reads the references of all nodes, which adds more of them to the end of the list. Level by level, so that
// which folders come within MaxSources does not change while the ones further away are still being fetched.
func (x *expansion) discover() {
	for ; x.scanned < len(x.nodes); x.scanned++ {
		n := x.nodes[x.scanned]
		value := n.value()
		if len(value) > x.in.MaxBytes {
			continue // too large whatever its references stand for
		}
		for t, ok := nextReference(value, 0); ok; t, ok = nextReference(value, t.end) {
			if n.refs == nil {
				n.refs = make([]ref, 0, bytes.Count(value[t.start:], []byte(opening)))
			}
			r := ref{start: int32(t.start), end: int32(t.end)} //nolint:gosec // setDefaults keeps MaxBytes within 32 bits
			var why string
			if r.target, why = x.resolve(n, t.name); why != "" {
				x.breaks(n, r, why)
			}
			n.refs = append(n.refs, r)
		}
	}
}

// resolve finds the secret that a reference stands for. It returns neither a secret nor a reason while its folder is pending.
func (x *expansion) resolve(n *node, name []byte) (target *node, why string) {
	dot := bytes.LastIndexByte(name, '.')
	if dot < 0 {
		if s, ok := n.beside(n.spot, name); ok {
			return x.node(pick{n.folder, s}), ""
		}
		return nil, whyMissing
	}
	to, ok := x.places[string(name[:dot])]
	if !ok {
		at := parseLocation(name[:dot])
		if to = x.find(at); to.folder != nil {
			to.why = whyMissing + " in " + at.String()
		}
		if x.places == nil {
			x.places = map[string]place{}
		}
		x.places[string(name[:dot])] = to
	}
	if to.folder != nil {
		if s, ok := to.at(to.path, name[dot+1:]); ok {
			return x.node(pick{to.folder, s}), ""
		}
	}
	return nil, to.why
}

// find returns the folder at a location, from the sources or from Lookup.
func (x *expansion) find(at Location) place {
	if x.held == nil {
		x.held = hold(x.sources)
	}
	if to, ok := x.held[at]; ok {
		return to
	}
	if x.in.Lookup == nil {
		return place{why: "no other folder can be read"}
	}
	if len(x.asked) == x.in.MaxSources {
		return place{why: fmt.Sprintf("references lead to more than %d other folders", x.in.MaxSources)}
	}
	x.asked = append(x.asked, at)
	found, err := x.in.Lookup(at)
	switch {
	case errors.Is(err, ErrPending):
		x.pending = append(x.pending, at)
		return place{}
	case err != nil:
		return place{why: cmp.Or(err.Error(), "cannot be read")}
	}
	found.Location = at
	return place{folder: newFolder(&found), path: at.Path}
}

// hold lists the folders that the sources hold. A recursive read does not tell an empty folder from a missing one, nor
// whose imports are whose: it counts where it has secrets, after a read of that folder alone, and the read that began
// nearest counts first.
func hold(sources []*folder) map[Location]place {
	held := map[Location]place{}
	sources = slices.Clone(sources)
	slices.SortStableFunc(sources, func(a, b *folder) int {
		if a.Recursive != b.Recursive {
			if a.Recursive {
				return -1
			}
			return 1
		}
		return cmp.Compare(depth(a.Path), depth(b.Path))
	})
	for _, f := range sources {
		held[f.Location] = place{folder: f, path: f.Path}
		if f.Recursive {
			for i := range f.Secrets {
				at := f.location(spot{0, i})
				held[at] = place{folder: f, path: at.Path}
			}
		}
	}
	return held
}

// breaks notes that a reference is unresolved.
func (x *expansion) breaks(n *node, r ref, why string) {
	keeps := x.in.Unresolved == UnresolvedKeep || x.in.Unresolved == UnresolvedEmpty
	if keeps || n.quiet || len(x.broken) == maxBroken {
		return
	}
	x.broken = append(x.broken, BrokenReference{
		Key:       n.secret(n.spot).Name,
		Location:  n.location(n.spot),
		Reference: string(n.value()[r.start:r.end]),
		Why:       strings.ToValidUTF8(why, "\uFFFD"),
	})
}
