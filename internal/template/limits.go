package template

import (
	"cmp"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"k8s.io/utils/clock"
)

const (
	bytesPerStep = 64
	nodeBytes    = 32  // what an element of a list or a map weighs besides its content: about what it takes
	mapBytes     = 256 // what a map weighs besides: it has room for eight entries at once
	valueFactor  = 8   // how much larger than the output a value may be
	maxNesting   = 100
	// maxDepth bounds the stack, which text/template leaves to grow until the process ends: the levels of nested actions that are
	// being executed, over all templates that are being called. A level takes about a kilobyte.
	maxDepth = 10_000
)

// run is one call of Render: its limits and what has been used of them.
type run struct {
	limits   Limits
	clock    clock.PassiveClock
	deadline time.Time
	data     map[string][]byte

	steps int
	depth int
	bytes int    // written by all templates
	text  string // of the template that is being rendered
}

// charge takes steps from the budget. It looks at the clock each time: that takes a twentieth of a microsecond, and what is charged
// too little for is found at the next call.
func (r *run) charge(steps int) error {
	if steps < 0 || steps > r.limits.MaxSteps-r.steps {
		r.steps = r.limits.MaxSteps
		return &reason{text: "it takes more than " + strconv.Itoa(r.limits.MaxSteps) + " steps", limit: true}
	}
	if r.steps += steps; r.clock.Now().After(r.deadline) {
		return &reason{text: "it takes longer than " + r.limits.Timeout.String(), limit: true}
	}
	return nil
}

// chargeFor takes the steps for something whose cost is a product that may exceed an int.
func (r *run) chargeFor(cost float64) error {
	if cost > float64(r.limits.MaxSteps) {
		return r.charge(-1)
	}
	return r.charge(int(cost))
}

// maxValue is how large one value may be, or all arguments of a call together.
func (r *run) maxValue() int { return r.limits.MaxBytes * valueFactor }

// room says whether a function may return that much.
func (r *run) room(bytes float64) error {
	if bytes > float64(r.maxValue()) {
		return because("a value would be larger than " + strconv.Itoa(r.maxValue()) + " bytes")
	}
	return nil
}

// weigh adds the size of a value to a sum, as a tree: what is reached twice counts twice, as it would be printed twice. The order of a
// map's entries does not change which error there is: what is nested too deep only ends its own branch, what is too large all.
func (r *run) weigh(sum *int, v any, nesting int) error {
	if nesting > maxNesting {
		return because(fmt.Sprintf("a value is nested deeper than %d levels", maxNesting))
	}
	*sum += nodeBytes
	var deep error
	switch v := v.(type) {
	case nil, bool, int, int64, float64:
	case string:
		*sum += len(v)
	case map[string]any:
		*sum += mapBytes
		for key, value := range v {
			*sum += len(key)
			if deep = cmp.Or(r.weigh(sum, value, nesting+1), deep); *sum > r.maxValue() {
				break
			}
		}
	case []any:
		for _, value := range v {
			if deep = cmp.Or(r.weigh(sum, value, nesting+1), deep); *sum > r.maxValue() {
				break
			}
		}
	default:
		deep = r.weighOther(sum, reflect.ValueOf(v), nesting)
	}
	return cmp.Or(r.room(float64(*sum)), deep)
}

// weighOther weighs what only some functions make: []string, []int, [][]any, map[string]string.
func (r *run) weighOther(sum *int, v reflect.Value, nesting int) (deep error) {
	switch v.Kind() {
	case reflect.String:
		*sum += v.Len()
	case reflect.Slice, reflect.Array:
		if k := v.Type().Elem().Kind(); k == reflect.Int || k == reflect.Uint8 {
			*sum += v.Len() * int(v.Type().Elem().Size())
			return nil
		}
		for i := 0; i < v.Len() && *sum <= r.maxValue(); i++ {
			deep = cmp.Or(r.weigh(sum, v.Index(i).Interface(), nesting+1), deep)
		}
	case reflect.Map:
		*sum += mapBytes
		for entries := v.MapRange(); *sum <= r.maxValue() && entries.Next(); {
			deep = cmp.Or(r.weigh(sum, entries.Value().Interface(), nesting+1), deep)
			*sum += nodeBytes + entries.Key().Len()
		}
	}
	return deep
}

// enter is called where a template begins, leave where it ends, with the levels of actions within it.
func (r *run) enter(levels int) error {
	if r.depth += levels; r.depth > maxDepth {
		return &reason{text: fmt.Sprintf("its actions and templates are nested deeper than %d levels", maxDepth), limit: true}
	}
	return nil
}

func (r *run) leave(levels int) { r.depth -= levels }

// writer takes the output of one template.
type writer struct {
	run  *run
	made []byte
}

func (w *writer) Write(text []byte) (int, error) {
	if len(text) == 0 { // what tick and the like print; an error from here has no line
		return 0, nil
	}
	if len(text) > w.run.limits.MaxBytes-w.run.bytes {
		w.run.bytes = w.run.limits.MaxBytes
		return 0, &reason{text: fmt.Sprintf("the output is larger than %d bytes", w.run.limits.MaxBytes), limit: true}
	}
	if err := w.run.charge(len(text) / bytesPerStep); err != nil {
		return 0, err
	}
	w.run.bytes += len(text)
	w.made = append(w.made, text...)
	return len(text), nil
}
