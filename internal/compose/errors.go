package compose

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
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

// NothingTakenError says that a source has secrets, and that none of them becomes a key.
type NothingTakenError struct {
	Location
	Secrets int // in the folder, by name
	Invalid int // the ones among them that the selection leaves, and whose keys are not valid
}

func (e *NothingTakenError) Error() string {
	held := "1 secret"
	if e.Secrets != 1 {
		held = strconv.Itoa(e.Secrets) + " secrets"
	}
	why := "tags, include and exclude leave none"
	if e.Invalid > 0 {
		why = "none of those that are taken has a valid key"
	}
	return printable(e.Location.String()) + " holds " + held + ", and " + why
}

// MissingError lists the entries whose secrets are not there.
type MissingError struct {
	Missing []MissingEntry // as the sources have them
}

// MissingEntry is an entry whose secret is not in the source's folder.
type MissingEntry struct {
	Key, Name string
	Location  Location // of the source
}

func (e *MissingError) Error() string {
	return list(e.Missing, func(m MissingEntry) string {
		return "no secret " + printable(m.Name) + " in " + printable(m.Location.String()) + " for the key " + printable(m.Key)
	}, "; ")
}

// KeyError lists what cannot be a key of a Secret.
type KeyError struct {
	Keys []string // sorted
}

func (e *KeyError) Error() string {
	return "no valid keys of a Secret (letters, digits, '-', '_' and '.'; at most 253): " + list(e.Keys, printable, ", ")
}

func checkKeys(keys []string) error {
	var invalid []string
	for _, key := range keys {
		if !validKey(key) {
			invalid = append(invalid, key)
		}
	}
	if len(invalid) > 0 {
		return &KeyError{Keys: invalid}
	}
	return nil
}

// ConflictError lists the keys that several secrets claim: with different values, where KeyConflictsError forbids it, or as
// secrets with different names of one source, which is never allowed.
type ConflictError struct {
	Conflicts []Conflict // sorted by key
}

// Conflict is two secrets for one key. The locations are the same when one folder holds both. An imported secret counts as the
// importing folder's.
type Conflict struct {
	Key    string
	Winner Location // of the one that the precedence would choose; it chooses none among the names of one source
	Other  Location

	WinnerName, OtherName string // what the secrets are called where they lie
}

func newConflict(key string, winner, other pick) Conflict {
	return Conflict{
		Key: key, Winner: winner.location(winner.spot), Other: other.location(other.spot),
		WinnerName: winner.secret(winner.spot).Name, OtherName: other.secret(other.spot).Name,
	}
}

func (e *ConflictError) Error() string {
	text := list(e.Conflicts, Conflict.describe, ", ")
	if slices.ContainsFunc(e.Conflicts, Conflict.namesakes) {
		return "different values for the same key: " + text
	}
	return text
}

func (c Conflict) namesakes() bool { return c.WinnerName == c.OtherName }

func (c Conflict) describe() string {
	key, winner, other := printable(c.Key), printable(c.Winner.String()), printable(c.Other.String())
	switch {
	case c.namesakes() && c.Winner == c.Other:
		return key + " (twice in " + winner + ")"
	case c.namesakes():
		return key + " (" + other + " and " + winner + ")"
	case c.Winner == c.Other:
		return printable(c.OtherName) + " and " + printable(c.WinnerName) + " of " + winner + " both become " + key
	}
	return printable(c.OtherName) + " of " + other + " and " + printable(c.WinnerName) + " of " + winner + " both become " + key
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

func printable(name string) string {
	text := printableTo(name, maxName)
	if strings.Contains(text, " ") && !strings.HasPrefix(text, `"`) { // or it would read as part of the sentence
		return strconv.Quote(text)
	}
	return text
}

// printableTo cuts a text after so many characters, and quotes it when nobody would see it, or a terminal or a YAML file would
// stumble over it.
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
	if text == "" || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		text = strconv.Quote(text)
	}
	return text + rest
}
