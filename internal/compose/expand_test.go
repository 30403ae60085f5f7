package compose

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReferencesLookInTheRightPlace(t *testing.T) {
	for name, test := range map[string]struct {
		sources []Source
		lookup  []Source
		want    map[string]string // only the keys of interest
		asked   []Location
	}{
		"own: own secrets before imports": {
			sources: []Source{source("dev:/", "A=${B}${C}", "B=own").with(entry("x:/", "B=import", "C=import"))},
			want:    map[string]string{"A": "ownimport"},
		},
		"own: a later import before an earlier one": {
			sources: []Source{source("dev:/", "A=${B}").with(entry("x:/", "B=1"), entry("y:/", "B=2"))},
			want:    map[string]string{"A": "2"},
		},
		"own: not another source": {
			sources: []Source{source("dev:/", "A=${B}", "B=1"), source("dev:/a", "B=2")},
			want:    map[string]string{"A": "1", "B": "2"},
		},
		"imported: siblings of its entry before the importing folder": {
			sources: []Source{source("dev:/", "B=own", "C=own").with(
				entry("x:/", "B=later overrides it", "D=1"), entry("y:/", "A=${B}${C}${D}", "B=sibling"))},
			want: map[string]string{"A": "siblingown1", "B": "own"},
		},
		"imported: the label does not matter": {
			sources: []Source{source("dev:/", "B=own").with(entry("dev:/", "A=${B}", "B=sibling"))},
			want:    map[string]string{"A": "sibling"},
		},
		"imported: the first sibling of a name": {
			sources: []Source{source("dev:/").with(entry("x:/", "A=${B}", "B=first", "B=nested"))},
			want:    map[string]string{"A": "first"},
		},
		"recursive: own folder, then imports, not the folder above": {
			sources: []Source{recursive("dev:/", "/ B=root", "/ C=root", "/a A=${B}${C}", "/a B=a").with(entry("x:/", "C=import"))},
			want:    map[string]string{"A": "aimport", "B": "root", "C": "root"},
		},
		"recursive, imported: what the importing read gives": {
			sources: []Source{recursive("dev:/", "/b/c B=deep", "/a B=near").with(entry("x:/", "A=${B}"))},
			want:    map[string]string{"A": "near"},
		},
		"with a location: another source": {
			sources: []Source{source("dev:/", "A=${dev.a.B}"), source("dev:/a", "B=${C}").with(entry("x:/", "C=1"))},
			want:    map[string]string{"A": "1"},
		},
		"with a location: its own folder": {
			sources: []Source{source("dev:/", "A=${dev.B}", "B=1")},
			want:    map[string]string{"A": "1"},
		},
		"with a location: exactly that path of a recursive source": {
			sources: []Source{recursive("dev:/a", "/a B=no", "/a/b B=yes", "/a/b/c B=no", "/a A=${dev.a.b.B}${dev.a.b.C}").with(entry("x:/", "C=!"))},
			want:    map[string]string{"A": "yes!"},
		},
		"with a location: the path a recursive source starts at": {
			sources: []Source{recursive("dev:/a", "/a/b A=${dev.a.C}").with(entry("x:/", "C=1"))},
			want:    map[string]string{"A": "1"},
		},
		"with a location: a read of the folder alone before a recursive one": {
			sources: []Source{
				source("dev:/a", "A=${dev.a.B}").with(entry("x:/", "B=its own import")),
				recursive("dev:/", "/a C=1").with(entry("y:/", "B=anybody's")),
			},
			want: map[string]string{"A": "its own import", "B": "anybody's"},
		},
		"with a location: the nearest recursive read": {
			sources: []Source{
				recursive("dev:/a", "/a/b A=${dev.a.b.B}").with(entry("x:/", "B=near")),
				recursive("dev:/", "/a/b C=1").with(entry("y:/", "B=far")),
			},
			want: map[string]string{"A": "near", "B": "far"},
		},
		"with a location: a folder in which a recursive source has nothing is looked up": {
			sources: []Source{recursive("dev:/", "/ A=${dev.only.imports.B}")},
			lookup:  []Source{source("dev:/only/imports").with(entry("x:/", "B=1"))},
			want:    map[string]string{"A": "1"},
			asked:   []Location{at("dev:/only/imports")},
		},
		"with a location: not the same path of another environment": {
			sources: []Source{source("dev:/a", "A=${prod.a.B}", "B=dev")},
			lookup:  []Source{source("prod:/a", "B=prod")},
			want:    map[string]string{"A": "prod"},
			asked:   []Location{at("prod:/a")},
		},
		"elsewhere: expanded in its own context, own before imports": {
			sources: []Source{source("dev:/", "A=${prod.db.URL}", "HOST=no", "PORT=no")},
			lookup: []Source{
				source("prod:/db", "URL=${HOST}:${PORT}/${prod.NAME}${dev.HOST}", "HOST=own").with(entry("x:/", "HOST=no", "PORT=1")),
				source("prod:/", "NAME=n"),
			},
			want:  map[string]string{"A": "own:1/nno"},
			asked: []Location{at("prod:/"), at("prod:/db")},
		},
		"elsewhere: asked once": {
			sources: []Source{source("dev:/", "A=${prod.X}${prod.Y}${ prod.X }", "B=${prod.X}")},
			lookup:  []Source{source("prod:/", "X=1", "Y=2")},
			want:    map[string]string{"A": "121", "B": "1"},
			asked:   []Location{at("prod:/")},
		},
		"what a reference brings in is not read again": {
			sources: []Source{source("dev:/", "A=$${B}", "B={C}", "C=no", "D=${E}{C}", "E=$")},
			want:    map[string]string{"A": "${C}", "D": "${C}"},
		},
		"overridden secrets may be broken, and ask for nothing": {
			sources: []Source{
				source("dev:/", "A=${NOPE}", "B=${prod.X}").with(entry("x:/", "C=${prod.X}", "B=${NOPE}")),
				source("dev:/a", "A=1", "B=2", "C=3"),
			},
			want: map[string]string{"A": "1", "B": "2", "C": "3"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[Location]int{}
			find := lookup(test.lookup...)
			out, err := Compose(Input{Sources: test.sources, Lookup: func(l Location) (Folder, error) {
				seen[l]++
				return find(l)
			}})
			if err != nil {
				t.Fatal(err)
			}
			for key, want := range test.want {
				if got := string(out.Data[key]); got != want {
					t.Errorf("%s: got %q, want %q", key, got, want)
				}
			}
			if diff := cmp.Diff(test.asked, out.Locations); diff != "" {
				t.Error(diff)
			}
			for l, n := range seen {
				if n != 1 {
					t.Errorf("asked %d times for %s", n, l)
				}
			}
		})
	}
}

