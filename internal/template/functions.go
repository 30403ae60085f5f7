package template

import (
	"reflect"
	"sync"

	"github.com/DataDog/datadog-agent/pkg/template/text"
	"github.com/Masterminds/sprig/v3"
)

// function is one entry of the table of all functions.
type function struct {
	call reflect.Value
	// typ is the function's type with an error as second result, so that text/template checks and converts arguments as for the
	// function itself.
	typ         reflect.Type
	looks       bool                           // at the surface of its arguments only, and returns nothing larger than them
	weight      int                            // how many times the handling of its arguments costs that of copying them; 0 stands for 1
	before      func(r *run, args []any) error // what the call costs, and what it must not be given
	unavailable bool                           // it only fails
}

// functions is the table of all functions, compiled once. Where names meet, the later source counts: sprig, this package's own,
// the ones that are not available.
var functions = sync.OnceValue(func() map[string]function {
	table := map[string]function{}
	for _, source := range []template.FuncMap{sprig.TxtFuncMap(), builtins(), formats(), texts(), expressions(), dates(), certificates(), unavailable()} {
		for name, f := range source {
			table[name] = newFunction(f)
		}
	}
	change := func(names []string, change func(*function)) {
		for _, name := range names {
			f, ok := table[name]
			if !ok {
				panic("no function " + name) // a mistake in this package, which every test finds
			}
			change(&f)
			table[name] = f
		}
	}
	change(looking(), func(f *function) { f.looks = true })
	for name, weight := range weights() {
		change([]string{name}, func(f *function) { f.weight = weight })
	}
	for name, before := range costs() {
		change([]string{name}, func(f *function) { f.before = before })
	}
	for name := range unavailable() {
		change([]string{name}, func(f *function) { f.unavailable = true })
	}
	return table
})

// known is what the parser asks whether a function exists.
var known = sync.OnceValue(func() map[string]any {
	names := map[string]any{"and": true, "or": true}
	for name := range functions() {
		names[name] = true
	}
	return names
})

func newFunction(f any) function {
	call := reflect.ValueOf(f)
	t := call.Type()
	in := make([]reflect.Type, t.NumIn())
	for i := range in {
		in[i] = t.In(i)
	}
	out := []reflect.Type{t.Out(0), reflect.TypeFor[error]()}
	return function{call: call, typ: reflect.FuncOf(in, out, t.IsVariadic())}
}

// wrap returns the function as a template calls it: within the limits, and with errors that hold no value.
func (r *run) wrap(name string, f function) any {
	return reflect.MakeFunc(f.typ, func(args []reflect.Value) []reflect.Value {
		result, err := r.call(name, f, args)
		if err != nil {
			return []reflect.Value{reflect.Zero(f.typ.Out(0)), reflect.ValueOf(&err).Elem()}
		}
		return []reflect.Value{result, reflect.Zero(f.typ.Out(1))}
	}).Interface()
}

func (r *run) call(name string, f function, args []reflect.Value) (result reflect.Value, failed error) {
	defer func() {
		if recover() != nil {
			failed = &callError{name: name}
		}
	}()
	fails := func(err error) (reflect.Value, error) {
		why, _ := err.(*reason) //nolint:errorlint // what is wrapped says more than may be shown
		return reflect.Value{}, &callError{name: name, why: why}
	}
	plain := plainArguments(f.typ, args)
	if err := r.before(f, plain); err != nil {
		return fails(err)
	}
	var results []reflect.Value
	if f.typ.IsVariadic() {
		results = f.call.CallSlice(args)
	} else {
		results = f.call.Call(args)
	}
	if len(results) == 2 && !results[1].IsNil() {
		return fails(results[1].Interface().(error))
	}
	if !f.looks {
		size := 0
		if err := r.weigh(&size, results[0].Interface(), 0); err != nil {
			return fails(err)
		}
		if err := r.charge(size / bytesPerStep); err != nil {
			return fails(err)
		}
	}
	return results[0], nil
}

// before charges for a call, before it is made.
func (r *run) before(f function, args []any) error {
	size := 0
	for _, arg := range args {
		if text, ok := arg.(string); ok {
			size += len(text)
		} else if !f.looks {
			if err := r.weigh(&size, arg, 0); err != nil {
				_ = r.charge(size / bytesPerStep) // for the weighing: the next template could have it done again
				return err
			}
		}
	}
	if err := r.room(float64(size)); err != nil {
		return err
	}
	if err := r.charge(1 + max(1, f.weight)*(size/bytesPerStep)); err != nil {
		return err
	}
	if f.before != nil {
		return f.before(r, args)
	}
	return nil
}

// plainArguments lists the arguments as they are written in a template.
func plainArguments(t reflect.Type, args []reflect.Value) []any {
	plain := make([]any, 0, len(args))
	for i, arg := range args {
		if t.IsVariadic() && i == len(args)-1 {
			for j := range arg.Len() {
				plain = append(plain, arg.Index(j).Interface())
			}
		} else {
			plain = append(plain, arg.Interface())
		}
	}
	return plain
}

// unavailable lists the functions of sprig and text/template that fail, because equal input would not give equal output, because
// they would tell what is not the object's, or because no limit would hold them.
func unavailable() template.FuncMap {
	list := template.FuncMap{}
	for why, names := range map[string][]string{
		"it reaches outside of the object's own data": {"env", "expandenv", "getHostByName"},
		"it gives another result each time, so the Secret would never be at rest": {"now", "ago", "randAlphaNum", "randAlpha",
			"randAscii", "randNumeric", "randBytes", "randInt", "uuidv4", "shuffle", "genPrivateKey", "genCA", "genCAWithKey",
			"genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey", "bcrypt", "htpasswd", "encryptAES"},
		"its result depends on the time zone of the machine": {"date", "htmlDate", "toDate", "mustToDate"},
		"it takes what only unavailable functions return": {"dateModify", "date_modify", "mustDateModify", "must_date_modify",
			"unixEpoch", "buildCustomCert", "call"},
		"its result has methods, which no limit holds": {"semver"},
		"it is slow on purpose":                        {"derivePassword"},
	} {
		for _, name := range names {
			list[name] = func(...any) (any, error) { return nil, &reason{link: " is not available: ", text: why} }
		}
	}
	return list
}
