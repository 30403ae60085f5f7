package devserver

import (
	"slices"
	"strings"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// secret is kept in clear text, for the server-decrypted endpoints, and in projects of version 1 and 2 also as the web
// client encrypted it.
type secret struct {
	id, name, value, comment               string
	version                                int
	skipMultiline                          bool
	tags                                   []tagBody
	sealedName, sealedValue, sealedComment servicetoken.Sealed
	created, updated                       string
}

type tagBody struct {
	ID    string `json:"id"`
	Slug  string `json:"slug"`
	Color string `json:"color"`
	Name  string `json:"name"`
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
	p.add(p.folder(environment, path), name, value)
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
	f := p.folder(environment, path)
	f.secrets = slices.DeleteFunc(f.secrets, func(s *secret) bool { return s.name == name })
	p.modified(environment, path)
}

func (p *Project) put(environment, path, name, value string) {
	f := p.folder(environment, path)
	s := f.secret(name)
	if s == nil {
		p.add(f, name, value)
		return
	}
	s.value, s.version, s.updated = value, s.version+1, p.server.now()
	p.seal(s)
}

func (p *Project) add(f *folder, name, value string) {
	s := &secret{id: p.server.uuid(), name: name, value: value, version: 1, created: p.server.now(), updated: p.server.now()}
	p.seal(s)
	f.insert(s)
}

// seal encrypts everything anew, as the web client does with each save. In version 3 the server keeps it, in its own way.
func (p *Project) seal(s *secret) {
	if p.version == 3 {
		return
	}
	for _, field := range []struct {
		plain  string
		sealed *servicetoken.Sealed
	}{{s.name, &s.sealedName}, {s.value, &s.sealedValue}, {s.comment, &s.sealedComment}} {
		var err error
		if *field.sealed, err = p.cipher.Seal([]byte(field.plain), p.server.random); err != nil {
			panic(wrong("encrypting a secret: %w", err))
		}
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

func byID(a, b *secret) int { return strings.Compare(a.id, b.id) }
