package template

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// FuzzRender renders any text over a value that is secret. Whatever the text: no panic, no more than the limits, the same result
// again, and no error that holds the value, unless the text itself does.
func FuzzRender(f *testing.F) {
	for _, seed := range []string{
		application,
		`{{ range $k, $v := . }}{{ $k }}={{ $v | b64enc }}{{ end }}{{ dotenv . }}{{ toYaml . }}`,
		`{{ define "a" }}{{ if . }}{{ template "a" (rest .) }}{{ end }}{{ end }}{{ template "a" (list 1 2) }}`,
		`{{ $x := "a" }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}`,
		`{{ (fromJson .JSON).a.b }}{{ index . "S" }}{{ .MISSING }}`,
		`{{ with $d := dict "a" .S }}{{ $_ := set $d "b" $d }}{{ $d }}{{ end }}`,
		`{{ printf "%[1]*d %q %#v" 5 .S . }}{{ regexReplaceAll "(a+)b?" .S "${1}x" }}`,
		`{{ if and (hasKey . "S") (not (eq .S "x")) }}{{ fail .S }}{{ else with .JSON }}{{ . | fromYaml }}{{ end }}`,
		`{{ .S | fromJson }}{{ .S | int | until }}{{ slice .S 1 2 }}{{ pkcs12key .S }}{{ filterPEM "X" .S }}`,
	} {
		f.Add(seed)
	}
	data := map[string][]byte{"S": []byte(canary), "JSON": []byte(`{"a":{"b":"` + canary + `"}}`), "N": []byte("12")}
	limits := Limits{MaxBytes: 2000, MaxSteps: 20_000}
	f.Fuzz(func(t *testing.T, text string) {
		templates := []Template{{"first", text}, {"second", "{{ .S }}"}}
		out, err := Render(data, templates, limits)
		again, errAgain := Render(data, templates, limits)
		if err != nil {
			var typed *Error
			if !errors.As(err, &typed) || out != nil || errAgain == nil || errAgain.Error() != err.Error() {
				t.Errorf("got %v, then %v", err, errAgain)
			}
			if strings.Contains(err.Error(), canary) && !strings.Contains(text, canary) || len(err.Error()) > 2000 {
				t.Error(err)
			}
			return
		}
		if errAgain != nil || !bytes.Equal(out[0], again[0]) || string(out[1]) != canary {
			t.Errorf("got %q, then %q, %v", out, again, errAgain)
		}
		if len(out[0])+len(out[1]) > limits.MaxBytes {
			t.Errorf("got %d bytes", len(out[0]))
		}
	})
}
