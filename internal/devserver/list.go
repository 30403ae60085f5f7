package devserver

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// question is what a request for secrets asks. Equal questions have equal answers until the project changes.
type question struct {
	sealed            bool // encrypted, for the client to open
	environment, path string
	scopes            string // of the token, where they have a say in the answer
	recursive         bool
	imports           bool
	expand            bool
	v4, hidden        bool
	tags              string
}

// listSealed answers GET /api/v3/secrets: encrypted for the project's key.
func (s *Server) listSealed(c *call) *answer {
	q := question{
		sealed: true, environment: c.query["environment"], path: c.query["secretPath"],
		recursive: c.query["recursive"] == "true", imports: c.query["include_imports"] == "true",
	}
	p, refused := c.project(c.query["workspaceId"])
	if refused != nil {
		return refused
	}
	if c.token.identity {
		// The recordings do not tell how it is refused. It has no key of the project, so nobody asks.
		return notAllowed("read", "secrets")
	}
	return p.list(q, c)
}

// listRaw answers GET /api/v3/secrets/raw: decrypted by the server.
func (s *Server) listRaw(c *call) *answer {
	return s.listDecrypted(c, "workspaceId", "workspace", question{})
}

// listV4 answers GET /api/v4/secrets, which newer servers have in its place.
func (s *Server) listV4(c *call) *answer {
	return s.listDecrypted(c, "projectId", "project", question{v4: true, hidden: c.query["viewSecretValue"] == "false"})
}

func (s *Server) listDecrypted(c *call, param, noun string, q question) *answer {
	id, sent := c.query[param]
	q.environment, q.path = c.query["environment"], c.query["secretPath"]
	if scope, ok := c.token.override(); ok {
		id, sent, q.environment, q.path = c.token.project.id, true, scope.Environment, scope.Path
	}
	if slug := c.query["workspaceSlug"]; id == "" && slug != "" && c.token.identity {
		p, refused := c.projectBySlug(slug)
		if refused != nil {
			return refused
		}
		id, sent = p.id, true
	}
	if !sent || id == "" || q.environment == "" {
		return failure(http.StatusBadRequest, "BadRequest", "Missing "+noun+" id or environment")
	}
	p, refused := c.project(id)
	if refused != nil {
		return refused
	}
	if p.strict {
		return p.withoutKey()
	}
	q.recursive, q.imports, q.tags = c.query["recursive"] == "true", c.query["include_imports"] == "true", c.query["tagSlugs"]
	// The server's own expansion does nothing for versions 1 and 2.
	q.expand = p.version == 3 && c.query["expandSecretReferences"] == "true"
	return p.list(q, c)
}

// list answers a question from what is kept, or finds the answer and keeps it.
func (p *Project) list(q question, c *call) *answer {
	if q.recursive {
		// No refusal here: the real server leaves out the folders that the token may not read, were it all of them.
		q.scopes = strings.Join(c.token.permissions, ",") + c.token.scopes.String() + strconv.FormatBool(c.token.everywhere)
	} else if refused := c.token.may("read", "secrets", q.environment, q.path); refused != nil {
		return refused
	}
	if c.fault.WrongTag {
		return p.found(q, c)
	}
	if a := p.answers[q]; a != nil {
		return a
	}
	if p.answers == nil {
		p.answers = map[question]*answer{}
	}
	a := p.found(q, c)
	p.answers[q] = a
	return a
}

// withoutKey is what the server answers where it shall decrypt and does not hold the key.
func (p *Project) withoutKey() *answer {
	return failure(http.StatusNotFound, "NotFound", "Project bot not found for project with ID '"+p.id+
		"'. Please ask an administrator to log-in to the Infisical Console.")
}

// found makes an answer. A folder or an environment that does not exist is no error.
func (p *Project) found(q question, c *call) *answer {
	folders := p.read(q, c.token)
	if len(folders) == 0 {
		return newAnswer(http.StatusOK, listBody{Secrets: []any{}, Imports: &[]importsBody{}})
	}
	var entries []importEntry
	if q.imports {
		var wanted []*folderImport
		for _, f := range folders {
			wanted = append(wanted, f.imports...)
		}
		entries = resolve(wanted, p.chosen(q), map[*folder]bool{}, 0)
	}
	if !q.sealed && unreadable(folders, entries) {
		return wentWrong() // in Infisical's source, one secret that does not open fails them all
	}
	body := listBody{Secrets: p.bodies(q, folders, c.fault)}
	if q.imports || !q.sealed { // the server-decrypted endpoints always have them
		bodies := []importsBody{}
		for _, entry := range entries {
			bodies = append(bodies, p.importsBody(q, entry, c.fault))
		}
		body.Imports = &bodies
	}
	return newAnswer(http.StatusOK, body)
}

// unreadable says whether something is there that the server cannot open.
func unreadable(folders []*folder, entries []importEntry) bool {
	return slices.ContainsFunc(folders, func(f *folder) bool {
		return slices.ContainsFunc(f.secrets, func(s *secret) bool { return s.unreadable })
	}) || slices.ContainsFunc(entries, func(e importEntry) bool {
		return slices.ContainsFunc(e.secrets, func(s importedSecret) bool { return s.unreadable })
	})
}

// read returns the folders that a question is about.
func (p *Project) read(q question, t *token) []*folder {
	if !q.recursive {
		if f := p.findFolder(q.environment, q.path); f != nil {
			return []*folder{f}
		}
		return nil
	}
	e := p.find(q.environment)
	if e == nil {
		return nil
	}
	var found []*folder
	for path, f := range e.folders {
		// The real server compares the beginnings of texts, so that /db finds /dbx too.
		if (q.path == "/" || strings.HasPrefix(path, q.path)) && t.allowed("read", q.environment, path) {
			found = append(found, f)
		}
	}
	slices.SortFunc(found, func(a, b *folder) int { return strings.Compare(a.path, b.path) })
	return found
}

// chosen says which secrets of a folder a question is about: those before a migration are what the encrypted endpoint
// knows of a version-3 project, and nothing where there was none.
func (p *Project) chosen(q question) func(*folder) []*secret {
	if q.sealed && p.version == 3 {
		return func(f *folder) []*secret { return f.stale }
	}
	return func(f *folder) []*secret { return f.secrets }
}

// bodies are the secrets of all folders in the order of their ids.
func (p *Project) bodies(q question, folders []*folder, fault Fault) []any {
	type placed struct {
		*secret
		*folder
	}
	var all []placed
	for _, f := range folders {
		for _, s := range p.chosen(q)(f) {
			if s.tagged(q.tags) {
				all = append(all, placed{s, f})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return byID(a.secret, b.secret) })
	bodies := make([]any, len(all))
	for i, s := range all {
		bodies[i] = p.body(q, s.secret, s.folder, fault)
	}
	return bodies
}

// tagged says whether the secret has one of the tags in a comma-separated list. An empty list asks for nothing.
func (s *secret) tagged(list string) bool {
	if list == "" {
		return true
	}
	return slices.ContainsFunc(strings.Split(list, ","), func(slug string) bool {
		return slices.ContainsFunc(s.tags, func(t tagBody) bool { return t.Slug == trim(slug) })
	})
}
