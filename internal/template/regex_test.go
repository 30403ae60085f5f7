package template

import (
	"regexp/syntax"
	"strings"
	"testing"
)

func TestHowFarASearchReadsInVain(t *testing.T) {
	text := strings.Repeat(strings.Repeat("x", 999)+"\n", 10)
	const little, line, all = 200, 2_000, 10_000
	for expr, want := range map[string]int{
		"": little, "x": little, "x+": little, ".*": little, "[^a-z]": little, "p(o)(s)": little, "a|bc|[d-f]+": little, "x{2,9}": little, `\s+`: little, "(x|y)*": little,
		"x*y": line, "x*y|x": line, `"[^"\n]*"`: line, `\$\{([a-z]+)\}`: line, "^x+$": line, "x*?y": line, "a.*b": line,
		"(?s).*y": all, `"[^"]*"`: all, `\s*y`: all, `(?m)\s+$`: all, "(x\n?)*y": all, `x+\b`: line,
	} {
		parsed, err := syntax.Parse(expr, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		program, err := syntax.Compile(parsed.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		got, class := readInVain(program, text), all
		if got <= little {
			class = little
		} else if got <= line {
			class = line
		}
		if class != want {
			t.Errorf("%s: got %d", expr, got)
		}
	}
}
