// Package push decides what of a Kubernetes Secret is to be written to a folder at Infisical, and which of it. It is pure: it neither
// reads nor writes, and no error of it holds a value.
package push

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/service-token-operator/service-token-operator/internal/compose"
)

const (
	// maxName is how many characters the server takes in a name: longer ones are no route to it.
	maxName = 100
	// maxNames is how many names an object may push, and maxWritten how many its status lists: with deletionPolicy Retain those of keys
	// that are gone are among them. A status of 5,000 names of 100 characters is half of what the API server stores.
	maxNames   = 2000
	maxWritten = 5000
)

// reserved are names in whose place the server has routes of its own.
var reserved = []string{"batch", "move", "backfill-secret-references"}

// Entry is one key under a name of its own.
type Entry struct{ Key, Name string }

// NameError says that a key cannot be pushed under its name.
type NameError struct{ Key, Name string }

func (e *NameError) Error() string {
	return fmt.Sprintf("key %q would be named %q, which the server does not take: a name has 1 to %d letters, digits, '-', '_' and '.', is not '.', does not start with '..', and is none of %s",
		e.Key, e.Name, maxName, strings.Join(reserved, ", "))
}

// ClashError says that two keys have the same name.
type ClashError struct{ Name, Key, Other string }

func (e *ClashError) Error() string {
	return fmt.Sprintf("keys %q and %q would both be named %q", e.Key, e.Other, e.Name)
}

// TextError says that a value is no text, and so cannot be sent.
type TextError struct{ Key string }

func (e *TextError) Error() string {
	return fmt.Sprintf("the value of key %q is not UTF-8 text, and Infisical keeps nothing else", e.Key)
}

// KeyMissingError says that the Secret lacks keys.
type KeyMissingError struct{ Keys []string }

func (e *KeyMissingError) Error() string {
	return "the Secret has no key " + listed(e.Keys)
}

// TooManyError says that there are more names than an object may push.
type TooManyError struct{ Names, Most int }

func (e *TooManyError) Error() string {
	if e.Most == maxWritten {
		return fmt.Sprintf("%d names were written, with those whose keys are gone, and %d is the most that status lists: use another object", e.Names, e.Most)
	}
	return fmt.Sprintf("%d names are more than the %d that one object pushes: use several", e.Names, e.Most)
}

// Select returns the values to push by their names: those keys of data that the selection takes, and the entries. Entries alone are
// all that is taken when the selection includes nothing by itself. Errors: *NameError, *ClashError, *TextError, *KeyMissingError, *TooManyError.
func Select(data map[string][]byte, selection compose.Selection, entries []Entry) (map[string][]byte, error) {
	names, missing := map[string]string{}, []string(nil) // names by key
	for _, e := range entries {
		if _, ok := data[e.Key]; !ok {
			missing = append(missing, e.Key)
		}
		names[e.Key] = cmp.Or(e.Name, e.Key)
	}
	if len(missing) > 0 {
		return nil, &KeyMissingError{missing}
	}
	if len(entries) == 0 || len(selection.Include) > 0 {
		for key := range data {
			if _, single := names[key]; single {
				continue
			}
			if name, taken := selection.Take(key); taken {
				names[key] = name
			}
		}
	}
	if len(names) > maxNames {
		return nil, &TooManyError{len(names), maxNames}
	}
	return valuesOf(data, names)
}

func valuesOf(data map[string][]byte, names map[string]string) (map[string][]byte, error) {
	values, keys := make(map[string][]byte, len(names)), make(map[string]string, len(names))
	for _, key := range slices.Sorted(maps.Keys(names)) {
		name := names[key]
		// The API server's rule for keys is narrower than the server's for names, and what it allows is safe in a URL.
		if len(name) > maxName || slices.Contains(reserved, name) || len(validation.IsConfigMapKey(name)) > 0 {
			return nil, &NameError{key, name}
		}
		if other, twice := keys[name]; twice {
			return nil, &ClashError{name, other, key}
		}
		if !utf8.Valid(data[key]) {
			return nil, &TextError{key}
		}
		keys[name], values[name] = key, data[key]
	}
	return values, nil
}
