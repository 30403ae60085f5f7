package devserver

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// TokenSpec is what a user chooses when making a service token.
type TokenSpec struct {
	Name        string              `json:"name"`
	Scopes      servicetoken.Scopes `json:"scopes"`
	Permissions []string            `json:"permissions"` // of read and write; read if none is given
	ExpiresIn   time.Duration       `json:"-"`           // 0 is never; in JSON a text such as "24h"
	WithoutKey  bool                `json:"withoutKey"`  // no part 4, so nothing for the client to decrypt with
	ID          string              `json:"id"`          // random if empty
	Token       string              `json:"token"`       // a whole token, where a demo must know it beforehand
}

// token is one as the server has it: with the secret in clear text, which a real one knows only as a hash.
type token struct {
	id, secret, whole, name string
	project                 *Project
	scopes                  servicetoken.Scopes
	permissions             []string
	key                     servicetoken.Sealed // the project's, for part 4; zero without it
	hash                    string
	expires                 time.Time // zero is never
	created, updated        string
	lastUsed                string
	usedAt, flushAt         time.Time // a use that lastUsed does not show yet, and when it will
	identity                bool      // these are the rights of a machine identity, and all fields about secrets and uses are empty
	everywhere              bool      // in place of scopes
}

// flushDelay is how long the server collects uses of a token before it writes the last one down.
const flushDelay = time.Minute

// AddToken makes a token for the project, as the web interface does, and returns it whole: st.<id>.<secret>.<key>, or
// without the last part where the spec says so.
func (p *Project) AddToken(spec TokenSpec) string {
	defer p.lock()()
	return p.addToken(spec)
}

func (p *Project) addToken(spec TokenSpec) string {
	s := p.server
	t := &token{
		project: p, name: spec.Name, scopes: slices.Clone(spec.Scopes), permissions: slices.Clone(spec.Permissions),
		whole: s.wholeToken(spec), hash: s.hash(), created: s.now(), updated: s.now(),
	}
	if len(t.permissions) == 0 {
		t.permissions = []string{"read"}
	}
	if spec.ExpiresIn != 0 {
		t.expires = s.clock.Now().Add(spec.ExpiresIn)
	}
	parsed, err := servicetoken.Parse(t.whole)
	if err != nil {
		panic(wrong("making a token: %w", err))
	}
	t.id, t.secret = parsed.ID(), parsed.Bearer()[len("st.")+len(parsed.ID())+1:]
	if s.tokens[t.id] != nil {
		panic(wrong("there is a token with id %s already", t.id))
	}
	if parsed.HasKey() {
		if t.key, err = parsed.SealProjectKey(p.key, s.random); err != nil {
			panic(wrong("making a token: %w", err))
		}
	}
	s.tokens[t.id] = t
	return t.whole
}

func (s *Server) wholeToken(spec TokenSpec) string {
	if spec.Token != "" {
		return strings.TrimSpace(spec.Token)
	}
	id := spec.ID
	if id == "" {
		id = s.uuid()
	}
	whole := "st." + id + "." + s.hex(16)
	if !spec.WithoutKey {
		whole += "." + s.hex(16)
	}
	return whole
}

// hash looks like a bcrypt hash and is none.
func (s *Server) hash() string {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	text := s.bytes(53)
	for i, b := range text {
		text[i] = alphabet[b%64]
	}
	return "$2b$10$" + string(text)
}

// Revoke deletes a token, given whole, without its key, or by its id. A token that is not there stays so.
func (s *Server) Revoke(token string) {
	id := token
	if parts := strings.Split(token, "."); parts[0] == "st" && len(parts) > 1 {
		id = parts[1]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, id)
}

// use notes that the token was used. What was used before appears in the token's own answer, and so changes its ETag,
// about a minute later.
func (t *token) use(now time.Time) {
	if !t.flushAt.IsZero() && !now.Before(t.flushAt) {
		t.lastUsed, t.updated, t.flushAt = stamp(t.usedAt), stamp(t.flushAt), time.Time{}
	}
	t.usedAt = now
	if t.flushAt.IsZero() {
		t.flushAt = now.Add(flushDelay)
	}
}

// account is the user who made the projects and tokens; the server shows it to every token.
type account struct {
	AuthMethods []string  `json:"authMethods"`
	ID          string    `json:"id"`
	CreatedAt   string    `json:"createdAt"`
	UpdatedAt   string    `json:"updatedAt"`
	Devices     []device  `json:"devices"`
	Email       string    `json:"email"`
	FirstName   string    `json:"firstName"`
	LastName    string    `json:"lastName"`
	MFAMethods  *[]string `json:"mfaMethods"`
	V           int       `json:"__v"`
	OldID       string    `json:"_id"`
}

type device struct {
	IP        string `json:"ip"`
	UserAgent string `json:"userAgent"`
}

func (s *Server) newAccount() account {
	id := s.uuid()
	return account{
		AuthMethods: []string{"email"}, ID: id, OldID: id, CreatedAt: s.now(), UpdatedAt: s.now(),
		Devices: []device{{"127.0.0.1", "devserver"}}, Email: "admin@example.test", FirstName: "Ada", LastName: "Admin",
	}
}

type scopeBody struct {
	SecretPath  string `json:"secretPath"`
	Environment string `json:"environment"`
}

// tokenBody has its bytes in base64, or null where there is no key.
type tokenBody struct {
	ID           string      `json:"id"`
	Name         string      `json:"name"`
	Scopes       []scopeBody `json:"scopes"`
	Permissions  []string    `json:"permissions"`
	LastUsed     *string     `json:"lastUsed"`
	ExpiresAt    *string     `json:"expiresAt"`
	SecretHash   string      `json:"secretHash"`
	EncryptedKey []byte      `json:"encryptedKey"`
	IV           []byte      `json:"iv"`
	Tag          []byte      `json:"tag"`
	CreatedAt    string      `json:"createdAt"`
	UpdatedAt    string      `json:"updatedAt"`
	CreatedBy    string      `json:"createdBy"`
	ProjectID    string      `json:"projectId"`
	Workspace    string      `json:"workspace"`
	User         account     `json:"user"`
	OldID        string      `json:"_id"`
	V            int         `json:"__v"`
}

// showToken answers GET /api/v2/service-token.
func (s *Server) showToken(c *call) *answer {
	t := c.token
	if t.identity {
		return c.forbidden()
	}
	body := tokenBody{
		ID: t.id, Name: t.name, Scopes: []scopeBody{}, Permissions: t.permissions, LastUsed: orNull(t.lastUsed), SecretHash: t.hash,
		CreatedAt: t.created, UpdatedAt: t.updated, CreatedBy: s.user.ID, ProjectID: t.project.id, Workspace: t.project.id, User: s.user,
		OldID: t.id,
	}
	body.EncryptedKey, body.IV, body.Tag = t.key.Parts()
	for _, scope := range t.scopes {
		body.Scopes = append(body.Scopes, scopeBody{scope.Path, scope.Environment})
	}
	if !t.expires.IsZero() {
		body.ExpiresAt = orNull(stamp(t.expires))
	}
	return newAnswer(http.StatusOK, body)
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
