package compose

import (
	"slices"
	"strings"
	"testing"
)

func TestWhatIsAReference(t *testing.T) {
	for value, want := range map[string][]string{
		"":                                  nil,
		"$":                                 nil,
		"${":                                nil,
		"${KEY}":                            {"KEY"},
		"a${KEY}b${OTHER}":                  {"KEY", "OTHER"},
		"${ KEY }${\tKEY\n}${\u00a0KEY}":    {"KEY", "KEY", "KEY"},
		"${env.KEY}${env.a.b-c.d_e.KEY}":    {"env.KEY", "env.a.b-c.d_e.KEY"},
		"${1}${-}${_}${KEY-}":               {"1", "-", "_", "KEY-"},
		"${schlüssel}${鍵}${٣}":              {"schlüssel", "鍵", "٣"},
		"$HOME $$ ${} $${DB_USER} {{ .x }}": {"DB_USER"},
		`{"a":1,"b":"${x","c":[null,true]}`: nil,
		"${}${ }${.}${..}${.a}${a.}${a..b}": nil,
		"${a .b}${a. b}${a b}":              nil,
		"${VAR:-default}${VAR%.*}${#VAR}":   nil,
		"${VAR:-${OTHER}}":                  {"OTHER"},
		"${a${KEY}}":                        {"KEY"},
		"${ ${KEY}":                         {"KEY"},
		"${${KEY}}":                         {"KEY"},
		"$${KEY}$":                          {"KEY"},
		"${a/b}${a:b}${a\x00}${a\xff}${😀}":  nil,
		"${KEY":                             nil,
		"{KEY} $ {KEY} $KEY }${":            nil,
	} {
		var got []string
		for token, ok := nextReference([]byte(value), 0); ok; token, ok = nextReference([]byte(value), token.end) {
			got = append(got, string(token.name))
			written := value[token.start:token.end]
			if !strings.HasPrefix(written, "${") || !strings.HasSuffix(written, "}") || strings.TrimSpace(written[2:len(written)-1]) != string(token.name) {
				t.Errorf("%q: %q stands at %q", value, token.name, written)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", value, got, want)
		}
	}
}

func TestLocationOfAReference(t *testing.T) {
	for prefix, want := range map[string]string{"env": "env:/", "env.a": "env:/a", "env.a.b.c": "env:/a/b/c"} {
		if got := parseLocation([]byte(prefix)).String(); got != want {
			t.Errorf("%s: got %s, want %s", prefix, got, want)
		}
	}
}

// A million openings must not be read a million times.
func TestManyOpeningsTakeLinearTime(t *testing.T) {
	for _, value := range []string{strings.Repeat("${", 1<<19), strings.Repeat("${ ", 1<<19), "${" + strings.Repeat("a", 1<<20), "${" + strings.Repeat("  ${", 1<<18)} {
		if _, ok := nextReference([]byte(value), 0); ok {
			t.Error("found a reference")
		}
	}
}
