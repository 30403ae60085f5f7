package compose

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// FuzzExpand composes small projects. Each line of the text is a secret, "PNAME=value", where P says where it lies. Whatever the
// text: no panic, no more than the limits, the same result again and in another order, and the same as what a simple recursive
// expansion gives.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{
		"sDB_USER=app\nsURL=postgres://${DB_USER}:${PW}@h\niPW=${ PORT }\njPW=2\nsPROD=${prod.db.PASSWORD}\npPASSWORD=pw",
		"sA=${B}\nsB=${A}\niC=<${A}>\nsD=${D}${NOPE}",
		"sA=${e.B}${dev.a.C}${dev.a.b.C}\neB=${dev.A}\nrC=r${D}\ndC=d\nrD=1\njD=2",
		"iA=${B}\niB=1\niB=2\nsB=3\njA=${B}${C}\njC=${A}",
		`sA={"a":1,"b":"${x","c":[null,true]}` + "\nsB=$HOME $$ ${} $${A} {{ .x }}",
		"sA=${B}${B}${B}\nsB=${C}${C}${C}\nsC=${D}${D}${D}\nsD=${E}${E}${E}\nsE=lol",
	} {
		f.Add(seed, byte(0))
		f.Add(seed, byte(1))
		f.Add(seed, byte(2))
	}
	f.Fuzz(checkProject)
}

// TestRandomProjects does the same with texts in which most references lead somewhere, which a fuzzer finds slowly.
func TestRandomProjects(t *testing.T) {
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 0))
		of := func(choices ...string) string { return choices[r.IntN(len(choices))] }
		name := func() string { return of("A", "B", "C", "D") }
		var text strings.Builder
		for range r.IntN(12) {
			text.WriteString(of("s", "s", "i", "j", "r", "d", "z", "e", "w", "p", "q") + name() + "=")
			for range r.IntN(4) {
				text.WriteString(of("x", "y", "$", "${", "}", "${"+name()+"}", "${"+name()+"}", "${"+name()+"}", "${ "+name()+" }",
					"${dev."+name()+"}", "${dev.a."+name()+"}", "${dev.a.b."+name()+"}", "${e."+name()+"}", "${prod.db."+name()+"}", "${q."+name()+"}"))
			}
			text.WriteString("\n")
		}
		checkProject(t, text.String(), byte(r.IntN(16)))
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, text.String())
		}
	}
}

func checkProject(t *testing.T, text string, policy byte) {
	t.Helper()
	p := parseProject(text)
	in := Input{Sources: p.sources, Lookup: p.lookup, MaxBytes: 300, MaxDepth: 20, MaxSources: 2}
	in.Unresolved = []Unresolved{UnresolvedError, UnresolvedKeep, UnresolvedEmpty}[policy%3]
	if policy&8 != 0 {
		in.KeyConflicts = KeyConflictsError
	}
	out, err := Compose(in)
	again, errAgain := Compose(in)
	if !same(out, err, again, errAgain) {
		t.Errorf("%v %v\nagain %v %v", out, err, again, errAgain)
	}
	if len(out.Locations) > in.MaxSources {
		t.Errorf("asked for %v", out.Locations)
	}
	if err != nil {
		if out.Data != nil || len(err.Error()) > 10000 {
			t.Errorf("%v with %v", err, out.Data)
		}
		return
	}
	total := 0
	for _, value := range out.Data {
		total += len(value)
	}
	if total > in.MaxBytes {
		t.Errorf("%d bytes", total)
	}
	if p.small() {
		for name, got := range out.Data {
			if want := p.expand(p.winner(name), in.Unresolved); string(got) != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
	}
	if p.unique() {
		for _, s := range p.sources {
			rand.Shuffle(len(s.Secrets), func(i, j int) { s.Secrets[i], s.Secrets[j] = s.Secrets[j], s.Secrets[i] })
		}
		shuffled, errShuffled := Compose(in)
		if !same(out, err, shuffled, errShuffled) {
			t.Errorf("%v %v\nshuffled %v %v", out, err, shuffled, errShuffled)
		}
	}
}

func same(a Output, errA error, b Output, errB error) bool {
	if (errA == nil) != (errB == nil) || errA != nil && errA.Error() != errB.Error() {
		return false
	}
	return maps.EqualFunc(a.Data, b.Data, bytes.Equal) && slices.Equal(a.Locations, b.Locations) && slices.Equal(a.Skipped, b.Skipped)
}

// project is one source with two imports, a recursive one with a folder below, and two folders elsewhere.
type project struct {
	sources []Source
	other   []Source
}

func parseProject(text string) project {
	p := project{
		sources: []Source{source("dev:/").with(entry("x:/"), entry("y:/")), recursive("dev:/a").with(entry("z:/"))},
		other:   []Source{source("e:/").with(entry("w:/")), source("prod:/db"), source("q:/")},
	}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok || len(name) < 2 {
			continue
		}
		secret := Secret{Name: name[1:], Value: []byte(value)}
		list := map[byte]*[]Secret{
			's': &p.sources[0].Secrets, 'i': &p.sources[0].Imports[0].Secrets, 'j': &p.sources[0].Imports[1].Secrets,
			'r': &p.sources[1].Secrets, 'd': &p.sources[1].Secrets, 'z': &p.sources[1].Imports[0].Secrets,
			'e': &p.other[0].Secrets, 'w': &p.other[0].Imports[0].Secrets, 'p': &p.other[1].Secrets, 'q': &p.other[2].Secrets,
		}[name[0]]
		if name[0] == 'd' {
			secret.Path = "/a/b"
		}
		if list != nil {
			*list = append(*list, secret)
		}
	}
	return p
}

