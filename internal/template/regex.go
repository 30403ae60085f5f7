package template

import (
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"

	"github.com/DataDog/datadog-agent/pkg/template/text"

	"github.com/service-token-operator/service-token-operator/internal/expression"
)

// expressions are sprig's functions about regular expressions, but that what is none is an error.
func expressions() template.FuncMap {
	return both(map[string]any{
		"regexMatch": func(expr, text string) (bool, error) {
			return matching(expr, func(r *regexp.Regexp) bool { return r.MatchString(text) })
		},
		"regexFind": func(expr, text string) (string, error) {
			return matching(expr, func(r *regexp.Regexp) string { return r.FindString(text) })
		},
		"regexFindAll": func(expr, text string, n int) ([]string, error) {
			return matching(expr, func(r *regexp.Regexp) []string { return r.FindAllString(text, n) })
		},
		"regexSplit": func(expr, text string, n int) ([]string, error) {
			return matching(expr, func(r *regexp.Regexp) []string { return r.Split(text, n) })
		},
		"regexReplaceAll": func(expr, text, with string) (string, error) {
			return matching(expr, func(r *regexp.Regexp) string { return r.ReplaceAllString(text, with) })
		},
		"regexReplaceAllLiteral": func(expr, text, with string) (string, error) {
			return matching(expr, func(r *regexp.Regexp) string { return r.ReplaceAllLiteralString(text, with) })
		},
	})
}

// expressionCosts charge for what regexp guarantees, which is the number of instructions times the length of the text for one search,
// and then for one search after another.
func expressionCosts() map[string]func(*run, []any) error {
	once := func(r *run, a []any) error { _, err := r.search(a[0].(string), a[1].(string)); return err }
	list := func(r *run, a []any) error {
		matches, err := r.matches(a[0].(string), a[1].(string))
		if err != nil {
			return err
		}
		return r.room(matchBytes * matches)
	}
	// Each match brings in all of the replacement, and each $ of it at most the match, of which all together are the text.
	replaced := func(r *run, a []any) error {
		text, with := a[1].(string), a[2].(string)
		matches, err := r.matches(a[0].(string), text)
		if err != nil {
			return err
		}
		return r.room(matches*float64(len(with)) + float64(1+strings.Count(with, "$"))*float64(len(text)))
	}
	return both(map[string]func(*run, []any) error{
		"regexMatch": once, "regexFind": once, "regexFindAll": list, "regexSplit": list, "regexReplaceAll": replaced, "regexReplaceAllLiteral": replaced,
	})
}

// both adds the functions' other names: sprig has mustRegexMatch for regexMatch.
func both[T any](list map[string]T) map[string]T {
	all := make(map[string]T, 2*len(list))
	for name, entry := range list {
		all[name], all["mustR"+name[1:]] = entry, entry
	}
	return all
}

func matching[T any](expr string, f func(*regexp.Regexp) T) (result T, err error) {
	r, err := regexp.Compile(expr)
	if err != nil {
		return result, because("that is no regular expression")
	}
	return f(r), nil
}

const (
	maxPattern = 1024 // bytes of a regular expression
	matchBytes = 80   // what a match takes while regexSplit lists all of them: two numbers, a list of them, and an entry of a list
)

// search charges for compiling the expression, and for one search in the text.
func (r *run) search(expr, text string) (*syntax.Regexp, error) {
	if len(expr) > maxPattern {
		return nil, because("a regular expression is longer than " + strconv.Itoa(maxPattern) + " bytes")
	}
	if err := r.charge(2 * expression.ParseCost(expr)); err != nil { // now, and when it is compiled
		return nil, err
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, because("that is no regular expression")
	}
	return parsed, r.chargeFor(float64(expression.Size(parsed)) * (16 + float64(len(text))/bytesPerStep))
}

