package template

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"text/template/parse"
	"time"

	"github.com/Masterminds/sprig/v3"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

// secrets is what most tests render over.
func secrets() map[string][]byte {
	return map[string][]byte{
		"DB_URL":      []byte("postgres://app:pw@db:5432/shop"),
		"dotted.name": []byte("dotted"),
		"JSON":        []byte(`{"host":"db","port":5432,"list":["a","b"],"deep":{"x":{"y":true}}}`),
		"EMPTY":       {},
	}
}

func renderOne(data map[string][]byte, text string) (string, error) {
	out, err := Render(data, []Template{{"t", text}}, Limits{Timeout: slowness * DefaultTimeout})
	if err != nil {
		return "", err
	}
	return string(out[0]), nil
}

func TestRender(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"plain":                          "plain",
		"{{ .DB_URL }}":                  "postgres://app:pw@db:5432/shop",
		`{{ index . "dotted.name" }}`:    "dotted",
		`{{ get . "DB_URL" | trunc 8 }}`: "postgres",
		`{{ hasKey . "X" }}{{ hasKey . "EMPTY" }}`:                                        "falsetrue",
		`{{ dig "X" "default" . }}{{ dig "EMPTY" "default" . }}`:                          "default",
		`{{ range $k, $v := . }}{{ $k }},{{ end }}`:                                       "DB_URL,EMPTY,JSON,dotted.name,",
		`{{ range keys . }}{{ . }},{{ end }}`:                                             "DB_URL,EMPTY,JSON,dotted.name,",
		`{{ values . | rest | rest | last }}`:                                             "dotted",
		`{{ $j := fromJson .JSON }}{{ $j.host }}:{{ $j.port }}`:                           "db:5432",
		`{{ (fromJson .JSON).deep.x.y }}`:                                                 "true",
		`{{ (index (fromJson .JSON) "list") | join "+" }}`:                                "a+b",
		`{{ index (fromJson .JSON) "list" 1 }}`:                                           "b",
		`{{ define "d" }}<{{ .DB_URL | len }}{{ . | len }}>{{ end }}{{ template "d" . }}`: "<304>",
		`{{ block "b" 3 }}[{{ . }}]{{ end }}`:                                             "[3]",
		`{{ range $i := 3 }}{{ $i }}{{ end }}`:                                            "012",
		`{{ range list 1 2 3 4 }}{{ if eq . 2 }}{{ continue }}{{ else if eq . 4 }}{{ break }}{{ end }}{{ . }}{{ else }}none{{ end }}`: "13",
		`{{ range list }}x{{ else }}none{{ end }}`:                                                                     "none",
		`{{- /* comment */ -}}  a {{- " b" }}`:                                                                         "a b",
		`{{ with .EMPTY }}x{{ else }}empty{{ end }}`:                                                                   "empty",
		`{{ with $x := "v" }}{{ $x }}{{ $.DB_URL | trunc 2 }}{{ end }}`:                                                "vpo",
		`{{ printf "%-5s|%05d|%q|%%" "ab" 42 "x" }}`:                                                                   `ab   |00042|"x"|%`,
		`{{ .DB_URL | b64enc | b64dec | upper | trunc 3 | repeat 2 }}`:                                                 "POSPOS",
		`{{ and true "" }}|{{ or "" "b" }}|{{ not "" }}|{{ eq 1 2 1 }}|{{ ne "a" "b" }}|{{ lt 1 2 }}|{{ ge "b" "a" }}`: "|b|true|true|true|true|true",
		`{{ eq true true }}|{{ eq (first list) nil }}|{{ lt 1.5 2.5 }}`:                                                "true|true|true",
		`{{ toJson (dict "b" 1 "a" (list "<" true)) }}`:                                                                `{"a":["\u003c",true],"b":1}`,
		`{{ toRawJson (dict "a" "<") }}`:                                                                               `{"a":"<"}`,
		`{{ toPrettyJson (dict "a" 1) }}`:                                                                              "{\n  \"a\": 1\n}",
		`{{ toYaml (dict "b" 1 "a" (list "x" "yes")) }}`:                                                               "a:\n- x\n- \"yes\"\nb: 1",
		`{{ (fromYaml "a: {1: b}\nc: [1, 2.5]") | toJSON }}`:                                                           `{"a":{"1":"b"},"c":[1,2.5]}`,
		`{{ (fromYaml "a: 'x & *y' # &z\nb: \"&q *q\"\nc: |\n  &r\n  *r\nd: u?v&w=*w\n<<: {e: 1}") | toRawJson }}`:     `{"a":"x & *y","b":"&q *q","c":"&r\n*r\n","d":"u?v&w=*w","e":1}`,
		`{{ fromYaml "" | toJson }}{{ fromYaml "# no document" | toJson }}{{ fromYaml "---\na\n..." | toJson }}`:       `nullnull"a"`,
		`{{ printf "%03d" (list 1 2) }}{{ printf "%.1f|%6.2f" 1.25 2.5 }}`:                                             "[001 002]1.2|  2.50",
		`{{ dateInZone "15:04" 0 "Asia/Tokyo" }}`:                                                                      "09:00",
		`{{ regexFindAll "\\$\\{([a-z]+)\\}" "${a} ${bc} ${" -1 }}{{ mustRegexFindAll "a*" "baac" 2 }}{{ regexSplit "" "abc" -1 }}{{ regexReplaceAllLiteral "b?" "abc" "$1" }}`: "[${a} ${bc}][ aa][a b c]$1a$1c$1",
		`{{ dateInZone "2006-01-02T15:04" (int64 "1700000000") "UTC" }}`:                            "2023-11-14T22:13",
		`{{ regexReplaceAll "p(o)(s)" .DB_URL "$2$1" | trunc 4 }}`:                                  "sotg",
		`{{ regexSplit "[:/]+" .DB_URL -1 | join " " }}`:                                            "postgres app pw@db 5432 shop",
		`{{ (urlParse .DB_URL).hostname }}`:                                                         "db",
		`{{ (split "@" .DB_URL)._1 }}`:                                                              "db:5432/shop",
		`{{ semverCompare ">=1.2" "1.3.0" }}`:                                                       "true",
		`{{ $m := dict }}{{ $_ := set $m "a" 1 }}{{ $m }}`:                                          "map[a:1]",
		`{{ slice (list 1 2 3) 1 }}{{ slice (list 1 2 3) 0 1 }}`:                                    "[2 3][1]",
		`{{ "a ä\tb" | nospace }}`:                                                                  "aäb",
		`{{ merge (dict "a" 1) (dict "a" 2 "b" 3) }}{{ mergeOverwrite (dict "a" 1) (dict "a" 2) }}`: "map[a:1 b:3]map[a:2]",
		`{{ until 4 }}{{ untilStep 6 0 -2 }}{{ seq 2 2 6 }}`:                                        "[0 1 2 3][6 4 2]2 4 6",
		`{{ "a\nb" | nindent 2 }}`:                                                                  "\n  a\n  b",
	} {
		if got, err := renderOne(secrets(), text); err != nil || got != want {
			t.Errorf("%s\ngot  %q, %v\nwant %q", text, got, err, want)
		}
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a\n{{ .FOO }}":                                    "t:2:4: there is no secret FOO",
		"{{ .FOO.x.y }}":                                   "t:1:8: there is no secret FOO",
		"a\n\n  {{ if true }}{{ .FOO | upper }}":           "t:3: unexpected EOF",
		`{{ range $k, $v := . }}{{ $.FOO }}{{ end }}`:      "t:1:28: there is no secret FOO",
		`{{ $j := fromJson .JSON }}{{ $j.nope }}`:          "t:1:32: there is no entry nope",
		`{{ with fromJson .JSON }}{{ .nope }}{{ end }}`:    "t:1:29: there is no entry nope",
		`{{ index . "FOO" }}`:                              "t:1:4: index: there is no secret or entry FOO",
		`{{ get . "FOO" | default "x" }}`:                  "t:1:4: get: there is no secret or entry FOO",
		`{{ get . .DB_URL }}`:                              "t:1:4: get: there is no secret or entry",
		`{{ index (list 1) 1 }}`:                           "t:1:4: index failed: the index is out of range",
		`{{ now }}`:                                        "t:1:4: now is not available: it gives another result each time, so the Secret would never be at rest",
		`{{ env "HOME" }}`:                                 "t:1:4: env is not available: it reaches outside of the object's own data",
		`{{ dict "a" 1 | semver }}`:                        "t:1:17: semver is not available: its result has methods, which no limit holds",
		`{{ fail "no" }}`:                                  "t:1:4: fail: the template says so",
		`{{ b64dec .DB_URL }}`:                             "t:1:4: b64dec failed: that is no base64",
		`{{ .DB_URL | fromJson }}`:                         "t:1:14: fromJson failed: that is no JSON",
		`{{ first list }}`:                                 "t:1:4: there is no value to print",
		`{{ div 1 0 }}`:                                    "t:1:4: div failed",
		`{{ .DB_URL.x }}`:                                  "t:1:11: can't evaluate field x in type interface {}",
		`{{ upper 1 }}`:                                    "t:1:10: expected string; found 1",
		`{{ upper (list 1) }}`:                             "t:1:16: wrong type for value; expected string; got []interface {}",
		`{{ upper }}`:                                      "t:1:4: wrong number of args for upper: want 1 got 0",
		`{{ range .DB_URL }}{{ end }}`:                     "t:1:10: range goes over lists, maps and, with one variable, numbers",
		`{{ range $a, $b := 5 }}{{ end }}`:                 "t:1:10: range goes over lists, maps and, with one variable, numbers",
		`{{ template "x" }}`:                               `t:1:13: template "x" not defined`,
		`{{ nope . }}`:                                     `t:1: function "nope" not defined`,
		`{{ tick 1 }}`:                                     `t:1: function "tick" not defined`,
		`{{ slice (append (list 1 2) 3) 0 4 }}`:            "t:1:4: slice failed: a number is out of range",
		`{{ lt 1 "a" }}`:                                   "t:1:4: lt failed: values of different types cannot be compared",
		`{{ printf "%p" . }}`:                              "t:1:4: printf failed: %p prints addresses, which are others each time",
		`{{ fromYaml "1: a\n\"1\": b" }}`:                  "t:1:4: fromYaml failed: a map has a key twice",
		`{{ fromYaml "{1: a, \"1\": b, {}: c, [x]: d}" }}`: "t:1:4: fromYaml failed: that is no YAML",
		`{{ fromYaml "a: &x 1\nb: *x" }}`:                  "t:1:4: fromYaml failed: anchors and aliases are not supported",
		`{{ fromYaml "a: &x 1" }}`:                         "t:1:4: fromYaml failed: anchors and aliases are not supported",
		`{{ fromYaml "a: *x" }}`:                           "t:1:4: fromYaml failed: that is no YAML",
		`{{ fromYaml "a: [& &x" }}`:                        "t:1:4: fromYaml failed: that is no YAML",
		`{{ fromYaml "a: 1\n---\nb: 2" }}`:                 "t:1:4: fromYaml failed: there is more than one document",
		`{{ dateInZone "2006" 1 "localtime" }}`:            "t:1:4: dateInZone failed: there is no such time zone",
		`{{ dateInZone "2006" 1 "posixrules" }}`:           "t:1:4: dateInZone failed: there is no such time zone",
		`{{ dateInZone "2006" 1 "posix/Asia/Tokyo" }}`:     "t:1:4: dateInZone failed: there is no such time zone",
		`{{ toJson (b64dec "/w==") }}`:                     "t:1:4: toJson failed: a text is not UTF-8; b64enc makes it so",
		`{{ dateInZone "2006" "x" "UTC" }}`:                "t:1:4: dateInZone failed: the date is a number of seconds since 1970",
		`{{ dateInZone "2006" 1 "Local" }}`:                "t:1:4: dateInZone failed: there is no such time zone",
	} {
		_, err := renderOne(secrets(), text)
		var typed *Error
		if !errors.As(err, &typed) || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestAllFailingTemplatesAreNamed(t *testing.T) {
	_, err := Render(secrets(), []Template{{"a", "{{ .DB_URL }}"}, {"b", "{{ .X }}"}, {"c", "{{"}, {"d", "d"}, {"e", "{{ .Y }}"}}, Limits{})
	want := "b:1:4: there is no secret X; so do not render: c, e"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestTemplatesDoNotSeeEachOther(t *testing.T) {
	data := secrets()
	out, err := Render(data, []Template{
		{"a", `{{ define "d" }}1{{ end }}{{ template "d" }}{{ $_ := set . "NEW" "x" }}{{ $_ := unset . "JSON" }}{{ .NEW }}`},
		{"b", `{{ define "d" }}2{{ end }}{{ template "d" }}{{ hasKey . "NEW" }}{{ hasKey . "JSON" }}`},
	}, Limits{})
	if err != nil || string(bytes.Join(out, []byte("|"))) != "1x|2falsetrue" {
		t.Errorf("got %s, %v", out, err)
	}
	if diff := cmp.Diff(secrets(), data); diff != "" {
		t.Error(diff)
	}
	_, err = Render(data, []Template{{"a", `{{ define "d" }}1{{ end }}`}, {"b", `{{ template "d" }}`}}, Limits{})
	if err == nil || err.Error() != `b:1:13: template "d" not defined` {
		t.Errorf("got %v", err)
	}
}

func TestTimeoutCountsForAllTemplates(t *testing.T) {
	c := clocktesting.NewFakePassiveClock(time.Unix(0, 0))
	ticking := tickingClock{c}
	_, err := render(secrets(), []Template{{"t", "{{ range 100000 }}{{ end }}"}}, Limits{Timeout: 10 * time.Second}, ticking)
	want := "t: it takes longer than 10s"
	if err == nil || !strings.HasPrefix(err.Error(), "t:1:") || !strings.HasSuffix(err.Error(), want[2:]) {
		t.Errorf("got %v", err)
	}
}

// The order of a map's entries must not decide which error there is.
func TestEqualInputGivesEqualErrors(t *testing.T) {
	for text, want := range map[string]string{
		`{{ fromYaml "1: a\n\"1\": b\n2: c\n\"2\": d\n~: e" }}`:                          "fromYaml failed: the keys of a map are texts",
		`{{ fromYaml "a: {1: a, \"1\": b}\nb: {~: c}\nc: {~: c}\nd: {~: c}" }}`:          "fromYaml failed: a map has a key twice",
		`{{ $x := dict }}{{ $_ := set $x "a" $x }}{{ toJson (dict "a" $x "b" 1) }}`:      "set failed: a value is nested deeper than 100 levels",
		`{{ $x := dict }}{{ $_ := set . "a" $x }}{{ $_ := set $x "b" $ }}{{ $x }}`:       "set failed: a value is nested deeper than 100 levels",
		`{{ $s := repeat 3000000 "x" }}{{ $d := dict "a" $s "b" $s "c" $s "z" (list) }}`: "dict failed: a value would be larger than 8388608 bytes",
	} {
		for range 30 {
			if _, err := renderOne(nil, text); err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%s: got %v", text, err)
				break
			}
		}
	}
}

func TestWeighingAMapDoesNotDependOnItsOrder(t *testing.T) {
	r := &run{limits: Limits{MaxBytes: 10_000}}
	deep := any("bottom")
	for range 200 {
		deep = []any{deep}
	}
	for range 50 {
		size := 0
		err := r.weigh(&size, map[string]any{"a": deep, "b": strings.Repeat("x", 80_000), "c": deep, "d": 1}, 0)
		if err == nil || err.Error() != "a value would be larger than 80000 bytes" {
			t.Fatal(err)
		}
	}
}

func TestFilesAreWrittenAtAPrice(t *testing.T) {
	for name := range certificates() {
		if !strings.HasPrefix(strings.ToLower(name), "pkcs12") && strings.Contains(strings.ToLower(name), "pkcs12") {
			r := &run{limits: Limits{MaxSteps: 1000}, clock: clocktesting.NewFakePassiveClock(time.Time{})}
			if err := functions()[name].before(r, nil); err == nil {
				t.Errorf("%s takes less than 1000 steps", name)
			}
		}
	}
}

// tickingClock is one second later each time somebody looks at it.
type tickingClock struct{ *clocktesting.FakePassiveClock }

func (c tickingClock) Now() time.Time {
	c.SetTime(c.FakePassiveClock.Now().Add(time.Second))
	return c.FakePassiveClock.Now()
}

// reviewed is how many functions the version of sprig has that was read, function by function, for this package.
const reviewed = 211

func TestEveryFunctionOfSprigWasReviewed(t *testing.T) {
	if n := len(sprig.TxtFuncMap()); n != reviewed {
		t.Errorf("sprig has %d functions now; which reach outside, are not repeatable, hide their failure, or cost more than their arguments?", n)
	}
}

// A type with methods would let a template call them, without steps, weights or a wrapped error.
func TestNoFunctionReturnsATypeWithMethods(t *testing.T) {
	for name, f := range functions() {
		if out := f.typ.Out(0); out.NumMethod() > 0 || out.Kind() == reflect.Func || out.Kind() == reflect.Pointer || out.Kind() == reflect.Chan {
			if !f.unavailable {
				t.Errorf("%s returns %s", name, out)
			}
		}
	}
}

func TestFunctionsAreThoseATemplateMayCall(t *testing.T) {
	names := Functions()
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("got %v", names)
	}
	for _, name := range []string{"and", "index", "toYaml", "pkcs12key", "upper"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s", name)
		}
	}
	for _, name := range []string{"now", "env", hookTick} {
		if slices.Contains(names, name) {
			t.Errorf("%s", name)
		}
	}
	for name := range unavailable() {
		_, err := renderOne(nil, "{{ "+name+" }}")
		if err == nil || !strings.Contains(err.Error(), name+" is not available: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Whatever is offered, the parser takes.
	for _, name := range names {
		if _, err := parse.Parse("t", "{{ "+name+" }}", "", "", known()); err != nil {
			t.Error(err)
		}
	}
}

func TestEqualInputGivesEqualOutput(t *testing.T) {
	data := map[string][]byte{}
	for i := range 100 {
		data[fmt.Sprintf("KEY_%d", i)] = fmt.Append(nil, i)
	}
	text := `{{ . }}{{ toJson . }}{{ toYaml . }}{{ keys . }}{{ values . }}{{ dotenv . }}{{ range $k, $v := . }}{{ $k }}{{ end }}` +
		`{{ omit . "KEY_1" }}{{ merge (dict "a" 1) . }}{{ print . }}{{ printf "%v" . }}{{ deepCopy . }}{{ splitList "," "a,b" }}{{ split "," "a,b" }}`
	want, err := renderOne(data, text)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got, err := renderOne(data, text); err != nil || got != want {
			t.Fatalf("got another output, %v", err)
		}
	}
}
