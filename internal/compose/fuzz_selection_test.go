package compose

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// FuzzSelect takes from small projects, by a selection that it reads from a text too: each line is a letter and what it needs.
// Whatever the texts: no panic, the same result again, keys that are valid, values that the folder has, and with a selection that
// takes everything the same as with none.
func FuzzSelect(f *testing.F) {
	const secrets = "sDB_URL=${DB_PW}\nsDB_PW=1\nidb-pw=2\njsome key=3\nr..x=4\ndA=${db-pw}\nzäö=5"
	for _, selection := range []string{
		"", "iDB_*\ne*PW", "gDB|key\nx[^a-z]", "pA_\ns.b\ncSnake", "cCamel\ncUpper", "r(.*)_(.*)=${2}$1", "r(.*)=$1$1$1$1$1$1",
		"oA=DB_URL\noB=some key\noA=nope", "ta", "i{DB,{a,b}}*\ni[A-Z\\]]", "r.*=", "p..", "cKebab\nr-=/",
	} {
		for policy := range byte(8) {
			f.Add(secrets, selection, policy)
		}
	}
	f.Fuzz(checkSelection)
}

func checkSelection(t *testing.T, text, selection string, policy byte) {
	t.Helper()
	if len(text) > maxNameBytes {
		return // a longer name may be cut, where without a selection it is not
	}
	p := parseProject(text)
	in := Input{Sources: p.sources, Lookup: p.lookup, Unresolved: UnresolvedEmpty, MaxBytes: 1000, AllowEmpty: policy&4 != 0}
	in.InvalidKeys = []InvalidKeys{InvalidKeysError, InvalidKeysSkip, InvalidKeysReplace, ""}[policy%4]
	if policy&8 != 0 {
		in.KeyConflicts = KeyConflictsError
	}

	out, err := Compose(in)
	everything := Selection{Include: globs("*"), Exclude: []Pattern{must(Regexp("a^"))}, Rename: []Renaming{Prefix(""), must(Replace("a^", "x"))}}
	in.Sources = []Source{p.sources[0].taking(everything), p.sources[1].taking(everything)}
	all, errAll := Compose(in)
	if !same(out, err, all, errAll) {
		t.Errorf("%v %v\nwith everything taken %v %v", out, err, all, errAll)
	}

	s := parseSelection(selection)
	in.Sources = []Source{p.sources[0].taking(s), p.sources[1], p.sources[0]}
	out, err = Compose(in)
	again, errAgain := Compose(in)
	if !same(out, err, again, errAgain) {
		t.Errorf("%v %v\nagain %v %v", out, err, again, errAgain)
	}
	if in.InvalidKeys != InvalidKeysSkip && out.Skipped != nil || !slices.IsSorted(out.Skipped) {
		t.Errorf("skipped %q", out.Skipped)
	}
	for key := range out.Data {
		if len(key) > 253 || len(validation.IsConfigMapKey(key)) > 0 || slices.Contains(out.Skipped, key) {
			t.Errorf("key %q", key)
		}
	}
	if err != nil && (out.Data != nil || len(err.Error()) > 10000) {
		t.Errorf("%v with %v", err, out.Data)
	}

	// What one source gives by itself is what its folder holds, whatever it is called.
	in.Sources = in.Sources[:1]
	in.KeyConflicts = ""
	part, err := Compose(in)
	if err != nil {
		return
	}
	for key, value := range part.Data {
		found := false
		for _, name := range names(p.sources[0]) {
			in.Sources = []Source{p.sources[0].taking(Selection{Only: []Entry{{"X", name}}})}
			alone, err := Compose(in)
			found = found || err == nil && bytes.Equal(alone.Data["X"], value)
		}
		if !found {
			t.Errorf("%s has a value of its own", key)
		}
	}
}

func names(s Source) (names []string) {
	for _, list := range append([]Import{{Secrets: s.Secrets}}, s.Imports...) {
		for _, secret := range list.Secrets {
			names = append(names, secret.Name)
		}
	}
	return names
}

// parseSelection leaves out what is no pattern and no renaming.
func parseSelection(text string) (s Selection) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		rest := line[1:]
		before, after, _ := strings.Cut(rest, "=")
		switch line[0] {
		case 't':
			s.Tags = append(s.Tags, rest)
		case 'i', 'e', 'g', 'x':
			makePattern, list := Glob, &s.Include
			if line[0] == 'g' || line[0] == 'x' {
				makePattern = Regexp
			}
			if line[0] == 'e' || line[0] == 'x' {
				list = &s.Exclude
			}
			if pattern, err := makePattern(rest); err == nil {
				*list = append(*list, pattern)
			}
		case 'p':
			s.Rename = append(s.Rename, Prefix(rest))
		case 's':
			s.Rename = append(s.Rename, Suffix(rest))
		case 'c':
			if renaming, err := Case(rest); err == nil {
				s.Rename = append(s.Rename, renaming)
			}
		case 'r':
			if renaming, err := Replace(before, after); err == nil {
				s.Rename = append(s.Rename, renaming)
			}
		case 'o':
			s.Only = append(s.Only, Entry{before, after})
		}
	}
	return s
}
