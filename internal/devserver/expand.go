package devserver

import (
	"path"
	"regexp"
	"strings"
)

var reference = regexp.MustCompile(`\$\{([^}]+)\}`)

// maxReferences is how deep the server follows references in referred values.
const maxReferences = 10

// expand replaces ${KEY} by a value of the same folder and ${environment.folder.KEY} by one of another. It does so
// whatever the token may read. What it does not find, or not within the depth, stays as it is.
func (p *Project) expand(value, environment, at string, depth int) string {
	if depth == maxReferences {
		return value
	}
	return reference.ReplaceAllStringFunc(value, func(text string) string {
		parts := strings.Split(trim(text[2:len(text)-1]), ".")
		name, environment, at := parts[len(parts)-1], environment, at
		if len(parts) > 1 {
			environment, at = parts[0], path.Join("/", path.Join(parts[1:len(parts)-1]...))
		}
		f := p.findFolder(environment, at)
		if f == nil || f.secret(name) == nil {
			return text
		}
		return p.expand(f.secret(name).value, environment, at, depth+1)
	})
}
