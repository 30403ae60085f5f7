package devserver

import (
	"slices"
	"strings"
)

// secret is kept in clear text, for the server-decrypted endpoints, and in projects of version 1 and 2 also as a client
// encrypted it.
type secret struct {
	id                                     string
	name                                   string // in the URL of a write: what the server finds it by
	shownName, value, comment              string // where the client encrypted, what it opens to; empty for what does not open
	unreadable                             bool   // something does not open
	version                                int
	skipMultiline                          bool
	tags                                   []tagBody
	sealedName, sealedValue, sealedComment encrypted
	created, updated                       string
}

// Secret is one as the server holds it. What does not open is empty.
type Secret struct {
	Value, Comment string
	Version        int // 1, and one more with each change
}

type tagBody struct {
	ID    string `json:"id"`
	Slug  string `json:"slug"`
	Color string `json:"color"`
	Name  string `json:"name"`
}

// Secrets returns what is in a folder, by the names that the server finds them by: of two with the same name, the first. There is
// nothing in a folder that is missing.
func (p *Project) Secrets(environment, path string) map[string]Secret {
	defer p.lock()()
	found := map[string]Secret{}
	if f := p.findFolder(environment, path); f != nil {
		for _, s := range slices.Backward(f.secrets) {
			found[s.name] = Secret{s.value, s.comment, s.version}
		}
	}
	return found
}

// Put makes a secret or changes its value, with new IVs even where the value stays the same. It makes folders that are
// missing. A name that exists twice is changed once, where it comes first.
func (p *Project) Put(environment, path, name, value string) {
	defer p.change()()
	p.put(environment, path, name, value)
	p.modified(environment, path)
}

// PutDuplicate makes another secret of a name, which only client-side encryption allows.
func (p *Project) PutDuplicate(environment, path, name, value string) {
	defer p.change()()
	p.create(p.folder(environment, path), name, p.plain(value, nil))
	p.modified(environment, path)
}

// Tag gives a secret these tags and no others.
func (p *Project) Tag(environment, path, name string, slugs ...string) {
	defer p.change()()
	s := p.secret(environment, path, name)
	s.tags = nil
	for _, slug := range slugs {
		s.tags = append(s.tags, tagBody{ID: p.server.uuid(), Slug: slug, Name: slug})
	}
	p.modified(environment, path)
}

// Delete deletes a secret, and all others of the same name in the folder.
func (p *Project) Delete(environment, path, name string) {
	defer p.change()()
	p.secret(environment, path, name)
	p.folder(environment, path).remove(name)
	p.modified(environment, path)
}

func (p *Project) put(environment, path, name, value string) {
	f := p.folder(environment, path)
	if s := f.secret(name); s != nil {
		p.update(s, p.plain(value, nil))
		return
	}
	p.create(f, name, p.plain(value, nil))
}

// create makes a secret with what is set in it; update changes one.
func (p *Project) create(f *folder, name string, set func(*secret)) *secret {
	s := &secret{id: p.server.uuid(), name: name, version: 1, created: p.server.now(), updated: p.server.now()}
	set(s)
	f.insert(s)
	return s
}

func (p *Project) update(s *secret, set func(*secret)) {
	set(s)
	s.version, s.updated = s.version+1, p.server.now()
}

// plain sets a value that comes in clear text, and a comment unless it is nil.
func (p *Project) plain(value string, comment *string) func(*secret) {
	return func(s *secret) {
		s.shownName, s.value, s.unreadable = s.name, value, false
		if comment != nil {
			s.comment = *comment
		}
		p.seal(s)
	}
}

// seal encrypts everything anew, as the web client does with each save. In version 3 the server keeps it, in its own way.
func (p *Project) seal(s *secret) {
	if p.version == 3 {
		return
	}
	for _, field := range []struct {
		plain  string
		sealed *encrypted
	}{{s.name, &s.sealedName}, {s.value, &s.sealedValue}, {s.comment, &s.sealedComment}} {
		sealed, err := p.cipher.Seal([]byte(field.plain), p.server.random)
		if err != nil {
			panic(wrong("encrypting a secret: %w", err))
		}
		*field.sealed = encryptedOf(sealed)
	}
}

func (p *Project) secret(environment, path, name string) *secret {
	f := p.environment(environment).folders[cleaned(path)]
	if f == nil || f.secret(name) == nil {
		panic(wrong("there is no secret %s in %s:%s", name, environment, path))
	}
	return f.secret(name)
}

func (f *folder) secret(name string) *secret {
	for _, s := range f.secrets {
		if s.name == name {
			return s
		}
	}
	return nil
}

func (f *folder) insert(s *secret) {
	at, _ := slices.BinarySearchFunc(f.secrets, s, byID)
	f.secrets = slices.Insert(f.secrets, at, s)
}

// remove removes all of a name.
func (f *folder) remove(name string) {
	f.secrets = slices.DeleteFunc(f.secrets, func(s *secret) bool { return s.name == name })
}

func byID(a, b *secret) int { return strings.Compare(a.id, b.id) }
