package template

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// Every one of these would run for minutes or for ever, or take gigabytes.
func TestHostileTemplatesEndSoonAndSmall(t *testing.T) {
	const (
		steps = "it takes more than 1000000 steps"
		large = "a value would be larger than 8388608 bytes"
		full  = "the output is larger than 1048576 bytes"
		deep  = "a value is nested deeper than 100 levels"
		stack = "its actions and templates are nested deeper than 10000 levels"
		text  = "the templates are longer than 262144 bytes"
		alias = "anchors and aliases are not supported"
		some  = " failed"
	)
	nested := strings.Repeat("{{ if 1 }}", 9000) + strings.Repeat("{{ end }}", 9000)
	variables := func(format string) string {
		var b strings.Builder
		for i := range 9000 {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for attack, want := range map[string]string{
		// loops and recursion
		`{{ range 9999999999 }}{{ end }}`:                                                                                           steps,
		`{{ range 9999999999 }}{{ range 9999999999 }}{{ continue }}{{ end }}{{ end }}`:                                              steps,
		`{{ range 9999999999 }}{{ range $ }}{{ break }}{{ end }}{{ end }}`:                                                          steps,
		`{{ range 9999999999 }}` + strings.Repeat(`{{ and 1 2 }}`, 15000) + `{{ end }}`:                                             steps,
		`{{ define "a" }}{{ template "b" }}{{ end }}{{ define "b" }}{{ template "a" }}{{ end }}{{ template "a" }}`:                  stack,
		`{{ define "a" }}{{ template "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`:                                           stack,
		`{{ define "a" }}` + nested[:90000] + `{{ template "a" }}` + nested[90000:] + `{{ end }}{{ template "a" }}`:                 stack,
		`{{ define "a" }}{{ if . }}{{ template "a" (sub . 1) }}{{ template "a" (sub . 1) }}{{ end }}{{ end }}{{ template "a" 60 }}`: steps,
		`{{ range 9999999999 }}x{{ end }}`:                                                                                          steps,
		`{{ range 9999999999 }}` + strings.Repeat("x", 10000) + `{{ end }}`:                                                         full,
		strings.Repeat("x", 300_000):    text,
		nested:                          "",
		variables("{{ $v%[1]d := 1 }}"): "",
		`{{ $x := 1 }}` + variables("{{ $v%[1]d := $x }}"): "",

		// values that grow
		`{{ $x := "ab" }}{{ range 9999999999 }}{{ $x = print $x $x }}{{ end }}`:                                                               large,
		`{{ $x := "ab" }}{{ range 9999999999 }}{{ $x = printf "%[1]s%[1]s" $x }}{{ end }}`:                                                    large,
		`{{ $x := "ab" }}{{ range 9999999999 }}{{ $x = cat $x $x }}{{ end }}`:                                                                 large,
		`{{ $x := "<<" }}{{ range 9999999999 }}{{ $x = html $x }}{{ end }}`:                                                                   steps,
		`{{ $x := "ab" }}{{ range 9999999999 }}{{ $x = replace "a" "aa" $x }}{{ end }}`:                                                       "",
		`{{ $x := list 1 }}{{ range 9999999999 }}{{ $x = list $x $x }}{{ end }}`:                                                              large,
		`{{ $x := list 1 }}{{ range 9999999999 }}{{ $x = concat $x $x }}{{ end }}`:                                                            large,
		`{{ $x := list 1 }}{{ range 9999999999 }}{{ $x = append $x $x }}{{ end }}`:                                                            large,
		`{{ $x := dict }}{{ range 9999999999 }}{{ $x = dict "a" $x "b" $x }}{{ end }}`:                                                        large,
		`{{ $x := list 1 }}{{ range 9999999999 }}{{ $x = list $x }}{{ end }}`:                                                                 deep,
		`{{ $x := "ab" }}{{ range 9999999999 }}{{ $x = toJson (list $x $x) }}{{ end }}`:                                                       "",
		`{{ $x := "ab" }}{{ range 9999999999 }}{{ $x = toYaml (list $x $x) }}{{ end }}`:                                                       large,
		`{{ $x := dict }}{{ range $i := 9999999999 }}{{ $x = set $x (print $i) $i }}{{ end }}`:                                                steps,
		`{{ $x := dict }}{{ $_ := set $x "x" $x }}{{ $x }}`:                                                                                   deep,
		`{{ $x := dict }}{{ $y := dict "x" $x }}{{ $_ := set $x "y" $y }}{{ $x }}`:                                                            deep,
		`{{ $x := dict }}{{ $y := dict "x" $x }}{{ $_ := merge $x (dict "y" $y) }}{{ toJson $x }}`:                                            deep,
		`{{ $s := dict }}{{ $l := list }}{{ range 1000 }}{{ $l = append $l $s }}{{ end }}{{ $_ := set $s "k" (repeat 1000000 "x") }}{{ $l }}`: "",
		`{{ $s := dict }}{{ $l := list $s $s $s $s $s $s $s $s $s $s }}{{ $_ := set $s "k" (repeat 1000000 "x") }}{{ $l }}`:                   large,
		`{{ $s := dict }}{{ $l := list $s $s $s $s $s $s $s $s $s $s }}{{ $_ := set $s "k" (repeat 1000000 "x") }}{{ $l | toString | len }}`:  large,
		`{{ range 9999999999 }}{{ $x := repeat 8000000 "x" }}{{ end }}`:                                                                       steps,
		`{{ define "a" }}{{ $x := repeat 8000000 "x" }}{{ template "a" }}{{ end }}{{ template "a" }}`:                                         steps,
		`{{ $l := list 1 }}{{ range 17 }}{{ $l = concat $l $l }}{{ end }}` + `{{ concat` + strings.Repeat(" $l", 1000) + `}}`:                 large,

		// calls that cost more than they are given
		`{{ repeat 9999999999 "x" }}`: large,
		`{{ repeat -1 "x" }}`:         some,
		`{{ until 9999999999 }}`:      some,
		`{{ until 1000000 }}`:         large,
		`{{ untilStep 9223372036854775800 9223372036854775807 100 }}`:                                          some,
		`{{ seq 1 1000000 }}{{ seq 1 1 99999999 }}`:                                                            large,
		`{{ indent 9999999999 "x" }}`:                                                                          large,
		`{{ nindent 1000000 (repeat 1000 "\n") }}`:                                                             large,
		`{{ printf "%1000000d%1000000d%1000000d%1000000d%1000000d%1000000d%1000000d%1000000d%1000000d" 1 }}`:   large,
		`{{ printf (repeat 1000 "%*d") 1000000 1 }}`:                                                           large,
		`{{ printf (repeat 1000 "%[1]s") (repeat 1000000 "x") }}`:                                              large,
		`{{ printf "%.999999f%.999999f%.999999f%.999999f%.999999f%.999999f%.999999f%.999999f%.999999f" 1.5 }}`: large,
		`{{ replace "x" (repeat 1000000 "y") (repeat 1000000 "x") }}`:                                          large,
		`{{ replace "" (repeat 1000 "y") (repeat 1000000 "x") }}`:                                              large,
		`{{ join (repeat 1000000 "y") (until 100) }}`:                                                          large,
		`{{ wrapWith 1 (repeat 1000 "y") (repeat 1000000 "x") }}`:                                              large,
		`{{ split "" (repeat 1000000 "x") }}`:                                                                  large,
		`{{ splitList "" (repeat 1000000 "x") }}`:                                                              large,
		`{{ splitn "" -1 (repeat 1000000 "x") }}`:                                                              large,
		`{{ regexFindAll "" (repeat 1000000 "x") -1 }}`:                                                        steps,
		`{{ regexSplit "" (repeat 1000000 "x") -1 }}`:                                                          steps,
		`{{ regexReplaceAll "x" (repeat 1000000 "x") "yyyyyyyyyy" }}`:                                          steps,
		`{{ regexReplaceAll "(x*)" (repeat 1000000 "x") "$1$1$1$1$1$1$1$1$1" }}`:                               large,
		`{{ regexMatch "((x{100}){10}y?)+z" (repeat 1000000 "x") }}`:                                           steps,
		`{{ regexMatch (repeat 1000 "x*") (repeat 1000000 "x") }}`:                                             some,
		`{{ regexMatch (repeat 140 "x{1000}") "x" }}`:                                                          "",
		`{{ regexMatch "(.*)(.*)(.*)(.*)(.*)[^x]" (repeat 1000000 "x") }}`:                                     "",
		`{{ trimAll (repeat 1000000 "ä") (repeat 1000000 "ä") }}`:                                              steps,
		`{{ uniq (until 200000) }}`:                                                                            steps,
		`{{ without (until 200000) ` + strings.Repeat("1 ", 10000) + `}}`:                                      steps,
		`{{ mulf ` + strings.Repeat("1e308 ", 30000) + `}}`:                                                    steps,
		`{{ addf ` + strings.Repeat("1e308 1e-308 ", 10000) + `}}`:                                             steps,
		`{{ chunk 0 (list 1) }}`:                                                                               some,
		`{{ round 1.5 999999999 }}`:                                                                            some,
		`{{ semverCompare (repeat 100000 "1||") "1" }}`:                                                        some,
		`{{ fromYaml (print "a: &a " (repeat 100000 "x") "\nb: [" (repeat 100000 "*a,") "]") }}`:               alias,
		`{{ fromYaml "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]" }}`: some,
		`{{ fromYaml (repeat 500000 "[") }}`:                                                                                              some,
		`{{ fromJson (repeat 1000000 "[") }}`:                                                                                             some,
		`{{ fromJson (print "[" (repeat 500000 "0,") "0]") }}`:                                                                            large,
		`{{ $j := print "[" (repeat 20000 "{},") "0]" }}{{ range 9999999999 }}{{ $x := fromJson $j }}{{ end }}`:                           steps,
		`{{ $x := repeat 1000000 "x" }}{{ range 9999999999 }}{{ $y := sha512sum $x }}{{ end }}`:                                           steps,
		`{{ $x := repeat 1000000 "x" }}{{ range 9999999999 }}{{ $y := eq $x $x }}{{ end }}`:                                               steps,
		`{{ $x := repeat 1000000 "aB" }}{{ range 9999999999 }}{{ $y := snakecase $x }}{{ end }}`:                                          steps,
		`{{ fullPemToPkcs12 (repeat 100000 "-----BEGIN ") "" }}`:                                                                          some,
		`{{ printf "%1000000d" (until 10000) }}`:                                                                                          large,
		`{{ printf "%.300f" (fromJson (print "[" (repeat 100000 "1.5,") "1.5]")) }}`:                                                      large,
		`{{ printf "%*d" 1000000 (dict "a" (until 10) "b" (until 10)) }}`:                                                                 large,
		`{{ printf "%q" (repeat 8000000 "\x00") }}`:                                                                                       large,
		`{{ regexReplaceAll "x*y|x" (repeat 20000 "x") "" }}`:                                                                             steps,
		`{{ mustRegexReplaceAllLiteral "(x*){50}y|x" (repeat 20000 "x") "" }}`:                                                            steps,
		`{{ regexFindAll "x*y|x" (repeat 20000 "x") -1 }}`:                                                                                steps,
		`{{ regexSplit "x*y|x" (repeat 20000 "x") -1 }}`:                                                                                  steps,
		`{{ regexFindAll "" (repeat 7000000 "x") -1 }}`:                                                                                   steps,
		`{{ regexFindAll "" (repeat 110000 "x") -1 }}`:                                                                                    large,
		`{{ range 9999999999 }}{{ $y := regexMatch "` + strings.Repeat(`[\\pL\\pN]`, 90) + `" "x" }}{{ end }}`:                            steps,
		`{{ range 9999999999 }}{{ $y := regexMatch "(?i)[` + strings.Repeat("ÿ-𞤀", 20) + `]" "x" }}{{ end }}`:                             steps,
		`{{ range 9999999999 }}{{ $y := semverCompare "` + strings.Repeat("1||", 80) + `1" "2" }}{{ end }}`:                               steps,
		`{{ fromYaml (print "- &a !!binary " (repeat 1000000 "AAAA" | trunc 1000000) "\n- [" (repeat 100000 "*a,") "]") }}`:               alias,
		`{{ fromYaml (print "- {" (repeat 500000 "?,") "}") }}`:                                                                           large,
		`{{ fromJson (print "[" (repeat 600000 "{\"\":0},") "0]") }}`:                                                                     large,
		`{{ toJson (repeat 8000000 "<") }}`:                                                                                               large,
		`{{ html (repeat 8000000 "<") }}`:                                                                                                 large,
		`{{ js (repeat 8000000 "<") }}`:                                                                                                   large,
		`{{ quote (repeat 8000000 "\x00") }}`:                                                                                             large,
		`{{ $x := repeat 20000 "a\n" }}{{ range 90 }}{{ $x = list $x }}{{ end }}{{ toYaml $x | len }}`:                                    "",
		`{{ $x := repeat 50000 "a\n" }}{{ range 90 }}{{ $x = list $x }}{{ end }}{{ toYaml $x }}`:                                          large,
		`{{ $x := until 10000 }}{{ range 90 }}{{ $x = dict "a" $x }}{{ end }}{{ toPrettyJson $x | len }}`:                                 "",
		`{{ uniq (list` + strings.Repeat(" (list (list 1 2 3 4 5 6 7 8))", 1500) + `) | len }}`:                                           steps,
		`{{ $d := until 20000 }}{{ without (list` + strings.Repeat(" $d", 50) + `)` + strings.Repeat(" 1", 100) + ` | len }}`:             steps,
		`{{ range 9999999999 }}` + strings.Repeat(`{{ and`+strings.Repeat(" 1", 1000)+` }}`, 100) + `{{ end }}`:                           steps,
		`{{ $x := 1 }}` + variables("{{ $v%[1]d := 1 }}") + `{{ range 9999999999 }}{{ and` + strings.Repeat(" $x", 1000) + ` }}{{ end }}`: steps,
		`{{ filterPEM "X" (repeat 30000 "-----BEGIN X-----\n") }}`:                                                                        "",
	} {
		name := attack
		if len(name) > 70 {
			name = name[:70]
		}
		t.Run(name, func(t *testing.T) {
			size := measure(t, func() {
				began := time.Now()
				out, err := renderOne(secrets(), attack)
				if d := time.Since(began); d > slowness*3*time.Second { // a tenth of it on an idle machine; the machines of CI are not idle
					t.Errorf("takes %s", d)
				} else {
					t.Logf("takes %s: %v", d, err)
				}
				if err == nil && want != "" || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("got %d bytes, %v", len(out), err)
				}
			})
			if size > 150<<20 {
				t.Errorf("takes %d MiB", size>>20)
			}
			t.Logf("%d MiB", size>>20)
		})
	}
}

// measure returns how far the process grows while f runs.
func measure(t *testing.T, f func()) uint64 {
	t.Helper()
	debug.FreeOSMemory()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Sys - after.HeapReleased - (before.Sys - before.HeapReleased)
}

func TestLimitsAreThoseOfAllTemplatesTogether(t *testing.T) {
	g := NewWithT(t)
	half := Template{"half", "{{ range 3000 }}{{ end }}" + strings.Repeat("x", 60)}
	limits := Limits{MaxBytes: 100, MaxSteps: 20000}

	_, err := Render(nil, []Template{half}, limits)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = Render(nil, []Template{half, {"other", half.Text}, {"more", "{{ .X }}"}}, limits)
	g.Expect(err).To(MatchError("other: the output is larger than 100 bytes"))
	_, err = Render(nil, []Template{half, {"other", half.Text}}, Limits{MaxSteps: 8000})
	g.Expect(err).To(MatchError("other:1:17: it takes more than 8000 steps"))

	_, err = Render(nil, []Template{{"exact", strings.Repeat("x", 100)}}, limits)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = Render(nil, []Template{{"more", strings.Repeat("x", 101)}}, limits)
	var typed *Error
	g.Expect(errors.As(err, &typed)).To(BeTrue())
	g.Expect(typed.Template).To(Equal("more"))
}

// Templates that do nothing, or cannot even be parsed, are paid for too.
func TestManyTemplatesOverManySecretsEnd(t *testing.T) {
	data := map[string][]byte{}
	for i := range 10_000 {
		data[fmt.Sprintf("KEY_%d", i)] = nil
	}
	many := func(n int, text string) []Template {
		return slices.Repeat([]Template{{"t", text}}, n)
	}
	for name, test := range map[string]struct {
		templates []Template
		want      string
	}{
		"too many":       {many(MaxTemplates+1, ""), "t: there are more than 1000 templates"},
		"empty":          {many(MaxTemplates, ""), "t: it takes more than 1000000 steps"},
		"not parsed":     {many(MaxTemplates, "{{"), "t:1: unclosed action; so do not render: t, t, t, t, t, t, t, t, t, t and "},
		"not parsed now": {many(50_000, "{{"), "t: there are more than 1000 templates"},
		"not weighed":    {many(MaxTemplates, `{{ $x := dict }}{{ $_ := set $x "a" $x }}{{ $_ := set $x "b" $x }}{{ $x }}`), "t:1:26: set failed: a value is nested"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := Render(data, test.templates, Limits{})
			if d := time.Since(began); d > slowness*3*time.Second {
				t.Errorf("takes %s", d)
			}
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// What people write must be far from the limits.
func TestOrdinaryTemplatesTakeFewSteps(t *testing.T) {
	g := NewWithT(t)
	data := map[string][]byte{}
	for i := range 1000 {
		data[fmt.Sprintf("KEY_%d", i)] = []byte(strings.Repeat("x", 100))
	}
	for _, text := range []string{
		`{{ range $k, $v := . }}{{ $k }}: {{ $v | quote }}{{ end }}`,
		`{{ range $k, $v := . }}{{ if hasKey $ $k }}{{ get $ $k | b64enc }}{{ index $ $k }}{{ end }}{{ end }}`,
		`{{ toJson . }}{{ toYaml . }}{{ dotenv . }}`,
	} {
		_, err := Render(data, []Template{{"t", text}}, Limits{MaxSteps: DefaultMaxSteps / 10})
		g.Expect(err).NotTo(HaveOccurred(), text)
	}
}
