package template

import (
	"math"
	"reflect"
	"strings"
)

// outputCosts are for what returns more than it is given: whether there is room for it is asked before it is made.
func outputCosts() map[string]func(*run, []any) error {
	list := map[string]func(*run, []any) error{"printf": printfCost}
	for _, name := range []string{"toJson", "toJSON", "mustToJson", "toRawJson", "mustToRawJson", "html", "js", "urlquery", "quote", "dotenv"} {
		list[name] = func(r *run, a []any) error { return r.written(a, false) }
	}
	for _, name := range []string{"toPrettyJson", "mustToPrettyJson", "toYaml", "toYAML"} {
		list[name] = func(r *run, a []any) error { return r.written(a, true) }
	}
	return list
}

// escaped is how many bytes one byte becomes at most: < is \u003c in JSON and JavaScript.
const escaped = 6

// written says whether there is room for the values as JSON, YAML or the like. Indented, every element and every line of a text begins
// with two blanks for each level above it, and so may every word, as YAML breaks lines at 80 columns.
func (r *run) written(values []any, indented bool) error {
	var s shape
	for _, v := range values {
		s.add(reflect.ValueOf(v), 1)
	}
	size := escaped*float64(s.bytes) + nodeBytes*float64(s.elements)
	if indented {
		size += 2 * float64(s.indents)
	}
	return r.room(size)
}

// shape is what a value is made of, as a tree. It has been weighed before, so it has an end.
type shape struct {
	bytes    int // of all texts
	elements int
	leaves   int // elements that hold no others
	indents  int // levels, over all lines
}

func (s *shape) add(v reflect.Value, level int) {
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	s.elements++
	lines := 1
	switch v.Kind() {
	case reflect.String:
		s.leaves++
		s.bytes += v.Len()
		lines += strings.Count(v.String(), "\n") + strings.Count(v.String(), " ")
	case reflect.Slice, reflect.Array:
		lines++ // the bracket that ends it
		for i := range v.Len() {
			s.add(v.Index(i), level+1)
		}
	case reflect.Map:
		lines++
		for entries := v.MapRange(); entries.Next(); {
			s.add(entries.Key(), level+1)
			s.add(entries.Value(), level+1)
		}
	default:
		s.leaves++
	}
	s.indents += lines * level
}

// printfCost adds up widths, precisions, and arguments that are printed several times. It also refuses %p, which prints addresses.
func printfCost(r *run, a []any) error {
	format := a[0].(string)
	total, verbs, indexed := 0.0, 0, false
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		number := 0.0
		for i++; i < len(format) && strings.IndexByte("+-# 0123456789.*[]", format[i]) >= 0; i++ {
			switch c := format[i]; {
			case c >= '0' && c <= '9':
				number = math.Min(number*10+float64(c-'0'), maxWidth)
				continue
			case c == '*':
				number = maxWidth
			case c == '[':
				indexed = true
			}
			total, number = total+number, 0
		}
		total += number
		if i < len(format) && format[i] == 'p' {
			return because("%p prints addresses, which are others each time")
		}
		verbs++
	}
	// A width is that of every element of a list. Any of the values may be the one it is for.
	all, most := shape{}, 1
	for _, arg := range a[1:] {
		before := all.leaves
		all.add(reflect.ValueOf(arg), 1)
		most = max(most, all.leaves-before)
	}
	times := 1
	if indexed {
		times = max(1, verbs)
	}
	// The longest forms of a byte and of a number: %# x makes 0x3c of <, %b writes 64 digits.
	return r.room(total*float64(most) + float64(times)*(escaped*float64(all.bytes)+64*float64(all.elements)))
}

const maxWidth = 1e6 // of fmt, which ignores larger ones
