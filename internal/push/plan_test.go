package push

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/source"
)

// TestThePlanForOneName has every state of a name, every relation of the object to it, and every policy.
func TestThePlanForOneName(t *testing.T) {
	const name = "A"
	owners := map[string]Written{
		"not ours":                 {},
		"ours":                     {Names: []string{name}},
		"being created":            {Creating: []string{name}},
		"ours, being created":      {Names: []string{name}, Creating: []string{name}}, // somebody deleted it, and a crash came between
		"not ours, but others are": {Names: []string{"AA"}, Creating: []string{"AB"}},
	}
	// The signs: + creates it, ~ updates it, - deletes it, = leaves it with another value, * counts it as written; ! is a conflict about
	// it, and 2 one because there are two of it.
	for policies, plans := range map[string]map[string]string{
		"": {
			"wanted, absent, not ours": "+*", "wanted, absent, ours": "+*", "wanted, absent, being created": "+*",
			"wanted, same, not ours": "", "wanted, same, ours": "*", "wanted, same, being created": "*",
			"wanted, differs, not ours": "!", "wanted, differs, ours": "~*", "wanted, differs, being created": "!",
			"wanted, twice, not ours": "2", "wanted, twice, ours": "2", "wanted, twice, being created": "2",
			"absent, ours": "", "there, ours": "*", "twice, ours": "*", "there, not ours": "", "there, being created": "",
		},
		"IfNotExists": {
			"wanted, absent, not ours": "+*", "wanted, absent, ours": "+*", "wanted, absent, being created": "+*",
			"wanted, same, not ours": "", "wanted, same, ours": "*", "wanted, same, being created": "*",
			"wanted, differs, not ours": "=", "wanted, differs, ours": "=*", "wanted, differs, being created": "=",
			"wanted, twice, not ours": "=", "wanted, twice, ours": "=*", "wanted, twice, being created": "=",
			"absent, ours": "", "there, ours": "*", "twice, ours": "*", "there, not ours": "", "there, being created": "",
		},
		"TakeOver": {
			"wanted, absent, not ours": "+*", "wanted, absent, ours": "+*", "wanted, absent, being created": "+*",
			"wanted, same, not ours": "*", "wanted, same, ours": "*", "wanted, same, being created": "*",
			"wanted, differs, not ours": "~*", "wanted, differs, ours": "~*", "wanted, differs, being created": "~*",
			"wanted, twice, not ours": "2", "wanted, twice, ours": "2", "wanted, twice, being created": "2",
			"absent, ours": "", "there, ours": "*", "twice, ours": "*", "there, not ours": "", "there, being created": "",
		},
		"IfNotExists TakeOver": {
			"wanted, absent, not ours": "+*", "wanted, absent, ours": "+*", "wanted, absent, being created": "+*",
			"wanted, same, not ours": "*", "wanted, same, ours": "*", "wanted, same, being created": "*",
			"wanted, differs, not ours": "=", "wanted, differs, ours": "=*", "wanted, differs, being created": "=",
			"wanted, twice, not ours": "=", "wanted, twice, ours": "=*", "wanted, twice, being created": "=",
			"absent, ours": "", "there, ours": "*", "twice, ours": "*", "there, not ours": "", "there, being created": "",
		},
	} {
		for _, deletes := range []bool{false, true} {
			policy := Policy{IfNotExists: strings.Contains(policies, "IfNotExists"), TakeOver: strings.Contains(policies, "TakeOver"), Delete: deletes}
			for situation, want := range plans {
				parts := strings.Split(situation, ", ")
				values := map[string][]byte{}
				if parts[0] == "wanted" {
					values[name] = []byte(mark)
					parts = parts[1:]
				}
				is := map[string]source.State{"absent": source.Absent, "same": source.Same, "differs": source.Differs, "there": source.Differs, "twice": source.Twice}[parts[0]]
				if deletes && situation == "there, ours" {
					want = "-"
				}
				for owner, written := range owners {
					if strings.HasPrefix(owner, parts[1]) {
						t.Run(strings.Join([]string{policies, situation, owner}, "/"), func(t *testing.T) {
							checkPlan(t, values, is, written, policy, want)
						})
					}
				}
			}
		}
	}
}

