package compose

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func must[T any](made T, err error) T {
	if err != nil {
		panic(err)
	}
	return made
}

func globs(patterns ...string) (list []Pattern) {
	for _, p := range patterns {
		list = append(list, must(Glob(p)))
	}
	return list
}

// taking selects from a source.
func (s Source) taking(selection Selection) Source {
	s.Selection = selection
	return s
}

// tagged gives the own secret of a name its tags.
func (s Source) tagged(name string, tags ...string) Source {
	for i := range s.Secrets {
		if s.Secrets[i].Name == name {
			s.Secrets[i].Tags = tags
		}
	}
	return s
}

func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		made    func(string) (Pattern, error)
		pattern string
		yes, no []string
	}{
		{Glob, "DB_*", []string{"DB_URL", "DB_"}, []string{"db_url", "MY_DB_URL", "DB"}},
		{Glob, "*", []string{"", "A", "a/b", "a.b", "ä"}, nil},
		{Glob, "**", []string{"", "A", "a/b"}, nil},
		{Glob, "a/*", []string{"a/", "a/b", "a/b/c"}, []string{"a", "ab"}},
		{Glob, "?", []string{"A", "ä", "/"}, []string{"", "AB"}},
		{Glob, "[A-C]_[^0-9]", []string{"A_X", "C_/"}, []string{"D_X", "A_1"}},
		{Glob, "{DB,API{,_V2}}_*", []string{"DB_X", "API_X", "API_V2_X"}, []string{"AP_X", "{DB}_X"}},
		{Glob, `\*`, []string{"*"}, []string{"A"}},
		{Glob, "", []string{""}, []string{"A"}},
		{Regexp, "DB", []string{"DB", "MY_DB_URL"}, []string{"db", ""}},
		{Regexp, "^DB_(URL|PW)$", []string{"DB_URL", "DB_PW"}, []string{"DB_URLS", "X_DB_URL"}},
		{Regexp, "(?i)^db", []string{"DB", "dbUrl"}, []string{"X_DB"}},
	} {
		matches, err := test.made(test.pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range test.yes {
			if !matches(name) {
				t.Errorf("%q does not match %q", test.pattern, name)
			}
		}
		for _, name := range test.no {
			if matches(name) {
				t.Errorf("%q matches %q", test.pattern, name)
			}
		}
	}
}

