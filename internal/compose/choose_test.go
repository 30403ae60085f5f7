package compose

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInvalidKeys(t *testing.T) {
	long := strings.Repeat("k", 254)
	for key, replaced := range map[string]string{
		"a b": "a_b", "a/b": "a_b", "schlüssel": "schl_ssel", "a\n": "a_", "\xff\xfe": "__", "🔑": "_",
		".": "_", "..": "_.", "..a": "_.a", "...": "_..", "..ä": "_._",
		"": "", long: "",
		".a": ".a", "KEY-1_a.b": "KEY-1_a.b",
	} {
		in := Input{Sources: []Source{source("dev:/")}}
		in.Sources[0].Secrets = append(secrets("OK=", "OTHER=!"), Secret{Name: key, Value: []byte("v${OTHER}")})
		valid := key == replaced && key != ""

		out, err := Compose(in)
		var invalid *KeyError
		if errors.As(err, &invalid) == valid || (err != nil) == valid || out.Skipped != nil {
			t.Errorf("Error: %q: %v", key, err)
		}

		in.InvalidKeys = InvalidKeysReplace
		out, err = Compose(in)
		if replaced == "" {
			if !errors.As(err, &invalid) || !cmp.Equal(invalid.Keys, []string{key}) {
				t.Errorf("Replace: %q: %v", key, err)
			}
		} else if err != nil || string(out.Data[replaced]) != "v!" || len(out.Data) != 3 || out.Skipped != nil {
			t.Errorf("Replace: %q: %q, %v", key, out.Data, err)
		}

		in.InvalidKeys = InvalidKeysSkip
		out, err = Compose(in)
		if err != nil || valid != (string(out.Data[key]) == "v!") || valid != (len(out.Data) == 3) || valid != (out.Skipped == nil) {
			t.Errorf("Skip: %q: %q, %v", key, out.Data, err)
		}
	}
}

func TestSkippedKeysAreListedAndMayBeBroken(t *testing.T) {
	out, err := Compose(Input{
		Sources: []Source{
			source("dev:/", "a b=${NOPE}", "A=1", "Z=2").taking(Selection{Only: []Entry{{"z z", "Z"}, {"A", "A"}, {"a b", "a b"}}}),
			source("dev:/a", "a b=${NOPE}", "B=1"),
		},
		InvalidKeys: InvalidKeysSkip, KeyConflicts: KeyConflictsError,
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a b", "z z"}, out.Skipped); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "1"}, text(out.Data)); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsOfOneSourceNeverBecomeOneKey(t *testing.T) {
	dev := at("dev:/")
	lower := Selection{Rename: []Renaming{must(Case("Lower"))}}
	for name, test := range map[string]struct {
		sources []Source
		invalid InvalidKeys
		want    []Conflict
		message string
	}{
		"by renaming, though their values are equal": {
			sources: []Source{source("dev:/", "URL=1", "url=1", "Url=1").taking(lower)},
			want:    []Conflict{{"url", dev, dev, "Url", "URL"}, {"url", dev, dev, "url", "URL"}},
			message: "URL and Url of dev:/ both become url, URL and url of dev:/ both become url",
		},
		"by entries": {
			sources: []Source{source("dev:/", "A=1", "B=2").taking(Selection{Only: []Entry{{"X", "B"}, {"X", "A"}, {"X", "B"}}})},
			want:    []Conflict{{"X", dev, dev, "A", "B"}},
			message: "B and A of dev:/ both become X",
		},
		"by what replaces invalid characters": {
			sources: []Source{source("dev:/", "a b=1", "a/b=2")},
			invalid: InvalidKeysReplace,
			want:    []Conflict{{"a_b", dev, dev, "a/b", "a b"}},
			message: "\"a b\" and a/b of dev:/ both become a_b",
		},
		"an import as well": {
			sources: []Source{source("dev:/", "A=1").with(entry("x:/", "a=1")).taking(lower)},
			want:    []Conflict{{"a", dev, dev, "a", "A"}},
			message: "A and a of dev:/ both become a",
		},
		"recursive": {
			sources: []Source{recursive("dev:/", "/x A=1", "/y a=1").taking(lower)},
			want:    []Conflict{{"a", at("dev:/y"), at("dev:/x"), "a", "A"}},
			message: "A of dev:/x and a of dev:/y both become a",
		},
		"though a later source has the key": {
			sources: []Source{source("dev:/", "A=1", "a=2").taking(lower), source("dev:/a", "a=3")},
			want:    []Conflict{{"a", dev, dev, "a", "A"}},
			message: "A and a of dev:/ both become a",
		},
		"said once, though two sources of the folder say so": {
			sources: []Source{source("dev:/", "A=1", "a=2", "B=1", "b=1").taking(lower), source("dev:/", "A=1", "a=2", "B=1", "b=1").taking(lower)},
			want:    []Conflict{{"a", dev, dev, "a", "A"}, {"b", dev, dev, "b", "B"}},
			message: "A and a of dev:/ both become a, B and b of dev:/ both become b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, policy := range []KeyConflicts{KeyConflictsOverride, KeyConflictsError} {
				out, err := Compose(Input{Sources: test.sources, InvalidKeys: test.invalid, KeyConflicts: policy})
				var conflict *ConflictError
				if !errors.As(err, &conflict) || out.Data != nil {
					t.Fatalf("got %v", err)
				}
				if diff := cmp.Diff(test.want, conflict.Conflicts); diff != "" {
					t.Error(diff)
				}
				if err.Error() != test.message {
					t.Errorf("got  %s\nwant %s", err, test.message)
				}
			}
		})
	}
}

