package compose

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// token is one reference within a value.
type token struct {
	start, end int    // with "${" and "}"
	name       []byte // between them, trimmed
}

const opening = "${"

// hasReference says quickly whether a value may hold a reference.
func hasReference(value []byte) bool { return bytes.Contains(value, []byte(opening)) }

// nextReference finds the first reference at or after an offset. Reading on where text turned out to be no reference
// keeps it linear: what was read of it cannot hold another "${".
func nextReference(value []byte, from int) (token, bool) {
	for {
		at := bytes.Index(value[from:], []byte(opening))
		if at < 0 {
			return token{}, false
		}
		start := from + at
		from = start + len(opening)
		nameStart := skip(value, from, unicode.IsSpace)
		nameEnd := skip(value, nameStart, isNameRune)
		end := skip(value, nameEnd, unicode.IsSpace)
		if end < len(value) && value[end] == '}' && isName(value[nameStart:nameEnd]) {
			return token{start, end + 1, value[nameStart:nameEnd]}, true
		}
	}
}

// skip returns the offset of the first rune that is not in the class.
func skip(value []byte, from int, class func(rune) bool) int {
	for from < len(value) {
		r, size := utf8.DecodeRune(value[from:])
		if !class(r) {
			break
		}
		from += size
	}
	return from
}

func isNameRune(r rune) bool {
	return r == '_' || r == '-' || r == '.' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// isName checks what the runes alone do not: that there is a name, and that no part of it is empty.
func isName(name []byte) bool {
	return len(name) > 0 && name[0] != '.' && name[len(name)-1] != '.' && !bytes.Contains(name, []byte(".."))
}

// parseLocation reads what stands before the key, "environment.a.b".
func parseLocation(prefix []byte) Location {
	environment, path, _ := bytes.Cut(prefix, []byte("."))
	return Location{string(environment), "/" + string(bytes.ReplaceAll(path, []byte("."), []byte("/")))}
}