func TestUnresolvedReferences(t *testing.T) {
	for name, test := range map[string]struct {
		in          Input
		keep, empty string // of A
		broken      []BrokenReference
	}{
		"missing": {
			in:   Input{Sources: []Source{source("dev:/", "A=<${ NOPE\t}>")}},
			keep: "<${ NOPE\t}>", empty: "<>",
			broken: []BrokenReference{{"A", at("dev:/"), "${ NOPE\t}", whyMissing}},
		},
		"missing, twice in one value": {
			in:   Input{Sources: []Source{source("dev:/", "A=${NOPE}${NOPE}")}},
			keep: "${NOPE}${NOPE}", empty: "",
			broken: []BrokenReference{{"A", at("dev:/"), "${NOPE}", whyMissing}},
		},
		"missing where it leads, named where it stands": {
			in: Input{
				Sources: []Source{source("dev:/", "A=<${prod.db.B}>", "C=${prod.db.B}")},
				Lookup:  lookup(source("prod:/db", "B=(${NOPE})")),
			},
			keep: "<(${NOPE})>", empty: "<()>",
			broken: []BrokenReference{{"B", at("prod:/db"), "${NOPE}", whyMissing}},
		},
		"missing where it leads, in a folder that does not say which it is": {
			in: Input{
				Sources: []Source{source("dev:/", "A=<${prod.db.B}>")},
				Lookup:  func(Location) (Folder, error) { return Folder{Secrets: secrets("B=${NOPE}")}, nil },
			},
			keep: "<${NOPE}>", empty: "<>",
			broken: []BrokenReference{{"B", at("prod:/db"), "${NOPE}", whyMissing}},
		},
		"missing in another folder": {
			in:   Input{Sources: []Source{source("dev:/", "A=${prod.NOPE}")}, Lookup: lookup(source("prod:/"))},
			keep: "${prod.NOPE}", empty: "",
			broken: []BrokenReference{{"A", at("dev:/"), "${prod.NOPE}", whyMissing + " in prod:/"}},
		},
		"missing in an import": {
			in:   Input{Sources: []Source{source("dev:/").with(entry("x:/", "A=${NOPE}"))}},
			keep: "${NOPE}", empty: "",
			broken: []BrokenReference{{"A", at("dev:/"), "${NOPE}", whyMissing}},
		},
		"the folder cannot be read": {
			in:   Input{Sources: []Source{source("dev:/", "A=${prod.X}")}, Lookup: lookup()},
			keep: "${prod.X}", empty: "",
			broken: []BrokenReference{{"A", at("dev:/"), "${prod.X}", "no such folder"}},
		},
		"no folder can be read": {
			in:   Input{Sources: []Source{source("dev:/", "A=${prod.X}")}},
			keep: "${prod.X}", empty: "",
			broken: []BrokenReference{{"A", at("dev:/"), "${prod.X}", "no other folder can be read"}},
		},
		"to itself": {
			in:   Input{Sources: []Source{source("dev:/", "A=<${A}>")}},
			keep: "<${A}>", empty: "<>",
			broken: []BrokenReference{{"A", at("dev:/"), "${A}", whyCyclic}},
		},
		"to itself by its location": {
			in:   Input{Sources: []Source{source("dev:/", "A=<${dev.A}>")}},
			keep: "<${dev.A}>", empty: "<>",
			broken: []BrokenReference{{"A", at("dev:/"), "${dev.A}", whyCyclic}},
		},
		"into a cycle: the cycle is broken, the way into it is not": {
			in:   Input{Sources: []Source{source("dev:/", "A=<${B}>", "B=(${C}${D})", "C=[${B}]", "D=1")}},
			keep: "<(${C}1)>", empty: "<(1)>",
			broken: []BrokenReference{{"B", at("dev:/"), "${C}", whyCyclic}, {"C", at("dev:/"), "${B}", whyCyclic}},
		},
		"two cycles through one secret": {
			in:   Input{Sources: []Source{source("dev:/", "A=${B}${C}", "B=b${A}", "C=c${A}${D}", "D=d")}},
			keep: "${B}${C}", empty: "",
			broken: []BrokenReference{
				{"A", at("dev:/"), "${B}", whyCyclic}, {"A", at("dev:/"), "${C}", whyCyclic},
				{"B", at("dev:/"), "${A}", whyCyclic}, {"C", at("dev:/"), "${A}", whyCyclic},
			},
		},
		"a cycle over folders": {
			in: Input{
				Sources: []Source{source("dev:/", "A=a${prod.B}")},
				Lookup:  lookup(source("prod:/", "B=b${dev.A}")),
			},
			keep: "a${prod.B}", empty: "a",
			broken: []BrokenReference{{"A", at("dev:/"), "${prod.B}", whyCyclic}, {"B", at("prod:/"), "${dev.A}", whyCyclic}},
		},
		"too deep: as deep as allowed from below": {
			in:   Input{Sources: []Source{source("dev:/", "A=a${B}", "B=b${C}", "C=c${D}", "D=d${E}", "E=e")}, MaxDepth: 3},
			keep: "a${B}", empty: "a",
			broken: []BrokenReference{{"A", at("dev:/"), "${B}", "nested deeper than 3 references"}},
		},
		"too many folders: the nearest count first": {
			in: Input{
				Sources:    []Source{source("dev:/", "A=${p.X}|${r.X}", "B=${q.X}")},
				Lookup:     lookup(source("p:/", "X=${s.X}"), source("q:/", "X=q"), source("r:/", "X=r"), source("s:/", "X=s")),
				MaxSources: 3,
			},
			keep: "${s.X}|r", empty: "|r",
			broken: []BrokenReference{{"X", at("p:/"), "${s.X}", "references lead to more than 3 other folders"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := test.in
			_, err := Compose(in)
			var broken *ReferenceError
			if !errors.As(err, &broken) {
				t.Fatalf("Error: got %v", err)
			}
			if diff := cmp.Diff(test.broken, broken.References); diff != "" {
				t.Error(diff)
			}
			for policy, want := range map[Unresolved]string{UnresolvedKeep: test.keep, UnresolvedEmpty: test.empty} {
				in.Unresolved = policy
				out, err := Compose(in)
				if err != nil {
					t.Fatal(err)
				}
				if got := string(out.Data["A"]); got != want {
					t.Errorf("%s: got %q, want %q", policy, got, want)
				}
			}
		})
	}
}

func TestPendingFoldersAreAskedForTogetherAndThenComposed(t *testing.T) {
	server := lookup(source("p:/", "X=${q.X}${s.X}"), source("q:/", "X=q"), source("r:/", "X=r"), source("s:/", "X=s${NOPE}"))
	fetched := map[Location]bool{}
	in := Input{
		Sources: []Source{source("dev:/", "A=${r.X}${p.X}", "B=${x.X}", "not a key=1", "MISSING=${NOPE}")},
		Lookup: func(l Location) (Folder, error) {
			if !fetched[l] && l != at("x:/") {
				return Folder{}, fmt.Errorf("%s: %w", l, ErrPending)
			}
			return server(l)
		},
	}
	for _, round := range []struct{ pending, locations []Location }{
		{[]Location{at("p:/"), at("r:/")}, []Location{at("p:/"), at("r:/"), at("x:/")}},
		{[]Location{at("q:/"), at("s:/")}, []Location{at("p:/"), at("q:/"), at("r:/"), at("s:/"), at("x:/")}},
	} {
		out, err := Compose(in)
		var pending *PendingError
		if !errors.As(err, &pending) || !errors.Is(err, ErrPending) {
			t.Fatalf("got %v", err)
		}
		if diff := cmp.Diff(round.pending, pending.Locations); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(round.locations, out.Locations); diff != "" || out.Data != nil {
			t.Error(diff)
		}
		for _, l := range pending.Locations {
			fetched[l] = true
		}
	}
	_, err := Compose(in)
	var key *KeyError
	if !errors.As(err, &key) || !slices.Equal(key.Keys, []string{"not a key"}) {
		t.Errorf("got %v", err)
	}
	in.Sources[0].Secrets = in.Sources[0].Secrets[:1]
	out, err := Compose(in)
	var broken *ReferenceError
	if !errors.As(err, &broken) || len(out.Locations) != 4 {
		t.Errorf("got %v, %v", err, out.Locations)
	}
}

func TestNoMoreThanAThousandBrokenReferencesAreKept(t *testing.T) {
	var value strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&value, "${N%d}", i)
	}
	_, err := Compose(Input{Sources: []Source{source("dev:/", "A="+value.String())}})
	var broken *ReferenceError
	if !errors.As(err, &broken) || len(broken.References) != maxBroken {
		t.Errorf("got %v", err)
	}
}

