package devserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Seed describes a project with everything in it: in the file that hack/devserver starts with, and for its management API.
type Seed struct {
	ID           string                                  `json:"id"`           // random if empty
	Key          string                                  `json:"key"`          // 32 characters; random if empty
	Version      int                                     `json:"version"`      // 1, 2 or 3
	Strict       bool                                    `json:"strict"`       // the server does not hold the key; version 1 only
	Environments []string                                `json:"environments"` // dev, staging and prod if empty
	Secrets      map[string]map[string]map[string]string `json:"secrets"`      // environment, path, name, value
	Imports      []ImportSpec                            `json:"imports"`      // in the order of their positions
	Tokens       []TokenSpec                             `json:"tokens"`
	Identities   []IdentitySpec                          `json:"identities"`
}

// ImportSpec is one import of a folder into another.
type ImportSpec struct {
	Environment     string `json:"environment"`
	Path            string `json:"path"`
	FromEnvironment string `json:"fromEnvironment"`
	FromPath        string `json:"fromPath"`
}

// Load makes a project of a seed, or nothing of it and says what is wrong.
func (s *Server) Load(seed Seed) (p *Project, err error) {
	defer func() {
		if err != nil && p != nil {
			s.RemoveProject(p)
			p = nil
		}
	}()
	defer func() { err = misused(recover(), err) }()
	s.mu.Lock()
	defer s.mu.Unlock()
	p = s.addProject(seed)
	for _, environment := range slices.Sorted(maps.Keys(seed.Secrets)) {
		for _, path := range slices.Sorted(maps.Keys(seed.Secrets[environment])) {
			p.folder(environment, path)
			for _, name := range slices.Sorted(maps.Keys(seed.Secrets[environment][path])) {
				p.put(environment, path, name, seed.Secrets[environment][path][name])
			}
		}
	}
	for _, i := range seed.Imports {
		p.addImport(i.Environment, i.Path, i.FromEnvironment, i.FromPath)
	}
	for _, spec := range seed.Tokens {
		p.addToken(spec)
	}
	for _, spec := range seed.Identities {
		p.addIdentity(spec)
	}
	return p, nil
}

// misused turns a recovered misuse of the Go API into an error, for callers who are not programs; without one it is err.
func misused(recovered any, err error) error {
	if recovered == nil {
		return err
	}
	misuse, ok := recovered.(misuseError)
	if !ok {
		panic(recovered)
	}
	return misuse
}

// strictly decodes one JSON value without unknown fields.
func strictly(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one JSON value")
	}
	return nil
}

// duration is a text such as "90s" in JSON.
type duration time.Duration

// UnmarshalText reads it.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("reading a duration: %w", err)
	}
	*d = duration(parsed)
	return nil
}

// UnmarshalJSON reads expiresIn as a text, and refuses unknown fields.
func (t *TokenSpec) UnmarshalJSON(data []byte) error {
	type plain TokenSpec // without this method
	in := struct {
		*plain
		ExpiresIn duration `json:"expiresIn"`
	}{plain: (*plain)(t)}
	err := strictly(data, &in)
	t.ExpiresIn = time.Duration(in.ExpiresIn)
	return err
}

// UnmarshalJSON reads latency and retryAfter as texts, and refuses unknown fields.
func (f *Fault) UnmarshalJSON(data []byte) error {
	type plain Fault // without this method
	in := struct {
		*plain
		Latency    duration `json:"latency"`
		RetryAfter duration `json:"retryAfter"`
	}{plain: (*plain)(f)}
	err := strictly(data, &in)
	f.Latency, f.RetryAfter = time.Duration(in.Latency), time.Duration(in.RetryAfter)
	return err
}
