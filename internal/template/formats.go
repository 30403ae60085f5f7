package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/DataDog/datadog-agent/pkg/template/text"
	yamlv2 "go.yaml.in/yaml/v2"
	"sigs.k8s.io/yaml"
)

// formats are JSON, YAML and .env files. What is written has maps in the order of their keys.
func formats() template.FuncMap {
	compact := func(v any) (string, error) { return toJSON(v, true, "") }
	pretty := func(v any) (string, error) { return toJSON(v, true, "  ") }
	raw := func(v any) (string, error) { return toJSON(v, false, "") }
	return template.FuncMap{
		"fromJson": fromJSON, "mustFromJson": fromJSON,
		"toJson": compact, "toJSON": compact, "mustToJson": compact,
		"toPrettyJson": pretty, "mustToPrettyJson": pretty,
		"toRawJson": raw, "mustToRawJson": raw,
		"fromYaml": fromYAML,
		"toYaml":   toYAML, "toYAML": toYAML,
		"dotenv": dotenv,
	}
}

func fromJSON(text string) (v any, err error) {
	if json.Unmarshal([]byte(text), &v) != nil {
		return nil, because("that is no JSON")
	}
	return v, nil
}

// toJSON writes "<", ">" and "&" as numbers where HTML is to be safe, which is how JSON is usually written in Go.
func toJSON(v any, html bool, indent string) (string, error) {
	if err := checkUTF8(reflect.ValueOf(v)); err != nil {
		return "", err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	e.SetIndent("", indent)
	if e.Encode(v) != nil {
		return "", because("that cannot be JSON")
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func toYAML(v any) (string, error) {
	if err := checkUTF8(reflect.ValueOf(v)); err != nil {
		return "", err
	}
	text, err := yaml.Marshal(v)
	if err != nil {
		return "", because("that cannot be YAML")
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

// checkUTF8 looks at all texts of a value. JSON and YAML would silently have other bytes in place of those they cannot hold.
func checkUTF8(v reflect.Value) error {
	valid := true
	switch v.Kind() {
	case reflect.String:
		valid = utf8.ValidString(v.String())
	case reflect.Interface:
		return checkUTF8(v.Elem())
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := checkUTF8(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			valid = valid && utf8.ValidString(entries.Key().String())
			if err := checkUTF8(entries.Value()); err != nil {
				return err
			}
		}
	}
	if !valid {
		return because("a text is not UTF-8; b64enc makes it so")
	}
	return nil
}

// parseCosts ask for room before a text is parsed, by the characters that can begin an element: it takes far more than it is written
// with, so that the result's weight would come too late.
func parseCosts() map[string]func(*run, []any) error {
	const each = 60 // bytes; {"":0} has three of them, and the map that it becomes is the worst of all
	before := func(marks string) func(*run, []any) error {
		return func(r *run, a []any) error {
			count := 0
			for _, mark := range marks {
				count += strings.Count(a[0].(string), string(mark))
			}
			return r.room(each * float64(count))
		}
	}
	return map[string]func(*run, []any) error{"fromJson": before("{[,:"), "mustFromJson": before("{[,:"), "fromYaml": before("{[,:\n-?")}
}

// fromYAML does what sigs.k8s.io/yaml does, on the way from YAML to JSON and from there to values, but for three things. The keys 1
// and "1", which are the same in JSON, are an error instead of a matter of luck. So is a second document, which would be dropped, and
// so are anchors and aliases: with them, a file of some kilobytes stands for gigabytes, which the parser writes out.
func fromYAML(text string) (any, error) {
	if hasAnchors(text) {
		return nil, because("anchors and aliases are not supported")
	}
	d := yamlv2.NewDecoder(strings.NewReader(text))
	d.SetStrict(true)
	var v any
	if err := d.Decode(&v); err != nil && !errors.Is(err, io.EOF) { // of a text without a document
		return nil, because("that is no YAML")
	}
	if err := d.Decode(&ignored{}); !errors.Is(err, io.EOF) {
		return nil, because("there is more than one document")
	}
	return plainYAML(v)
}

// hasAnchors says whether the first document has an anchor; without one there can be no alias. An ampersand makes an anchor only where
// a value begins. There, an asterisk makes an alias, by the same rules, and anywhere else it means as little. So if the parser, which
// knows no anchor then, takes the text with asterisks instead, there is none.
func hasAnchors(text string) bool {
	return strings.Contains(text, "&") && !parses(strings.ReplaceAll(text, "&", "*")) && parses(text)
}

func parses(text string) bool {
	err := yamlv2.NewDecoder(strings.NewReader(text)).Decode(&ignored{})
	return err == nil || errors.Is(err, io.EOF)
}

// ignored takes any document, and builds nothing of it.
type ignored struct{}

func (*ignored) UnmarshalYAML(func(any) error) error { return nil }

// plainYAML makes maps of texts. Which error it returns depends on nothing but the value, so entries are taken by their names.
func plainYAML(v any) (any, error) {
	switch v := v.(type) {
	case map[any]any:
		plain := make(map[string]any, len(v))
		for key, value := range v {
			name, ok := yamlKey(key)
			if !ok {
				return nil, because("the keys of a map are texts")
			}
			plain[name] = value
		}
		if len(plain) < len(v) {
			return nil, because("a map has a key twice")
		}
		for _, name := range slices.Sorted(maps.Keys(plain)) {
			var err error
			if plain[name], err = plainYAML(plain[name]); err != nil {
				return nil, err
			}
		}
		return plain, nil
	case []any:
		for i := range v {
			var err error
			if v[i], err = plainYAML(v[i]); err != nil {
				return nil, err
			}
		}
		return v, nil
	case int:
		return float64(v), nil
	case int64:
		return float64(v), nil
	case uint64:
		return float64(v), nil
	case nil, string, bool, float64:
		return v, nil
	}
	return nil, because("that is no YAML")
}

func yamlKey(key any) (name string, ok bool) {
	switch key := key.(type) {
	case string:
		return key, true
	case float64:
		return strconv.FormatFloat(key, 'g', -1, 32), true
	case bool, int, int64, uint64:
		return fmt.Sprint(key), true
	}
	return "", false
}
