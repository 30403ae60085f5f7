// Package compose turns fetched secrets into the data of a Kubernetes Secret: which secret wins where a name occurs more
// than once, which ones are taken and as which keys, and what the references in the values stand for. It is pure: it fetches
// nothing, remembers nothing between calls, and never changes what it was given. It either returns everything or a typed
// error that holds names, never values.
//
// The rules come from the server (precedence of imports, order of a folder's secrets) where it has any, and are the
// operator's own for what the server leaves to its clients (recursive reads, several sources, references).
//
// # Precedence
//
// A folder's own secret beats what the folder imports, a later import beats an earlier one, and within one folder or
// import entry the first in the server's order counts. In a recursive read the folder nearest to the one that was read
// wins, among equally near ones the path that sorts first. Between sources the later one wins.
//
// # Selection
//
// Precedence within a folder comes first; then a selection says which of the winners are taken, and as which keys. So it
// decides whether a secret is there, and never which value it has: an own secret without the tag still hides an import of its
// name, a folder still hides what lies below it, and then neither of the two is taken. Imported secrets need no tag.
//
// Between sources the keys count, not the names, and what is left out counts nowhere. Two names of one source never become
// one key. Of a name longer than 1 KiB, four times as long as a key may be, patterns and renamings see the beginning.
//
// # References
//
//	${KEY}                     a secret of the same environment and folder
//	${environment.KEY}         a secret of an environment's root folder
//	${environment.a.b.KEY}     a secret of the folder /a/b of an environment
//
// The text between the braces, without white space at either end, must consist of letters, digits, "_", "-" and ".", and
// none of the parts between the dots may be empty. Letters and digits may be of any script. The last part is the key, so a
// secret with a dot in its name cannot be referred to.
//
// Everything else is text and stays byte for byte: $HOME, $$, ${}, ${VAR:-default}, ${VAR%.*}, ${a b}, a ${x without an
// end. So shell expansions in a value are no references, except for the plain ${NAME}. There is no escape: $${NAME} is a
// dollar sign and a reference. What a reference brings in is not read again: only values as they are written hold references.
//
// Without a location a reference looks
//   - in a folder's own secret: among the own secrets of that folder, then among its imports (in a recursive read: all
//     imports of the read, as the server does not say which folder has them);
//   - in an imported secret: among its siblings in the import entry, then in the importing folder.
//
// With a location it looks in that folder, own secrets first, then its imports. A folder that the sources hold is not looked
// up. A recursive source holds the folder that was read, and every folder in which it has secrets.
//
// References know no selection: they find whole folders, under the names that secrets have there. Only the secrets that become
// keys, and those they lead to, need their references: what is overridden or left out may hold broken ones.
package compose

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// The limits that hold where Input says nothing.
const (
	// DefaultMaxSources is how many folders references may lead to besides the sources. Each costs a request a period.
	DefaultMaxSources = 100
	// DefaultMaxDepth is how deep references may nest. People write two or three levels.
	DefaultMaxDepth = 32
	// DefaultMaxBytes is how large the values of a Kubernetes Secret may be together (MaxSecretSize of the API server, which
	// does not count keys either).
	DefaultMaxBytes = 1 << 20
)

// Location is one folder of one environment.
type Location struct {
	Environment string // slug
	Path        string // absolute: "/" or "/a/b", without a slash at the end
}

// String gives the location as environment:path.
func (l Location) String() string { return l.Environment + ":" + l.Path }

// Secret is one secret as it was fetched and decrypted.
type Secret struct {
	Name  string
	Value []byte   // never changed here; the output may share it
	Path  string   // the folder it lies in; counts in a recursive read only, where empty means the folder that was read
	Tags  []string // slugs; an imported secret has none
}

// Import is what a folder imports from another one. An entry holds the whole imported folder, with what that one imports
// itself appended, so a name can occur twice: the first counts. The server's label can be wrong, so Location is no provenance.
type Import struct {
	Location
	Secrets []Secret
}

// Folder is what one read returned.
type Folder struct {
	Location
	Recursive bool     // Secrets holds those of the folders below too
	Secrets   []Secret // in the server's order
	Imports   []Import // by position: later ones win over earlier ones
}

// KeyConflicts says what happens to a key that sources, or folders of a recursive read, have with different values.
type KeyConflicts string

// The values of KeyConflicts. Any other means the default.
const (
	KeyConflictsOverride KeyConflicts = "Override" // the precedence decides; the default
	KeyConflictsError    KeyConflicts = "Error"    // a *ConflictError, unless all expand to the same bytes
)

// Unresolved says what becomes of a reference that leads nowhere: to a missing or unreadable secret, back to itself, too
// deep, or to too many places.
type Unresolved string

// The values of Unresolved. Any other means the default.
const (
	UnresolvedError Unresolved = "Error" // a *ReferenceError; the default
	UnresolvedKeep  Unresolved = "Keep"  // it stays exactly as written
	UnresolvedEmpty Unresolved = "Empty" // nothing takes its place
)

