package compose

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/service-token-operator/service-token-operator/internal/expression"
)

const (
	// maxInstructions is how large a regular expression may be when its repetitions are written out. What people write has some ten.
	// With all of them at work, a name of the greatest length takes some milliseconds to match, and at worst a second to replace in.
	maxInstructions = 500
	// maxParse is how many microseconds the parsing of one may take.
	maxParse = 5_000
)

// compile refuses expressions that are small as a text and large as a program, before they are one: whoever writes them is a tenant.
func compile(expr string) (*regexp.Regexp, error) {
	if expression.ParseCost(expr) > maxParse {
		return nil, fmt.Errorf("%q has too many ranges and classes of Unicode characters", expr)
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if expression.Size(parsed) > maxInstructions {
		return nil, fmt.Errorf("%q stands for more than %d instructions when its repetitions are written out", expr, maxInstructions)
	}
	return regexp.Compile(expr)
}