func TestWhatIsNoPatternAndNoRenaming(t *testing.T) {
	for pattern, valid := range map[string]bool{
		"[": false, "{A": false, `\`: false, "[]": false,
		"{" + strings.Repeat("A,", 99) + "A}": true, "{" + strings.Repeat("A,", 100) + "A}": false,
		strings.Repeat("{A,B}", 6): true, strings.Repeat("{A,B}", 7): false,
		"{A,{B,C}}{D,E}": true, strings.Repeat("{", 50) + "A,B" + strings.Repeat("}", 50): true,
	} {
		if p, err := Glob(pattern); (err == nil) != valid || (p != nil) != valid {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	if p, err := Regexp("("); err == nil || p != nil {
		t.Error(err)
	}
	if r, err := Replace("(", ""); err == nil || r != nil {
		t.Error(err)
	}
	for expr, valid := range map[string]bool{
		"^(DB|CACHE)_[A-Z0-9_]{1,63}(_[0-9]{1,3}){0,4}$": true, `(?i)^[\pL_][\pL\pN_]*$`: true, "(?i)^[a-z-]+$": true,
		"x{500}": true, "x{501}": false, strings.Repeat("(.?){1000}", 25): false, strings.Repeat(`[\pL\pN]`, 27): false,
		"(?i)[" + strings.Repeat("ÿ-𞤀", 25) + "]": false,
	} {
		began := time.Now()
		if p, err := Regexp(expr); (err == nil) != valid || (p != nil) != valid {
			t.Errorf("%.30s: %v", expr, err)
		}
		if r, err := Replace(expr, ""); (err == nil) != valid || (r != nil) != valid {
			t.Errorf("%.30s: %v", expr, err)
		}
		if d := time.Since(began); d > slowness*200*time.Millisecond {
			t.Errorf("%.30s takes %s", expr, d)
		}
	}
	for _, style := range []string{"", "upper", "Title"} {
		if r, err := Case(style); err == nil || r != nil {
			t.Error(style, err)
		}
	}
}

func TestRenamings(t *testing.T) {
	names := []string{"DB_URL", "dbUrl", "db-url", "HTTPServer", "v2_KEY", "DB2_URL", "_X", "a.b"}
	for style, want := range map[string][]string{
		"Upper": {"DB_URL", "DBURL", "DB-URL", "HTTPSERVER", "V2_KEY", "DB2_URL", "_X", "A.B"},
		"Lower": {"db_url", "dburl", "db-url", "httpserver", "v2_key", "db2_url", "_x", "a.b"},
		"Snake": {"db_url", "db_url", "db_url", "http_server", "v2_key", "db2_url", "_x", "a.b"},
		"Kebab": {"db-url", "db-url", "db-url", "http-server", "v2-key", "db2-url", "-x", "a.b"},
		"Camel": {"dbUrl", "dbUrl", "dbUrl", "httpserver", "v2Key", "db2Url", "_x", "a.b"},
	} {
		rename := must(Case(style))
		for i, name := range names {
			if got := rename(name); got != want[i] {
				t.Errorf("%s of %s is %s, want %s", style, name, got, want[i])
			}
		}
	}
	for want, steps := range map[string][]Renaming{
		"APP_DB_URL": {Prefix("APP_")},
		"DB_URL.txt": {Suffix(".txt")},
		"url":        {must(Replace("^DB_", "")), must(Case("Lower"))},
		"Durl":       {must(Replace("^DB_", "")), must(Case("Lower")), Prefix("D")},
		"URL-DB$":    {must(Replace(`^([^_]*)_(?P<rest>.*)$`, "${rest}-$1$$"))},
		"xBxRx":      {must(Replace("[DUL_]+", "x"))},
		"DB_URL":     {must(Replace("nothing", "x"))},
		"":           {must(Replace(".*", ""))},
	} {
		s := Selection{Rename: steps}
		if got := s.rename("DB_URL"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestSelection(t *testing.T) {
	whole := func() Source {
		return source("dev:/", "DB_URL=u", "DB_PW=p", "API_KEY=k").with(entry("x:/", "DB_PW=hidden", "DB_HOST=h"))
	}
	for name, test := range map[string]struct {
		sources []Source
		want    map[string]string
	}{
		"include": {
			[]Source{whole().taking(Selection{Include: globs("API_*", "*_HOST")})},
			map[string]string{"API_KEY": "k", "DB_HOST": "h"},
		},
		"exclude": {
			[]Source{whole().taking(Selection{Exclude: globs("API_*", "*_HOST")})},
			map[string]string{"DB_URL": "u", "DB_PW": "p"},
		},
		"exclude beats include": {
			[]Source{whole().taking(Selection{Include: globs("DB_*"), Exclude: []Pattern{must(Regexp("PW"))}})},
			map[string]string{"DB_URL": "u", "DB_HOST": "h"},
		},
		"patterns see the name, not the key": {
			[]Source{whole().taking(Selection{Include: globs("DB_URL", "api_key"), Rename: []Renaming{must(Case("Lower"))}})},
			map[string]string{"db_url": "u"},
		},
		"one of the tags, and what is imported": {
			[]Source{whole().tagged("DB_URL", "x", "a").tagged("API_KEY", "b").taking(Selection{Tags: []string{"a", "c"}})},
			map[string]string{"DB_URL": "u", "DB_HOST": "h"},
		},
		"tags and include": {
			[]Source{whole().tagged("DB_URL", "a").tagged("API_KEY", "a").taking(Selection{Tags: []string{"a"}, Include: globs("DB_*")})},
			map[string]string{"DB_URL": "u", "DB_HOST": "h"},
		},
		"recursive: what hides another does so without the tag": {
			[]Source{recursive("dev:/", "/a A=below", "/ A=here", "/ B=here", "/a C=below").tagged("B", "a").tagged("C", "a").
				taking(Selection{Tags: []string{"a"}})},
			map[string]string{"B": "here", "C": "below"},
		},
		"only, whatever else is set": {
			[]Source{whole().taking(Selection{
				Only: []Entry{{"url", "DB_URL"}, {"host", "DB_HOST"}, {"again", "DB_URL"}, {"url", "DB_URL"}},
				Tags: []string{"a"}, Include: globs("NOPE"), Exclude: globs("*"), Rename: []Renaming{Prefix("X_")},
			})},
			map[string]string{"url": "u", "host": "h", "again": "u"},
		},
		"later source wins by the key": {
			[]Source{whole().taking(Selection{Include: globs("API_KEY")}), source("dev:/a", "KEY=2").taking(Selection{Rename: []Renaming{Prefix("API_")}})},
			map[string]string{"API_KEY": "2"},
		},
		"what is left out hides nothing": {
			[]Source{source("dev:/", "A=1", "B=1"), source("dev:/a", "A=2", "B=2").taking(Selection{Exclude: globs("A")})},
			map[string]string{"A": "1", "B": "2"},
		},
		"one folder twice": {
			[]Source{whole(), whole().taking(Selection{Only: []Entry{{"URL", "DB_URL"}}})},
			map[string]string{"DB_URL": "u", "DB_PW": "p", "API_KEY": "k", "DB_HOST": "h", "URL": "u"},
		},
		"a recursive and a plain read of one folder": {
			[]Source{recursive("dev:/", "/a X=1"), source("dev:/", "Y=2").taking(Selection{Only: []Entry{{"Z", "Y"}}})},
			map[string]string{"X": "1", "Z": "2"},
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

func TestReferencesKnowNoSelection(t *testing.T) {
	for name, test := range map[string]struct {
		sources []Source
		want    map[string]string
	}{
		"to what is left out": {
			[]Source{source("dev:/", "URL=${USER}@${HOST}", "USER=u").with(entry("x:/", "HOST=h")).taking(Selection{Include: globs("URL")})},
			map[string]string{"URL": "u@h"},
		},
		"by the name, not by the key": {
			[]Source{source("dev:/", "URL=${USER}", "USER=u").taking(Selection{Rename: []Renaming{must(Case("Lower"))}})},
			map[string]string{"url": "u", "user": "u"},
		},
		"from another source": {
			[]Source{source("dev:/", "A=${dev.a.B}"), source("dev:/a", "B=${C}", "C=1").tagged("B", "no").with(entry("x:/", "D=1")).
				taking(Selection{Tags: []string{"a"}, Include: globs("D")})},
			map[string]string{"A": "1", "D": "1"},
		},
		"what is left out may be broken": {
			[]Source{source("dev:/", "A=1", "B=${NOPE}", "C=${nope.A}").taking(Selection{Exclude: globs("B", "C")})},
			map[string]string{"A": "1"},
		},
		"one folder twice, with a location": {
			[]Source{
				source("dev:/", "A=<${dev.B}>", "B=1").taking(Selection{Include: globs("A")}),
				source("dev:/", "A=<${dev.B}>", "B=1").taking(Selection{Only: []Entry{{"b", "B"}, {"a", "A"}}}),
			},
			map[string]string{"A": "<1>", "a": "<1>", "b": "1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := Compose(Input{Sources: test.sources})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, text(out.Data)); diff != "" || out.Locations != nil {
				t.Error(diff, out.Locations)
			}
		})
	}
}

// TestOneFolderTwiceIsOneFolder: were the two sources two folders, A of the first would refer to A of the second, which is no cycle.
func TestOneFolderTwiceIsOneFolder(t *testing.T) {
	folder := func() Source {
		return source("dev:/", "A=<${dev.A}>").with(entry("x:/", "B=1"))
	}
	in := Input{Sources: []Source{folder(), folder().taking(Selection{Only: []Entry{{"a", "A"}}})}, Unresolved: UnresolvedKeep}
	out, err := Compose(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"A": "<${dev.A}>", "a": "<${dev.A}>", "B": "1"}, text(out.Data)); diff != "" {
		t.Error(diff)
	}
	if a, b := out.Data["A"], out.Data["a"]; &a[0] != &b[0] {
		t.Error("expanded twice")
	}
	for name, change := range map[string]func(*Source){
		"value":            func(s *Source) { s.Secrets[0].Value = []byte("2") },
		"import's content": func(s *Source) { s.Imports[0].Secrets[0].Name = "A2" },
		"no import":        func(s *Source) { s.Imports = nil },
		"recursive":        func(s *Source) { s.Recursive = true },
		"tags":             func(s *Source) { s.Secrets[0].Tags = []string{"a"} },
	} {
		other := folder()
		change(&other)
		if folders := fold([]Source{folder(), other, folder()}); folders[0] == folders[1] || folders[0] != folders[2] {
			t.Errorf("%s: %v", name, folders)
		}
	}
}

func TestRenamingsDoNotFillTheMemory(t *testing.T) {
	grow := must(Replace("(.*)", "$1$1$1$1$1$1$1$1$1$1"))
	s := Selection{}
	for range 30 {
		s.Rename = append(s.Rename, grow)
	}
	in := source("dev:/", strings.Repeat("L", 1<<20)+"=1")
	for i := range 100 {
		in.Secrets = append(in.Secrets, secrets(fmt.Sprintf("KEY_%d=1", i))...)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out, err := Compose(Input{Sources: []Source{in.taking(s)}, InvalidKeys: InvalidKeysSkip, AllowEmpty: true})
	runtime.ReadMemStats(&after)
	if err != nil || len(out.Skipped) != 101 {
		t.Fatalf("%v, %d skipped", err, len(out.Skipped))
	}
	for _, key := range out.Skipped {
		if len(key) > maxNameBytes {
			t.Errorf("a key of %d bytes", len(key))
		}
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("allocated %d bytes", used)
	}
}

// Whoever writes patterns may own the secrets too, and give them names that keep every instruction at work.
func TestNoPatternTakesLongForAName(t *testing.T) {
	name := strings.Repeat("x", maxNameBytes)
	for _, expr := range []string{"(x?){90}y", "x*y|x", "(x*){10}y|x", "(x|x){80}y|x", "(.?){80}z|(x|)"} {
		matches, rename := must(Regexp(expr)), must(Replace(expr, ""))
		began := time.Now()
		matches(name)
		one := time.Since(began)
		rename(name)
		if d := time.Since(began); one > slowness*200*time.Millisecond || d > slowness*time.Second {
			t.Errorf("%s takes %s to match, %s to replace", expr, one, d-one)
		} else {
			t.Logf("%s takes %s to match, %s to replace", expr, one, d-one)
		}
	}
}
