package source

import (
	"context"
	"errors"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// reader reads one source: it picks the endpoint, asks with the ETag of the last answer, decrypts, and tells an empty place
// from one that is gone. It is used by one poller only, which makes one attempt at a time.
type reader struct {
	Key
	session *session

	there bool // the last attempt that the server answered found the place

	last *Snapshot // the last good answer
	etag string    // of that answer
	from *Token    // the description it was read under: another one may mean another endpoint or key, so a whole answer

	undecryptable func(fields int) // told of each answer's fields that did not open

	outdated <-chan struct{} // closed when the session has told something else since it was last asked
}

// read makes one attempt. Errors: *infisical.Error and those of this package.
func (r *reader) read(ctx context.Context) (*Snapshot, error) {
	token, news, err := r.session.first(ctx)
	r.outdated = news
	if err != nil && (token == nil || !Transient(err)) {
		return nil, err
	}
	there := r.there
	snapshot, err := r.attempt(ctx, token)
	r.there = err == nil || there && Transient(err)
	if !doubtful(err) {
		return snapshot, err
	}
	// The token, its project or its key may not be what they were. If they are not, this is how it is known.
	age := sessionRecheck
	if there && is[*NotFoundError](err) {
		age = time.Nanosecond // it was there a moment ago: whether its environment still is, only a new description tells
	}
	again, news, renewErr := r.session.renewed(ctx, age)
	r.outdated = news
	if renewErr != nil {
		return nil, renewErr
	}
	if again == token {
		return nil, token.explain(err, r.session.clock.Now())
	}
	return r.attempt(ctx, again)
}

// attempt reads with what the session has to authenticate with.
func (r *reader) attempt(ctx context.Context, token *Token) (snapshot *Snapshot, err error) {
	mended, err := r.session.access.use(ctx, func(auth infisical.Authorization) (err error) {
		snapshot, err = r.readWith(ctx, token, auth)
		return err
	})
	if mended != nil {
		r.outdated = mended
	}
	return snapshot, err
}

// doubtful says whether a new description of the token could change the outcome, or explain it better.
func doubtful(err error) bool {
	if err != nil && paceOf(err) == paceInterval || errors.Is(err, ErrProjectKey) {
		return true
	}
	switch infisical.KindOf(err) {
	case infisical.KindTokenMissing, infisical.KindTokenRejected, infisical.KindTokenExpired, infisical.KindTokenNotFound, infisical.KindTokenRevoked,
		infisical.KindPermissionDenied, infisical.KindWrongProject, infisical.KindNotFound, infisical.KindProjectNotFound, infisical.KindNoServerKey:
		return true
	}
	return false
}

func (r *reader) readWith(ctx context.Context, token *Token, auth infisical.Authorization) (*Snapshot, error) {
	if !token.canRead {
		return nil, ErrNoRead
	}
	if err := token.reaches(r.Place); err != nil {
		return nil, err
	}
	client, err := r.decryptsHere(token)
	if err != nil {
		return nil, err
	}
	etag := r.etag
	if r.from != token {
		etag = ""
	}
	query := token.query(r.Place)
	var next *Snapshot
	if client {
		next, etag, err = r.encrypted(ctx, token, query, etag)
	} else {
		next, etag, err = r.plain(ctx, auth, query, etag)
	}
	if infisical.KindOf(err) == infisical.KindFolderNotFound {
		return nil, &NotFoundError{Place: r.Place}
	}
	if err != nil {
		return nil, err
	}
	if next.Empty() {
		// An empty answer may also be a missing folder, or an environment that was renamed or deleted. Since its bytes are the
		// same in all three cases, so is its ETag, and it is confirmed every time.
		if err := r.confirm(ctx, auth, token, r.Place); err != nil {
			return nil, err
		}
	}
	r.last, r.etag, r.from = next, etag, token
	return next, nil
}

// confirm tells an empty place from one that is gone.
func (c Credential) confirm(ctx context.Context, auth infisical.Authorization, token *Token, place Place) error {
	if token.projectID == "" {
		return ErrUnconfirmed
	}
	err := c.Server.SecretImports(ctx, auth, token.query(place))
	if infisical.KindOf(err) == infisical.KindFolderNotFound {
		return &NotFoundError{Place: place}
	}
	return err
}

// decryptsHere chooses the endpoint: true for the encrypted one, false for the server-decrypted ones.
func (c Credential) decryptsHere(token *Token) (bool, error) {
	possible := token.ProjectVersion < 3 && token.hasKey
	switch {
	case token.Identity && c.Decryption == Client:
		return false, ErrIdentityClient
	case c.Decryption == Server || c.Decryption == Auto && !possible:
		return false, nil
	case token.ProjectVersion >= 3:
		return false, ErrProjectVersion
	case !token.hasKey:
		return false, ErrClientNeedsKey
	}
	return true, token.keyErr
}

func (r *reader) encrypted(ctx context.Context, token *Token, query infisical.Query, etag string) (*Snapshot, string, error) {
	answer, err := r.Server.EncryptedSecrets(ctx, r.Token, query, etag)
	if err != nil {
		return nil, "", err
	}
	if answer.NotModified {
		return r.last, etag, nil
	}
	failed := &DecryptionError{Place: r.Place}
	defer func() { r.undecryptable(len(failed.Names)) }()
	open := func(sealed []infisical.SealedSecret) []Secret {
		secrets := make([]Secret, 0, len(sealed))
		for _, s := range sealed {
			secret, err := openSecret(token.key, s)
			if err != nil {
				failed.Err = err
				failed.Names = append(failed.Names, secret.Name)
			}
			secrets = append(secrets, secret)
		}
		return secrets
	}
	next := &Snapshot{Place: r.Place, Secrets: open(answer.Secrets), At: r.session.clock.Now()}
	for _, i := range answer.Imports {
		next.Imports = append(next.Imports, Import{Environment: i.Environment, Path: i.Path, Secrets: open(i.Secrets)})
	}
	if failed.Err != nil {
		return nil, "", failed
	}
	return next, answer.ETag, nil
}

// openSecret decrypts name and value. When it fails, the secret's Name is what the secret can be called by: its name, or
// its id when the name does not open.
func openSecret(key servicetoken.ProjectKey, s infisical.SealedSecret) (Secret, error) {
	name, err := key.Open(s.Name)
	if err != nil {
		return Secret{Name: "the secret with id " + s.ID}, err
	}
	value, err := key.Open(s.Value)
	return Secret{Name: string(name), Value: value, Path: s.Path, Tags: s.Tags}, err
}

func (r *reader) plain(ctx context.Context, auth infisical.Authorization, query infisical.Query, etag string) (*Snapshot, string, error) {
	answer, err := r.Server.PlainSecrets(ctx, auth, query, etag)
	if err != nil {
		return nil, "", err
	}
	if answer.NotModified {
		return r.last, etag, nil
	}
	copied := func(plain []infisical.PlainSecret) []Secret {
		secrets := make([]Secret, 0, len(plain))
		for _, s := range plain {
			secrets = append(secrets, Secret{Name: s.Name, Value: []byte(s.Value), Path: s.Path, Tags: s.Tags})
		}
		return secrets
	}
	next := &Snapshot{Place: r.Place, Secrets: copied(answer.Secrets), At: r.session.clock.Now()}
	for _, i := range answer.Imports {
		next.Imports = append(next.Imports, Import{Environment: i.Environment, Path: i.Path, Secrets: copied(i.Secrets)})
	}
	return next, answer.ETag, nil
}
