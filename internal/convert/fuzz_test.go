package convert

import (
	"bytes"
	"os"
	"testing"

	"sigs.k8s.io/yaml"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// FuzzConvert: whatever is read is converted into what the API's types hold, or refused.
func FuzzConvert(f *testing.F) {
	for _, name := range []string{"infisicalsecret", "infisicalauth", "static", "externalsecret", "externalstores"} {
		text, err := os.ReadFile("testdata/" + name + ".in.yaml")
		if err != nil {
			f.Fatal(err)
		}
		for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
			f.Add(document)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		result, err := Convert(bytes.NewReader(in))
		if err != nil {
			return
		}
		for _, d := range result.Documents {
			var read stv1.ServiceTokenSecret
			if err := yaml.UnmarshalStrict(d.YAML, &read); err != nil {
				t.Errorf("%v\n%s", err, d.YAML)
			}
		}
	})
}

// FuzzTranslate: a template that parses still does so when it is translated, and translating it in vain changes nothing.
func FuzzTranslate(f *testing.F) {
	for _, text := range []string{
		"{{ .A.Value }}", "{{ with .A }}{{ .Value.x }}{{ end }}", `{{ (index . "a").Value }}`, "{{ range $k, $v := . }}{{ $v.Value }}{{ end }}",
		`{{ define "x" }}{{ $.A.Value }}{{ end }}{{ block "y" .B }}{{ .Value }}{{ end }}`, "{{ decodeBase64ToBytes .A.Value }}", "{{ (.A).Value.Value }}",
		"{{ break }}", "{{- .A.Value -}}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := (dialect{}).translate(text); got.text != text {
			t.Errorf("%q became %q", text, got.text)
		}
		if got := (dialect{structs: true}).translate(text); !got.invalid && (dialect{}).translate(got.text).invalid {
			t.Errorf("%q became %q", text, got.text)
		}
	})
}
