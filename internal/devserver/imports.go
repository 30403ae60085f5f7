package devserver

import (
	"net/http"
	"slices"
)

// folderImport makes the secrets of another folder, which need not exist, appear in a folder.
type folderImport struct {
	id, into         string // its own and its folder's id
	environment      *environment
	path             string
	position         int
	created, updated string
}

// AddImport lets a folder import another one. Later imports win over earlier ones.
func (p *Project) AddImport(environment, path, fromEnvironment, fromPath string) {
	defer p.change()()
	p.addImport(environment, path, fromEnvironment, fromPath)
}

func (p *Project) addImport(environment, path, fromEnvironment, fromPath string) {
	f := p.folder(environment, path)
	f.imports = append(f.imports, &folderImport{
		id: p.server.uuid(), into: f.id, environment: p.environment(fromEnvironment), path: cleaned(fromPath),
		position: len(f.imports) + 1, created: p.server.now(), updated: p.server.now(),
	})
}

// source is nil where the folder is missing.
func (i *folderImport) source() *folder { return i.environment.folders[i.path] }

// importEntry is one import with what it brings.
type importEntry struct {
	*folderImport
	from    *folder // nil where there is no folder to label it with
	secrets []importedSecret
}

type importedSecret struct {
	*secret
	environment string  // as the import is labeled
	folder      *folder // where it is
}

// importLevels is how deep the server follows imports of imports.
const importLevels = 10

// resolve follows imports level by level, in the way of the real server, whose habits clients have to live with:
//   - a missing source folder is left out before folders are matched with imports by position, so that all entries after
//     it carry the label of one import and the secrets of the next;
//   - if all source folders are missing there are no entries at all;
//   - of an imported folder's own imports, only the first is appended, with names that the folder has too;
//   - what was imported on an earlier level is not imported again.
func resolve(wanted []*folderImport, secretsOf func(*folder) []*secret, seen map[*folder]bool, level int) []importEntry {
	if level == importLevels {
		return nil
	}
	wanted = slices.DeleteFunc(slices.Clone(wanted), func(i *folderImport) bool { return seen[i.source()] })
	var found []*folder
	var deeper []*folderImport
	for _, i := range wanted {
		if f := i.source(); f != nil {
			found = append(found, f)
			deeper = append(deeper, f.imports...)
		}
	}
	if len(found) == 0 {
		return nil
	}
	for _, f := range found {
		seen[f] = true
	}
	nested := map[string][]importedSecret{}
	for _, entry := range slices.Backward(resolve(deeper, secretsOf, seen, level+1)) {
		nested[entry.into] = entry.secrets
	}
	entries := make([]importEntry, len(wanted))
	for n, i := range wanted {
		entries[n].folderImport = i
		if n < len(found) {
			entries[n].from = found[n]
			for _, s := range secretsOf(found[n]) {
				entries[n].secrets = append(entries[n].secrets, importedSecret{s, i.environment.slug, found[n]})
			}
		}
		if f := i.source(); f != nil {
			entries[n].secrets = append(entries[n].secrets, nested[f.id]...)
		}
	}
	return entries
}

type importBody struct {
	ID                   string          `json:"id"`
	Version              int             `json:"version"`
	ImportPath           string          `json:"importPath"`
	Position             int             `json:"position"`
	CreatedAt            string          `json:"createdAt"`
	UpdatedAt            string          `json:"updatedAt"`
	FolderID             string          `json:"folderId"`
	IsReplication        bool            `json:"isReplication"`
	IsReplicationSuccess *bool           `json:"isReplicationSuccess"`
	ReplicationStatus    *string         `json:"replicationStatus"`
	LastReplicated       *string         `json:"lastReplicated"`
	IsReserved           bool            `json:"isReserved"`
	ImportEnv            environmentBody `json:"importEnv"`
}

// listImports answers GET /api/v1/secret-imports, which tells a missing folder from an empty one.
func (s *Server) listImports(c *call) *answer {
	p, refused := c.project(c.query["workspaceId"])
	if refused != nil {
		return refused
	}
	environment, path := c.query["environment"], c.query["path"]
	if refused := c.token.may("read", "secret-imports", environment, path); refused != nil {
		return refused
	}
	f := p.findFolder(environment, path)
	if f == nil {
		return failure(http.StatusNotFound, "NotFound", "Folder with path '"+path+"' in environment with slug '"+environment+"' not found")
	}
	bodies := []importBody{}
	for _, i := range f.imports {
		bodies = append(bodies, importBody{
			ID: i.id, Version: 1, ImportPath: i.path, Position: i.position, CreatedAt: i.created, UpdatedAt: i.updated, FolderID: i.into,
			ImportEnv: environmentBody{i.environment.name, i.environment.slug, i.environment.id},
		})
	}
	return newAnswer(http.StatusOK, struct {
		Message       string       `json:"message"`
		SecretImports []importBody `json:"secretImports"`
	}{"Successfully fetched secret imports", bodies})
}
