// Package template renders Go templates over secrets, into the data of a Kubernetes Secret. It is pure: it knows no network, no
// Kubernetes, no environment and no randomness, and the clock serves the time limit alone. Equal input gives equal output for ever,
// because the operator compares bytes and must not write when nothing changed. It returns everything or an *Error, which holds
// names and template text, never values.
//
// # Data
//
// A template's dot is the map of all secrets by name, as strings:
//
//	{{ .DB_URL }}   {{ index . "dotted.name" }}   {{ range $name, $value := . }}   {{ if hasKey . "X" }}   {{ dig "X" "default" . }}
//
// A name that does not exist is an error, through a field, index and get alike. So is printing what is null. A template sees its own
// {{define}}s only, and what it puts into the dot with set, no other template sees.
//
// # Functions
//
// Those of text/template, those of sprig, and the ones for YAML, PEM, PKCS#12 and .env files that this package adds, named as
// External Secrets names them. Three rules make sprig's fit here:
//   - What reaches outside of the object (env), gives another result each time (now, genCA), depends on the machine (date) or is
//     slow on purpose (derivePassword) is defined and fails with that reason.
//   - What hides its failure fails: b64dec and fromJson of what is none, toJson of what cannot be JSON, a regular expression that is
//     none. Only the conversions to numbers, such as int, give 0 as they always did.
//   - keys and values come in the order of the keys.
//
// fromYaml takes one document, without anchors and aliases. Dates in zones other than UTC follow the rules of the machine's tzdata, and
// those in this program where the machine has none: see dates.
//
// Numbers of JSON and YAML are floats, as ever: 10000000 prints as 1e+07, and through int64 as it was written.
//
// Whatever a function returns is plain data, of types without methods, and the text/template that runs here calls none: a method would be
// called past all that follows. It is DataDog's copy of Go's own, which leaves them out for another reason: a linker that has to expect
// any method to be called by name keeps them all, which is nine megabytes of an operator.
//
// # Limits
//
// The text of a template comes from a tenant, who may be hostile or mistaken. Limits that depend on the input alone come first, so
// that what renders once renders always; the time limit is for what they overlook.
//   - Steps. A step is half a loop turn, one action, one call, or the handling of 64 bytes: about a microsecond at most. Every call is
//     charged for the size of what it is given and of what it returns, as a tree, so a variable that doubles in a loop soon ends it.
//     All memory comes from results, so the steps bound what is allocated too. A template takes some before it does anything.
//   - No value may be larger than 8 times the output, or nested deeper than 100 levels, which ends what set makes cyclic.
//   - What a call costs beyond its arguments (repeat, until, replace, printf, comparing, regular expressions, key derivation) is worked
//     out before it, and so is the room for what it returns (escapes, indentation) or builds on the way (parsing).
//   - Nothing in text/template can be hooked, so a parsed template is rewritten: see instrument.
package template

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"text/template/parse"
	"time"

	"github.com/DataDog/datadog-agent/pkg/template/text"
	"k8s.io/utils/clock"
)

// The limits that hold where Limits says nothing.
const (
	// DefaultMaxBytes is how large the values of a Kubernetes Secret may be together.
	DefaultMaxBytes = 1 << 20
	// DefaultMaxSteps takes about half a second when it is used up. A configuration file takes some hundred steps.
	DefaultMaxSteps = 1_000_000
	// DefaultTimeout is an order of magnitude more than DefaultMaxSteps should take.
	DefaultTimeout = 5 * time.Second
)

// MaxTextBytes is how long the texts of all templates of one call may be together. Parsing is not linear in the number of variables.
const MaxTextBytes = 256 << 10

// MaxTemplates is how many templates one call may have.
const MaxTemplates = 1_000

// Template is one template.
type Template struct {
	Name string // what errors call it, such as target.template.data[app.yaml]
	Text string
}

// Limits bound one call of Render. What is not positive stands for the default.
type Limits struct {
	MaxBytes int           // of all outputs together
	MaxSteps int           // of all templates together; see the package's documentation
	Timeout  time.Duration // of all templates together
}

