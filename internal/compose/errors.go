package compose

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation"
)

// ErrPending is what Lookup says about a folder that has not been fetched yet.
var ErrPending = errors.New("not fetched yet")

// PendingError says that references lead to folders which have not been fetched yet. Call Compose again when they are.
type PendingError struct {
	Locations []Location // sorted
}

func (e *PendingError) Error() string {
	return "waiting for " + list(e.Locations, func(l Location) string { return printable(l.String()) }, ", ")
}

// Unwrap lets errors.Is find ErrPending.
func (e *PendingError) Unwrap() error { return ErrPending }

// ReferenceError lists the references that could not be resolved, at most 1000 of them.
type ReferenceError struct {
	References []BrokenReference // sorted by location, key and reference
}

// BrokenReference is one reference that could not be resolved. It is named where it stands, which is where it can be
// mended: that need not be a secret of the output.
type BrokenReference struct {
	Key       string   // the secret whose value holds the reference
	Location  Location // where that secret lies, or the folder that imports it
	Reference string   // as written, "${…}"
	Why       string
}

func (e *ReferenceError) Error() string {
	return "unresolved references: " + list(e.References, func(r BrokenReference) string {
		where := printable(r.Key) + " (" + printable(r.Location.String()) + ")"
		return where + " refers to " + printable(r.Reference) + ": " + printableTo(r.Why, maxWhy)
	}, "; ")
}

// newReferenceError sorts what was found, and drops what a value says twice.
func newReferenceError(found []BrokenReference) error {
	slices.SortFunc(found, func(a, b BrokenReference) int {
		return cmp.Or(compareLocations(a.Location, b.Location),
			strings.Compare(a.Key, b.Key), strings.Compare(a.Reference, b.Reference))
	})
	return &ReferenceError{References: slices.Compact(found)}
}

// KeyError lists the names that cannot be keys of a Secret.
type KeyError struct {
	Keys []string // sorted
}

func (e *KeyError) Error() string {
	return "not a valid key of a Secret (letters, digits, '-', '_' and '.'; at most 253): " + list(e.Keys, printable, ", ")
}

// checkKeys asks the API server's own rule.
func checkKeys(keys []string) error {
	var invalid []string
	for _, key := range keys {
		if len(validation.IsConfigMapKey(key)) > 0 {
			invalid = append(invalid, key)
		}
	}
	if len(invalid) > 0 {
		return &KeyError{Keys: invalid}
	}
	return nil
}

// ConflictError lists the names that have several values, where KeyConflictsError forbids it.
type ConflictError struct {
	Conflicts []Conflict // sorted by key
}

// Conflict is one name with two values. The locations are the same when one folder holds the name twice. An imported
// secret counts as the importing folder's.
type Conflict struct {
	Key    string
	Winner Location // the one that the precedence would choose
	Other  Location
}

func (e *ConflictError) Error() string {
	return "different values for the same key: " + list(e.Conflicts, func(c Conflict) string {
		if c.Winner == c.Other {
			return printable(c.Key) + " (twice in " + printable(c.Winner.String()) + ")"
		}
		return printable(c.Key) + " (" + printable(c.Other.String()) + " and " + printable(c.Winner.String()) + ")"
	}, ", ")
}

// TooLargeError says that the values are together larger than a Secret may be.
type TooLargeError struct {
	Bytes int      // what the values would take; the largest int stands for more than it can say
	Limit int      // bytes
	Keys  []string // the largest ones, as many as it takes until the rest fits
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the data would take %d bytes, %d are allowed; largest keys: %s",
		e.Bytes, e.Limit, list(e.Keys, printable, ", "))
}

// What keeps messages readable, and within what a condition may hold.
const (
	maxListed = 10  // items
	maxName   = 100 // characters
	maxWhy    = 200 // characters
)

func list[T any](items []T, text func(T) string, separator string) string {
	var b strings.Builder
	for i, item := range items {
		if i == maxListed {
			fmt.Fprintf(&b, " and %d more", len(items)-i)
			break
		}
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(text(item))
	}
	return b.String()
}

func printable(name string) string { return printableTo(name, maxName) }

// printableTo cuts a text after so many characters, and quotes it when a terminal or a YAML file would stumble over it.
func printableTo(text string, limit int) string {
	cut, n := len(text), 0
	for i := range text {
		if n == limit {
			cut = i
			break
		}
		n++
	}
	rest := ""
	if cut < len(text) {
		rest = "…"
	}
	text = text[:cut]
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		text = strconv.Quote(text)
	}
	return text + rest
}
