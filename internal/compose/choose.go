package compose

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// choice is which secret gets which key, before any reference is read.
type choice struct {
	keys   []string // sorted
	chosen map[string]pick
	hidden []hiddenPick

	skipped    []string // keys; sorted
	nothing    *NothingTakenError
	missing    []MissingEntry
	collisions []Conflict // secrets of one source that claim the same key
}

// pick is a secret in its folder.
type pick struct {
	*folder
	spot
}

// hiddenPick is a secret that lost its key to another one which it may not contradict under KeyConflictsError: one of another
// source or folder, or a namesake in the same folder. What loses by the rules of imports is none: that is what imports are for.
type hiddenPick struct {
	key string
	pick
}

// choose takes of each source's folder what its selection says.
func choose(in *Input, folders []*folder) choice {
	names := 0
	for i, f := range folders {
		if len(in.Sources[i].Only) == 0 {
			names += len(f.Secrets)
		}
	}
	c := choice{chosen: make(map[string]pick, names)}
	for i, f := range folders {
		selection := &in.Sources[i].Selection
		if selection.whole() && !in.InvalidKeys.mends() {
			c.takeAll(f)
		} else {
			c.take(f, selection, in)
		}
	}
	c.keys = slices.Sorted(maps.Keys(c.chosen))
	slices.Sort(c.skipped)
	c.skipped = slices.Compact(c.skipped)
	return c
}

// fold makes a folder for each source, and the same one for sources that are the same read. So a secret that two of them take is
// one secret, and a reference with a location leads to it and not to its double.
func fold(sources []Source) []*folder {
	folders := make([]*folder, len(sources))
	for i := range sources {
		read := &sources[i].Folder
		if same := slices.IndexFunc(folders[:i], func(f *folder) bool { return f.equal(read) }); same >= 0 {
			folders[i] = folders[same]
		} else {
			folders[i] = newFolder(read)
		}
	}
	return folders
}

// takeAll does what take does with all secrets as they are named, and without its lists.
func (c *choice) takeAll(f *folder) {
	for _, s := range f.losers {
		c.hidden = append(c.hidden, hiddenPick{f.secret(s).Name, pick{f, s}})
	}
	for name, s := range f.effective {
		c.give(name, pick{f, s})
	}
}

// take adds what a selection takes of a folder.
func (c *choice) take(f *folder, selection *Selection, in *Input) {
	claims, missing := selection.claims(f)
	c.missing = append(c.missing, missing...)
	named := len(claims)
	claims = c.mend(claims, in.InvalidKeys)
	if len(claims)+len(missing) == 0 && len(f.effective) > 0 && c.nothing == nil && !in.AllowEmpty {
		c.nothing = &NothingTakenError{Location: f.Location, Secrets: len(f.effective), Invalid: named}
	}
	losers := map[string][]spot{} // by name
	for _, s := range f.losers {
		losers[f.secret(s).Name] = append(losers[f.secret(s).Name], s)
	}
	first := make(map[string]claim, len(claims)) // by key
	for _, next := range claims {
		if before, taken := first[next.key]; taken {
			if before.name != next.name {
				c.collisions = append(c.collisions, newConflict(next.key, pick{f, next.spot}, pick{f, before.spot}))
			}
			continue
		}
		first[next.key] = next
		for _, s := range losers[next.name] {
			if selection.tagged(f, s) {
				c.hidden = append(c.hidden, hiddenPick{next.key, pick{f, s}})
			}
		}
		c.give(next.key, pick{f, next.spot})
	}
}

// mend does what InvalidKeys says with the keys that are not valid.
func (c *choice) mend(claims []claim, invalid InvalidKeys) []claim {
	switch invalid {
	case InvalidKeysSkip:
		return slices.DeleteFunc(claims, func(claimed claim) bool {
			valid := validKey(claimed.key)
			if !valid {
				c.skipped = append(c.skipped, claimed.key)
			}
			return !valid
		})
	case InvalidKeysReplace:
		for i := range claims {
			claims[i].key = replaceInvalid(claims[i].key)
		}
	}
	return claims
}

func (c *choice) give(key string, p pick) {
	if before, taken := c.chosen[key]; taken {
		c.hidden = append(c.hidden, hiddenPick{key, before})
	}
	c.chosen[key] = p
}

// check returns the first error that needs no reference to be read.
func (c *choice) check() error {
	switch {
	case c.nothing != nil:
		return c.nothing
	case len(c.missing) > 0:
		return &MissingError{Missing: c.missing}
	}
	if err := checkKeys(c.keys); err != nil {
		return err
	}
	if len(c.collisions) == 0 {
		return nil
	}
	slices.SortFunc(c.collisions, func(a, b Conflict) int {
		return cmp.Or(strings.Compare(a.Key, b.Key), compareLocations(a.Winner, b.Winner), compareLocations(a.Other, b.Other),
			strings.Compare(a.WinnerName, b.WinnerName), strings.Compare(a.OtherName, b.OtherName))
	})
	// Two sources of one folder may say the same.
	return &ConflictError{Conflicts: slices.Compact(c.collisions)}
}
