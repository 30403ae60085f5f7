package template

import (
	"strconv"
	"text/template/parse"

	"github.com/DataDog/datadog-agent/pkg/template/text"
)

// The functions that instrument puts into a template. No template can call them by name: the parser does not know them.
const (
	hookEnter = "enterTemplate"
	hookLeave = "leaveTemplate"
	hookTick  = "tick"
	hookPrint = "toPrint"
	hookList  = "toRangeOver"
	hookPairs = "toRangeOverPairs"
)

// instrumentation is what instrument learned about a template.
type instrumentation struct {
	calls     map[string]bool // the functions it calls
	secrets   map[int]string  // which secret it refers to by a field of the dot, by where that stands in the text
	variables int             // how many it has declared so far; a variable is looked for among all that there are
}

// lookupsPerCommand is how many variables or fields are passed in the time that a command takes at least.
const lookupsPerCommand = 16

// instrument rewrites the trees of a parsed template such that every loop turn, every call of a template, and every value that is
// printed or ranged over is seen by a hook:
//
//	{{ define "d" }}…{{ end }}      {{ enterTemplate 7 }}…{{ leaveTemplate 7 }}    7 levels of nested actions
//	{{ range .List }}…{{ end }}     {{ range .List | toRangeOver }}{{ tick 3 }}…{{ end }}    3 commands and arguments in the body
//	{{ .X }}                        {{ .X | toPrint }}
//
// The hooks print nothing, and come after white space was trimmed. Positions in errors stay those of the text as it was written.
func instrument(trees map[string]*parse.Tree) *instrumentation {
	found := &instrumentation{calls: map[string]bool{}, secrets: map[int]string{}}
	for name, tree := range trees {
		if tree.Root == nil {
			continue
		}
		commands, levels := found.list(tree.Root, scope{dot: name == mainTemplate, root: name == mainTemplate})
		pos := tree.Root.Pos
		tree.Root.Nodes = append(append(
			[]parse.Node{action(pos, hookEnter, levels), action(pos, hookTick, commands)}, tree.Root.Nodes...),
			action(pos, hookLeave, levels))
	}
	return found
}

// scope says what is known of the dot and of $: whether they are the map of all secrets.
type scope struct{ dot, root bool }

// list returns how many commands and arguments a list holds, without the bodies of loops, and how many levels its deepest action has.
func (i *instrumentation) list(list *parse.ListNode, in scope) (commands, levels int) {
	if list == nil {
		return 0, 0
	}
	for _, n := range list.Nodes {
		c, l := i.node(n, in)
		commands += c + 1
		levels = max(levels, l)
	}
	return commands, levels + 1
}

func (i *instrumentation) node(n parse.Node, in scope) (commands, levels int) {
	switch n := n.(type) {
	case *parse.ActionNode:
		commands, levels = i.pipe(n.Pipe, in)
		if len(n.Pipe.Decl) == 0 {
			pipeTo(n.Pipe, hookPrint)
		}
	case *parse.IfNode:
		commands, levels = i.branch(&n.BranchNode, in, in)
	case *parse.WithNode:
		commands, levels = i.branch(&n.BranchNode, in, scope{root: in.root})
	case *parse.RangeNode:
		commands, levels = i.pipe(n.Pipe, in)
		hook := hookList
		if len(n.Pipe.Decl) > 1 {
			hook = hookPairs
		}
		pipeTo(n.Pipe, hook)
		c, l := i.list(n.List, scope{root: in.root})
		n.List.Nodes = append([]parse.Node{action(n.List.Pos, hookTick, c)}, n.List.Nodes...)
		c, le := i.list(n.ElseList, in)
		commands, levels = commands+c, max(levels, l, le)
	case *parse.TemplateNode:
		if n.Pipe != nil {
			commands, levels = i.pipe(n.Pipe, in)
		}
	}
	return commands, levels + 1
}