// laughs makes values of which each refers ten times to the next one.
func laughs(levels int, last string) Source {
	f := source("dev:/")
	for i := range levels {
		f.Secrets = append(f.Secrets, secrets(fmt.Sprintf("LOL_%02d=%s", i, strings.Repeat(fmt.Sprintf("${LOL_%02d}", i+1), 10)))...)
	}
	f.Secrets = append(f.Secrets, secrets(fmt.Sprintf("LOL_%02d=%s", levels, last))...)
	return f
}

func TestLimitsHoldWithoutTheMemory(t *testing.T) {
	for name, test := range map[string]struct {
		in    Input
		bytes int // of the TooLargeError, 0 = no error
		keys  []string
	}{
		"a billion laughs":      {Input{Sources: []Source{laughs(9, "lol")}}, 3_333_333_333, []string{"LOL_00", "LOL_01", "LOL_02", "LOL_03"}},
		"more than an int":      {Input{Sources: []Source{laughs(30, "lol")}}, 1<<63 - 1, nil},
		"a billion empty ones":  {Input{Sources: []Source{laughs(30, "")}}, 0, nil},
		"laughs that lost":      {Input{Sources: []Source{laughs(9, "lol"), replaced(10)}, KeyConflicts: KeyConflictsError, Unresolved: UnresolvedEmpty}, -1, nil},
		"empty ones that lost":  {Input{Sources: []Source{laughs(30, ""), replaced(31)}, KeyConflicts: KeyConflictsError}, 0, nil},
		"all together, just so": {Input{Sources: []Source{source("dev:/", "A=12345", "B=${A}")}, MaxBytes: 10}, 0, nil},
		"all together":          {Input{Sources: []Source{source("dev:/", "A=12345", "B=${A}")}, MaxBytes: 9}, 10, []string{"A"}},
		"longer than allowed before expansion": {
			Input{Sources: []Source{source("dev:/", "A=${B}${B}${B}", "B=")}, MaxBytes: 10}, 12, []string{"A"},
		},
		"many broken references": {
			Input{Sources: []Source{source("dev:/", "A="+strings.Repeat("${a}", 1<<18))}, Unresolved: UnresolvedEmpty}, 0, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Compose(test.in)
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
				t.Errorf("allocated %d bytes", used)
			}
			var tooLarge *TooLargeError
			errors.As(err, &tooLarge)
			switch {
			case test.bytes == 0:
				if err != nil {
					t.Error(err)
				}
			case test.bytes < 0:
				var conflict *ConflictError
				if !errors.As(err, &conflict) {
					t.Error(err)
				}
			case tooLarge == nil:
				t.Errorf("got %v", err)
			default:
				if tooLarge.Bytes != test.bytes || test.keys != nil && !slices.Equal(tooLarge.Keys, test.keys) {
					t.Errorf("got %d, %v", tooLarge.Bytes, tooLarge.Keys)
				}
			}
		})
	}
}

// replaced takes every name of laughs with an empty value.
func replaced(n int) Source {
	f := source("dev:/a")
	for i := range n {
		f.Secrets = append(f.Secrets, secrets(fmt.Sprintf("LOL_%02d=", i))...)
	}
	return f
}
