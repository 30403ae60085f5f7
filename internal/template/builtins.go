package template

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/DataDog/datadog-agent/pkg/template/text"
	"github.com/Masterminds/sprig/v3"
)

// builtins are text/template's own functions, which it offers to nobody else, and those of sprig's about maps that are too lenient
// here. They take any instead of reflect.Value, so that they are counted and weighed like all others. slice is sprig's, for lists.
func builtins() template.FuncMap {
	strict := sprig.TxtFuncMap()
	return template.FuncMap{
		"print":    fmt.Sprint,
		"printf":   fmt.Sprintf,
		"println":  fmt.Sprintln,
		"html":     template.HTMLEscaper,
		"js":       template.JSEscaper,
		"urlquery": template.URLQueryEscaper,

		"not": func(v any) bool { truth, _ := template.IsTrue(v); return !truth },
		"len": func(v any) (int, error) {
			if k := kindOf(v); k == kindList || k == kindMap || k == kindText {
				return length(v), nil
			}
			return 0, because("only texts, lists and maps have a length")
		},
		"index": index,
		"get": func(m map[string]any, key string) (any, error) {
			v, ok := m[key]
			if !ok {
				return nil, noEntry(key)
			}
			return v, nil
		},
		"merge":          strict["mustMerge"], // instead of an empty text where it fails
		"mergeOverwrite": strict["mustMergeOverwrite"],
		"keys": func(list ...map[string]any) []string {
			keys := []string{}
			for _, m := range list {
				keys = append(keys, slices.Sorted(maps.Keys(m))...)
			}
			return keys
		},
		"values": func(m map[string]any) []any {
			values := []any{}
			for _, key := range slices.Sorted(maps.Keys(m)) {
				values = append(values, m[key])
			}
			return values
		},

		"eq": equal,
		"ne": func(a, b any) (bool, error) { is, err := equal(a, b); return !is, err },
		"lt": func(a, b any) (bool, error) { order, err := compare(a, b); return order < 0, err },
		"le": func(a, b any) (bool, error) { order, err := compare(a, b); return order <= 0, err },
		"gt": func(a, b any) (bool, error) { order, err := compare(a, b); return order > 0, err },
		"ge": func(a, b any) (bool, error) { order, err := compare(a, b); return order >= 0, err },
	}
}

func noEntry(name string) error {
	return &reason{link: ": ", text: "there is no secret or entry", name: name}
}

// index is that of text/template, but that what a map does not have is an error.
func index(item any, keys ...any) (any, error) {
	for _, key := range keys {
		v := reflect.ValueOf(item)
		switch kindOf(item) {
		case kindMap:
			k := reflect.ValueOf(key)
			if !k.IsValid() || !k.Type().AssignableTo(v.Type().Key()) {
				return nil, because("the keys of a map are texts")
			}
			if v = v.MapIndex(k); !v.IsValid() {
				return nil, noEntry(k.String())
			}
		case kindList, kindText:
			k := reflect.ValueOf(key)
			if kindOf(key) != kindInt {
				return nil, because("what is not a map is indexed by numbers")
			}
			at, size := toInt64(k), int64(v.Len())
			if at < 0 || at >= size {
				return nil, because("the index is out of range")
			}
			v = v.Index(int(at))
		default:
			return nil, because("only lists, maps and texts can be indexed")
		}
		item = v.Interface()
	}
	return item, nil
}

// kind is what values of different types have in common.
type kind int

const (
	kindOther kind = iota
	kindNil
	kindBool
	kindInt // signed or not
	kindFloat
	kindText
	kindList
	kindMap
)

func kindOf(v any) kind {
	switch reflect.ValueOf(v).Kind() {
	case reflect.Invalid:
		return kindNil
	case reflect.Bool:
		return kindBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return kindInt
	case reflect.Float32, reflect.Float64:
		return kindFloat
	case reflect.String:
		return kindText
	case reflect.Slice, reflect.Array:
		return kindList
	case reflect.Map:
		return kindMap
	}
	return kindOther
}

// length is for kindText, kindList and kindMap.
func length(v any) int { return reflect.ValueOf(v).Len() }

// toInt64 is for kindInt. No function returns an uint64, but for bytes of a text.
func toInt64(v reflect.Value) int64 {
	if v.CanUint() {
		return int64(v.Uint()) //nolint:gosec // see above
	}
	return v.Int()
}

// equal says whether the first value is equal to any of the others, as text/template's eq does. What cannot be equal is a mistake.
func equal(a any, others ...any) (bool, error) {
	if len(others) == 0 {
		return false, because("it compares two values or more")
	}
	for _, b := range others {
		switch ka, kb := kindOf(a), kindOf(b); {
		case ka == kindNil || kb == kindNil:
			if ka == kb {
				return true, nil
			}
			continue
		case ka == kindBool && kb == kindBool:
			if a == b {
				return true, nil
			}
			continue
		}
		order, err := compare(a, b)
		if err != nil {
			return false, err
		}
		if order == 0 {
			return true, nil
		}
	}
	return false, nil
}

// compare orders numbers of one kind, and texts.
func compare(a, b any) (int, error) {
	ka, kb, va, vb := kindOf(a), kindOf(b), reflect.ValueOf(a), reflect.ValueOf(b)
	switch {
	case ka != kb:
		return 0, because("values of different types cannot be compared")
	case ka == kindInt:
		return cmp.Compare(toInt64(va), toInt64(vb)), nil
	case ka == kindFloat:
		return cmp.Compare(va.Float(), vb.Float()), nil
	case ka == kindText:
		return cmp.Compare(va.String(), vb.String()), nil
	}
	return 0, because("only texts and numbers can be compared")
}
