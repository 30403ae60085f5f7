package source

import "strings"

// Modified makes every source be read now that reads a folder of a project, or a folder above it with all below. It returns how
// many these are. However often it is called, a source has one read under way and one to follow: what is told while one waits or
// is on its way asks for the same next one, which begins later and so sees all that was told.
//
// A source is of the project that its token was described with; one without a description is about to be read for the first time
// anyway. One that has the folder through an import is not found here: Infisical tells of the importing folder, too.
func (p *Pool) Modified(projectID, environment, path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := 0
	for key, e := range p.sources {
		if !key.Place.covers(environment, path) {
			continue
		}
		if token, described, _ := p.sessions[key.session()].read(); described && token.projectID == projectID {
			e.poke()
			found++
		}
	}
	return found
}

// covers says whether reading the place reads the folder.
func (p Place) covers(environment, path string) bool {
	if p.Environment != environment {
		return false
	}
	return p.Path == path || p.Recursive && strings.HasPrefix(path, strings.TrimSuffix(p.Path, "/")+"/")
}
