package devserver

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// param is one parameter of a query or a body, as the server's schema has it.
type param struct {
	name     string
	required bool
	path     bool     // defaults to /, and loses one slash at its end
	options  []string // exactly one of these, if there are any
	fallback string   // where it is not sent
}

// flag is exactly true or false.
func flag(name, fallback string) param {
	return param{name: name, options: []string{"true", "false"}, fallback: fallback}
}

// The two kinds of issue that such a schema can raise, with their fields in the order of the server's library.
type (
	typeIssue struct {
		Code     string   `json:"code"`
		Expected string   `json:"expected"`
		Received string   `json:"received"`
		Path     []string `json:"path"`
		Message  string   `json:"message"`
	}
	optionIssue struct {
		Received string   `json:"received"`
		Code     string   `json:"code"`
		Options  []string `json:"options"`
		Path     []string `json:"path"`
		Message  string   `json:"message"`
	}
)

// validate returns the values of what was sent with their defaults, or what is wrong with it, in the schema's order. A
// parameter that is neither sent nor defaulted is missing from the values.
func validate(params []param, sent url.Values) (values map[string]string, issues []any) {
	values = make(map[string]string, len(params))
	for _, p := range params {
		if issue := p.take(sent[p.name], values); issue != nil {
			issues = append(issues, issue)
		}
	}
	return values, issues
}

func (p param) take(sent []string, values map[string]string) (issue any) {
	switch {
	case len(sent) > 1:
		return typeIssue{"invalid_type", "string", "array", []string{p.name}, "Expected string, received array"}
	case len(sent) == 0 && p.required:
		return typeIssue{"invalid_type", "string", "undefined", []string{p.name}, "Required"}
	case len(sent) == 0 && p.path:
		values[p.name] = "/"
	case len(sent) == 0 && p.fallback != "":
		values[p.name] = p.fallback
	case len(sent) == 0:
	case p.options != nil && !slices.Contains(p.options, sent[0]):
		message := fmt.Sprintf("Invalid enum value. Expected '%s', received '%s'", strings.Join(p.options, "' | '"), sent[0])
		return optionIssue{sent[0], "invalid_enum_value", p.options, []string{p.name}, message}
	case p.path:
		values[p.name] = withoutSlash(trim(sent[0]))
	default:
		values[p.name] = trim(sent[0])
	}
	return nil
}

func withoutSlash(path string) string {
	if path == "/" {
		return path
	}
	return strings.TrimSuffix(path, "/")
}

// trim does what JavaScript's does: it takes a byte order mark for white space, and not the control character NEL.
func trim(text string) string {
	return strings.TrimFunc(text, func(r rune) bool {
		return r == '\ufeff' || r != '\u0085' && unicode.IsSpace(r)
	})
}
