package template

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

var (
	envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// bareEnv is what every reader takes as it stands, even docker run --env-file, which knows no quotes.
	bareEnv = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-]*$`)
)

// dotenv writes a .env file: a line for every entry of a map, sorted by name. There is no standard for quotes, so a value is written
// in the first way in which all these readers take it back exactly: dotenv for Node.js, godotenv, and Docker Compose.
//
//	KEY=value      letters, digits and _ . / : @ % + , -      (the only form that docker run --env-file understands)
//	KEY="a\nb"     no ", \, ` or $. Between double quotes all read \n and \r. What \" and \\ mean, and whether $ is special, they disagree on.
//	KEY='a$b'      no ' or carriage return, no \ at the end. Between single quotes all take everything as it is, line ends too.
//
// What fits into none of them is an error, such as a value with both ' and ". So is a name that is no identifier, a value that is
// not UTF-8 or has a zero byte, and a value that is a list, a map or nothing.
func dotenv(values map[string]any) (string, error) {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !envName.MatchString(name) {
			return "", &reason{text: "this is no name for a variable:", name: name}
		}
		var text string
		switch v := values[name]; kindOf(v) {
		case kindText, kindBool, kindInt, kindFloat:
			text = fmt.Sprint(v)
		default:
			return "", &reason{text: "this is neither a text nor a number:", name: name}
		}
		quoted, ok := quoteEnv(text)
		if !ok {
			return "", &reason{text: "no quotes fit around the value of", name: name}
		}
		b.WriteString(name + "=" + quoted + "\n")
	}
	return b.String(), nil
}

func quoteEnv(text string) (quoted string, ok bool) {
	switch {
	case !utf8.ValidString(text) || strings.Contains(text, "\x00"):
		return "", false
	case bareEnv.MatchString(text):
		return text, true
	case !strings.ContainsAny(text, "\"\\$`"):
		return `"` + strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(text) + `"`, true
	case !strings.ContainsAny(text, "'\r") && !strings.HasSuffix(text, `\`):
		return "'" + text + "'", true
	}
	return "", false
}
