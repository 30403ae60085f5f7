package push

import (
	"fmt"
	"maps"
	"slices"
	"strings"

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
// of a name how it compares with a value.
func Make(values map[string][]byte, state func(name string, value []byte) source.State, written Written, policy Policy) (Plan, error) {
	var plan Plan
	var conflict ConflictError
	own := setOf(written.Names)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		is := state(name, values[name])
		_, ours := own[name]
		if is == source.Same && slices.Contains(written.Creating, name) {
			ours = true // created, and then there was no time to note it
		}
		switch {
		case is == source.Absent:
			plan.Create = append(plan.Create, name)
			ours = true
		case is == source.Same:
			ours = ours || policy.TakeOver && !policy.IfNotExists
		case policy.IfNotExists:
			plan.Left = append(plan.Left, name)
		case is == source.Twice:
			conflict.Twice = append(conflict.Twice, name)
		case ours || policy.TakeOver:
			plan.Update = append(plan.Update, name)
			ours = true
		default:
			conflict.Names = append(conflict.Names, name)
		}
		if ours {
			own[name] = struct{}{}
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
			delete(own, name) // whoever makes it again is somebody else
		case policy.Delete && is != source.Twice:
			plan.Delete = append(plan.Delete, name)
			delete(own, name)
		}
	}
	plan.Names = slices.Sorted(maps.Keys(own))
	return plan, nil
}

func setOf(names []string) map[string]struct{} {
	set := make(map[string]struct{}, len(names))
	for _, name := range names {
		set[name] = struct{}{}
	}
	return set
}
