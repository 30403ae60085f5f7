package convert

import (
	"cmp"
	"slices"
	"strings"
	"text/template/parse"

	"github.com/service-token-operator/service-token-operator/internal/template"
)

// dialect is what differs between the templates of the two operators and ours, which see keys and values.
type dialect struct {
	// structs: a secret is {Value, SecretPath} there. Infisical's are.
	structs bool
	// instead has expressions for keys whose value is made of what is read: {{ .KEY }} becomes what the function returns for the
	// data, which is "." or, where the dot is something else, "$.".
	instead map[string]func(data string) string
}

// functionNames are those of Infisical's functions that have another name here.
var functionNames = map[string]string{"decodeBase64ToBytes": "b64dec", "encodeBase64": "b64enc"}

// translation is a template in our words, and what is to be said of it.
type translation struct {
	text string
	keys []string // that it reads, sorted; where whole is set, there may be more

	invalid bool     // it does not parse, and is as it was
	paths   []string // expressions for the path of a secret, which stay and fail
	unknown []string // functions that there are not, which stay and fail
	whole   bool     // it uses all secrets, in a loop or as one value

	together bool // it uses all secrets as one value
}

// translate changes what has to be different, byte by byte, and leaves everything else as it was.
func (l dialect) translate(text string) translation {
	tree := parse.New("template")
	tree.Mode = parse.SkipFuncCheck
	trees := map[string]*parse.Tree{}
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		return translation{text: text, invalid: true}
	}
	t := translator{dialect: l, text: text, available: template.Functions(), secrets: map[string]bool{}}
	for _, name := range sortedKeys(trees) { // defined templates are mostly called with all of the data
		t.list(trees[name].Root, allData)
	}
	slices.SortFunc(t.edits, func(a, b edit) int { return cmp.Compare(b.at, a.at) })
	for _, e := range t.edits {
		text = text[:e.at] + e.new + text[e.at+len(e.old):]
	}
	out := t.found
	out.text = text
	out.keys, out.paths, out.unknown = sortedSet(out.keys), sortedSet(out.paths), sortedSet(out.unknown)
	return out
}

// dot is what the dot stands for in a part of a template.
type dot int

const (
	allData   dot = iota // the map of all secrets
	oneSecret            // a secret, of a dialect with structs
	something            // anything else
)

type edit struct {
	at       int
	old, new string
}

type translator struct {
	dialect
	text      string
	available []string
	secrets   map[string]bool // variables that hold a secret, of a dialect with structs
	edits     []edit
	found     translation
}

func (t *translator) list(l *parse.ListNode, d dot) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			t.pipe(n.Pipe, d)
		case *parse.TemplateNode:
			t.pipe(n.Pipe, d)
		case *parse.IfNode:
			t.pipe(n.Pipe, d)
			t.list(n.List, d)
			t.list(n.ElseList, d)
		case *parse.WithNode:
			inside := t.value(n.Pipe, d)
			t.declare(n.Pipe, inside)
			t.block(n.Pipe, d)
			t.list(n.List, inside)
			t.list(n.ElseList, d)
		case *parse.RangeNode:
			inside := something
			if t.value(n.Pipe, d) == allData && t.structs {
				inside = oneSecret
			}
			t.declare(n.Pipe, inside)
			t.block(n.Pipe, d)
			t.list(n.List, inside)
			t.list(n.ElseList, d)
		}
	}
}

// block goes through the pipeline of a with or a range, where all of the data as one value is nothing to speak of: what is inside
// is looked at for itself.
func (t *translator) block(p *parse.PipeNode, d dot) {
	if t.value(p, d) == allData {
		t.found.whole = true
		return
	}
	t.pipe(p, d)
}

func (t *translator) pipe(p *parse.PipeNode, d dot) {
	if p == nil {
		return
	}
	t.declare(p, t.value(p, d))
	for _, c := range p.Cmds {
		for i, arg := range c.Args {
			// index . "KEY" names its key.
			if key, ok := indexed(c); ok && i == 1 && t.kind(arg, d) == allData {
				t.found.keys = append(t.found.keys, key)
				continue
			}
			t.argument(arg, d)
		}
	}
}

// indexed returns the key of index . "KEY".
func indexed(c *parse.CommandNode) (string, bool) {
	if len(c.Args) < 3 {
		return "", false
	}
	name, isName := c.Args[0].(*parse.IdentifierNode)
	key, isText := c.Args[2].(*parse.StringNode)
	if !isName || name.Ident != "index" || !isText {
		return "", false
	}
	return key.Text, true
}

