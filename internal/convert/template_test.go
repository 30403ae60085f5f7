package convert

import (
	"reflect"
	"testing"

	"sigs.k8s.io/yaml"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

func TestInfisicalTemplatesAreTranslatedAndElseUnchanged(t *testing.T) {
	for in, want := range map[string]translation{
		"":                                            {},
		"no template, .KEY.Value":                     {text: "no template, .KEY.Value"},
		"a {{- /* x.Value */ -}} b":                   {text: "a {{- /* x.Value */ -}} b"},
		"{{.A.Value}}{{-  .B.Value  | f -}}":          {text: "{{.A}}{{-  .B  | f -}}", keys: []string{"A", "B"}, unknown: []string{"f"}},
		`{{ .A.Value | printf "%s.Value" }}`:          {text: `{{ .A | printf "%s.Value" }}`, keys: []string{"A"}},
		"{{ .Value.Value }}":                          {text: "{{ .Value }}", keys: []string{"Value"}},
		"{{ .A.Value.Value }}":                        {text: "{{ .A.Value }}", keys: []string{"A"}},
		"{{ $.A.Value }}":                             {text: "{{ $.A }}", keys: []string{"A"}},
		"{{ $x := .A }}{{ $x.Value }}":                {text: "{{ $x := .A }}{{ $x }}", keys: []string{"A"}},
		"{{ $x := fromJson .A.Value }}{{ $x.Value }}": {text: "{{ $x := fromJson .A }}{{ $x.Value }}", keys: []string{"A"}},
		"{{ with .A }}{{ .Value }}{{ .SecretPath }}{{ end }}":               {text: "{{ with .A }}{{ . }}{{ .SecretPath }}{{ end }}", keys: []string{"A"}, paths: []string{".SecretPath"}},
		"{{ with fromJson .A.Value }}{{ .Value }}{{ end }}":                 {text: "{{ with fromJson .A }}{{ .Value }}{{ end }}", keys: []string{"A"}},
		"{{ with . }}{{ .A.Value }}{{ end }}":                               {text: "{{ with . }}{{ .A }}{{ end }}", keys: []string{"A"}, whole: true},
		"{{ range . }}{{ .Value }}{{ $.A.Value }}{{ end }}":                 {text: "{{ range . }}{{ . }}{{ $.A }}{{ end }}", keys: []string{"A"}, whole: true},
		"{{ range $k, $v := $ }}{{ $v.Value }}{{ $k }}{{ end }}":            {text: "{{ range $k, $v := $ }}{{ $v }}{{ $k }}{{ end }}", whole: true},
		"{{ range list .A.Value }}{{ .Value }}{{ end }}":                    {text: "{{ range list .A }}{{ .Value }}{{ end }}", keys: []string{"A"}},
		`{{ (index . "a.b").Value | upper }}`:                               {text: `{{ (index . "a.b") | upper }}`, keys: []string{"a.b"}},
		`{{ (index $ "a.b").SecretPath }}`:                                  {text: `{{ (index $ "a.b").SecretPath }}`, keys: []string{"a.b"}, paths: []string{`(index $ "a.b").SecretPath`}},
		"{{ if .A.Value }}é{{ .B.Value }}{{ else }}{{ .C.Value }}{{ end }}": {text: "{{ if .A }}é{{ .B }}{{ else }}{{ .C }}{{ end }}", keys: []string{"A", "B", "C"}},
		`{{ define "x" }}{{ .A.Value }}{{ end }}{{ template "x" . }}`:       {text: `{{ define "x" }}{{ .A }}{{ end }}{{ template "x" . }}`, keys: []string{"A"}, whole: true, together: true},
		"{{ decodeBase64ToBytes .A.Value }}{{ .B.Value | encodeBase64 }}":   {text: "{{ b64dec .A }}{{ .B | b64enc }}", keys: []string{"A", "B"}},
		"{{ toJson . }}": {text: "{{ toJson . }}", whole: true, together: true},
		"{{ .A.Value ":   {text: "{{ .A.Value ", invalid: true},
	} {
		got := dialect{structs: true}.translate(in)
		if want.text == "" {
			want.text = in
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot  %+v\nwant %+v", in, got, want)
		}
	}
}

func TestKeysAreReplacedByWhatTheyAreMadeOf(t *testing.T) {
	made := dialect{instead: map[string]func(string) string{"A": func(data string) string { return "(" + data + "A | b64dec)" }}}
	for in, want := range map[string]string{
		"{{ .A }}{{ .B }}{{ .AB }}":              "{{ (.A | b64dec) }}{{ .B }}{{ .AB }}",
		"{{ .A.x }}":                             "{{ (.A | b64dec).x }}",
		"{{ range .B }}{{ .A }}{{ $.A }}{{end}}": "{{ range .B }}{{ .A }}{{ ($.A | b64dec) }}{{end}}",
		"{{ with . }}{{ .A }}{{ end }}":          "{{ with . }}{{ (.A | b64dec) }}{{ end }}",
		"{{ $A := .A }}{{ $A }}":                 "{{ $A := (.A | b64dec) }}{{ $A }}",
		"{{ .A.Value | decodeBase64ToBytes }}":   "{{ (.A | b64dec).Value | decodeBase64ToBytes }}",
	} {
		if got := made.translate(in).text; got != want {
			t.Errorf("%s\ngot  %s\nwant %s", in, got, want)
		}
	}
}

func TestTransformsBecomeSteps(t *testing.T) {
	for in, want := range map[string]string{
		"{{ .value }}":                                "[]",
		"{{ .value | upper }}":                        "[{case: Upper}]",
		"{{ lower .value }}":                          "[{case: Lower}]",
		"a-{{ snakecase .value | kebabcase }}-b":      "[{case: Snake}, {case: Kebab}, {prefix: a-}, {suffix: -b}]",
		`{{ .value | trimPrefix "a." }}`:              `[{regexp: {source: '^a\.'}}]`,
		`{{ trimSuffix "$" .value }}`:                 `[{regexp: {source: '\$$'}}]`,
		`{{ .value | replace "." "$1" }}`:             `[{regexp: {source: '\.', target: '$$1'}}]`,
		"{{ camelcase .value }}":                      "", // another case than Camel
		"{{ .value }}{{ .value }}":                    "",
		"{{ .other }}":                                "",
		"{{ if .value }}a{{ end }}":                   "",
		`{{ .value | replace "" "x" }}`:               "",
		"{{ .value | upper .value }}":                 "",
		"text":                                        "",
		"{{ .value":                                   "",
		"{{ $x := .value }}":                          "",
		`{{ printf "%s" .value }}`:                    "",
		"{{ (upper .value) }}":                        "",
		"{{ .value | upper }}{{/* a comment */}}_end": "[{case: Upper}, {suffix: _end}]",
	} {
		steps, ok := transform(in)
		var wanted []stv1.RenameStep
		if err := yaml.UnmarshalStrict([]byte(want), &wanted); err != nil {
			t.Fatal(err)
		}
		if ok != (want != "") || ok && len(steps)+len(wanted) > 0 && !reflect.DeepEqual(steps, wanted) {
			t.Errorf("%s: %v, %+v, want %s", in, ok, steps, want)
		}
	}
}