// checkPlan has a folder with the name A in some state and nothing else.
func checkPlan(t *testing.T, values map[string][]byte, is source.State, written Written, policy Policy, want string) {
	t.Helper()
	state := func(name string, value []byte) source.State {
		if name != "A" {
			return source.Absent
		}
		if len(values) > 0 && !slices.Equal(value, values[name]) {
			t.Errorf("asked about the value %q", value)
		}
		return is
	}
	plan, err := Make(values, state, written, policy)
	var expected Plan
	var failed error
	for _, sign := range want {
		switch sign {
		case '+':
			expected.Create = []string{"A"}
		case '~':
			expected.Update = []string{"A"}
		case '-':
			expected.Delete = []string{"A"}
		case '=':
			expected.Left = []string{"A"}
		case '*':
			expected.Names = []string{"A"}
		case '!':
			failed = &ConflictError{Names: []string{"A"}}
		case '2':
			failed = &ConflictError{Twice: []string{"A"}}
		}
	}
	if diff := cmp.Diff(failed, err); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(expected, plan); diff != "" {
		t.Error(diff)
	}
	if plan.Empty() != !strings.ContainsAny(want, "+~-") {
		t.Errorf("empty: %t", plan.Empty())
	}
}

// folderOf is a state of names that have these values; two of them stand for two secrets.
func folderOf(values map[string][]string) func(string, []byte) source.State {
	return func(name string, value []byte) source.State {
		switch all := values[name]; {
		case len(all) == 0:
			return source.Absent
		case len(all) > 1:
			return source.Twice
		case all[0] == string(value):
			return source.Same
		}
		return source.Differs
	}
}

func TestAPlanIsSortedWhateverTheOrderOfWhatWasWritten(t *testing.T) {
	values := secretOf("D", "C", "B", "A")
	folder := map[string][]string{"C": {""}, "D": {""}, "X": {""}, "Y": {""}}
	plan, err := Make(values, folderOf(folder), Written{Names: []string{"Y", "D", "X", "C", "Y", "gone"}}, Policy{Delete: true})
	want := Plan{Create: []string{"A", "B"}, Update: []string{"C", "D"}, Delete: []string{"X", "Y"}, Names: []string{"A", "B", "C", "D"}}
	if diff := cmp.Diff(want, plan); diff != "" || err != nil {
		t.Error(diff, err)
	}
	plan, err = Make(values, folderOf(folder), Written{Names: []string{"Y", "X"}}, Policy{IfNotExists: true})
	want = Plan{Create: []string{"A", "B"}, Left: []string{"C", "D"}, Names: []string{"A", "B", "X", "Y"}}
	if diff := cmp.Diff(want, plan); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestOneNameInTheWayStopsAllAndAllInTheWayAreTold(t *testing.T) {
	values := secretOf("NEW", "OURS", "THEIRS", "ALSO", "TWICE", "OURS_TWICE")
	folder := map[string][]string{
		"OURS": {""}, "THEIRS": {""}, "ALSO": {""}, "TWICE": {"", ""}, "OURS_TWICE": {"", ""}, "OLD": {""},
	}
	plan, err := Make(values, folderOf(folder), Written{Names: []string{"OLD", "OURS", "OURS_TWICE"}}, Policy{Delete: true})
	if diff := cmp.Diff(Plan{}, plan); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(error(&ConflictError{Names: []string{"ALSO", "THEIRS"}, Twice: []string{"OURS_TWICE", "TWICE"}}), err); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(err.Error(), mark) {
		t.Errorf("a value in %q", err)
	}
}

func TestAPlanOfNothingAndForNothing(t *testing.T) {
	plan, err := Make(nil, folderOf(map[string][]string{"THEIRS": {""}}), Written{}, Policy{TakeOver: true, Delete: true})
	if diff := cmp.Diff(Plan{}, plan); diff != "" || err != nil || !plan.Empty() {
		t.Error(diff, err)
	}
}

func TestMakeChangesNothingThatItIsGiven(t *testing.T) {
	values := secretOf("A", "B")
	written := Written{Names: []string{"X", "B", "A"}, Creating: []string{"C", "B"}}
	was, wasWritten := maps.Clone(values), Written{slices.Clone(written.Names), slices.Clone(written.Creating)}
	if _, err := Make(values, folderOf(map[string][]string{"A": {""}, "X": {""}}), written, Policy{Delete: true}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(was, values) + cmp.Diff(wasWritten, written); diff != "" {
		t.Error(diff)
	}
}