// Input is everything that Compose looks at. Limits that are not positive stand for the defaults.
type Input struct {
	// Sources are the folders whose secrets become the data. Later ones win over earlier ones. A folder may be there several
	// times, with a selection each.
	Sources []Source
	// Lookup returns a folder, read without recursion, that a reference leads to and that Sources do not hold. It answers
	// ErrPending for a folder that it knows but has not fetched. Any other error (out of scope, missing environment, …) makes
	// the references to the folder unresolved, and its text appears in the ReferenceError. It is asked at most once per
	// folder and call. Nil: no reference may leave the sources.
	Lookup func(Location) (Folder, error)

	KeyConflicts KeyConflicts
	Unresolved   Unresolved
	InvalidKeys  InvalidKeys
	AllowEmpty   bool // otherwise a source of whose secrets none is taken is a *NothingTakenError

	MaxSources int // folders that references lead to, besides the sources
	MaxDepth   int // nesting of references
	MaxBytes   int // sum of the lengths of all values; also bounds each value as it is written, before expansion
}

// Output is what Compose makes.
type Output struct {
	// Data is nil unless everything went well. Its values may share memory with the input and with each other: read only.
	Data map[string][]byte
	// Locations are the folders that Lookup was asked for, sorted. They are filled with every error too: the caller keeps
	// them fetched, so that a reference which is broken today heals when the folder changes.
	Locations []Location
	// Skipped are the keys that InvalidKeysSkip left out, sorted. They are filled with every error too.
	Skipped []string
}

// Compose makes the data of a Secret by the rules of the package. The result depends on the input alone. The error is the
// first of these that applies: *PendingError while Lookup still owes folders (nothing else is final then: call again),
// *NothingTakenError about the first such source, *MissingError, *KeyError, *ConflictError about different names of one source,
// *ReferenceError, *TooLargeError, *ConflictError about different values.
func Compose(in Input) (Output, error) {
	in.setDefaults()
	folders := fold(in.Sources)
	c := choose(&in, folders)

	x := &expansion{in: &in, sources: folders}
	for _, key := range c.keys {
		x.add(c.chosen[key])
	}
	x.discover()
	if in.KeyConflicts == KeyConflictsError {
		// Only to compare them: what is broken in them is nobody's problem.
		x.quiet = true
		slices.SortStableFunc(c.hidden, func(a, b hiddenPick) int { return strings.Compare(a.key, b.key) })
		for _, h := range c.hidden {
			x.add(h.pick)
		}
		x.discover()
	}

	out := Output{Locations: sortLocations(x.asked), Skipped: c.skipped}
	if len(x.pending) > 0 {
		return out, &PendingError{Locations: sortLocations(x.pending)}
	}
	if err := c.check(); err != nil {
		return out, err
	}
	x.settle()
	if len(x.broken) > 0 {
		return out, newReferenceError(x.broken)
	}
	if err := c.checkSize(in.MaxBytes); err != nil {
		return out, err
	}
	data := make(map[string][]byte, len(c.keys))
	for _, key := range c.keys {
		data[key] = x.text(c.chosen[key])
	}
	if in.KeyConflicts == KeyConflictsError {
		if err := x.conflicts(data, &c); err != nil {
			return out, err
		}
	}
	out.Data = data
	return out, nil
}

func (in *Input) setDefaults() {
	if in.MaxSources <= 0 {
		in.MaxSources = DefaultMaxSources
	}
	if in.MaxDepth <= 0 {
		in.MaxDepth = DefaultMaxDepth
	}
	if in.MaxBytes <= 0 {
		in.MaxBytes = DefaultMaxBytes
	}
	in.MaxBytes = min(in.MaxBytes, math.MaxInt32) // offsets within a value are kept in 32 bits
}

// checkSize adds up before anything is expanded, so that a value of a terabyte costs nothing.
func (c *choice) checkSize(limit int) error {
	total := 0
	for _, key := range c.keys {
		total = add(total, c.chosen[key].size())
	}
	if total <= limit {
		return nil
	}
	largest := slices.Clone(c.keys)
	slices.SortStableFunc(largest, func(a, b string) int { return c.chosen[b].size() - c.chosen[a].size() })
	rest, n := 0, len(largest)
	for n > 1 && add(rest, c.chosen[largest[n-1]].size()) <= limit {
		n--
		rest += c.chosen[largest[n]].size()
	}
	return &TooLargeError{Bytes: total, Limit: limit, Keys: largest[:n]}
}

func sortLocations(locations []Location) []Location {
	slices.SortFunc(locations, compareLocations)
	return locations
}

func compareLocations(a, b Location) int {
	return cmp.Or(strings.Compare(a.Environment, b.Environment), strings.Compare(a.Path, b.Path))
}
