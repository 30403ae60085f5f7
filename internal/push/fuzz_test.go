package push

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
)

// FuzzMake plays a folder that an object and other people write to. Each byte is one thing that happens: somebody changes the Secret,
// somebody else changes the folder, or the object looks, makes a plan and carries it out, now and then not to its end. Whatever
// happens, what only others have written stays as it is unless it may be taken over, and a second look finds nothing to do.
func FuzzMake(f *testing.F) {
	for policy := range byte(8) {
		f.Add(policy, []byte{})
		f.Add(policy, []byte("a secret, a look \x07 and another \x0f\x17\x1f\x27\x2f\x37\x3f\x47\x4f"))
		all := make([]byte, 0, 1024)
		for i := range 1024 {
			all = append(all, byte(i*i>>3+i*37+int(policy)))
		}
		f.Add(policy, all)
		slices.Reverse(all)
		f.Add(policy, all)
	}
	f.Fuzz(func(t *testing.T, policy byte, happens []byte) {
		g := game{
			T: t, folder: map[string][]string{}, theirs: map[string]struct{}{}, values: map[string][]byte{},
			policy: Policy{IfNotExists: policy&1 != 0, TakeOver: policy&2 != 0, Delete: policy&4 != 0},
		}
		for _, b := range happens[:min(len(happens), 1024)] {
			name, value := string('A'+rune(b>>3&3)), string('a'+rune(b>>5&1))
			switch b & 7 {
			case 0:
				g.values[name] = []byte(value)
			case 1:
				delete(g.values, name)
			case 2, 3:
				g.disturb(name, value, b>>6)
			case 4: // a crash after some of the work
				g.look(int(b >> 3 & 7))
			default:
				g.look(-1)
			}
		}
	})
}

type game struct {
	*testing.T
	folder  map[string][]string // what the secrets of a name are
	theirs  map[string]struct{} // names that others made, and the object has no right to
	values  map[string][]byte
	written Written
	policy  Policy
}

// disturb does what other people do. They make no name that the object believes to be its own: it could not tell.
func (g *game) disturb(name, value string, how byte) {
	ours := slices.Contains(g.written.Names, name) || slices.Contains(g.written.Creating, name)
	switch all := g.folder[name]; {
	case how == 0 && len(all) > 0:
		delete(g.folder, name)
		delete(g.theirs, name)
	case len(all) == 0 && !ours:
		g.folder[name] = []string{value}
		g.theirs[name] = struct{}{}
	case how == 1 && len(all) == 1:
		g.folder[name] = []string{value}
	case how == 2 && len(all) == 1:
		g.folder[name] = append(all, value)
	case how == 3 && len(all) == 2:
		g.folder[name] = all[1:]
	}
}

// look makes a plan and carries it out, up to a number of writes before a crash; a negative one is no crash.
func (g *game) look(writes int) {
	before := maps.Clone(g.folder)
	plan, err := Make(g.values, folderOf(g.folder), g.written, g.policy)
	if conflict, ok := errors.AsType[*ConflictError](err); ok {
		g.refused(plan, conflict)
		return
	}
	if err != nil {
		g.Fatal(err)
	}
	g.permitted(plan)
	g.foreign(plan)
	left := writes
	step := func() bool { left--; return left != -1 }
	g.written.Creating = plan.Create // as it is noted before
	done := func() bool {
		for _, name := range plan.Create {
			if !step() {
				return false
			}
			g.folder[name] = []string{string(g.values[name])}
		}
		for _, name := range plan.Update {
			if !step() {
				return false
			}
			g.folder[name] = []string{string(g.values[name])}
		}
		for _, name := range plan.Delete {
			if !step() {
				return false
			}
			delete(g.folder, name)
		}
		return true
	}()
	for name := range g.theirs {
		if !g.policy.TakeOver && !slices.Equal(before[name], g.folder[name]) {
			g.Fatalf("%s is somebody else's: %+v", name, plan)
		}
	}
	if done {
		g.finished(plan)
	}
}

// permitted checks a plan against the object's rights, as they were.
func (g *game) permitted(plan Plan) {
	for _, name := range plan.Create {
		if len(g.folder[name]) > 0 {
			g.Fatalf("%s is there: %+v", name, plan)
		}
	}
	for _, name := range plan.Update {
		_, wanted := g.values[name]
		if !wanted || g.policy.IfNotExists || len(g.folder[name]) != 1 || !g.policy.TakeOver && !slices.Contains(g.written.Names, name) {
			g.Fatalf("%s may not be changed: %+v", name, plan)
		}
	}
	for _, name := range plan.Delete {
		_, wanted := g.values[name]
		if wanted || !g.policy.Delete || len(g.folder[name]) != 1 || !slices.Contains(g.written.Names, name) {
			g.Fatalf("%s may not be deleted: %+v", name, plan)
		}
	}
	for _, list := range [][]string{plan.Create, plan.Update, plan.Delete, plan.Names, plan.Left, plan.Foreign} {
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			g.Fatalf("%+v", plan)
		}
	}
}

// foreign checks that a plan tells of those names that have their value, may conflict later, and are not the object's, and of no others.
func (g *game) foreign(plan Plan) {
	for _, name := range plan.Foreign {
		if _, wanted := g.values[name]; !wanted {
			g.Fatalf("nobody wants %s: %+v", name, plan)
		}
	}
	for name, value := range g.values {
		as := len(g.folder[name]) == 1 && g.folder[name][0] == string(value)
		ours := slices.Contains(g.written.Names, name) || slices.Contains(g.written.Creating, name)
		want := as && !ours && !g.policy.TakeOver && !g.policy.IfNotExists
		if slices.Contains(plan.Foreign, name) != want || want && slices.Contains(plan.Names, name) {
			g.Fatalf("%s is somebody else's with its value: %t, %+v", name, want, plan)
		}
	}
}

// refused checks that what is in the way is, and that nothing is planned.
func (g *game) refused(plan Plan, conflict *ConflictError) {
	if !reflect.DeepEqual(Plan{}, plan) || g.policy.IfNotExists || len(conflict.Names)+len(conflict.Twice) == 0 {
		g.Fatalf("%v with %+v", conflict, plan)
	}
	for _, name := range conflict.Names {
		if g.policy.TakeOver || len(g.folder[name]) != 1 || g.folder[name][0] == string(g.values[name]) || slices.Contains(g.written.Names, name) {
			g.Fatalf("%s is not in the way", name)
		}
	}
	for _, name := range conflict.Twice {
		if len(g.folder[name]) != 2 {
			g.Fatalf("there is one %s", name)
		}
	}
}

// finished checks what is there when all of a plan is done, and notes it.
func (g *game) finished(plan Plan) {
	g.written = Written{Names: plan.Names}
	for name, value := range g.values {
		as := len(g.folder[name]) == 1 && g.folder[name][0] == string(value)
		if as == slices.Contains(plan.Left, name) || !as && !g.policy.IfNotExists {
			g.Fatalf("%s is %q: %+v", name, g.folder[name], plan)
		}
	}
	for _, name := range plan.Names {
		_, theirs := g.theirs[name]
		if len(g.folder[name]) == 0 || theirs && !g.policy.TakeOver {
			g.Fatalf("%s does not count as written: %+v", name, plan)
		}
		delete(g.theirs, name)
	}
	again, err := Make(g.values, folderOf(g.folder), g.written, g.policy)
	if want := (Plan{Names: plan.Names, Left: plan.Left, Foreign: plan.Foreign}); !reflect.DeepEqual(want, again) || err != nil || !again.Empty() {
		g.Fatalf("a second plan: %+v, %v", again, err)
	}
}