// matches counts the matches, and charges for finding all of them twice: for the count, and then by the function.
//
// One search ends with its match, but it may have read on to the end of the text, on behalf of a longer or earlier match that came to
// nothing. Each of x*y|x in a row of x does, and the next search does it again. So each match is charged for as far as a
// search may read in vain.
func (r *run) matches(expr, text string) (n float64, err error) {
	parsed, err := r.search(expr, text)
	if err != nil {
		return 0, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0, because("that is no regular expression")
	}
	compiled, err := regexp.Compile(expr)
	if err != nil {
		return 0, because("that is no regular expression")
	}
	cost := 1 + float64(len(program.Inst))*float64(readInVain(program, text))/bytesPerStep
	defer func() {
		switch over := recover().(type) {
		case nil:
		case *reason:
			err = over
		default:
			panic(over)
		}
	}()
	// Unlike FindAllStringIndex, this keeps no list, and can be stopped.
	compiled.ReplaceAllStringFunc(text, func(string) string {
		n++
		if err := r.chargeFor(2 * cost); err != nil {
			panic(err)
		}
		return ""
	})
	return n, nil
}

// readInVain returns how many bytes a search may read beyond the match that it finds.
//
// A thread of the search that reads on, and does not match, is in an instruction that does not lead to the match at once. If such
// instructions form no loop, it soon ends, as in a+ or a|bc. If they form one, but none of them reads a line's end, it ends with the
// line, as in "[a-z]*" with the quotes. What is left, such as (?s).*x, may read all of the text.
func readInVain(program *syntax.Prog, text string) int {
	s := threads{Prog: program, matches: make([]byte, len(program.Inst)), visits: make([]byte, len(program.Inst))}
	loops, lines := false, true
	for pc := range program.Inst {
		i := &program.Inst[pc]
		loops = s.loops(uint32(pc)) || loops
		lines = lines && (!reads(i) || s.leadsToMatch(i.Out) || !i.MatchRune('\n'))
	}
	far := 4 * len(program.Inst) // UTF-8
	switch {
	case !loops:
		return min(far, len(text))
	case lines:
		longest := 0
		for line := range strings.SplitSeq(text, "\n") {
			longest = max(longest, len(line))
		}
		return min(longest+far, len(text))
	}
	return len(text)
}

// threads looks for loops in a program.
type threads struct {
	*syntax.Prog
	matches []byte // by instruction: whether it leads to the match without reading anything
	visits  []byte // by instruction
}

// What matches and visits hold.
const (
	unknown byte = iota
	asked        // on the way from there, so not yet known
	no           // or left for good
	yes
)

func reads(i *syntax.Inst) bool {
	switch i.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return true
	}
	return false
}

func (s *threads) leadsToMatch(pc uint32) bool {
	if s.matches[pc] != unknown {
		return s.matches[pc] == yes // a way in circles is none
	}
	s.matches[pc] = asked
	leads := false
	switch i := &s.Inst[pc]; i.Op {
	case syntax.InstMatch:
		leads = true
	case syntax.InstAlt, syntax.InstAltMatch:
		leads = s.leadsToMatch(i.Out)
		leads = s.leadsToMatch(i.Arg) || leads
	case syntax.InstCapture, syntax.InstNop:
		leads = s.leadsToMatch(i.Out)
	}
	s.matches[pc] = no
	if leads {
		s.matches[pc] = yes
	}
	return leads
}

// loops says whether instructions that can be reached from one are reached again, without one that leads to the match at once.
func (s *threads) loops(pc uint32) bool {
	if s.visits[pc] != unknown {
		return s.visits[pc] == asked
	}
	s.visits[pc] = asked
	i := &s.Inst[pc]
	loops := false
	switch {
	case i.Op == syntax.InstMatch || i.Op == syntax.InstFail || reads(i) && s.leadsToMatch(i.Out):
	case i.Op == syntax.InstAlt || i.Op == syntax.InstAltMatch:
		loops = s.loops(i.Out)
		loops = s.loops(i.Arg) || loops
	default:
		loops = s.loops(i.Out)
	}
	s.visits[pc] = no
	return loops
}
