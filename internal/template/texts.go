package template

import (
	"encoding/base32"
	"encoding/base64"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"text/template"
)

// texts are sprig's functions about texts whose failure would go unnoticed: they put the error's text, or nothing, into the Secret.
func texts() template.FuncMap {
	list := template.FuncMap{
		// The message could hold a value, and so could whatever is put in front of it.
		"fail": func(string) (string, error) { return "", &reason{link: ": ", text: "the template says so"} },
		// Byte by byte, as sprig does it, what is not ASCII would become something else.
		"nospace": func(text string) string { return strings.Join(strings.Fields(text), "") },
		"b64dec": func(text string) (string, error) {
			decoded, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return "", because("that is no base64")
			}
			return string(decoded), nil
		},
		"b32dec": func(text string) (string, error) {
			decoded, err := base32.StdEncoding.DecodeString(text)
			if err != nil {
				return "", because("that is no base32")
			}
			return string(decoded), nil
		},
		"atoi": func(text string) (int, error) {
			n, err := strconv.Atoi(text)
			if err != nil {
				return 0, because("that is no number")
			}
			return n, nil
		},
	}
	for name, f := range map[string]any{
		"regexMatch": func(pattern, text string) (bool, error) {
			return matching(pattern, func(r *regexp.Regexp) bool { return r.MatchString(text) })
		},
		"regexFind": func(pattern, text string) (string, error) {
			return matching(pattern, func(r *regexp.Regexp) string { return r.FindString(text) })
		},
		"regexFindAll": func(pattern, text string, n int) ([]string, error) {
			return matching(pattern, func(r *regexp.Regexp) []string { return r.FindAllString(text, n) })
		},
		"regexSplit": func(pattern, text string, n int) ([]string, error) {
			return matching(pattern, func(r *regexp.Regexp) []string { return r.Split(text, n) })
		},
		"regexReplaceAll": func(pattern, text, with string) (string, error) {
			return matching(pattern, func(r *regexp.Regexp) string { return r.ReplaceAllString(text, with) })
		},
		"regexReplaceAllLiteral": func(pattern, text, with string) (string, error) {
			return matching(pattern, func(r *regexp.Regexp) string { return r.ReplaceAllLiteralString(text, with) })
		},
	} {
		list[name] = f
		list["mustR"+name[1:]] = f
	}
	return list
}

func matching[T any](pattern string, f func(*regexp.Regexp) T) (result T, err error) {
	r, err := regexp.Compile(pattern)
	if err != nil {
		return result, because("that is no regular expression")
	}
	return f(r), nil
}

// maxPattern is how long a regular expression may be, in bytes. Seven of them can stand for a thousand instructions.
const maxPattern = 1024

// regexCosts charge for what regexp guarantees: the number of instructions times the length of the text.
func regexCosts() map[string]func(*run, []any) error {
	list := map[string]func(*run, []any) error{}
	for _, name := range []string{"regexMatch", "regexFind", "regexFindAll", "regexSplit", "regexReplaceAll", "regexReplaceAllLiteral"} {
		cost := func(r *run, a []any) error { return regexCost(r, a[0].(string), a[1].(string)) }
		if strings.HasPrefix(name, "regexReplaceAll") {
			cost = func(r *run, a []any) error {
				pattern, text, with := a[0].(string), a[1].(string), a[2].(string)
				if err := regexCost(r, pattern, text); err != nil {
					return err
				}
				// Each match brings in all of the replacement, and each $ of it at most the match, of which all together are the text.
				matches, err := matching(pattern, func(r *regexp.Regexp) int { return len(r.FindAllStringIndex(text, -1)) })
				if err != nil {
					return err
				}
				return r.room(float64(matches)*float64(len(with)) + float64(1+strings.Count(with, "$"))*float64(len(text)))
			}
		}
		list[name] = cost
		list["mustR"+name[1:]] = cost
	}
	return list
}

func regexCost(r *run, pattern, text string) error {
	if len(pattern) > maxPattern {
		return because("a regular expression is longer than " + strconv.Itoa(maxPattern) + " bytes")
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return because("that is no regular expression")
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return because("that is no regular expression")
	}
	return r.chargeFor(float64(len(program.Inst)) * (16 + float64(len(text))/64))
}