func (p project) lookup(at Location) (Folder, error) {
	return lookup(p.other...)(at)
}

// small says whether the recursive expansion ends in time, with every limit out of reach.
func (p project) small() bool {
	references := 0
	for _, f := range append(slices.Clone(p.sources), p.other...) {
		for _, list := range append([]Import{{Secrets: f.Secrets}}, f.Imports...) {
			for _, s := range list.Secrets {
				references += bytes.Count(s.Value, []byte("${"))
				if bytes.Contains(s.Value, []byte("q.")) { // the third folder, beyond MaxSources
					return false
				}
			}
		}
	}
	return references < 15
}

// unique says whether the order of the sources' secrets does not matter.
func (p project) unique() bool {
	for _, f := range p.sources {
		seen := map[string]bool{}
		for _, s := range f.Secrets {
			if seen[s.Path+"="+s.Name] {
				return false
			}
			seen[s.Path+"="+s.Name] = true
		}
	}
	return true
}

// found is a secret of a project: of the nth folder, of its own secrets (list 0) or an import entry.
type found struct{ folder, list, index int }

func (p project) folder(n int) Source { return append(slices.Clone(p.sources), p.other...)[n] }

func (p project) secret(s found) Secret {
	if s.list == 0 {
		return p.folder(s.folder).Secrets[s.index]
	}
	return p.folder(s.folder).Imports[s.list-1].Secrets[s.index]
}

// in looks in one list of a folder; path "*" is any.
func (p project) in(folder, list int, path, name string) *found {
	f := p.folder(folder)
	secrets := f.Secrets
	if list > 0 {
		secrets = f.Imports[list-1].Secrets
	}
	for i, s := range secrets {
		if s.Name == name && (list > 0 || path == "*" || s.Path == path) {
			return &found{folder, list, i}
		}
	}
	return nil
}

// effective looks in a folder as a whole; without a path, the folder itself comes before what is below.
func (p project) effective(folder int, paths []string, name string) *found {
	for _, path := range paths {
		if s := p.in(folder, 0, path, name); s != nil {
			return s
		}
	}
	for list := len(p.folder(folder).Imports); list > 0; list-- {
		if s := p.in(folder, list, "", name); s != nil {
			return s
		}
	}
	return nil
}

func (p project) winner(name string) found {
	if s := p.effective(1, []string{"", "/a/b"}, name); s != nil {
		return *s
	}
	return *p.effective(0, []string{""}, name)
}

func (p project) target(s found, reference string) *found {
	dot := strings.LastIndex(reference, ".")
	if dot < 0 {
		if s.list == 0 {
			return p.effective(s.folder, []string{p.secret(s).Path}, reference)
		}
		if sibling := p.in(s.folder, s.list, "", reference); sibling != nil {
			return sibling
		}
		return p.effective(s.folder, []string{"", "/a/b"}, reference)
	}
	name := reference[dot+1:]
	switch reference[:dot] {
	case "dev":
		return p.effective(0, []string{""}, name)
	case "dev.a":
		return p.effective(1, []string{""}, name)
	case "dev.a.b":
		if slices.ContainsFunc(p.sources[1].Secrets, func(s Secret) bool { return s.Path == "/a/b" }) {
			return p.effective(1, []string{"/a/b"}, name)
		}
	case "e":
		return p.effective(2, []string{""}, name)
	case "prod.db":
		return p.effective(3, []string{""}, name)
	}
	return nil
}

func (p project) reaches(from, to found, seen map[found]bool) bool {
	if from == to {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	value := p.secret(from).Value
	for t, ok := nextReference(value, 0); ok; t, ok = nextReference(value, t.end) {
		if next := p.target(from, string(t.name)); next != nil && p.reaches(*next, to, seen) {
			return true
		}
	}
	return false
}

func (p project) expand(s found, policy Unresolved) string {
	var b strings.Builder
	value, copied := p.secret(s).Value, 0
	for t, ok := nextReference(value, 0); ok; t, ok = nextReference(value, t.end) {
		b.Write(value[copied:t.start])
		copied = t.end
		if next := p.target(s, string(t.name)); next != nil && !p.reaches(*next, s, map[found]bool{}) {
			b.WriteString(p.expand(*next, policy))
		} else if policy == UnresolvedKeep {
			b.Write(value[t.start:t.end])
		}
	}
	b.Write(value[copied:])
	return b.String()
}
