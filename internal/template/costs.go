package template

import (
	"maps"
	"math"
	"reflect"
	"strings"
)

// looking lists the functions that cost the same for a large list or map as for a small one.
func looking() []string {
	return []string{
		"index", "get", "hasKey", "unset", "dig", "len", "not", "empty", "default", "coalesce", "ternary", "all", "any",
		"first", "mustFirst", "last", "mustLast", "kindOf", "kindIs", "typeOf", "typeIs", "typeIsLike",
	}
}

// weights are for what parses, marshals or copies in depth.
func weights() map[string]int {
	return map[string]int{
		"fromJson": 8, "mustFromJson": 8, "fromYaml": 16,
		"toJson": 4, "toJSON": 4, "mustToJson": 4, "toRawJson": 4, "mustToRawJson": 4, "toPrettyJson": 8, "mustToPrettyJson": 8,
		"toYaml": 16, "toYAML": 16, "deepCopy": 8, "mustDeepCopy": 8, "deepEqual": 4,
		"merge": 8, "mustMerge": 8, "mergeOverwrite": 8, "mustMergeOverwrite": 8,
		"filterPEM": 8, "filterCertChain": 16, "certChain": 16, "pkcs12key": 16, "pkcs12keyPass": 16, "pkcs12cert": 16, "pkcs12certPass": 16,
		"pemToPkcs12": 16, "pemToPkcs12Pass": 16, "fullPemToPkcs12": 16, "fullPemToPkcs12Pass": 16,
		"pemTruststoreToPKCS12": 16, "pemTruststoreToPKCS12Pass": 16,
		"snakecase": 4, "kebabcase": 4, "camelcase": 4, "urlParse": 4, "urlJoin": 4,
	}
}

// costs work out what a call costs beyond the size of its arguments. Types are checked by text/template before: what text/template
// converts to the parameter's type needs no check here.
func costs() map[string]func(*run, []any) error {
	list := map[string]func(*run, []any) error{
		"repeat":    func(r *run, a []any) error { return r.room(num(a[0]) * size(a[1])) },
		"until":     func(r *run, a []any) error { return r.numbers(0, num(a[0]), 1) },
		"untilStep": func(r *run, a []any) error { return r.numbers(num(a[0]), num(a[1]), num(a[2])) },
		"seq":       seqCost,
		"replace":   replaceCost,
		"join":      func(r *run, a []any) error { return r.room(float64(lengthOf(a[1])) * size(a[0])) },
		"wrapWith":  func(r *run, a []any) error { return r.room(size(a[2]) / math.Max(1, num(a[0])) * (size(a[1]) + 1)) },
		"round":     func(_ *run, a []any) error { return within(num(a[1]), -400, 400) },
	}
	for _, name := range []string{"uniq", "mustUniq"} {
		list[name] = func(r *run, a []any) error { return r.compared(lengthOf(a[0]), a[0]) }
	}
	for _, name := range []string{"without", "mustWithout"} {
		list[name] = func(r *run, a []any) error { return r.compared(len(a), a[0]) }
	}
	for _, name := range []string{"indent", "nindent"} {
		list[name] = func(r *run, a []any) error { return r.room(num(a[0]) * float64(1+strings.Count(a[1].(string), "\n"))) }
	}
	for _, name := range []string{"split", "splitList", "splitn"} {
		list[name] = func(r *run, a []any) error {
			return r.room(nodeBytes * float64(1+strings.Count(a[len(a)-1].(string), a[0].(string))))
		}
	}
	for _, name := range []string{"trimAll", "trimall"} { // every character of the one is looked up in the other
		list[name] = func(r *run, a []any) error { return r.chargeFor(size(a[0]) * size(a[1]) / 1024) }
	}
	for _, name := range []string{"addf", "add1f", "subf", "mulf", "divf"} { // whose numbers grow by a factor with every argument
		list[name] = func(r *run, a []any) error { return r.chargeFor(float64(len(a)) * float64(len(a)) / 8) }
	}
	for _, name := range []string{"chunk", "mustChunk"} {
		list[name] = func(_ *run, a []any) error { return within(num(a[0]), 1, math.MaxInt32) }
	}
	for _, name := range []string{"slice", "mustSlice"} { // which would show what lies behind the end of a list
		list[name] = func(_ *run, a []any) error {
			for _, index := range a[1:] {
				if kindOf(index) != kindInt {
					return because("a list is sliced by numbers")
				}
				if err := within(float64(toInt64(reflect.ValueOf(index))), 0, float64(lengthOf(a[0]))); err != nil {
					return err
				}
			}
			return nil
		}
	}
	list["semverCompare"] = func(r *run, a []any) error {
		if size(a[0]) > maxVersion || size(a[1]) > maxVersion {
			return because("that is too long for a version")
		}
		return r.chargeFor(16 * (8 + size(a[0]) + size(a[1]))) // for the regular expressions that it is taken apart with
	}
	for _, name := range []string{"pkcs12key", "pkcs12cert"} {
		list[name] = func(r *run, a []any) error { return pkcs12Cost(r, "", a[0].(string)) }
		list[name+"Pass"] = func(r *run, a []any) error { return pkcs12Cost(r, a[0].(string), a[1].(string)) }
	}
	for _, name := range []string{"pemToPkcs12", "fullPemToPkcs12", "pemTruststoreToPKCS12"} {
		list[name] = func(r *run, _ []any) error { return r.charge(writtenPKCS12) }
		list[name+"Pass"] = list[name]
	}
	for _, more := range []map[string]func(*run, []any) error{expressionCosts(), outputCosts(), parseCosts()} {
		maps.Copy(list, more)
	}
	return list
}

const maxVersion = 256 // bytes

// num and size are for parameters whose type is a number and a text.
func num(v any) float64 { return float64(v.(int)) }

func size(v any) float64 { return float64(len(v.(string))) }

// lengthOf is for parameters of any type.
func lengthOf(v any) int {
	if k := kindOf(v); k == kindList || k == kindMap {
		return length(v)
	}
	return 0
}

func within(n, low, high float64) error {
	if n < low || n > high {
		return because("a number is out of range")
	}
	return nil
}

// compared charges for what compares each element of a list with that many values, to the bottom.
func (r *run) compared(times int, list any) error {
	weight := 0
	if err := r.weigh(&weight, list, 0); err != nil {
		return err
	}
	return r.chargeFor(float64(times) * float64(weight) / (4 * bytesPerStep))
}

// numbers is for what counts. The range of numbers keeps sprig from counting past the largest one, back to the smallest, for ever.
func (r *run) numbers(start, stop, step float64) error {
	for _, n := range []float64{start, stop, step} {
		if err := within(n, -math.MaxInt32, math.MaxInt32); err != nil {
			return err
		}
	}
	if step == 0 {
		return nil // nothing is counted
	}
	return r.room(nodeBytes * math.Abs((stop-start)/step))
}

func seqCost(r *run, a []any) error {
	switch len(a) {
	case 1:
		return r.numbers(1, num(a[0]), 1)
	case 2:
		return r.numbers(num(a[0]), num(a[1]), 1)
	case 3:
		return r.numbers(num(a[0]), num(a[2]), num(a[1]))
	}
	return because("it takes one, two or three numbers")
}

func replaceCost(r *run, a []any) error {
	from, to, text := a[0].(string), a[1].(string), a[2].(string)
	return r.room(float64(strings.Count(text, from)) * float64(len(to)))
}
