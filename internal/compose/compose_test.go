package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// secrets makes secrets from "NAME=value" lines; "/path NAME=value" lies in a folder of a recursive read.
func secrets(lines ...string) []Secret {
	list := make([]Secret, len(lines))
	for i, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		if path, rest, ok := strings.Cut(name, " "); ok && strings.HasPrefix(path, "/") {
			list[i].Path, name = path, rest
		}
		list[i].Name, list[i].Value = name, []byte(value)
	}
	return list
}

func at(location string) Location {
	environment, path, _ := strings.Cut(location, ":")
	return Location{environment, path}
}

func source(location string, lines ...string) Source {
	return Source{Folder: Folder{Location: at(location), Secrets: secrets(lines...)}}
}

func recursive(location string, lines ...string) Source {
	s := source(location, lines...)
	s.Recursive = true
	return s
}

func (s Source) with(imports ...Import) Source {
	s.Imports = imports
	return s
}

func entry(location string, lines ...string) Import {
	return Import{Location: at(location), Secrets: secrets(lines...)}
}

// lookup serves folders by their location; what is not there is unknown.
func lookup(sources ...Source) func(Location) (Folder, error) {
	return func(l Location) (Folder, error) {
		for _, s := range sources {
			if s.Location == l {
				return s.Folder, nil
			}
		}
		return Folder{}, errors.New("no such folder")
	}
}

func text(data map[string][]byte) map[string]string {
	texts := map[string]string{}
	for key, value := range data {
		texts[key] = string(value)
	}
	return texts
}

