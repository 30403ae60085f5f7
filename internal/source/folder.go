package source

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// Folder is one place, for somebody who changes it: what it holds, its imports aside, as it was read last and with what was written
// since. It is for one goroutine, and for a moment: whoever keeps it misses what others do.
type Folder struct {
	cred   Credential
	place  Place
	token  *Token
	access *access
	seals  bool // what is written is encrypted here

	secrets map[string][]held
}

// held is one of the secrets of a name, of which client-side encryption allows several.
type held struct {
	value   []byte
	broken  bool                // it does not open
	comment servicetoken.Sealed // zero where it is not known, or the server's affair
}

// State is how a name of a folder compares with what it is to be.
type State int

// The states of a name.
const (
	Absent State = iota
	Same         // as far as the server keeps values: one that it encrypts has no white space around it
	Differs
	Twice // there are several secrets of the name
)

// Folder returns a place of which nothing is known yet, for an owner that reads with the credential; token is as Read told it. No request
// is made; the errors tell why none can lead to a change: ErrNoWrite, ErrProjectUnnamed, *ScopeError, *NotFoundError, or what stands
// against the credential's way to encrypt.
func (p *Pool) Folder(cred Credential, token *Token, place Place) (*Folder, error) {
	p.mu.Lock()
	session := p.sessions[cred.session()]
	p.mu.Unlock()
	switch {
	case session == nil || token == nil:
		return nil, errUnread
	case !token.canWrite:
		return nil, ErrNoWrite
	case token.projectID == "":
		return nil, ErrProjectUnnamed
	}
	if err := token.reaches(place); err != nil {
		return nil, err
	}
	seals, err := cred.decryptsHere(token)
	if err != nil {
		return nil, err
	}
	return &Folder{cred: cred, place: place, token: token, access: session.access, seals: seals}, nil
}

// errUnread is a mistake of the caller's.
var errUnread = errors.New("a folder was asked for with a credential that nobody reads with")

// Like says whether o is the same place, for the same credential, of which the same was known when the folder was asked for.
func (f *Folder) Like(o *Folder) bool {
	return f.cred == o.cred && f.token == o.token && f.place == o.place
}

// ProjectID is the id of the folder's project.
func (f *Folder) ProjectID() string { return f.token.projectID }

// Trims says whether the server removes white space around what is written.
func (f *Folder) Trims() bool { return !f.seals }

// Trimmed is a value as the folder keeps it.
func (f *Folder) Trimmed(value []byte) []byte {
	if f.seals {
		return value
	}
	return []byte(infisical.Trim(string(value)))
}

// Holds makes a snapshot of the place what the folder holds.
func (f *Folder) Holds(s *Snapshot) {
	f.secrets = make(map[string][]held, len(s.Secrets))
	for _, secret := range s.Secrets {
		f.secrets[secret.Name] = append(f.secrets[secret.Name], held{value: secret.Value})
	}
}

// State compares a name with the value that it is to have.
func (f *Folder) State(name string, value []byte) State {
	switch all := f.secrets[name]; {
	case len(all) == 0:
		return Absent
	case len(all) > 1:
		return Twice
	case !all[0].broken && bytes.Equal(f.Trimmed(all[0].value), f.Trimmed(value)):
		return Same
	default:
		return Differs
	}
}

// Value is that of a name that there is one secret of, if it opens.
func (f *Folder) Value(name string) (value []byte, ok bool) {
	if all := f.secrets[name]; len(all) == 1 && !all[0].broken {
		return all[0].value, true
	}
	return nil, false
}

// Reread asks the server for all that the folder holds, however new what is known may be. What does not open differs from every
// value, and is left out where not even its name opens: others write here too. Errors: *infisical.Error, *NotFoundError.
func (f *Folder) Reread(ctx context.Context) error {
	return f.use(ctx, func(auth infisical.Authorization) error {
		secrets, err := f.fetch(ctx, auth)
		if err != nil {
			return err
		}
		if len(secrets) == 0 {
			if err := f.cred.confirm(ctx, auth, f.token, f.place); err != nil {
				return err
			}
		}
		f.secrets = secrets
		return nil
	})
}