func TestKeyConflictsErrorGoesByTheKey(t *testing.T) {
	twice := recursive("dev:/", "A=1", "/a A=2").tagged("A", "x")
	twice.Secrets[0].Tags = []string{"x", "y"}
	for name, test := range map[string]struct {
		sources []Source
		want    []Conflict
	}{
		"two names": {
			[]Source{source("dev:/", "A=1"), source("dev:/a", "B=2").taking(Selection{Only: []Entry{{"A", "B"}}})},
			[]Conflict{{"A", at("dev:/a"), at("dev:/"), "B", "A"}},
		},
		"two names of a folder that is there twice": {
			[]Source{source("dev:/", "A=1", "B=2"), source("dev:/", "A=1", "B=2").taking(Selection{Only: []Entry{{"A", "B"}}})},
			[]Conflict{{"A", at("dev:/"), at("dev:/"), "B", "A"}},
		},
		"two names, equal once expanded": {
			[]Source{source("dev:/", "A=${X}", "X=1"), source("dev:/a", "B=1").taking(Selection{Only: []Entry{{"A", "B"}}})}, nil,
		},
		"one secret by two sources": {
			[]Source{source("dev:/", "A=${X}", "X=1"), source("dev:/", "A=${X}", "X=1").taking(Selection{Only: []Entry{{"A", "A"}}})}, nil,
		},
		"one name, two keys": {
			[]Source{source("dev:/", "A=1"), source("dev:/a", "A=2").taking(Selection{Rename: []Renaming{Prefix("X_")}})}, nil,
		},
		"what is left out": {
			[]Source{source("dev:/", "A=1"), source("dev:/a", "A=2", "B=1").taking(Selection{Exclude: globs("A")})}, nil,
		},
		"twice in a folder, under two keys": {
			[]Source{source("dev:/", "A=1", "A=2").taking(Selection{Only: []Entry{{"X", "A"}, {"Y", "A"}}})},
			[]Conflict{{"X", at("dev:/"), at("dev:/"), "A", "A"}, {"Y", at("dev:/"), at("dev:/"), "A", "A"}},
		},
		"twice in a folder, both left out": {
			[]Source{source("dev:/", "A=1", "A=2", "B=1").taking(Selection{Include: globs("B")})}, nil,
		},
		"twice in a read, both with the tag": {
			[]Source{twice.taking(Selection{Tags: []string{"x"}})}, []Conflict{{"A", at("dev:/"), at("dev:/a"), "A", "A"}},
		},
		"twice in a read, the one that loses without the tag": {[]Source{twice.taking(Selection{Tags: []string{"y"}})}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := Compose(Input{Sources: test.sources, KeyConflicts: KeyConflictsError})
			var conflict *ConflictError
			if errors.As(err, &conflict); conflict == nil {
				conflict = &ConflictError{}
			}
			if diff := cmp.Diff(test.want, conflict.Conflicts); diff != "" || (err == nil) != (test.want == nil) || (out.Data != nil) != (err == nil) {
				t.Error(diff, err)
			}
		})
	}
}