func (i *instrumentation) branch(n *parse.BranchNode, in, body scope) (commands, levels int) {
	commands, levels = i.pipe(n.Pipe, in)
	c, l := i.list(n.List, body)
	ce, le := i.list(n.ElseList, in)
	return commands + c + ce, max(levels, l, le)
}

func (i *instrumentation) pipe(pipe *parse.PipeNode, in scope) (commands, levels int) {
	for _, command := range pipe.Cmds {
		commands++
		for _, arg := range command.Args {
			c, l := i.argument(arg, in)
			commands, levels = commands+1+c, max(levels, l)
		}
	}
	i.variables += len(pipe.Decl)
	return commands + len(pipe.Decl)*(1+i.variables/lookupsPerCommand), levels + 1
}

func (i *instrumentation) argument(arg parse.Node, in scope) (commands, levels int) {
	switch arg := arg.(type) {
	case *parse.IdentifierNode:
		i.calls[arg.Ident] = true
	case *parse.PipeNode:
		return i.pipe(arg, in)
	case *parse.ChainNode:
		commands, levels = i.argument(arg.Node, in)
		return commands + len(arg.Field), levels
	case *parse.FieldNode:
		if in.dot {
			i.secrets[int(arg.Pos)] = arg.Ident[0]
		}
		return len(arg.Ident), 0
	case *parse.VariableNode:
		if in.root && len(arg.Ident) > 1 && arg.Ident[0] == "$" {
			i.secrets[int(arg.Pos)] = arg.Ident[1]
		}
		return len(arg.Ident) + i.variables/lookupsPerCommand, 0
	}
	return 0, 0
}

func action(pos parse.Pos, hook string, count int) parse.Node {
	pipe := &parse.PipeNode{NodeType: parse.NodePipe, Pos: pos}
	pipeTo(pipe, hook)
	pipe.Cmds[0].Args = append(pipe.Cmds[0].Args,
		&parse.NumberNode{NodeType: parse.NodeNumber, Pos: pos, IsInt: true, Int64: int64(count), Text: strconv.Itoa(count)})
	return &parse.ActionNode{NodeType: parse.NodeAction, Pos: pos, Pipe: pipe}
}

func pipeTo(pipe *parse.PipeNode, hook string) {
	pipe.Cmds = append(pipe.Cmds, &parse.CommandNode{
		NodeType: parse.NodeCommand,
		Pos:      pipe.Pos,
		Args:     []parse.Node{parse.NewIdentifier(hook).SetPos(pipe.Pos)},
	})
}

// hooks returns the functions that instrument puts into a template. What tick and the like return is printed, and empty.
func (r *run) hooks() template.FuncMap {
	return template.FuncMap{
		hookEnter: func(levels int) (string, error) { return "", r.enter(levels) },
		hookLeave: func(levels int) string { r.leave(levels); return "" },
		hookTick:  func(commands int) (string, error) { return "", r.charge(2 + commands) },
		hookPrint: r.toPrint,
		hookList:  func(v any) (any, error) { return r.toRangeOver(v, true) },
		hookPairs: func(v any) (any, error) { return r.toRangeOver(v, false) },
	}
}

// toPrint weighs what is about to be printed, as fmt makes all of the text before it writes the first byte.
func (r *run) toPrint(v any) (any, error) {
	if text, ok := v.(string); ok { // which the writer charges for
		return text, nil
	}
	if v == nil {
		return nil, &reason{text: "there is no value to print"}
	}
	size := 0
	if err := r.weigh(&size, v, 0); err != nil {
		return nil, err
	}
	return v, r.charge(size / bytesPerStep)
}

// toRangeOver charges for the sorting of a map's keys, and lets no value come into the error that text/template makes of a wrong type.
func (r *run) toRangeOver(v any, numbers bool) (any, error) {
	switch k := kindOf(v); {
	case k == kindList || k == kindMap:
		return v, r.charge(length(v))
	case v == nil || k == kindInt && numbers:
		return v, nil
	}
	return nil, &reason{text: "range goes over lists, maps and, with one variable, numbers"}
}
