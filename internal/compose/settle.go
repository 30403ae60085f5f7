package compose

import (
	"fmt"
	"math"
)

// settle decides which references hold, and computes each node's size and height from those of what it refers to.
//
// Cyclic is every reference between two secrets that lead to each other (they are in one strongly connected component),
// and no other. One that leads into a cycle from outside holds: with UnresolvedKeep and A=${B}, B=${A}, C=<${A}>, A and B
// stay as they are and C becomes <${B}>. So the outcome is the same wherever one starts.
//
// Too deep is a reference whose target already has MaxDepth levels below it. It counts from the bottom for the same
// reason.
//
// The algorithm is Tarjan's, with a stack of its own. It completes a component after everything that the component refers
// to.
func (x *expansion) settle() {
	type frame struct {
		*node
		next int // of refs
	}
	var (
		calls      []frame
		open       []*node // visited, component not yet known
		visits     int
		components int
	)
	enter := func(n *node) {
		visits++
		n.visit, n.low = visits, visits
		open = append(open, n)
		calls = append(calls, frame{node: n})
	}
	for _, root := range x.nodes {
		if root.visit != 0 {
			continue
		}
		enter(root)
		for len(calls) > 0 {
			f := &calls[len(calls)-1]
			n := f.node
			if f.next < len(n.refs) {
				target := n.refs[f.next].target
				f.next++
				switch {
				case target == nil || target.component != 0:
				case target.visit == 0:
					enter(target)
				default:
					n.low = min(n.low, target.visit)
				}
				continue
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				parent := calls[len(calls)-1].node
				parent.low = min(parent.low, n.low)
			}
			if n.low != n.visit {
				continue
			}
			first := len(open) - 1
			for open[first] != n {
				first--
			}
			components++
			for _, member := range open[first:] {
				member.component = components
			}
			for _, member := range open[first:] {
				x.measure(member)
			}
			open = open[:first]
		}
	}
}

// measure drops the references of a node that do not hold, and adds up the rest.
func (x *expansion) measure(n *node) {
	value := n.value()
	n.size = len(value)
	for i := range n.refs {
		r := &n.refs[i]
		if r.target != nil {
			why := ""
			switch {
			case r.target.component == n.component:
				why = whyCyclic
			case r.target.height >= x.in.MaxDepth:
				why = fmt.Sprintf("nested deeper than %d references", x.in.MaxDepth)
			}
			if why != "" {
				r.target = nil
				x.breaks(n, *r, why)
			}
		}
		written := int(r.end - r.start)
		switch {
		case r.target != nil:
			n.height = max(n.height, 1+r.target.height)
			n.size = add(n.size-written, r.target.size)
		case x.in.Unresolved == UnresolvedEmpty:
			n.size -= written
		}
	}
}

// add adds two sizes. Twenty short secrets can refer to more bytes than an int counts; then the sum is the largest int.
func add(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}
