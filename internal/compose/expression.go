package compose

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// What a regular expression costs is known before it is compiled. RE2 promises a time that is linear in the expression and in the text,
// but the expression that counts is the one with all repetitions written out: seven bytes can stand for a thousand instructions, and a
// nested repetition of 250 bytes for a hundred thousand. The package template has the same, as neither imports anything of ours.
const (
	// maxInstructions is how large a regular expression may be when its repetitions are written out. What people write has some ten.
	// With all of them at work, a name of the greatest length takes some milliseconds to match, and at worst a second to replace in.
	maxInstructions = 500
	// maxParse is how many microseconds the parsing of one may take.
	maxParse = 5_000
)

// compile refuses expressions that are small as a text and large as a program, before they are one: whoever writes them is a tenant.
func compile(expr string) (*regexp.Regexp, error) {
	if parseCost(expr) > maxParse {
		return nil, fmt.Errorf("%q has too many ranges and classes of Unicode characters", expr)
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if programSize(parsed) > maxInstructions {
		return nil, fmt.Errorf("%q stands for more than %d instructions when its repetitions are written out", expr, maxInstructions)
	}
	return regexp.Compile(expr)
}

// What makes parsing slow, in microseconds on a machine of 2024.
const (
	perTable = 40    // \pL is a table of some hundred ranges, which are sorted and merged with those beside it
	perFold  = 2_500 // for (?i), each character of a range is looked up, one by one: a hundred thousand in the longest
)

// parseCost is about how many microseconds syntax.Parse takes at most. Without classes of Unicode it is nothing worth counting.
func parseCost(expr string) int {
	cost := len(expr)/16 + perTable*(strings.Count(expr, `\p`)+strings.Count(expr, `\P`))
	folds := strings.Contains(expr, "(?") && strings.Contains(expr, "i")
	wide := strings.Contains(expr, `\x`) || strings.ContainsFunc(expr, func(r rune) bool { return r >= utf8.RuneSelf })
	if folds && wide {
		cost += perFold * strings.Count(expr, "-")
	}
	return cost
}

// rangesPerInstruction is how many ends of ranges a class may have to take as much memory as an instruction does besides.
const rangesPerInstruction = 32

// programSize is about how many instructions the expression has when it is compiled, and not less than half of it.
func programSize(parsed *syntax.Regexp) int {
	size := 0
	for _, sub := range parsed.Sub {
		size += programSize(sub)
	}
	switch parsed.Op {
	case syntax.OpLiteral:
		return len(parsed.Rune)
	case syntax.OpCharClass:
		return 1 + len(parsed.Rune)/rangesPerInstruction
	case syntax.OpAlternate:
		return size + len(parsed.Sub)
	case syntax.OpRepeat:
		optional := max(0, parsed.Max-parsed.Min)
		return max(1, parsed.Min*size+optional*(size+1)) // no overflow: the parser lets nested repetitions be a thousand together
	case syntax.OpConcat:
		return size
	}
	return size + 2 // such as the two ends of a group, or the instruction of a loop and its way around
}
