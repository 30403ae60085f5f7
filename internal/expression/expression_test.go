package expression

import (
	"regexp/syntax"
	"strings"
	"testing"
	"time"
	"unicode"
)

func TestSizeIsAboutThatOfTheProgram(t *testing.T) {
	for _, expr := range []string{
		"", "DB", "^DB_(URL|PW)$", "(?i)^db", ".*", "(a*)*", "(?:a?)+b", "x{100}", "x{3,}", "x{0,50}", "(.?){1000}", "((ab){10}c?){10}",
		strings.Repeat("(.?){1000}", 10), "[a-z]+[^a-z]", "a|b|c|de", `\b\w+\b`, "(?P<n>[0-9]{1,3})(\\.[0-9]{1,3}){3}", strings.Repeat("x*", 100),
	} {
		parsed, err := syntax.Parse(expr, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		size := Size(parsed)
		program, err := syntax.Compile(parsed.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		if n := len(program.Inst); n > 2*size+8 || size > 2*n+8 {
			t.Errorf("%s: got %d, has %d instructions", expr, size, n)
		}
	}
}

func TestTablesOfCharactersHaveASize(t *testing.T) {
	parsed, err := syntax.Parse(strings.Repeat(`[\pL\pN]`, 25), syntax.Perl)
	if err != nil {
		t.Fatal(err)
	}
	if size := Size(parsed); size < 500 {
		t.Errorf("got %d", size)
	}
}

func TestParsingTakesNoLongerThanItsCost(t *testing.T) {
	for _, expr := range []string{
		strings.Repeat(`[\pL\pN]`, 90), "(?i)" + strings.Repeat(`\PL`, 90), "(?i)[" + strings.Repeat("ÿ-𞤀", 10) + "]", `(?s-i:(?i)[!-\x{1e900}])`,
	} {
		took, allowed := time.Hour, time.Hour
		for range 5 { // in turns and as long as each other, so that what slows this machine down slows both
			began := time.Now()
			_, _ = syntax.Parse(expr, syntax.Perl)
			took = min(took, time.Since(began))
			allowed = min(allowed, spend(ParseCost(expr)))
		}
		t.Logf("%.20s… takes %s of %s", expr, took, allowed)
		if took > 4*allowed {
			t.Errorf("%.20s… takes %s instead of %s", expr, took, allowed)
		}
	}
	if cost := ParseCost("^(DB|CACHE)_[A-Z0-9_]{1,63}$"); cost > 10 {
		t.Errorf("got %d for an ordinary one", cost)
	}
}

// spend takes as long as the cost stands for on this machine, with or without the race detector, and returns how long that is.
func spend(cost int) time.Duration {
	began := time.Now()
	runes := int('𞤀'-'ÿ') * cost / perFold
	for i := range runes {
		start := 'ÿ' + rune(i)%('𞤀'-'ÿ')
		for r := unicode.SimpleFold(start); r != start; {
			r = unicode.SimpleFold(r)
		}
	}
	return time.Since(began)
}
