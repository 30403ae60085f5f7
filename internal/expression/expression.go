// Package expression knows what a regular expression costs before it is parsed and compiled, for those that run a tenant's. RE2 promises a
// time that is linear in the expression and in the text, but the expression that counts is the one with all repetitions written out: seven
// bytes can stand for a thousand instructions, and a nested repetition of 250 bytes for a hundred thousand. It compiles nothing itself.
package expression

import (
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// What makes parsing slow, in microseconds on a machine of 2024.
const (
	perTable = 40    // \pL is a table of some hundred ranges, which are sorted and merged with those beside it
	perFold  = 2_500 // for (?i), each character of a range is looked up, one by one: a hundred thousand in the longest
)

// ParseCost is about how many microseconds syntax.Parse takes at most. Without classes of Unicode it is nothing worth counting.
func ParseCost(expr string) int {
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

// Size is about how many instructions the expression has when it is compiled, and not less than half of it.
func Size(parsed *syntax.Regexp) int {
	size := 0
	for _, sub := range parsed.Sub {
		size += Size(sub)
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
