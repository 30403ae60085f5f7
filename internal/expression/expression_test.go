package expression

import (
	"regexp/syntax"
	"strings"
	"testing"
	"time"
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
		took, cost := time.Hour, time.Duration(ParseCost(expr))*time.Microsecond
		for range 5 { // the fastest is the one that others disturbed least
			began := time.Now()
			_, _ = syntax.Parse(expr, syntax.Perl)
			took = min(took, time.Since(began))
		}
		if took > 20*cost { // as many times slower as a busy machine may be
			t.Errorf("%.20s… takes %s instead of %s", expr, took, cost)
		}
	}
	if cost := ParseCost("^(DB|CACHE)_[A-Z0-9_]{1,63}$"); cost > 10 {
		t.Errorf("got %d for an ordinary one", cost)
	}
}
