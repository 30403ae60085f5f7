package devserver

import (
	"slices"
	"strings"
)

type environment struct {
	id, slug, name string
	folders        map[string]*folder // by path; "/" is always there
}

type folder struct {
	id, path string
	secrets  []*secret // ordered by id, as the server answers them
	stale    []*secret // what the encrypted endpoint goes on to answer after a migration to version 3
	imports  []*folderImport
}

// AddEnvironment makes an environment with an empty root folder.
func (p *Project) AddEnvironment(slug string) {
	defer p.change()()
	p.addEnvironment(slug)
}

// RenameEnvironment changes the slug. The old one then answers 200 and nothing.
func (p *Project) RenameEnvironment(from, to string) {
	defer p.change()()
	e := p.environment(from)
	if p.find(to) != nil {
		panic(wrong("there is an environment %q already", to))
	}
	e.slug = to
}

// DeleteEnvironment deletes an environment, its folders and secrets, and all imports from it.
func (p *Project) DeleteEnvironment(slug string) {
	defer p.change()()
	gone := p.environment(slug)
	p.environments = slices.DeleteFunc(p.environments, func(e *environment) bool { return e == gone })
	for _, e := range p.environments {
		for _, f := range e.folders {
			f.imports = slices.DeleteFunc(f.imports, func(i *folderImport) bool { return i.environment == gone })
		}
	}
}

// AddFolder makes a folder and those above it, where they are missing.
func (p *Project) AddFolder(environment, path string) {
	defer p.change()()
	p.folder(environment, path)
}

// DeleteFolder deletes a folder and everything below it.
func (p *Project) DeleteFolder(environment, path string) {
	defer p.change()()
	e := p.environment(environment)
	path = cleaned(path)
	if e.folders[path] == nil || path == "/" {
		panic(wrong("there is no folder %s in %s that could be deleted", path, environment))
	}
	for other := range e.folders {
		if other == path || strings.HasPrefix(other, path+"/") {
			delete(e.folders, other)
		}
	}
}

func (p *Project) addEnvironment(slug string) {
	if slug == "" || p.find(slug) != nil {
		panic(wrong("there is an environment %q already, or the slug is empty", slug))
	}
	name := map[string]string{"dev": "Development", "staging": "Staging", "prod": "Production"}[slug]
	if name == "" {
		name = slug
	}
	e := &environment{id: p.server.uuid(), slug: slug, name: name, folders: map[string]*folder{}}
	e.folders["/"] = &folder{id: p.server.uuid(), path: "/"}
	p.environments = append(p.environments, e)
}

// find returns nil where there is no such environment; environment panics.
func (p *Project) find(slug string) *environment {
	for _, e := range p.environments {
		if e.slug == slug {
			return e
		}
	}
	return nil
}

func (p *Project) environment(slug string) *environment {
	e := p.find(slug)
	if e == nil {
		panic(wrong("there is no environment %q", slug))
	}
	return e
}

// findFolder returns nil where there is no such folder; folder makes it.
func (p *Project) findFolder(environment, path string) *folder {
	e := p.find(environment)
	if e == nil {
		return nil
	}
	return e.folders[withoutSlash(path)]
}

func (p *Project) folder(environment, path string) *folder {
	e := p.environment(environment)
	path = cleaned(path)
	for i := 1; i <= len(path); i++ {
		if i == len(path) || path[i] == '/' {
			if above := path[:i]; e.folders[above] == nil {
				e.folders[above] = &folder{id: p.server.uuid(), path: above}
			}
		}
	}
	return e.folders[path]
}

// cleaned refuses what the web interface could not have made.
func cleaned(path string) string {
	path = withoutSlash(path)
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") {
		panic(wrong("%q is no path of a folder", path))
	}
	return path
}