// Render renders the templates over the data, each for itself, and returns their outputs in the same order. It changes nothing of
// what it is given. Any error is an *Error.
func Render(data map[string][]byte, templates []Template, limits Limits) ([][]byte, error) {
	return render(data, templates, limits, clock.RealClock{})
}

// Functions returns the names of all functions that a template may call, sorted. Those that are defined to fail are not among them.
func Functions() []string {
	available := []string{"and", "or"} // text/template evaluates them itself, as they need not evaluate all of their arguments
	for name, f := range functions() {
		if !f.unavailable {
			available = append(available, name)
		}
	}
	slices.Sort(available)
	return available
}

func render(data map[string][]byte, templates []Template, limits Limits, c clock.PassiveClock) ([][]byte, error) {
	if len(templates) > MaxTemplates {
		return nil, &Error{Template: templates[MaxTemplates].Name, Why: "there are more than " + strconv.Itoa(MaxTemplates) + " templates", limit: true}
	}
	limits.setDefaults()
	r := &run{limits: limits, clock: c, deadline: c.Now().Add(limits.Timeout), data: data}
	values := make(map[string]any, len(data))
	for name, value := range data {
		values[name] = string(value)
	}
	outputs := make([][]byte, len(templates))
	text := 0
	var failed *Error
	for i, t := range templates {
		var err *Error
		if text += len(t.Text); text > MaxTextBytes {
			err = &Error{Why: "the templates are longer than " + strconv.Itoa(MaxTextBytes) + " bytes", limit: true}
		} else {
			outputs[i], err = r.render(t.Text, values)
		}
		switch {
		case err == nil:
			continue
		case failed == nil:
			failed = err
			failed.Template = t.Name
		case !err.limit: // where a limit ends it, nothing is known of the rest
			failed.Also = append(failed.Also, t.Name)
		}
		if err.limit {
			break
		}
	}
	if failed != nil {
		return nil, failed
	}
	return outputs, nil
}

func (l *Limits) setDefaults() {
	if l.MaxBytes <= 0 {
		l.MaxBytes = DefaultMaxBytes
	}
	l.MaxBytes = min(l.MaxBytes, math.MaxInt32) // or a multiple of it would be no int
	if l.MaxSteps <= 0 {
		l.MaxSteps = DefaultMaxSteps
	}
	if l.Timeout <= 0 {
		l.Timeout = DefaultTimeout
	}
}

// mainTemplate is what text/template calls the text itself. It must not contain a colon, after which its errors go on.
const mainTemplate = "(the template)"

// render renders one template, and leaves the values as they are. The error lacks the template's name.
func (r *run) render(text string, values map[string]any) (out []byte, failed *Error) {
	defer func() {
		if recover() != nil { // what was thrown could hold a value
			out, failed = nil, &Error{Why: "it makes the template engine fail"}
		}
	}()
	r.text = text
	// What each template takes at least: parsing, and a copy of the map. The most that there may be of them come out of the steps.
	if err := r.charge(8 + len(text)/16 + len(values)/8); err != nil {
		why, _ := err.(*reason) //nolint:errorlint // charge wraps nothing
		return nil, &Error{Why: why.text, limit: true}
	}
	// Functions are looked up when a tree is parsed, and made when it is known which ones it calls.
	trees, err := parse.Parse(mainTemplate, text, "", "", known())
	if err != nil {
		return nil, parseError(err)
	}
	i := instrument(trees)
	t := template.New(mainTemplate).Option("missingkey=error").Funcs(r.hooks())
	table := functions()
	for name := range i.calls {
		if f, ok := table[name]; ok {
			t.Funcs(template.FuncMap{name: r.wrap(name, f)})
		}
	}
	for name, tree := range trees {
		if _, err := t.AddParseTree(name, tree); err != nil {
			return nil, parseError(err)
		}
	}
	r.depth = 0
	w := &writer{run: r}
	if err := t.Execute(w, maps.Clone(values)); err != nil { // set would change it for the other templates
		return nil, r.execError(err, i.secrets)
	}
	return w.made, nil
}
