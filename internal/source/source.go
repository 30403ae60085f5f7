// Package source reads what service tokens and machine identities may read: each distinct source once, whoever wants it. Objects
// subscribe, a poller per source fetches and decrypts at the shortest interval that a subscriber wants, keeps the last good answer
// in memory, and tells its subscribers when it changed. Who has something to write gets a Folder. It knows nothing of Kubernetes.
package source

import (
	"bytes"
	"slices"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// Decryption is who decrypts. The zero value leaves it to the project's version and the token.
type Decryption string

// Client and Server force one side; Auto is the zero value.
const (
	Auto   Decryption = ""
	Client Decryption = "Client"
	Server Decryption = "Server"
)

// Credential is how to read: where, with what, and who decrypts. Server is one per host and CA bundle. Either Token or Identity is
// set; for an identity, which has no key, the server decrypts.
type Credential struct {
	Server     *infisical.Server
	Token      servicetoken.Token
	Identity   Identity
	Decryption Decryption
}

// ID is the public name of what is read with: the token's id, or the identity's.
func (c Credential) ID() string {
	if c.Identity.IsZero() {
		return c.Token.ID()
	}
	return c.Identity.ID()
}

// session is the part of a credential that decides how a token is described.
func (c Credential) session() Credential {
	c.Decryption = Auto
	return c
}

// Place is what to read: an environment by its slug and an absolute path without a trailing slash, but for "/" itself.
type Place struct {
	Environment, Path string
	Recursive         bool
}

// String is environment:path.
func (p Place) String() string { return p.Environment + ":" + p.Path }

// MarshalText makes it the same in a log.
func (p Place) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Key tells sources apart.
type Key struct {
	Credential
	Place
}

// Secret is one decrypted secret. Value is shared by all readers and never changed.
type Secret struct {
	Name  string
	Value []byte
	Path  string   // of the folder it lies in
	Tags  []string // slugs, sorted; imported secrets have none
}

// Import is what a folder imports from one other folder. Environment and Path are the server's label for it, which can be
// wrong where a folder is missing.
type Import struct {
	Environment, Path string
	Secrets           []Secret
}

// Snapshot is everything a source held when it was read. It is never changed, so the same pointer means the same content.
type Snapshot struct {
	Place   Place
	Secrets []Secret // in the server's order
	Imports []Import // in position order: later ones win
	// At is when this content was first read; an equal one that is read later does not change it.
	At time.Time
}

// Empty says whether there is not a single secret in it.
func (s *Snapshot) Empty() bool {
	return len(s.Secrets) == 0 && !slices.ContainsFunc(s.Imports, func(i Import) bool { return len(i.Secrets) > 0 })
}

func (s *Snapshot) equal(o *Snapshot) bool {
	return equalSecrets(s.Secrets, o.Secrets) && slices.EqualFunc(s.Imports, o.Imports, func(a, b Import) bool {
		return a.Environment == b.Environment && a.Path == b.Path && equalSecrets(a.Secrets, b.Secrets)
	})
}

func equalSecrets(a, b []Secret) bool {
	return slices.EqualFunc(a, b, func(a, b Secret) bool {
		return a.Name == b.Name && a.Path == b.Path && bytes.Equal(a.Value, b.Value) && slices.Equal(a.Tags, b.Tags)
	})
}