func TestPrecedence(t *testing.T) {
	for name, test := range map[string]struct {
		sources []Source
		want    map[string]string
	}{
		"no source": {nil, map[string]string{}},
		"own beats import": {
			[]Source{source("dev:/", "A=own").with(entry("x:/", "A=import", "B=import"))},
			map[string]string{"A": "own", "B": "import"},
		},
		"later import beats earlier": {
			[]Source{source("dev:/").with(entry("x:/", "A=1", "B=1"), entry("y:/", "A=2"))},
			map[string]string{"A": "2", "B": "1"},
		},
		"first of an import entry wins": {
			[]Source{source("dev:/").with(entry("x:/", "A=first", "A=nested"))},
			map[string]string{"A": "first"},
		},
		"first own wins": {
			[]Source{source("dev:/", "A=first", "A=second")},
			map[string]string{"A": "first"},
		},
		"recursive: nearest folder wins, whatever the order": {
			[]Source{recursive("dev:/a", "/a/b/c A=deep", "/a/b A=near", "/a/b/c B=deep", "/a B=here", "/a/x/y A=deep")},
			map[string]string{"A": "near", "B": "here"},
		},
		"recursive: among equally near ones the first path wins": {
			[]Source{recursive("dev:/", "/b A=b", "/a A=a", "/c A=c", "/a A=again")},
			map[string]string{"A": "a"},
		},
		"recursive: no path means the folder that was read": {
			[]Source{recursive("dev:/a", "/a/b A=below", "A=here")},
			map[string]string{"A": "here"},
		},
		"recursive: own from below beats import": {
			[]Source{recursive("dev:/", "/a/b A=below").with(entry("x:/", "A=import"))},
			map[string]string{"A": "below"},
		},
		"later source wins, with its imports too": {
			[]Source{source("dev:/a", "A=1", "B=1", "C=1"), source("dev:/b", "B=2").with(entry("x:/", "C=3"))},
			map[string]string{"A": "1", "B": "2", "C": "3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := Compose(Input{Sources: test.sources})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, text(out.Data)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKeyConflictsError(t *testing.T) {
	for name, test := range map[string]struct {
		sources []Source
		lookup  func(Location) (Folder, error)
		want    []Conflict
	}{
		"own overriding imports is normal": {
			sources: []Source{source("dev:/", "A=own").with(entry("x:/", "A=1"), entry("y:/", "A=2"))},
		},
		"twice in a folder": {
			sources: []Source{source("dev:/", "A=1", "A=2")},
			want:    []Conflict{{"A", at("dev:/"), at("dev:/"), "A", "A"}},
		},
		"twice in a folder, equal":      {sources: []Source{source("dev:/", "A=1", "A=1")}},
		"recursive, equal":              {sources: []Source{recursive("dev:/", "/a A=1", "/b A=1")}},
		"two sources, equal":            {sources: []Source{source("dev:/", "A=1"), source("dev:/a", "A=1")}},
		"equal once expanded":           {sources: []Source{source("dev:/", "A=<${B}>", "B=1"), source("dev:/a", "A=<1>")}},
		"equal once expanded, reversed": {sources: []Source{source("dev:/a", "A=<1>"), source("dev:/", "A=<${B}>", "B=1")}},
		"equal once expanded, one after another": {sources: []Source{
			source("dev:/", "A=${X}z", "B=qqq${X}", "X=${Y}", "Y=1"), source("dev:/a", "A=1z", "B=qqq1", "X=1"),
		}},
		"equal text in two contexts":     {sources: []Source{source("dev:/", "A=${B}", "B=1"), source("dev:/a", "A=${B}", "B=1")}},
		"the same folder by two sources": {sources: []Source{recursive("dev:/", "/a A=1"), source("dev:/a", "A=1")}},
		"recursive": {
			sources: []Source{recursive("dev:/", "/b A=1", "/a A=2")},
			want:    []Conflict{{"A", at("dev:/a"), at("dev:/b"), "A", "A"}},
		},
		"two sources, sorted, once per key": {
			sources: []Source{source("dev:/", "B=1", "A=1"), source("dev:/a", "A=2", "B=2"), source("dev:/b", "B=3")},
			want:    []Conflict{{"A", at("dev:/a"), at("dev:/"), "A", "A"}, {"B", at("dev:/b"), at("dev:/"), "B", "B"}},
		},
		"an import counts as its folder's": {
			sources: []Source{source("dev:/", "A=1"), source("dev:/a").with(entry("x:/", "A=2"))},
			want:    []Conflict{{"A", at("dev:/a"), at("dev:/"), "A", "A"}},
		},
		"what lost within its source is not compared": {
			sources: []Source{source("dev:/", "A=1").with(entry("x:/", "A=2")), source("dev:/a", "A=1")},
		},
		"equal text that expands differently": {
			sources: []Source{source("dev:/", "A=${B}", "B=1"), source("dev:/a", "A=${B}").with(entry("x:/", "B=2"))},
			want:    []Conflict{{"A", at("dev:/a"), at("dev:/"), "A", "A"}, {"B", at("dev:/a"), at("dev:/"), "B", "B"}},
		},
		"a broken reference in the one that loses is a difference": {
			sources: []Source{source("dev:/", "A=${NOPE}"), source("dev:/a", "A=1234567")},
			want:    []Conflict{{"A", at("dev:/a"), at("dev:/"), "A", "A"}},
		},
		"the one that loses may need a lookup": {
			sources: []Source{source("dev:/", "A=${prod.B}"), source("dev:/a", "A=1")},
			lookup:  lookup(source("prod:/", "B=${C}", "C=1")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := Input{Sources: test.sources, Lookup: test.lookup, KeyConflicts: KeyConflictsError}
			out, err := Compose(in)
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				in.KeyConflicts = KeyConflictsOverride
				override, err := Compose(in)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(text(override.Data), text(out.Data)); diff != "" {
					t.Error("data differs from Override's:", diff)
				}
				return
			}
			var conflict *ConflictError
			if !errors.As(err, &conflict) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(test.want, conflict.Conflicts); diff != "" || out.Data != nil {
				t.Error(diff, out.Data)
			}
		})
	}
}

// TestProject composes the recorded project of the contract.
func TestProject(t *testing.T) {
	var project struct {
		Plaintext         map[string]map[string]map[string]string
		ImportedPlaintext map[string]map[string]string
	}
	file, err := os.ReadFile("testdata/project.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &project); err != nil {
		t.Fatal(err)
	}
	list := func(values map[string]string, path string) (list []Secret) {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			list = append(list, Secret{Name: name, Value: []byte(values[name]), Path: path})
		}
		return list
	}
	dev := project.Plaintext["dev"]
	replica := list(dev["/db/replica"], "/db/replica")
	db := Import{at("dev:/db"), append(list(dev["/db"], "/db"), replica...)}
	prodDB := Import{at("prod:/db"), list(project.ImportedPlaintext["prod:/db"], "/db")}
	root := Source{Folder: Folder{Location: at("dev:/"), Secrets: list(dev["/"], "/"), Imports: []Import{prodDB, db}}}
	read := lookup(
		Source{Folder: Folder{Location: at("prod:/db"), Secrets: prodDB.Secrets}},
		Source{Folder: Folder{Location: at("dev:/db/replica"), Secrets: replica}},
	)

	t.Run("a missing reference and a cycle are named", func(t *testing.T) {
		out, err := Compose(Input{Sources: []Source{root}, Lookup: read})
		var broken *ReferenceError
		if !errors.As(err, &broken) || out.Data != nil {
			t.Fatalf("got %v", err)
		}
		want := []BrokenReference{
			{"CYCLE_A", at("dev:/"), "${CYCLE_B}", whyCyclic},
			{"CYCLE_B", at("dev:/"), "${CYCLE_A}", whyCyclic},
			{"MISSING_REF", at("dev:/"), "${NOPE}", whyMissing},
		}
		if diff := cmp.Diff(want, broken.References); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]Location{at("dev:/db/replica"), at("prod:/db")}, out.Locations); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("everything else is as it should be", func(t *testing.T) {
		out, err := Compose(Input{Sources: []Source{root}, Lookup: read, Unresolved: UnresolvedKeep})
		if err != nil {
			t.Fatal(err)
		}
		want := maps.Clone(dev["/"])
		want["DATABASE_URL"] = "postgres://app:p@ss w0rd!$#'\"\\&<>@db.internal:5432/app"
		want["PROD_PW_REF"] = "prod-db-pw"
		want["REPLICA_HOST_REF"] = "host=dev-replica.internal"
		want["DOLLARS"] = "$HOME $$ ${} $app {{ .x }}"
		want["HOST"] = "dev-db.internal"
		want["PORT"] = "5432"
		want["PASSWORD"] = "dev-db-pw"
		want["LAG_MS"] = "25"
		if diff := cmp.Diff(want, text(out.Data)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("a recursive read needs no lookup for what it holds", func(t *testing.T) {
		all := recursive("dev:/")
		for _, path := range slices.Sorted(maps.Keys(dev)) {
			all.Secrets = append(all.Secrets, list(dev[path], path)...)
		}
		out, err := Compose(Input{Sources: []Source{all}, Lookup: read, Unresolved: UnresolvedKeep})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]Location{at("prod:/db")}, out.Locations); diff != "" {
			t.Error(diff)
		}
		if got := string(out.Data["REPLICA_HOST_REF"]); got != "host=dev-replica.internal" {
			t.Error(got)
		}
	})
}

func TestValuesWithoutReferencesAreHandedThrough(t *testing.T) {
	value := []byte("plain $HOME ${} ${VAR:-default}")
	in := source("dev:/")
	in.Secrets = []Secret{{Name: "A", Value: value[:5]}, {Name: "B", Value: value}}
	out, err := Compose(Input{Sources: []Source{in}})
	if err != nil {
		t.Fatal(err)
	}
	if &out.Data["A"][0] != &value[0] || &out.Data["B"][0] != &value[0] {
		t.Error("copied")
	}
	if cap(out.Data["A"]) != 5 {
		t.Error("an append to the output would change the input")
	}
}

func TestEmptyValuesAreNotNil(t *testing.T) {
	in := source("dev:/", "EMPTY=", "A=${NIL}${EMPTY}", "B=${NOPE}")
	in.Secrets = append(in.Secrets, Secret{Name: "NIL"})
	out, err := Compose(Input{Sources: []Source{in}, Unresolved: UnresolvedEmpty})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"NIL", "EMPTY", "A", "B"} {
		if value, ok := out.Data[key]; !ok || value == nil || len(value) != 0 {
			t.Errorf("%s: %#v", key, value)
		}
	}
}

func TestPlainValuesCostNoMoreThanTheMap(t *testing.T) {
	in := func(n int, format string) Input {
		f := source("dev:/")
		for i := range n {
			f.Secrets = append(f.Secrets, secrets(fmt.Sprintf("KEY_%d=%s", i, format))...)
		}
		return Input{Sources: []Source{f}}
	}
	allocations := func(in Input) float64 {
		return testing.AllocsPerRun(10, func() {
			if _, err := Compose(in); err != nil {
				t.Error(err)
			}
		})
	}
	if got := allocations(in(1000, "value")); got > 500 { // about 50 for the maps; the race detector adds some
		t.Errorf("%v allocations for 1000 plain values", got)
	}
}

func TestInputIsNotChanged(t *testing.T) {
	in := Input{
		Sources:    []Source{source("dev:/", "A=<${B}${b.X}>", "B=${C}!", "C=1").with(entry("x:/", "D=${C}${E}", "E=2"))},
		Lookup:     lookup(source("b:/", "X=${Y}", "Y=3")),
		Unresolved: UnresolvedKeep,
	}
	before := fmt.Sprintf("%q", in.Sources)
	out, err := Compose(in)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range out.Data {
		if cap(value) != len(value) {
			t.Errorf("an append to %s may write into other values", key)
		}
	}
	if after := fmt.Sprintf("%q", in.Sources); after != before {
		t.Errorf("was %s\nis  %s", before, after)
	}
	again, err := Compose(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(again.Data["A"]); got != "<1!3>" {
		t.Error(got)
	}
}
