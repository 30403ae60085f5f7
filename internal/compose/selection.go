package compose

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/huandu/xstrings"
)

// Source is a folder, and what is taken of it.
type Source struct {
	Folder
	Selection
}

// Selection says which secrets of a folder become keys, and under which names. The zero value takes all as they are named.
type Selection struct {
	Tags    []string   // slugs: an own secret must carry one of them; imported ones pass, as the server tells no tags of theirs
	Include []Pattern  // one must match the secret's own name, if there are any
	Exclude []Pattern  // none may match it
	Rename  []Renaming // in order
	Only    []Entry    // if there are any, they are all that is taken, whatever else is set
}

// Entry is one secret by name, under a key of its own.
type Entry struct{ Key, Name string }

// Pattern says whether a name matches.
type Pattern func(name string) bool

// Renaming is one step from a secret's name to its key.
type Renaming func(name string) string

const (
	// maxNameBytes is how much of a name patterns and renamings look at, and how much a renaming may leave: more than a key may
	// have, so that what is cut is still an invalid key, and so little that no renaming fills the memory.
	maxNameBytes = 1 << 10
	// maxCombinations is how many globs without braces one with braces may stand for: doublestar tries one after the other.
	maxCombinations = 100
)

// Glob makes a pattern for the whole of a name, with *, ?, [a-z], [^a-z] and {a,b}, and \ before a character that stands for
// itself. Case counts. A slash is a character like any other: names are no paths. Only ranges do not see it: [.-0], with the slash
// between its ends, does not match one, as a byte that no range holds stands for it.
func Glob(pattern string) (Pattern, error) {
	if !doublestar.ValidatePattern(pattern) {
		return nil, fmt.Errorf("%q is no glob", pattern)
	}
	// There are the most combinations when the commas are spread evenly over the pairs of braces.
	if pairs := float64(strings.Count(pattern, "{")); pairs > 0 {
		if math.Pow((pairs+float64(strings.Count(pattern, ",")))/pairs, pairs) > maxCombinations {
			return nil, fmt.Errorf("the braces of the glob %q may stand for more than %d combinations", pattern, maxCombinations)
		}
	}
	const noSlash = "\x00"
	pattern = strings.ReplaceAll(pattern, "/", noSlash)
	return func(name string) bool {
		return doublestar.MatchUnvalidated(pattern, strings.ReplaceAll(name, "/", noSlash))
	}, nil
}

// Regexp makes a pattern of an RE2 expression, which matches anywhere in a name unless it is anchored.
func Regexp(expr string) (Pattern, error) {
	compiled, err := compile(expr)
	if err != nil {
		return nil, err
	}
	return compiled.MatchString, nil
}

// Prefix puts a text before the name.
func Prefix(text string) Renaming { return func(name string) string { return text + name } }

// Suffix puts a text behind the name.
func Suffix(text string) Renaming { return func(name string) string { return name + text } }

// Case changes the case of the name. Styles: Upper and Lower change letters only; Snake, Kebab and Camel make db_url, db-url and
// dbUrl of DB_URL, dbUrl and db-url.
func Case(style string) (Renaming, error) {
	switch style {
	case "Upper":
		return strings.ToUpper, nil
	case "Lower":
		return strings.ToLower, nil
	case "Snake":
		return xstrings.ToSnakeCase, nil
	case "Kebab":
		return xstrings.ToKebabCase, nil
	case "Camel":
		return xstrings.ToCamelCase, nil
	}
	return nil, fmt.Errorf("there is no case %q", style)
}

// Replace replaces all that an RE2 expression matches in the name. In the replacement, ${1} and ${name} stand for what a group
// matched, as do $1 and $name where no letter, digit or "_" follows, and $$ stands for a dollar sign.
func Replace(expr, replacement string) (Renaming, error) {
	compiled, err := compile(expr)
	if err != nil {
		return nil, err
	}
	return func(name string) string { return compiled.ReplaceAllString(name, replacement) }, nil
}

// whole says that everything is taken as it is named.
func (s *Selection) whole() bool {
	return len(s.Tags) == 0 && len(s.Include) == 0 && len(s.Exclude) == 0 && len(s.Rename) == 0 && len(s.Only) == 0
}

// claim is a secret of a source's folder that is to become a key.
type claim struct {
	key, name string
	spot
}

// claims lists what is taken of a folder: entries in their order, everything else by name.
func (s *Selection) claims(f *folder) (claims []claim, missing []MissingEntry) {
	for _, e := range s.Only {
		if at, ok := f.effective[e.Name]; ok {
			claims = append(claims, claim{e.Key, e.Name, at})
		} else {
			missing = append(missing, MissingEntry{e.Key, e.Name, f.Location})
		}
	}
	if len(s.Only) > 0 {
		return claims, missing
	}
	for _, name := range slices.Sorted(maps.Keys(f.effective)) {
		at := f.effective[name]
		if !s.tagged(f, at) {
			continue
		}
		if key, taken := s.Take(name); taken {
			claims = append(claims, claim{key, name, at})
		}
	}
	return claims, nil
}

// Take says whether a name is taken, going by Include and Exclude, and what Rename makes of it.
func (s *Selection) Take(name string) (renamed string, taken bool) {
	if !s.matches(name) {
		return "", false
	}
	return s.rename(name), true
}

func (s *Selection) matches(name string) bool {
	name = cut(name)
	match := func(p Pattern) bool { return p(name) }
	return (len(s.Include) == 0 || slices.ContainsFunc(s.Include, match)) && !slices.ContainsFunc(s.Exclude, match)
}

func (s *Selection) tagged(f *folder, at spot) bool {
	if len(s.Only) > 0 || len(s.Tags) == 0 || at.list > 0 {
		return true
	}
	return slices.ContainsFunc(f.secret(at).Tags, func(tag string) bool { return slices.Contains(s.Tags, tag) })
}

func (s *Selection) rename(name string) string {
	if len(s.Rename) == 0 {
		return name
	}
	name = cut(name)
	for _, step := range s.Rename {
		if name = step(name); len(name) > maxNameBytes {
			return strings.Clone(cut(name)) // nothing keeps the rest
		}
	}
	return name
}

func cut(name string) string { return name[:min(len(name), maxNameBytes)] }
