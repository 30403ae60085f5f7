package push

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/service-token-operator/service-token-operator/internal/compose"
)

// Values in these tests have this in them, so that one in an error is found.
const mark = "Wert"

func must[T any](made T, err error) T {
	if err != nil {
		panic(err)
	}
	return made
}

func glob(pattern string) []compose.Pattern {
	return []compose.Pattern{must(compose.Glob(pattern))}
}

func matching(expr string) []compose.Pattern {
	return []compose.Pattern{must(compose.Regexp(expr))}
}

// secretOf has a value of its own for each key.
func secretOf(keys ...string) map[string][]byte {
	data := map[string][]byte{}
	for _, key := range keys {
		data[key] = []byte(mark + " of " + key)
	}
	return data
}

// broken is no text.
var broken = []byte(mark + "\xff")

func TestSelectTakesWhatIsChosenUnderItsName(t *testing.T) {
	data := secretOf("DB_URL", "DB_PW", "API_KEY", "tls.crt")
	all := map[string]string{"DB_URL": "DB_URL", "DB_PW": "DB_PW", "API_KEY": "API_KEY", "tls.crt": "tls.crt"}
	lower := must(compose.Case("Lower"))
	for name, test := range map[string]struct {
		selection compose.Selection
		entries   []Entry
		want      map[string]string // keys by name
	}{
		"all":                   {want: all},
		"nothing matches":       {selection: compose.Selection{Include: glob("X_*")}, want: map[string]string{}},
		"by glob":               {selection: compose.Selection{Include: glob("DB_*")}, want: map[string]string{"DB_URL": "DB_URL", "DB_PW": "DB_PW"}},
		"by regexp":             {selection: compose.Selection{Include: matching("^(API|tls)")}, want: map[string]string{"API_KEY": "API_KEY", "tls.crt": "tls.crt"}},
		"by one of two":         {selection: compose.Selection{Include: append(glob("API_*"), matching("PW$")...)}, want: map[string]string{"API_KEY": "API_KEY", "DB_PW": "DB_PW"}},
		"excluded":              {selection: compose.Selection{Exclude: glob("*_*")}, want: map[string]string{"tls.crt": "tls.crt"}},
		"included and excluded": {selection: compose.Selection{Include: glob("DB_*"), Exclude: matching("PW")}, want: map[string]string{"DB_URL": "DB_URL"}},
		"renamed step by step": {
			selection: compose.Selection{Include: glob("DB_*"), Rename: []compose.Renaming{lower, compose.Prefix("my.")}},
			want:      map[string]string{"my.db_url": "DB_URL", "my.db_pw": "DB_PW"},
		},
		"entries alone":                    {entries: []Entry{{Key: "tls.crt", Name: "CERT"}, {Key: "API_KEY"}}, want: map[string]string{"CERT": "tls.crt", "API_KEY": "API_KEY"}},
		"entries and an exclusion":         {entries: []Entry{{Key: "API_KEY"}}, selection: compose.Selection{Exclude: glob("DB_*")}, want: map[string]string{"API_KEY": "API_KEY"}},
		"entries and a renaming":           {entries: []Entry{{Key: "API_KEY"}}, selection: compose.Selection{Rename: []compose.Renaming{lower}}, want: map[string]string{"API_KEY": "API_KEY"}},
		"entries and a selection":          {entries: []Entry{{Key: "tls.crt", Name: "CERT"}}, selection: compose.Selection{Include: glob("DB_*")}, want: map[string]string{"CERT": "tls.crt", "DB_URL": "DB_URL", "DB_PW": "DB_PW"}},
		"an entry wins":                    {entries: []Entry{{Key: "DB_URL", Name: "URL"}}, selection: compose.Selection{Include: glob("DB_*"), Rename: []compose.Renaming{lower}}, want: map[string]string{"URL": "DB_URL", "db_pw": "DB_PW"}},
		"an entry wins over exclude":       {entries: []Entry{{Key: "DB_PW"}}, selection: compose.Selection{Include: glob("*"), Exclude: glob("DB_*")}, want: map[string]string{"DB_PW": "DB_PW", "API_KEY": "API_KEY", "tls.crt": "tls.crt"}},
		"names that keys swap":             {entries: []Entry{{Key: "DB_URL", Name: "DB_PW"}, {Key: "DB_PW", Name: "DB_URL"}}, want: map[string]string{"DB_PW": "DB_URL", "DB_URL": "DB_PW"}},
		"a name of 100 characters":         {entries: []Entry{{Key: "DB_URL", Name: strings.Repeat("x", 100)}}, want: map[string]string{strings.Repeat("x", 100): "DB_URL"}},
		"names of dots and dashes":         {entries: []Entry{{Key: "DB_URL", Name: ".x"}, {Key: "DB_PW", Name: "-."}}, want: map[string]string{".x": "DB_URL", "-.": "DB_PW"}},
		"names like a route's":             {entries: []Entry{{Key: "DB_URL", Name: "Batch"}, {Key: "DB_PW", Name: "batch."}, {Key: "API_KEY", Name: "batches"}}, want: map[string]string{"Batch": "DB_URL", "batch.": "DB_PW", "batches": "API_KEY"}},
		"what is not taken is not renamed": {selection: compose.Selection{Include: glob("DB_URL"), Rename: []compose.Renaming{func(string) string { return "X" }}}, want: map[string]string{"X": "DB_URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := map[string][]byte{}
			for name, key := range test.want {
				want[name] = data[key]
			}
			values, err := Select(data, test.selection, test.entries)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, values); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSelectTakesEveryText(t *testing.T) {
	data := map[string][]byte{"empty": {}, "nothing": nil, "lines": []byte(" a\r\n\tb\n"), "emoji": []byte("🔑"), "zero": {0}}
	values, err := Select(data, compose.Selection{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(data, values); diff != "" {
		t.Error(diff)
	}
	if values, err := Select(nil, compose.Selection{}, nil); err != nil || len(values) != 0 {
		t.Error(values, err)
	}
}

func TestSelectNamesWhatIsWrong(t *testing.T) {
	constant := func(name string) compose.Selection {
		return compose.Selection{Rename: []compose.Renaming{func(string) string { return name }}}
	}
	for name, test := range map[string]struct {
		data      map[string][]byte // A, unless there is something
		selection compose.Selection
		entries   []Entry
		want      error
	}{
		"101 characters":         {selection: constant(strings.Repeat("x", 101)), want: &NameError{"A", strings.Repeat("x", 101)}},
		"no character":           {selection: constant(""), want: &NameError{"A", ""}},
		"slash":                  {selection: constant("a/b"), want: &NameError{"A", "a/b"}},
		"colon":                  {selection: constant("a:b"), want: &NameError{"A", "a:b"}},
		"space":                  {selection: constant("a b"), want: &NameError{"A", "a b"}},
		"umlaut":                 {selection: constant("ä"), want: &NameError{"A", "ä"}},
		"line feed":              {selection: constant("A\n"), want: &NameError{"A", "A\n"}},
		"percent":                {selection: constant("%2e"), want: &NameError{"A", "%2e"}},
		".":                      {selection: constant("."), want: &NameError{"A", "."}},
		"..":                     {selection: constant(".."), want: &NameError{"A", ".."}},
		"..a":                    {selection: constant("..a"), want: &NameError{"A", "..a"}},
		"a route's name":         {selection: constant("batch"), want: &NameError{"A", "batch"}},
		"a route's name as key":  {data: secretOf("batch"), want: &NameError{"batch", "batch"}},
		"a route's, by an entry": {entries: []Entry{{"A", "batch"}}, want: &NameError{"A", "batch"}},
		"an entry's name":        {entries: []Entry{{"A", "a/b"}}, want: &NameError{"A", "a/b"}},
		"a key that is too long": {data: secretOf(strings.Repeat("x", 101)), want: &NameError{strings.Repeat("x", 101), strings.Repeat("x", 101)}},

		"two keys to one name":              {data: secretOf("B", "A"), selection: constant("X"), want: &ClashError{"X", "A", "B"}},
		"two entries to one name":           {data: secretOf("A", "B"), entries: []Entry{{"B", "X"}, {"A", "X"}}, want: &ClashError{"X", "A", "B"}},
		"an entry to the name of another":   {data: secretOf("A", "B"), entries: []Entry{{"B", "A"}}, selection: compose.Selection{Include: glob("*")}, want: &ClashError{"A", "A", "B"}},
		"no text":                           {data: map[string][]byte{"A": broken}, want: &TextError{"A"}},
		"no text in an entry":               {data: map[string][]byte{"A": broken}, entries: []Entry{{"A", "X"}}, want: &TextError{"A"}},
		"missing key":                       {entries: []Entry{{"B", "X"}}, want: &KeyMissingError{[]string{"B"}}},
		"missing keys, in the spec's order": {entries: []Entry{{"C", ""}, {"A", ""}, {"B", ""}}, want: &KeyMissingError{[]string{"C", "B"}}},
		"one name too many":                 {data: secretOf(numbered(maxNames + 1)...), want: &TooManyError{maxNames + 1, maxNames}},
		"one name too many by an entry":     {data: secretOf(numbered(maxNames + 1)...), selection: compose.Selection{Include: glob("*"), Exclude: glob("K0")}, entries: []Entry{{"K0", ""}}, want: &TooManyError{maxNames + 1, maxNames}},

		"the first key's error, a name":     {data: map[string][]byte{"A": []byte(mark), "B": broken}, entries: []Entry{{"B", ""}, {"A", "/"}}, want: &NameError{"A", "/"}},
		"the first key's error, a value":    {data: map[string][]byte{"A": broken, "B": []byte(mark)}, entries: []Entry{{"B", "/"}, {"A", ""}}, want: &TextError{"A"}},
		"of a key's errors the name":        {data: map[string][]byte{"A": broken}, selection: constant(""), want: &NameError{"A", ""}},
		"of a key's errors the clash":       {data: map[string][]byte{"A": []byte(mark), "B": broken}, selection: constant("X"), want: &ClashError{"X", "A", "B"}},
		"missing keys before all":           {data: map[string][]byte{"A": broken}, entries: []Entry{{"A", "/"}, {"B", ""}}, want: &KeyMissingError{[]string{"B"}}},
		"too many before what they are all": {data: secretOf(numbered(maxNames + 1)...), selection: constant(""), want: &TooManyError{maxNames + 1, maxNames}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.data == nil {
				test.data = secretOf("A")
			}
			for range 10 { // maps have no order
				values, err := Select(test.data, test.selection, test.entries)
				if values != nil {
					t.Fatal("there are values with an error")
				}
				if diff := cmp.Diff(test.want, err); diff != "" {
					t.Fatal(diff)
				}
				if strings.Contains(err.Error(), mark) {
					t.Fatalf("a value in %q", err)
				}
			}
		})
	}
}

func TestSelectTakesAKeyOfARoutesNameUnderAnother(t *testing.T) {
	data := secretOf("batch")
	want := map[string][]byte{"BATCH": data["batch"]}
	for _, test := range []struct {
		selection compose.Selection
		entries   []Entry
	}{
		{entries: []Entry{{"batch", "BATCH"}}},
		{selection: compose.Selection{Rename: []compose.Renaming{must(compose.Case("Upper"))}}},
	} {
		values, err := Select(data, test.selection, test.entries)
		if diff := cmp.Diff(want, values); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
	if _, err := Select(data, compose.Selection{Exclude: glob("b*")}, nil); err != nil {
		t.Error(err)
	}
}

func TestSelectTakesAsManyNamesAsAnObjectMayPush(t *testing.T) {
	data := secretOf(numbered(maxNames)...)
	values, err := Select(data, compose.Selection{}, nil)
	if err != nil || len(values) != maxNames {
		t.Error(len(values), err)
	}
	data["K"] = nil // one that is not taken does not count
	if _, err := Select(data, compose.Selection{Include: glob("K?*")}, nil); err != nil {
		t.Error(err)
	}
}

func numbered(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("K%d", i)
	}
	return keys
}

func TestErrorsSayWhatToChange(t *testing.T) {
	for _, test := range []struct {
		err  error
		want []string
	}{
		{&NameError{"A", "a/b"}, []string{`"A"`, `"a/b"`, "100"}},
		{&ClashError{"X", "A", "B"}, []string{`"A"`, `"B"`, `"X"`}},
		{&TextError{"A"}, []string{`"A"`, "UTF-8"}},
		{&KeyMissingError{[]string{"A", "B"}}, []string{"A, B"}},
		{&KeyMissingError{numbered(10)}, []string{"K8, K9"}},
		{&KeyMissingError{numbered(12)}, []string{"K8, K9, and 2 more"}},
		{&TooManyError{2001, maxNames}, []string{"2001 names", "2000", "use several"}},
		{&TooManyError{5001, maxWritten}, []string{"5001 names were written", "5000", "keys are gone", "use another object"}},
		{&ConflictError{Names: []string{"A", "B"}}, []string{"A, B", "TakeOver", "IfNotExists"}},
		{&ConflictError{Names: []string{"A"}, Twice: []string{"B", "C"}}, []string{"B, C", "several"}},
	} {
		wrapped := fmt.Errorf("selecting: %w", test.err)
		if !errors.Is(wrapped, test.err) {
			t.Errorf("%T is lost", test.err)
		}
		for _, part := range test.want {
			if !strings.Contains(wrapped.Error(), part) {
				t.Errorf("%q does not tell %s", wrapped, part)
			}
		}
	}
}
