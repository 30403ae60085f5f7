package template

import (
	"fmt"
	"testing"
)

// application is a configuration file as people write it.
const application = `# {{ .APP_NAME }}
server:
  port: {{ .PORT | default "8080" }}
  tls: {{ eq .TLS "true" }}
database:
  {{- $db := urlParse .DB_URL }}
  host: {{ $db.hostname }}
  url: {{ .DB_URL | quote }}
  password: {{ .DB_PASSWORD | toJson }}
{{- if hasKey . "SMTP_HOST" }}
mail:
  host: {{ .SMTP_HOST }}
  auth: {{ printf "%s:%s" .SMTP_USER .SMTP_PASSWORD | b64enc }}
{{- end }}
features:
{{- range splitList "," .FEATURES }}
- {{ . | trim | lower }}
{{- end }}
keys:
{{- range $name, $value := . }}
{{- if hasPrefix "KEY_" $name }}
  {{ $name | trimPrefix "KEY_" | lower }}: {{ $value | b64enc }}
{{- end }}
{{- end }}
ca: |
{{ .CA | indent 2 }}
`

func applicationData() map[string][]byte {
	data := map[string][]byte{
		"APP_NAME": []byte("shop"), "PORT": {}, "TLS": []byte("true"), "DB_URL": []byte("postgres://app:pw@db:5432/shop"),
		"DB_PASSWORD": []byte("p\"w"), "SMTP_HOST": []byte("mail"), "SMTP_USER": []byte("u"), "SMTP_PASSWORD": []byte("p"),
		"FEATURES": []byte("A, B,C"), "CA": []byte("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----"),
	}
	for i := range 20 {
		data[fmt.Sprintf("KEY_%d", i)] = fmt.Append(nil, "value", i)
	}
	return data
}

func BenchmarkApplication(b *testing.B) {
	data, templates := applicationData(), []Template{{"app.yaml", application}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Render(data, templates, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOneField(b *testing.B) {
	data, templates := applicationData(), []Template{{"url", "{{ .DB_URL }}"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Render(data, templates, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
