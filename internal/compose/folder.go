package compose

import (
	"bytes"
	"slices"
	"strings"
)

// folder is a Folder with what it takes to find a secret in it. Most folders are only listed, so the indexes below the losers are
// made when the first reference needs them.
type folder struct {
	*Folder
	effective map[string]spot      // by name: what the folder gives, own secrets before imports
	losers    []spot               // own secrets that lost their name to another own one
	imported  map[string]spot      // by name: what the imports give
	own       map[pathAndName]spot // in a recursive read
	entries   []map[string]spot    // by name, for each import entry
	nodes     [][]*node            // as spot addresses them
}

// spot is the place of a secret within its folder: list 0 are the own secrets, list n those of the nth import entry.
type spot struct{ list, index int }

type pathAndName struct{ path, name string }

// newFolder fills effective and losers.
func newFolder(read *Folder) *folder {
	f := &folder{Folder: read, effective: make(map[string]spot, len(read.Secrets))}
	for i := range f.Secrets {
		s := spot{0, i}
		name := f.Secrets[i].Name
		before, taken := f.effective[name]
		switch {
		case !taken:
			f.effective[name] = s
		case f.nearer(s, before):
			f.effective[name] = s
			f.losers = append(f.losers, before)
		default:
			f.losers = append(f.losers, s)
		}
	}
	f.addImports(f.effective)
	return f
}

// addImports adds what the imports give to names that are not there yet.
func (f *folder) addImports(names map[string]spot) {
	for list := len(f.Imports); list > 0; list-- {
		addFirst(names, f.Imports[list-1].Secrets, list)
	}
}

func addFirst(names map[string]spot, secrets []Secret, list int) {
	for i := range secrets {
		if _, taken := names[secrets[i].Name]; !taken {
			names[secrets[i].Name] = spot{list, i}
		}
	}
}

// nearer says whether an own secret of a recursive read takes its name from one that comes before it in the server's order.
func (f *folder) nearer(a, b spot) bool {
	pathA, pathB := f.path(a), f.path(b)
	if depthA, depthB := depth(pathA), depth(pathB); depthA != depthB {
		return depthA < depthB
	}
	return pathA < pathB
}

func depth(path string) int { return strings.Count(strings.TrimSuffix(path, "/"), "/") }

// secret returns what lies at a spot.
func (f *folder) secret(s spot) *Secret {
	if s.list > 0 {
		return &f.Imports[s.list-1].Secrets[s.index]
	}
	return &f.Secrets[s.index]
}

// path returns the path whose references a secret shares. What is imported belongs to the folder that imports it, as the
// entry's label may be wrong.
func (f *folder) path(s spot) string {
	if s.list > 0 || !f.Recursive || f.Secrets[s.index].Path == "" {
		return f.Path
	}
	return f.Secrets[s.index].Path
}

func (f *folder) location(s spot) Location { return Location{f.Environment, f.path(s)} }

// beside finds the secret that a reference without a location stands for, in the secret at a spot.
func (f *folder) beside(s spot, name []byte) (spot, bool) {
	if s.list == 0 {
		return f.at(f.path(s), name)
	}
	if f.entries == nil {
		f.entries = make([]map[string]spot, len(f.Imports))
	}
	siblings := f.entries[s.list-1]
	if siblings == nil {
		siblings = make(map[string]spot, len(f.Imports[s.list-1].Secrets))
		addFirst(siblings, f.Imports[s.list-1].Secrets, s.list)
		f.entries[s.list-1] = siblings
	}
	if found, ok := siblings[string(name)]; ok {
		return found, true
	}
	found, ok := f.effective[string(name)]
	return found, ok
}

// at finds a secret that lies at a path of the folder or is imported.
func (f *folder) at(path string, name []byte) (spot, bool) {
	if !f.Recursive {
		found, ok := f.effective[string(name)]
		return found, ok
	}
	if f.own == nil {
		f.own = make(map[pathAndName]spot, len(f.Secrets))
		for i := range f.Secrets {
			place := pathAndName{f.path(spot{0, i}), f.Secrets[i].Name}
			if _, taken := f.own[place]; !taken {
				f.own[place] = spot{0, i}
			}
		}
		f.imported = make(map[string]spot)
		f.addImports(f.imported)
	}
	if found, ok := f.own[pathAndName{path, string(name)}]; ok {
		return found, true
	}
	found, ok := f.imported[string(name)]
	return found, ok
}

// equal says whether two reads returned the same. Where they share the values it does not look at these byte by byte.
func (f *Folder) equal(o *Folder) bool {
	return f.Location == o.Location && f.Recursive == o.Recursive && equalSecrets(f.Secrets, o.Secrets) &&
		slices.EqualFunc(f.Imports, o.Imports, func(a, b Import) bool {
			return a.Location == b.Location && equalSecrets(a.Secrets, b.Secrets)
		})
}

func equalSecrets(a, b []Secret) bool {
	return slices.EqualFunc(a, b, func(a, b Secret) bool {
		return a.Name == b.Name && a.Path == b.Path && bytes.Equal(a.Value, b.Value) && slices.Equal(a.Tags, b.Tags)
	})
}

// value returns a picked secret's value as it is written.
func (p pick) value() []byte { return p.secret(p.spot).Value }

// size returns the length of a picked secret's expansion. It holds after expansion.settle.
func (p pick) size() int {
	if n := p.node(); n != nil {
		return n.size
	}
	return len(p.value())
}

// node returns what the expansion knows about a picked secret: nothing, if it has no references and none leads to it.
func (p pick) node() *node {
	if len(p.nodes) == 0 || p.nodes[p.list] == nil {
		return nil
	}
	return p.nodes[p.list][p.index]
}

func (p pick) setNode(n *node) {
	if p.nodes == nil {
		p.nodes = make([][]*node, 1+len(p.Imports))
	}
	if p.nodes[p.list] == nil {
		secrets := p.Secrets
		if p.list > 0 {
			secrets = p.Imports[p.list-1].Secrets
		}
		p.nodes[p.list] = make([]*node, len(secrets))
	}
	p.nodes[p.list][p.index] = n
}
