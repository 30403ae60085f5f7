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
	// The signs: + creates it, ~ updates it, - deletes it, = leaves it with another value, * counts it as written, ? says that it has its
	// value by somebody else; ! is a conflict about it, and 2 one because there are two of it.
	for policies, plans := range map[string]map[string]string{
		"": {
			"wanted, absent, not ours": "+*", "wanted, absent, ours": "+*", "wanted, absent, being created": "+*",
			"wanted, same, not ours": "?", "wanted, same, ours": "*", "wanted, same, being created": "*",
			"wanted, differs, not ours": "!", "wanted, differs, ours": "~*", "wanted, differs, being created": "!",
			"wanted, twice, not ours": "2", "wanted, twice, ours": "2", "wanted, twice, being created": "2",
			"absent, ours": "", "there, ours": "*", "empty, ours": "*", "twice, ours": "*",
			"there, not ours": "", "empty, not ours": "", "twice, not ours": "", "there, being created": "", "empty, being created": "",
		},
		"IfNotExists": {
			"wanted, absent, not ours": "+*", "wanted, absent, ours": "+*", "wanted, absent, being created": "+*",
			"wanted, same, not ours": "", "wanted, same, ours": "*", "wanted, same, being created": "*",
			"wanted, differs, not ours": "=", "wanted, differs, ours": "=*", "wanted, differs, being created": "=",
			"wanted, twice, not ours": "=", "wanted, twice, ours": "=*", "wanted, twice, being created": "=",
			"absent, ours": "", "there, ours": "*", "empty, ours": "*", "twice, ours": "*",
			"there, not ours": "", "empty, not ours": "", "twice, not ours": "", "there, being created": "", "empty, being created": "",
		},
		"TakeOver": {
			"wanted, absent, not ours": "+*", "wanted, absent, ours": "+*", "wanted, absent, being created": "+*",
			"wanted, same, not ours": "*", "wanted, same, ours": "*", "wanted, same, being created": "*",
			"wanted, differs, not ours": "~*", "wanted, differs, ours": "~*", "wanted, differs, being created": "~*",
			"wanted, twice, not ours": "2", "wanted, twice, ours": "2", "wanted, twice, being created": "2",
			"absent, ours": "", "there, ours": "*", "empty, ours": "*", "twice, ours": "*",
			"there, not ours": "", "empty, not ours": "", "twice, not ours": "", "there, being created": "", "empty, being created": "",
		},
		"IfNotExists TakeOver": {
			"wanted, absent, not ours": "+*", "wanted, absent, ours": "+*", "wanted, absent, being created": "+*",
			"wanted, same, not ours": "", "wanted, same, ours": "*", "wanted, same, being created": "*",
			"wanted, differs, not ours": "=", "wanted, differs, ours": "=*", "wanted, differs, being created": "=",
			"wanted, twice, not ours": "=", "wanted, twice, ours": "=*", "wanted, twice, being created": "=",
			"absent, ours": "", "there, ours": "*", "empty, ours": "*", "twice, ours": "*",
			"there, not ours": "", "empty, not ours": "", "twice, not ours": "", "there, being created": "", "empty, being created": "",
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
				is := map[string]source.State{"absent": source.Absent, "same": source.Same, "differs": source.Differs, "there": source.Differs, "empty": source.Same, "twice": source.Twice}[parts[0]]
				if deletes && (situation == "there, ours" || situation == "empty, ours") {
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
		case '?':
			expected.Foreign = []string{"A"}
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

func TestForeignNamesAreToldSortedAndOnceEachWhileTheRestIsDone(t *testing.T) {
	values := map[string][]byte{"D": nil, "B": nil, "A": nil, "C": nil, "NEW": nil, "OURS": nil}
	folder := map[string][]string{"A": {""}, "B": {""}, "C": {""}, "D": {""}, "OURS": {"other"}}
	written := Written{Names: []string{"OURS", "B"}, Creating: []string{"C"}}
	plan, err := Make(values, folderOf(folder), written, Policy{})
	want := Plan{Create: []string{"NEW"}, Update: []string{"OURS"}, Names: []string{"B", "C", "NEW", "OURS"}, Foreign: []string{"A", "D"}}
	if diff := cmp.Diff(want, plan); diff != "" || err != nil {
		t.Error(diff, err)
	}
	values["A"] = []byte("another") // what was said of it comes true
	_, err = Make(values, folderOf(folder), written, Policy{})
	if diff := cmp.Diff(error(&ConflictError{Names: []string{"A"}}), err); diff != "" {
		t.Error(diff)
	}
}

// TestAPlanCountsNoMoreAsWrittenThanAStatusLists has a folder with all that was written, and values that are new to it.
func TestAPlanCountsNoMoreAsWrittenThanAStatusLists(t *testing.T) {
	tooMany := error(&TooManyError{maxWritten + 1, maxWritten})
	some := numbered(maxWritten + 1)
	for name, test := range map[string]struct {
		values, folder []string
		written        Written
		policy         Policy
		names          int
		want           error
	}{
		"as many as it lists":             {folder: some, written: Written{Names: some[1:]}, names: maxWritten},
		"one too many":                    {folder: some, written: Written{Names: some}, want: tooMany},
		"one too many by a new one":       {values: []string{"NEW"}, folder: some, written: Written{Names: some[1:]}, want: tooMany},
		"one too many, created unnoticed": {values: some[:1], folder: some, written: Written{Names: some[1:], Creating: some[:1]}, want: tooMany},
		"one too many by taking over":     {values: some[:1], folder: some, written: Written{Names: some[1:]}, policy: Policy{TakeOver: true}, want: tooMany},
		"somebody else's does not count":  {values: some[:1], folder: some, written: Written{Names: some[1:]}, names: maxWritten},
		"what is gone does not count":     {values: []string{"NEW"}, folder: some[2:], written: Written{Names: some[1:]}, names: maxWritten},
		"what is deleted does not count":  {values: []string{"NEW"}, folder: some, written: Written{Names: some}, policy: Policy{Delete: true}, names: 1},
		"what is written twice is one":    {folder: some, written: Written{Names: slices.Concat(some[1:], some[1:])}, names: maxWritten},
		"a value of ours is not one more": {values: some[1:3], folder: some, written: Written{Names: some[1:]}, names: maxWritten},
	} {
		t.Run(name, func(t *testing.T) {
			folder, values := map[string][]string{}, map[string][]byte{}
			for _, name := range test.folder {
				folder[name] = []string{""}
			}
			for _, name := range test.values {
				values[name] = nil
			}
			plan, err := Make(values, folderOf(folder), test.written, test.policy)
			if diff := cmp.Diff(test.want, err); diff != "" {
				t.Fatal(diff)
			}
			if len(plan.Names) != test.names || err != nil && cmp.Diff(Plan{}, plan) != "" {
				t.Errorf("%d names, %d to create", len(plan.Names), len(plan.Create))
			}
		})
	}
}

func TestAConflictIsToldBeforeTheSum(t *testing.T) {
	some := numbered(maxWritten + 1)
	folder := map[string][]string{"THEIRS": {"other"}}
	for _, name := range some {
		folder[name] = []string{""}
	}
	_, err := Make(secretOf("THEIRS"), folderOf(folder), Written{Names: some}, Policy{})
	if diff := cmp.Diff(error(&ConflictError{Names: []string{"THEIRS"}}), err); diff != "" {
		t.Error(diff)
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
