package convert

import (
	"regexp"
	"strconv"
	"strings"
	"text/template/parse"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// renames converts the steps of rewrite, as far as each can be said; one that cannot is left out.
func (e *external) renames(at place, field string, rewrites []externalRewrite) []stv1.RenameStep {
	var steps []stv1.RenameStep
	for i, r := range rewrites {
		field := field + ".rewrite[" + strconv.Itoa(i) + "]"
		at := at.to("rename")
		switch {
		case r.Regexp != nil:
			if _, err := regexp.Compile(r.Regexp.Source); err != nil || r.Regexp.Source == "" || len(r.Regexp.Source) > maxPattern || len(r.Regexp.Target) > maxPattern {
				e.differs(at, "%s.regexp was left out: its source is no regular expression, or one of both is longer than %d characters.", field, maxPattern)
				continue
			}
			steps = append(steps, stv1.RenameStep{Regexp: &stv1.Replacement{Source: r.Regexp.Source, Target: r.Regexp.Target}})
		case r.Transform != nil:
			more, ok := transform(r.Transform.Template)
			if !ok {
				e.differs(at, "%s.transform was left out: there are no templates over names. Use case, prefix, suffix and regexp.", field)
			}
			steps = append(steps, more...)
		default:
			e.differs(at, "%s.merge was left out: sources are merged in their order, and keyConflicts says what happens to equal keys.", field)
		}
	}
	return steps
}

// transform turns a template over a name into steps, if it is a text, .value with functions that there are steps for, and a text.
func transform(text string) ([]stv1.RenameStep, bool) {
	tree := parse.New("transform")
	tree.Mode = parse.SkipFuncCheck
	if _, err := tree.Parse(text, "", "", map[string]*parse.Tree{}); err != nil {
		return nil, false
	}
	var steps []stv1.RenameStep
	var prefix, suffix string
	seen := false
	for _, n := range tree.Root.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			if !seen {
				prefix = string(n.Text)
			} else {
				suffix = string(n.Text)
			}
		case *parse.ActionNode:
			if seen || len(n.Pipe.Decl) > 0 || !pipeline(n.Pipe, &steps) {
				return nil, false
			}
			seen = true
		default:
			return nil, false
		}
	}
	if !seen || len(prefix) > maxPattern || len(suffix) > maxPattern {
		return nil, false
	}
	if prefix != "" {
		steps = append(steps, stv1.RenameStep{Prefix: prefix})
	}
	if suffix != "" {
		steps = append(steps, stv1.RenameStep{Suffix: suffix})
	}
	return steps, true
}

// pipeline reads .value, and what it is put through: .value | upper, or upper .value.
func pipeline(p *parse.PipeNode, steps *[]stv1.RenameStep) bool {
	for i, c := range p.Cmds {
		args := c.Args
		if i == 0 {
			last, ok := args[len(args)-1].(*parse.FieldNode)
			if !ok || len(last.Ident) != 1 || last.Ident[0] != "value" {
				return false
			}
			if args = args[:len(args)-1]; len(args) == 0 {
				continue
			}
		}
		step, ok := function(args)
		if !ok {
			return false
		}
		*steps = append(*steps, step)
	}
	return true
}

// function is the step for one function. camelcase is none of them: it writes DbUrl where Camel writes dbUrl.
func function(args []parse.Node) (stv1.RenameStep, bool) {
	name, ok := args[0].(*parse.IdentifierNode)
	if !ok {
		return stv1.RenameStep{}, false
	}
	var texts []string
	for _, arg := range args[1:] {
		text, ok := arg.(*parse.StringNode)
		if !ok || text.Text == "" && len(texts) == 0 {
			return stv1.RenameStep{}, false
		}
		texts = append(texts, text.Text)
	}
	cases := map[string]stv1.Case{"upper": stv1.CaseUpper, "lower": stv1.CaseLower, "snakecase": stv1.CaseSnake, "kebabcase": stv1.CaseKebab}
	var r stv1.Replacement
	switch {
	case len(texts) == 0 && cases[name.Ident] != "":
		return stv1.RenameStep{Case: cases[name.Ident]}, true
	case len(texts) == 1 && name.Ident == "trimPrefix":
		r.Source = "^" + regexp.QuoteMeta(texts[0])
	case len(texts) == 1 && name.Ident == "trimSuffix":
		r.Source = regexp.QuoteMeta(texts[0]) + "$"
	case len(texts) == 2 && name.Ident == "replace":
		r.Source, r.Target = regexp.QuoteMeta(texts[0]), strings.ReplaceAll(texts[1], "$", "$$")
	default:
		return stv1.RenameStep{}, false
	}
	return stv1.RenameStep{Regexp: &r}, len(r.Source) <= maxPattern && len(r.Target) <= maxPattern
}