func (f *Folder) fetch(ctx context.Context, auth infisical.Authorization) (map[string][]held, error) {
	secrets := map[string][]held{}
	if !f.seals {
		answer, err := f.cred.Server.PlainSecrets(ctx, auth, f.token.query(f.place), "")
		for _, s := range answer.Secrets {
			secrets[s.Name] = append(secrets[s.Name], held{value: []byte(s.Value)})
		}
		return secrets, err
	}
	answer, err := f.cred.Server.CommentedSecrets(ctx, f.cred.Token, f.token.query(f.place))
	if err != nil {
		return nil, err
	}
	for _, s := range answer.Secrets {
		name, err := f.token.key.Open(s.Name)
		if err != nil {
			continue
		}
		value, err := f.token.key.Open(s.Value)
		secrets[string(name)] = append(secrets[string(name)], held{value: value, broken: err != nil, comment: s.Comment})
	}
	return secrets, nil
}

// Create makes a secret of a name that there is none of. Errors: *infisical.Error, *NotFoundError.
func (f *Folder) Create(ctx context.Context, name string, value []byte) error {
	return f.put(ctx, name, held{value: value}, true, f.cred.Server.CreateEncrypted, f.cred.Server.CreatePlain)
}

// Update gives a secret another value. Its comment stays as it is. Errors: as of Create.
func (f *Folder) Update(ctx context.Context, name string, value []byte) error {
	next := held{value: value}
	if all := f.secrets[name]; len(all) > 0 {
		next.comment = all[0].comment
	}
	return f.put(ctx, name, next, false, f.cred.Server.UpdateEncrypted, f.cred.Server.UpdatePlain)
}

func (f *Folder) put(
	ctx context.Context, name string, next held, isNew bool,
	sealed func(context.Context, servicetoken.Token, infisical.Entry, infisical.SealedFields) error,
	plain func(context.Context, infisical.Authorization, infisical.Entry, string) error,
) error {
	fields, err := f.seal(name, &next, isNew)
	if err != nil {
		return err
	}
	err = f.use(ctx, func(auth infisical.Authorization) error {
		if f.seals {
			return sealed(ctx, f.cred.Token, f.entry(name), fields)
		}
		return plain(ctx, auth, f.entry(name), string(next.value))
	})
	if err == nil {
		f.note(name, next)
	}
	return err
}

// seal encrypts what is to be written, if that is to be done here. A new secret gets an empty comment, as from other clients. To one
// that is there, a comment that is not known is not sent: so the server keeps it.
func (f *Folder) seal(name string, next *held, isNew bool) (fields infisical.SealedFields, err error) {
	if !f.seals {
		return fields, nil
	}
	seal := func(plain []byte) (sealed servicetoken.Sealed) {
		if err == nil {
			sealed, err = f.token.key.Seal(plain, rand.Reader)
		}
		return sealed
	}
	fields.Name, fields.Value = seal([]byte(name)), seal(next.value)
	if isNew {
		next.comment = seal(nil)
	}
	fields.Comment = next.comment
	if err != nil {
		return fields, fmt.Errorf("encrypting: %w", err)
	}
	return fields, nil
}

// Delete deletes a secret. Errors: as of Create.
func (f *Folder) Delete(ctx context.Context, name string) error {
	err := f.use(ctx, func(auth infisical.Authorization) error {
		if f.seals {
			return f.cred.Server.DeleteEncrypted(ctx, f.cred.Token, f.entry(name))
		}
		return f.cred.Server.DeletePlain(ctx, auth, f.entry(name))
	})
	if err == nil {
		delete(f.secrets, name)
	}
	return err
}

func (f *Folder) note(name string, now held) {
	if f.secrets == nil {
		f.secrets = map[string][]held{}
	}
	f.secrets[name] = []held{now}
}

func (f *Folder) entry(name string) infisical.Entry {
	return infisical.Entry{ProjectID: f.token.projectID, Environment: f.place.Environment, Path: f.place.Path, Name: name}
}

// use authenticates, and tells a missing folder as reading does.
func (f *Folder) use(ctx context.Context, do func(infisical.Authorization) error) error {
	_, err := f.access.use(ctx, do)
	if infisical.KindOf(err) == infisical.KindFolderNotFound {
		return &NotFoundError{Place: f.place}
	}
	return err
}