func TestSourcesOfWhichNothingIsTaken(t *testing.T) {
	none := Selection{Exclude: globs("*")}
	for name, test := range map[string]struct {
		sources []Source
		invalid InvalidKeys
		want    *NothingTakenError
	}{
		"all left out":      {[]Source{source("dev:/a", "A=1"), source("dev:/", "A=1", "B=2").with(entry("x:/", "C=1", "A=1")).taking(none)}, "", &NothingTakenError{at("dev:/"), 3, 0}},
		"two such sources":  {[]Source{source("dev:/a", "A=1").taking(none), source("dev:/", "A=1", "B=2").taking(none)}, "", &NothingTakenError{at("dev:/a"), 1, 0}},
		"no tag":            {[]Source{source("dev:/", "A=1").taking(Selection{Tags: []string{"a"}})}, "", &NothingTakenError{at("dev:/"), 1, 0}},
		"all skipped":       {[]Source{source("dev:/", "a b=1", "a c=2")}, InvalidKeysSkip, &NothingTakenError{at("dev:/"), 2, 2}},
		"an empty folder":   {[]Source{source("dev:/").taking(none)}, "", nil},
		"all taken":         {[]Source{source("dev:/", "A=1")}, "", nil},
		"overridden wholly": {[]Source{source("dev:/", "A=1").taking(Selection{Include: globs("A")}), source("dev:/a", "A=1")}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Sources: test.sources, InvalidKeys: test.invalid}
			_, err := Compose(in)
			var nothing *NothingTakenError
			errors.As(err, &nothing)
			if diff := cmp.Diff(test.want, nothing); diff != "" || (err == nil) != (test.want == nil) {
				t.Error(diff, err)
			}
			in.AllowEmpty = true
			if out, err := Compose(in); err != nil || out.Data == nil {
				t.Error(err)
			}
		})
	}
}

func TestMissingEntriesAreAllListed(t *testing.T) {
	_, err := Compose(Input{
		Sources: []Source{
			source("prod:/db", "A=1").taking(Selection{Only: []Entry{{"URL", "B"}, {"A", "A"}, {"A", "C"}}}),
			source("dev:/", "C=1").taking(Selection{Only: []Entry{{"Z", "A"}}}),
			source("dev:/empty").taking(Selection{Only: []Entry{{"Y", "A"}}}),
		},
	})
	want := &MissingError{[]MissingEntry{
		{"URL", "B", at("prod:/db")}, {"A", "C", at("prod:/db")}, {"Z", "A", at("dev:/")}, {"Y", "A", at("dev:/empty")},
	}}
	if diff := cmp.Diff(error(want), err); diff != "" {
		t.Error(diff)
	}
}

// TestErrorsHaveAnOrder mends one error after the other.
func TestErrorsHaveAnOrder(t *testing.T) {
	pending, twice, missing := true, true, true
	in := Input{KeyConflicts: KeyConflictsError, MaxBytes: 18}
	in.Lookup = func(Location) (Folder, error) {
		if pending {
			return Folder{}, ErrPending
		}
		return source("e:/", "A=1").Folder, nil
	}
	compose := func() error {
		main := Selection{Only: []Entry{{"A", "A"}, {"B", "B"}}}
		if missing {
			main.Only = append(main.Only, Entry{"M", "M"})
		}
		if twice {
			main.Only = append(main.Only, Entry{"A", "B"})
		}
		in.Sources = append(in.Sources[:0:0], source("dev:/", "A=${e.A}", "B=2").taking(main), source("dev:/b", "B=3", "a b=4", "C=${NOPE}1234567890"))
		if !in.AllowEmpty {
			in.Sources = append(in.Sources, source("dev:/c", "A=1").taking(Selection{Exclude: globs("*")}))
		}
		_, err := Compose(in)
		return err
	}
	for _, step := range []struct {
		want error
		mend func()
	}{
		{&PendingError{}, func() { pending = false }},
		{&NothingTakenError{}, func() { in.AllowEmpty = true }},
		{&MissingError{}, func() { missing = false }},
		{&KeyError{}, func() { in.InvalidKeys = InvalidKeysSkip }},
		{&ConflictError{}, func() { twice = false }},
		{&ReferenceError{}, func() { in.Unresolved = UnresolvedKeep }},
		{&TooLargeError{}, func() { in.MaxBytes = 0 }},
		{&ConflictError{}, func() { in.KeyConflicts = "" }},
	} {
		if err := compose(); reflect.TypeOf(err) != reflect.TypeOf(step.want) {
			t.Errorf("got %v, want a %T", err, step.want)
		}
		step.mend()
	}
	if err := compose(); err != nil {
		t.Error(err)
	}
}
