package push

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/service-token-operator/service-token-operator/internal/source"
)

// Policy is what may be done to names that are there. The zero value changes what the object wrote, and deletes nothing.
type Policy struct {
	IfNotExists bool // nothing that is there is changed
	TakeOver    bool // what somebody else wrote counts as written by the object, unless it stays as it is by IfNotExists
	Delete      bool // what the object wrote and does not want any longer is deleted
}

// Written are the names that an object has written, and those that it was about to create when it was last seen. They are its only
// right to change something.
type Written struct{ Names, Creating []string }

// Plan is what is to be done, each list sorted.
type Plan struct {
	Create, Update, Delete []string
	// Names are those that count as written when all of it is done.
	Names []string
	// Left are names with another value that stay as they are, by the policy.
	Left []string
	// Foreign are names that have their value, and that somebody else wrote: another value will be a conflict.
	Foreign []string
}

// Empty says that nothing is to be written.
func (p *Plan) Empty() bool { return len(p.Create)+len(p.Update)+len(p.Delete) == 0 }

// ConflictError names what is in the way.
type ConflictError struct {
	// Names that somebody else has written, with other values.
	Names []string
	// Twice are names of which there are several secrets.
	Twice []string
}

func (e *ConflictError) Error() string {
	if len(e.Twice) > 0 {
		return "there are several secrets of the same name, of which only one could be changed: " + listed(e.Twice)
	}
	return "these names have other values, and were not written by this object: " + listed(e.Names) +
		"; spec.existingNames TakeOver overwrites them, spec.updatePolicy IfNotExists leaves them"
}

// listed are names, the first ten of them.
func listed(names []string) string {
	const most = 10
	if more := len(names) - most; more > 0 {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// Make plans how the folder comes to hold the values, all or nothing: a *ConflictError says that one name is in the way. state tells
// of a name how it compares with a value. A *TooManyError says that more would count as written than a status can list.
func Make(values map[string][]byte, state func(name string, value []byte) source.State, written Written, policy Policy) (Plan, error) {
	var plan Plan
	var conflict ConflictError
	own, creating := sets.New(written.Names...), sets.New(written.Creating...)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		is := state(name, values[name])
		ours := own.Has(name)
		if creating.Has(name) && is == source.Same {
			ours = true // created, and then there was no time to note it
		}
		if plan.want(name, is, ours, policy, &conflict) {
			own.Insert(name)
		}
	}
	if len(conflict.Names)+len(conflict.Twice) > 0 {
		return Plan{}, &conflict
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if _, wanted := values[name]; wanted {
			continue
		}
		switch is := state(name, nil); {
		case is == source.Absent:
			own.Delete(name) // whoever makes it again is somebody else
		case policy.Delete && is != source.Twice:
			plan.Delete = append(plan.Delete, name)
			own.Delete(name)
		}
	}
	if len(own) > maxWritten {
		return Plan{}, &TooManyError{len(own), maxWritten}
	}
	plan.Names = slices.Sorted(maps.Keys(own))
	return plan, nil
}

// want plans for a name that is to have a value, and says whether it counts as written then.
func (p *Plan) want(name string, is source.State, ours bool, policy Policy, conflict *ConflictError) bool {
	switch {
	case is == source.Absent:
		p.Create = append(p.Create, name)
		return true
	case is == source.Same && policy.TakeOver && !policy.IfNotExists:
		return true
	case is == source.Same:
		if !ours && !policy.IfNotExists {
			p.Foreign = append(p.Foreign, name)
		}
	case policy.IfNotExists:
		p.Left = append(p.Left, name)
	case is == source.Twice:
		conflict.Twice = append(conflict.Twice, name)
	case ours || policy.TakeOver:
		p.Update = append(p.Update, name)
		return true
	default:
		conflict.Names = append(conflict.Names, name)
	}
	return ours
}
