package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// DocumentError says which document of the input cannot be read, and where. It names fields and types, never values.
type DocumentError struct {
	Document int    // from 1
	Field    string // such as spec.refreshInterval; empty where the document as a whole is meant
	Why      string
}

func (e *DocumentError) Error() string {
	where := "document " + strconv.Itoa(e.Document)
	if e.Field != "" {
		where += ": " + printable(e.Field)
	}
	return where + ": " + e.Why
}

// typeError names the field that has a wrong type. What encoding/json says of it is not passed on: it repeats numbers.
func (o object) typeError(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return o.bad(wrong.Field, "has a wrong type: "+typeName(wrong.Type.String())+" is expected")
	}
	return o.bad("", "cannot be read as "+printable(o.Kind))
}

func (o object) bad(field, why string) error {
	return &DocumentError{Document: o.document, Field: o.field(field), Why: why}
}

// typeName says a Go type in words of YAML.
func typeName(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case strings.HasPrefix(goType, "int"):
		return "a whole number"
	case goType == "string":
		return "a text"
	case goType == "bool":
		return "true or false"
	}
	return "a map"
}

// maxName is how much of a name is repeated, in characters.
const maxName = 253

// printable cuts what is no name any longer, and quotes what a terminal or a comment would stumble over.
func printable(name string) string {
	rest := ""
	if runes := []rune(name); len(runes) > maxName {
		name, rest = string(runes[:maxName]), "…"
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		name = strconv.Quote(name)
	}
	return name + rest
}

// listed joins names, and counts those that nobody would read.
func listed(names []string) string {
	const most = 10
	var shown []string
	for i, name := range names {
		if i == most {
			return strings.Join(shown, ", ") + fmt.Sprintf(" and %d more", len(names)-most)
		}
		shown = append(shown, printable(name))
	}
	return strings.Join(shown, ", ")
}
