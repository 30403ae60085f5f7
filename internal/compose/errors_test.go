package compose

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestKeysOfASecret(t *testing.T) {
	for key, valid := range map[string]bool{
		"KEY": true, "dotted.name": true, "with-dash": true, "_": true, "1": true, ".hidden": true, "-": true,
		strings.Repeat("k", 253): true, strings.Repeat("k", 254): false,
		"": false, ".": false, "..": false, "..a": false, "a b": false, "a/b": false, "schlüssel": false, "a\n": false,
	} {
		_, err := Compose(Input{Sources: []Source{source("dev:/", key+"=v", "OK=")}})
		var invalid *KeyError
		if errors.As(err, &invalid) == valid {
			t.Errorf("%q: %v", key, err)
		}
		if !valid && (len(invalid.Keys) != 1 || invalid.Keys[0] != key) {
			t.Errorf("%q: %q", key, invalid.Keys)
		}
	}
}

func TestMessages(t *testing.T) {
	var keys []string
	for i := range 12 {
		keys = append(keys, fmt.Sprintf("K%d", i))
	}
	dev, prod := at("dev:/"), at("prod:/db")
	for want, err := range map[string]error{
		"waiting for dev:/, prod:/db": &PendingError{[]Location{dev, prod}},

		"unresolved references: A (dev:/) refers to ${B}: no such secret; C (prod:/db) refers to ${D.E}: out of scope": &ReferenceError{
			[]BrokenReference{{"A", dev, "${B}", whyMissing}, {"C", prod, "${D.E}", "out of scope"}},
		},
		`unresolved references: A (dev:/) refers to "${\nB}": "two\nlines"`: &ReferenceError{
			[]BrokenReference{{"A", dev, "${\nB}", "two\nlines"}},
		},
		"no valid keys of a Secret (letters, digits, '-', '_' and '.'; at most 253): \"a b\", \"\\u202e\", \"\\xff\"": &KeyError{
			[]string{"a b", "\u202e", "\xff"},
		},
		"no valid keys of a Secret (letters, digits, '-', '_' and '.'; at most 253): " + strings.Repeat("é", 100) + "…": &KeyError{
			[]string{strings.Repeat("é", 101)},
		},
		"different values for the same key: A (dev:/ and prod:/db), B (twice in dev:/)": &ConflictError{
			[]Conflict{{"A", prod, dev, "A", "A"}, {"B", dev, dev, "B", "B"}},
		},
		"no valid keys of a Secret (letters, digits, '-', '_' and '.'; at most 253): \"\", \"a b\"": &KeyError{
			[]string{"", "a b"},
		},
		"A and B of prod:/db both become X, C of prod:/db and D of dev:/ both become Y": &ConflictError{
			[]Conflict{{"X", prod, prod, "B", "A"}, {"Y", dev, prod, "D", "C"}},
		},
		"different values for the same key: A and B of prod:/db both become X, Y (dev:/ and prod:/db)": &ConflictError{
			[]Conflict{{"X", prod, prod, "B", "A"}, {"Y", prod, dev, "C", "C"}},
		},
		"prod:/db holds 12 secrets, and tags, include and exclude leave none":       &NothingTakenError{prod, 12, 0},
		"prod:/db holds 1 secret, and none of those that are taken has a valid key": &NothingTakenError{prod, 1, 1},
		"no secret URL in prod:/db for the key DATABASE_URL; no secret A in dev:/ for the key \"\"": &MissingError{
			[]MissingEntry{{"DATABASE_URL", "URL", prod}, {"", "A", dev}},
		},
		"the data would take 12 bytes, 10 are allowed; largest keys: K0, K1, K2, K3, K4, K5, K6, K7, K8, K9 and 2 more": &TooLargeError{12, 10, keys},
	} {
		if got := err.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestMessagesHoldNoValues(t *testing.T) {
	const value = "Tr0ub4dor"
	secret := func(name, rest string) string { return name + "=" + value + rest + value }
	for name, in := range map[string]Input{
		"reference":   {Sources: []Source{source("dev:/", secret("A", "${NOPE}"), secret("B", "${B}"))}},
		"key":         {Sources: []Source{source("dev:/", secret("a b", ""))}},
		"conflict":    {Sources: []Source{source("dev:/", secret("A", "1"), secret("A", "2"))}, KeyConflicts: KeyConflictsError},
		"both become": {Sources: []Source{source("dev:/", secret("A", "1"), secret("B", "2")).taking(Selection{Only: []Entry{{"X", "A"}, {"X", "B"}}})}},
		"missing":     {Sources: []Source{source("dev:/", secret("A", "1")).taking(Selection{Only: []Entry{{"X", "B"}}})}},
		"nothing":     {Sources: []Source{source("dev:/", secret("A", "1")).taking(Selection{Exclude: globs("*")})}},
		"size":        {Sources: []Source{source("dev:/", secret("A", ""))}, MaxBytes: 3},
	} {
		_, err := Compose(in)
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), value) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
