package devserver

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// Project is one project of a Server.
type Project struct {
	server           *Server
	id, name, slug   string
	key              string // 32 characters that encrypt the secrets of versions 1 and 2
	cipher           servicetoken.ProjectKey
	version          int
	strict           bool // the server does not hold the key
	org              string
	created, updated string
	environments     []*environment
	webhooks         []webhook
	answers          map[question]*answer // lists, kept until something changes
}

// AddProject makes a project of version 1, 2 or 3 with the environments dev, staging and prod.
func (s *Server) AddProject(version int) *Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addProject(Seed{Version: version})
}

// AddStrictProject makes a project of version 1 whose key the server does not hold, so that it cannot decrypt for anybody.
func (s *Server) AddStrictProject() *Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addProject(Seed{Version: 1, Strict: true})
}

func (s *Server) addProject(seed Seed) *Project {
	n := len(s.projects) + 1
	p := &Project{
		server: s, id: seed.ID, key: seed.Key, version: seed.Version, strict: seed.Strict, org: s.uuid(), created: s.now(), updated: s.now(),
		name: fmt.Sprintf("Project %d", n), slug: fmt.Sprintf("project-%d", n),
	}
	if p.version < 1 || p.version > 3 || p.strict && p.version != 1 {
		panic(wrong("a project has version 1, 2 or 3, and a strict one has version 1"))
	}
	if p.id == "" {
		p.id = s.uuid()
	}
	if p.key == "" {
		p.key = s.hex(16)
	}
	if slices.ContainsFunc(s.projects, func(other *Project) bool { return other.id == p.id }) {
		panic(wrong("there is a project with id %s already", p.id))
	}
	var err error
	if p.cipher, err = servicetoken.NewProjectKey(p.key); err != nil {
		panic(wrong("making a project: %w", err))
	}
	if len(seed.Environments) == 0 {
		seed.Environments = []string{"dev", "staging", "prod"}
	}
	for _, slug := range seed.Environments {
		p.addEnvironment(slug)
	}
	s.projects = append(s.projects, p)
	return p
}

// RemoveProject deletes a project with all that is in it, its tokens and identities too.
func (s *Server) RemoveProject(p *Project) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.projects = slices.DeleteFunc(s.projects, func(other *Project) bool { return other == p })
	for id, t := range s.tokens {
		if t.project == p {
			delete(s.tokens, id)
		}
	}
	s.removeIdentities(p)
}

// ID is the project's id, a UUID.
func (p *Project) ID() string { return p.id }

// Slug is the project's other name, which machine identities can use.
func (p *Project) Slug() string { return p.slug }

// Key is the project's key: the 32 characters that encrypt its secrets.
func (p *Project) Key() string { return p.key }

// Version is 1, 2 or 3.
func (p *Project) Version() int {
	defer p.lock()()
	return p.version
}

// Tokens returns the project's tokens, whole, ordered by name and id.
func (p *Project) Tokens() []string {
	defer p.lock()()
	var found []*token
	for _, t := range p.server.tokens {
		if t.project == p {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *token) int { return strings.Compare(a.name+"\x00"+a.id, b.name+"\x00"+b.id) })
	texts := make([]string, len(found))
	for i, t := range found {
		texts[i] = t.whole
	}
	return texts
}

// Migrate makes version 3 of a version 1 or 2. The encrypted endpoint goes on to answer what is there now, for ever.
func (p *Project) Migrate() {
	defer p.change()()
	if p.version == 3 || p.strict {
		panic(wrong("only projects of version 1 and 2 whose key the server holds can be migrated"))
	}
	p.version = 3
	for _, e := range p.environments {
		for _, f := range e.folders {
			for _, s := range f.secrets {
				was := *s
				f.stale = append(f.stale, &was)
			}
		}
	}
}

// lock takes the server's lock and returns what gives it back; change also forgets the kept answers.
func (p *Project) lock() (unlock func()) {
	p.server.mu.Lock()
	return p.server.mu.Unlock
}

func (p *Project) change() (unlock func()) {
	p.server.mu.Lock()
	p.answers = nil
	return p.server.mu.Unlock
}

type environmentBody struct {
	Name string `json:"name"`
	Slug string `json:"slug"`
	ID   string `json:"id"`
}

type projectBody struct {
	ID                     string            `json:"id"`
	Name                   string            `json:"name"`
	Slug                   string            `json:"slug"`
	AutoCapitalization     bool              `json:"autoCapitalization"`
	OrgID                  string            `json:"orgId"`
	CreatedAt              string            `json:"createdAt"`
	UpdatedAt              string            `json:"updatedAt"`
	Version                int               `json:"version"`
	UpgradeStatus          *string           `json:"upgradeStatus"`
	PITVersionLimit        int               `json:"pitVersionLimit"`
	KMSCertificateKeyID    *string           `json:"kmsCertificateKeyId"`
	AuditLogsRetentionDays *int              `json:"auditLogsRetentionDays"`
	OldID                  string            `json:"_id"`
	Environments           []environmentBody `json:"environments"`
}

// showProject answers GET /api/v1/workspace/<id>, whatever the token's scopes and permissions are.
func (s *Server) showProject(c *call) *answer {
	p, refused := c.project(c.segment["workspaceId"])
	if refused != nil {
		return refused
	}
	return newAnswer(http.StatusOK, struct {
		Workspace projectBody `json:"workspace"`
	}{p.description()})
}

// showProjectBySlug answers GET /api/v2/workspace/<slug>, to identities. It is not among the recordings, but in Infisical's source.
func (s *Server) showProjectBySlug(c *call) *answer {
	if !c.token.identity {
		return c.forbidden()
	}
	p, refused := c.projectBySlug(c.segment["slug"])
	if refused != nil {
		return refused
	}
	return newAnswer(http.StatusOK, p.description())
}

func (c *call) projectBySlug(slug string) (*Project, *answer) {
	p := c.token.project
	if p.slug != slug {
		return nil, p.noneOfItsOwn("slug", slug, func(other *Project) bool { return other.slug == slug })
	}
	return p, nil
}

func (p *Project) description() projectBody {
	body := projectBody{
		ID: p.id, OldID: p.id, Name: p.name, Slug: p.slug, AutoCapitalization: true, OrgID: p.org, CreatedAt: p.created, UpdatedAt: p.updated,
		Version: p.version, PITVersionLimit: 10, Environments: []environmentBody{},
	}
	for _, e := range p.environments {
		body.Environments = append(body.Environments, environmentBody{e.name, e.slug, e.id})
	}
	return body
}
