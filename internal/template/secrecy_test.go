package template

import (
	"strings"
	"testing"
)

// canary is a value that no error may hold, nor its halves, nor what functions make of it.
const canary = "c4naryValue.tweets-4242"

// Every one of these fails in a function or in text/template, which would put the value into its own error.
func TestErrorsHoldNoValue(t *testing.T) {
	data := map[string][]byte{
		"C": []byte(canary), "N": []byte("4242424242"), "NAME": []byte("C"), "JSON": []byte(`{"k":"` + canary + `","n":4242424242}`),
		"PEM": []byte("-----BEGIN CERTIFICATE-----\nYzRuYXJ5\n-----END CERTIFICATE-----\n"),
	}
	expressions := []string{
		`fail .C`, `.C | fail`, `fail (print "x" .C)`, `b64dec .C`, `b32dec .C`, `atoi .C`, `fromJson .C`, `mustFromJson .C`,
		`fromYaml (print .C ": [")`, `fromYaml (print "!!int " .C)`, `index . .C`, `get . .C`, `index . .C .C`, `index .C .C`, `index (list 1) .C`,
		`index (dict 1 2) .N`, `slice .C 1`, `slice (list .C) 5 9`, `(dict "a" .C).b`, `(fromJson .JSON).k.x`, `.C.x`, `$.C.x.y`, `(list .C).x`, `.C .C`,
		`.C | .C`, `call .C`, `call $.C 1`, `(fromJson .JSON).n.x`, `regexMatch (print "(" .C) .C`, `regexFind (print "[" .C) .C`, `mustRegexFindAll (print "*" .C) .C 1`,
		`regexReplaceAll (print "(" .C) .C .C`, `regexSplit (print .C "[z-a]") .C 1`, `semverCompare .C .C`, `semver .C`,
		`urlParse (print "http://%zz" .C)`, `urlJoin (dict "host" (list .C))`, `urlJoin (dict "userinfo" (print .C "%zz"))`, `toDate .C .C`, `mustToDate "2006" .C`,
		`dateInZone .C .C .C`, `dateInZone "2006" 1 .C`, `dateModify .C .C`, `duration .C | div 0`, `first .C`, `mustLast .C`, `rest .C`,
		`append .C .C`, `concat .C`, `has .C .C`, `without .C .C`, `uniq .C`, `reverse .C`, `compact .C`, `chunk 0 (list .C)`, `dig .C .C`,
		`dig "C" "x" "y" .`, `set .C .C .C`, `merge . .C`, `mustMerge .C`, `deepCopy now`, `pick .C .C`, `substr 5 2 .C`, `substr 0 999 .C | substr 900 0`, `repeat -1 .C`,
		`repeat .C .C`, `until .N`, `until (int .N)`, `untilStep 0 (int .N) 1`, `indent (int .N) .C`, `trunc .N .C`, `printf "%p" .C`, `eq .C 1`,
		`lt .C 1`, `eq .C (list .C)`, `lt (list .C) (list .C)`, `eq (dict "a" .C) .`, `len 1`, `len (int .N)`, `upper (list .C)`, `upper (int .N)`,
		`add1 .C | div 1 0`, `div (int .N) 0`, `mod (int .N) 0`, `int .C | first`, `decryptAES .C .C`, `encryptAES .C .C`, `derivePassword 1 .C .C .C .C`,
		`bcrypt .C`, `htpasswd .C .C`, `genPrivateKey .C`, `genCA .C 1`, `buildCustomCert .C .C`, `env .C`, `expandenv .C`, `getHostByName .C`,
		`filterPEM "X" .C`, `filterPEM "X" (print "-----BEGIN " .C)`, `filterCertChain "leaf" .PEM`, `filterCertChain .C .PEM`, `certChain .PEM`, `certChain .C`, `pkcs12key .C`,
		`pkcs12key (b64enc .C)`, `pkcs12certPass .C .PEM`, `pkcs12certPass .C (print "0\x82" .C)`, `pemToPkcs12 .PEM .C`, `pemToPkcs12Pass .C .C .C`, `fullPemToPkcs12 .C .PEM`,
		`pemTruststoreToPKCS12 .C`, `dotenv (dict .C 1)`, `dotenv (dict "A" (print .C "'\""))`, `dotenv (dict "A" (list .C))`, `dotenv .C`, `toJson (print .C "\xff")`,
		`toYaml (print .C "\xff")`, `template .C`, `ternary .C .C .C`, `plural .C .C .C`, `round .C .C`, `splitn .C .C .C`, `split .C 1`, `join .C 1 | first`,
		`printf .C .C | first`, `hasKey .C .C`, `cat .C | get .`, `trimAll .C 1`, `wrap .C .C`, `keys .C`, `values (list .C)`, `pluck .C .C`, `nospace 1`, `toString .C | index .`,
	}
	templates := []string{
		`{{ range .C }}{{ end }}`, `{{ range $a, $b := (int .N) }}{{ end }}`, `{{ range (fromJson .JSON).k }}{{ end }}`, `{{ range $a, $b := .N }}{{ end }}`,
		`{{ template "x" .C }}`, `{{ define "x" }}{{ .y }}{{ end }}{{ template "x" .C }}`, `{{ with .C }}{{ .x }}{{ end }}`, `{{ with .C }}{{ index . "x" }}{{ end }}`,
		`{{ range $k, $v := . }}{{ get $ $v }}{{ end }}`, `{{ range $k, $v := . }}{{ fail (print $k $v) }}{{ end }}`, `{{ $x := .C }}{{ $x.y }}`, `{{ $x := .C }}{{ $x 1 }}`,
		`{{ $x := .C }}{{ index (dict) $x }}`, `{{ $x := list .C }}{{ $_ := set (dict "a" 1) "b" $x }}{{ $x | upper }}`, `{{ .C }}{{ .MISSING }}`,
	}
	for _, e := range expressions {
		templates = append(templates, "{{ "+e+" }}")
	}
	secret := []string{canary, canary[:6], canary[12:], "tweets", "YzRuYXJ5", "4242"}
	for _, text := range templates {
		_, err := renderOne(data, text)
		if err == nil {
			t.Errorf("%s does not fail", text)
			continue
		}
		for _, part := range secret {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s\n%v", text, err)
			}
		}
		if strings.ContainsAny(err.Error(), "\n") || len(err.Error()) > 500 {
			t.Errorf("%s\n%v", text, err)
		}
	}
}

// A name may be shown where it says nothing that the object does not.
func TestErrorsHoldNamesThatAreNoValues(t *testing.T) {
	data := map[string][]byte{"WHICH": []byte("hidden"), "bad.name": {}, "Q": []byte(`'"`)}
	for text, want := range map[string]string{
		`{{ index . .WHICH }}`:          "t:1:4: index: there is no secret or entry",
		`{{ index . "shown" }}`:         "t:1:4: index: there is no secret or entry shown",
		"{{ index . `shown` }}":         "t:1:4: index: there is no secret or entry shown",
		`{{ dotenv . }}`:                "t:1:4: dotenv failed: no quotes fit around the value of Q",
		`{{ dotenv (omit . "Q") }}`:     "t:1:4: dotenv failed: this is no name for a variable: bad.name",
		`{{ dotenv (dict .Q .WHICH) }}`: "t:1:4: dotenv failed: this is no name for a variable:",
	} {
		if _, err := renderOne(data, text); err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}