func (t *translator) argument(n parse.Node, d dot) {
	switch n := n.(type) {
	case *parse.DotNode:
		if d == allData {
			t.found.whole, t.found.together = true, true
		}
	case *parse.FieldNode:
		t.field(int(n.Pos), n.Ident, d)
	case *parse.VariableNode:
		t.variable(int(n.Pos), n.Ident)
	case *parse.ChainNode:
		if t.kind(n.Node, d) == oneSecret {
			t.member(int(n.Pos), n.Field[0], n.String())
		}
		t.argument(n.Node, d)
	case *parse.PipeNode:
		t.pipe(n, d)
	case *parse.IdentifierNode:
		t.function(int(n.Pos), n.Ident)
	}
}

func (t *translator) function(at int, name string) {
	switch other, renamed := functionNames[name]; {
	case renamed && t.structs:
		t.edits = append(t.edits, edit{at, name, other})
	case !slices.Contains(t.available, name):
		t.found.unknown = append(t.found.unknown, name)
	}
}

// field translates .A.B.C. The parser says where .B begins, or .A where it is alone.
func (t *translator) field(at int, names []string, d dot) {
	first := at
	if len(names) > 1 {
		first -= len("." + names[0])
	}
	switch d {
	case allData:
		t.key(first, names[0], "."+names[0], ".")
		if t.structs && len(names) > 1 {
			t.member(at, names[1], "."+strings.Join(names, "."))
		}
	case oneSecret:
		if names[0] == "Value" && len(names) == 1 { // of the dot
			t.edits = append(t.edits, edit{first, ".Value", "."})
		} else if names[0] == "SecretPath" {
			t.found.paths = append(t.found.paths, "."+strings.Join(names, "."))
		}
	}
}

// variable translates $.A.B and $x.B. The parser says where .A begins.
func (t *translator) variable(at int, names []string) {
	switch {
	case names[0] != "$":
		if t.secrets[names[0]] && len(names) > 1 {
			t.member(at, names[1], strings.Join(names, "."))
		}
	case len(names) == 1:
		t.found.whole, t.found.together = true, true
	default:
		t.key(at-len("$"), names[1], "$."+names[1], "$.")
		if t.structs && len(names) > 2 {
			t.member(at+len("."+names[1]), names[2], strings.Join(names, "."))
		}
	}
}

// key notes a key that is read, and puts in what it is made of.
func (t *translator) key(at int, name, written, data string) {
	t.found.keys = append(t.found.keys, name)
	if made := t.instead[name]; made != nil {
		t.edits = append(t.edits, edit{at, written, made(data)})
	}
}

// member takes .Value from what is a secret there, and a value here.
func (t *translator) member(at int, name, expression string) {
	switch name {
	case "Value":
		t.edits = append(t.edits, edit{at, ".Value", ""})
	case "SecretPath":
		t.found.paths = append(t.found.paths, expression)
	}
}

// value says what a pipeline yields, as far as it matters.
func (t *translator) value(p *parse.PipeNode, d dot) dot {
	if p == nil || len(p.Cmds) != 1 {
		return something
	}
	c := p.Cmds[0]
	if len(c.Args) == 1 {
		return t.kind(c.Args[0], d)
	}
	if _, ok := indexed(c); ok && len(c.Args) == 3 && t.structs && t.kind(c.Args[1], d) == allData {
		return oneSecret
	}
	return something
}

func (t *translator) kind(n parse.Node, d dot) dot {
	switch n := n.(type) {
	case *parse.DotNode:
		return d
	case *parse.PipeNode:
		return t.value(n, d)
	case *parse.FieldNode:
		if t.structs && d == allData && len(n.Ident) == 1 {
			return oneSecret
		}
	case *parse.VariableNode:
		switch {
		case n.Ident[0] == "$" && len(n.Ident) == 1:
			return allData
		case t.structs && n.Ident[0] == "$" && len(n.Ident) == 2,
			t.secrets[n.Ident[0]] && len(n.Ident) == 1:
			return oneSecret
		}
	}
	return something
}

// declare notes the last variable that a pipeline sets: in a range, the one before it is the key.
func (t *translator) declare(p *parse.PipeNode, value dot) {
	if p != nil && len(p.Decl) > 0 {
		t.secrets[p.Decl[len(p.Decl)-1].Ident[0]] = value == oneSecret
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func sortedSet(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}
