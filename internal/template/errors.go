package template

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error says which template cannot be rendered, where, and why. It holds names of secrets, names of functions, numbers and text of
// the template, never a value of a secret or anything derived from one.
type Error struct {
	Template string   // the first one that failed, in the order they were given
	Line     int      // from 1; 0 where it is not known
	Column   int      // in bytes, from 1; 0 where it is not known
	Why      string   // lower-case, one line
	Also     []string // other templates that cannot be rendered, as far as the limits let them be tried

	limit bool // all templates share what was exceeded
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(printable(e.Template))
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
		if e.Column > 0 {
			fmt.Fprintf(&b, ":%d", e.Column)
		}
	}
	b.WriteString(": " + e.Why)
	for i, name := range e.Also {
		if i == maxListed {
			fmt.Fprintf(&b, " and %d more", len(e.Also)-i)
			break
		}
		separator := ", "
		if i == 0 {
			separator = "; so do not render: "
		}
		b.WriteString(separator + printable(name))
	}
	return b.String()
}

// reason is an error whose text may be shown: it consists of constants of this package, numbers and names of functions.
type reason struct {
	text  string // a sentence without its end
	link  string // between the name of the function that failed and the text; " failed: " if empty
	name  string // of a secret or an entry, for the end of the sentence; shown only if that tells no value
	limit bool   // all templates share what was exceeded
}

func (e *reason) Error() string { return e.text }

// because says why a function failed.
func because(why string) error { return &reason{text: why} }

// callError is all that is left of a function's own error, or of its panic.
type callError struct {
	name string // of the function
	why  *reason
}

func (e *callError) Error() string { return e.name + " failed" }

// parseError is only about text of the template, so all of it is shown.
func parseError(err error) *Error {
	e := &Error{Why: err.Error()}
	if m := parseSentence.FindStringSubmatch(e.Why); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Why = m[2]
	}
	e.Why = printableTo(strings.TrimPrefix(e.Why, "template: "), maxWhy)
	return e
}

// execError takes the position from what text/template says, and decides anew what may be said. A function's error is reduced to
// the function's name before text/template sees it; of text/template's own sentences those are kept which consist of template text
// and type names.
func (r *run) execError(err error, secrets map[int]string) *Error {
	e := &Error{Why: "it cannot be executed"}
	all := err.Error()
	if m := execSentence.FindStringSubmatch(all); m != nil {
		e.Line, _ = strconv.Atoi(m[1])
		e.Column, _ = strconv.Atoi(m[2])
	}
	at := offset(r.text, e.Line, e.Column)
	if e.Line > 0 {
		e.Column++ // text/template counts from 0
	}
	var call *callError
	var own *reason
	switch {
	case errors.As(err, &call):
		e.Why = call.name + " failed"
		if call.why != nil {
			e.Why = r.explain(call)
			e.limit = call.why.limit
		}
	case errors.As(err, &own): // of the writer and of the hooks
		e.Why, e.limit = own.text, own.limit
	default:
		if m := missingSentence.FindStringSubmatch(all); m != nil {
			name, _ := strconv.Unquote(m[1])
			e.Why = "there is no entry " + printable(name)
			if secrets[at] == name {
				e.Why = "there is no secret " + printable(name)
			}
		} else if m := plainSentence.FindStringSubmatch(all); m != nil {
			e.Why = printableTo(m[1], maxWhy)
		}
	}
	return e
}

// offset finds the place that text/template calls line and column.
func offset(text string, line, column int) int {
	at := column
	for ; line > 1; line-- {
		at += strings.Index(text[at-column:], "\n") + 1
	}
	return at
}

// The sentences of text/template.
var (
	parseSentence   = regexp.MustCompile(`(?s)^template: ` + regexp.QuoteMeta(mainTemplate) + `:(\d+): (.*)$`)
	execSentence    = regexp.MustCompile(`^template: ` + regexp.QuoteMeta(mainTemplate) + `:(\d+):(\d+): `)
	missingSentence = regexp.MustCompile(`(?:map has no entry|nil data; no entry) for key ("(?:[^"\\]|\\.)*")$`)
	plainSentence   = regexp.MustCompile(`(?s): ((?:wrong type for value|wrong number of args|can't evaluate field|template "|invalid value|` +
		`cannot assign nil|expected |nil pointer|can't give argument|nil is not|can't handle|can't print).*)$`)
)

// explain puts the function's name before its reason, and a name after it: if it is that of a secret, or one that the template
// writes out. Any other may be a value.
func (r *run) explain(call *callError) string {
	why := call.name + cmp.Or(call.why.link, " failed: ") + call.why.text
	if name := call.why.name; name != "" {
		_, isSecret := r.data[name]
		if isSecret || strings.Contains(r.text, `"`+name+`"`) || strings.Contains(r.text, "`"+name+"`") {
			why += " " + printable(name)
		}
	}
	return why
}

// What keeps messages readable, and within what a condition may hold.
const (
	maxListed = 10  // items
	maxName   = 100 // characters
	maxWhy    = 200 // characters
)

func printable(name string) string { return printableTo(name, maxName) }

// printableTo cuts a text after so many characters, and quotes it when a terminal or a YAML file would stumble over it.
func printableTo(text string, limit int) string {
	rest := ""
	if utf8.RuneCountInString(text) > limit {
		text, rest = string([]rune(text)[:limit]), "…"
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		text = strconv.Quote(text)
	}
	return text + rest
}
