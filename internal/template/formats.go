package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"text/template"
	"unicode/utf8"

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

// fromYAML does what sigs.k8s.io/yaml does, on the way from YAML to JSON and from there to values, but for two things. The keys 1
// and "1", which are the same in JSON, are an error instead of a matter of luck. And nothing is written out: aliases can make a
// file of some kilobytes stand for gigabytes, which share memory as long as nobody does.
func fromYAML(text string) (any, error) {
	var v any
	if yamlv2.UnmarshalStrict([]byte(text), &v) != nil {
		return nil, because("that is no YAML")
	}
	return plainYAML(v)
}

func plainYAML(v any) (any, error) {
	switch v := v.(type) {
	case map[any]any:
		plain := make(map[string]any, len(v))
		for key, value := range v {
			name, err := yamlKey(key)
			if err != nil {
				return nil, err
			}
			if _, twice := plain[name]; twice {
				return nil, because("a map has a key twice")
			}
			if plain[name], err = plainYAML(value); err != nil {
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

func yamlKey(key any) (string, error) {
	switch key := key.(type) {
	case string:
		return key, nil
	case float64:
		return strconv.FormatFloat(key, 'g', -1, 32), nil
	case bool, int, int64, uint64:
		return fmt.Sprint(key), nil
	}
	return "", because("the keys of a map are texts")
}
