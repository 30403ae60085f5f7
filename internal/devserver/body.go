package devserver

// listBody is what all endpoints for secrets answer.
type listBody struct {
	Secrets []any          `json:"secrets"`
	Imports *[]importsBody `json:"imports,omitempty"`
}

type importsBody struct {
	SecretPath  string `json:"secretPath"`
	Environment string `json:"environment"`
	FolderID    string `json:"folderId,omitempty"`
	Secrets     []any  `json:"secrets"`
}

// sealedBody is a secret of the encrypted endpoints; one that is imported, or that a write answers, has no path and no tags.
type sealedBody struct {
	ID                    string     `json:"id"`
	Version               int        `json:"version"`
	Type                  string     `json:"type"`
	KeyCiphertext         *string    `json:"secretKeyCiphertext"`
	KeyIV                 *string    `json:"secretKeyIV"`
	KeyTag                *string    `json:"secretKeyTag"`
	ValueCiphertext       *string    `json:"secretValueCiphertext"`
	ValueIV               *string    `json:"secretValueIV"`
	ValueTag              *string    `json:"secretValueTag"`
	CommentCiphertext     *string    `json:"secretCommentCiphertext"`
	CommentIV             *string    `json:"secretCommentIV"`
	CommentTag            *string    `json:"secretCommentTag"`
	ReminderNote          *string    `json:"secretReminderNote"`
	ReminderRepeatDays    *int       `json:"secretReminderRepeatDays"`
	SkipMultilineEncoding bool       `json:"skipMultilineEncoding"`
	Algorithm             string     `json:"algorithm"`
	KeyEncoding           string     `json:"keyEncoding"`
	Metadata              *string    `json:"metadata"`
	UserID                *string    `json:"userId"`
	FolderID              string     `json:"folderId"`
	CreatedAt             string     `json:"createdAt"`
	UpdatedAt             string     `json:"updatedAt"`
	OldID                 string     `json:"_id"`
	Workspace             string     `json:"workspace"`
	Environment           string     `json:"environment"`
	SecretPath            string     `json:"secretPath,omitempty"`
	Tags                  *[]tagBody `json:"tags,omitempty"`
}

// rawBody is a secret of the server-decrypted endpoints. One that a write answers has no path and no tags; an imported one has no
// times either, and in version 3 no reminder.
type rawBody struct {
	ID                    string     `json:"id"`
	OldID                 string     `json:"_id"`
	Workspace             string     `json:"workspace"`
	Environment           string     `json:"environment"`
	Version               int        `json:"version"`
	Type                  string     `json:"type"`
	Key                   string     `json:"secretKey"`
	Value                 string     `json:"secretValue"`
	Comment               string     `json:"secretComment"`
	ReminderNote          *null      `json:"secretReminderNote,omitempty"`
	ReminderRepeatDays    *null      `json:"secretReminderRepeatDays,omitempty"`
	SkipMultilineEncoding bool       `json:"skipMultilineEncoding"`
	Metadata              *string    `json:"metadata"`
	CreatedAt             string     `json:"createdAt,omitempty"`
	UpdatedAt             string     `json:"updatedAt,omitempty"`
	SecretPath            string     `json:"secretPath,omitempty"`
	Tags                  *[]tagBody `json:"tags,omitempty"`
	ValueHidden           *bool      `json:"secretValueHidden,omitempty"`
}

// null is a field that is there and null, or missing where the pointer to it is nil.
type null struct{}

// MarshalJSON writes null.
func (*null) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// hiddenValue is what v4 writes in place of a value that the client does not want to see.
const hiddenValue = "<hidden-by-infisical>"

// body is a secret in a folder's own list.
func (p *Project) body(q question, s *secret, f *folder, fault Fault) any {
	tags := append([]tagBody{}, s.tags...)
	if q.sealed {
		b := p.ownSealedBody(q, s, f, fault)
		b.SecretPath, b.Tags = f.path, &tags
		return b
	}
	b := p.ownRawBody(q, s, f)
	b.SecretPath, b.Tags = f.path, &tags
	return b
}

// writtenBody is a secret that was just written.
func (p *Project) writtenBody(q question, s *secret, f *folder, fault Fault) any {
	if q.sealed {
		return p.ownSealedBody(q, s, f, fault)
	}
	return p.ownRawBody(q, s, f)
}

func (p *Project) ownSealedBody(q question, s *secret, f *folder, fault Fault) sealedBody {
	b := s.sealedBody(f.id, q.environment, fault)
	b.Workspace = p.id
	return b
}

func (p *Project) ownRawBody(q question, s *secret, f *folder) rawBody {
	b := p.rawBody(q, s, q.environment, f.path)
	b.Workspace, b.CreatedAt, b.UpdatedAt = p.id, s.created, s.updated
	b.ReminderNote, b.ReminderRepeatDays = &null{}, &null{}
	return b
}

// importsBody is one import with its secrets. The server-decrypted endpoints keep the first of each name.
func (p *Project) importsBody(q question, entry importEntry, fault Fault) importsBody {
	body := importsBody{SecretPath: entry.path, Environment: entry.environment.slug, Secrets: []any{}}
	if entry.from != nil {
		body.FolderID = entry.from.id
	}
	names := map[string]bool{}
	for _, s := range entry.secrets {
		if q.sealed {
			body.Secrets = append(body.Secrets, s.sealedBody(s.folder.id, s.environment, fault))
			continue
		}
		if names[s.shownName] {
			continue
		}
		names[s.shownName] = true
		b := p.rawBody(q, s.secret, s.environment, s.folder.path)
		if p.version != 3 {
			b.Workspace, b.Environment = p.id, body.Environment
			b.ReminderNote, b.ReminderRepeatDays = &null{}, &null{}
		}
		body.Secrets = append(body.Secrets, b)
	}
	return body
}

func (s *secret) sealedBody(folder, environment string, fault Fault) sealedBody {
	b := sealedBody{
		ID: s.id, OldID: s.id, Version: s.version, Type: "shared",
		SkipMultilineEncoding: s.skipMultiline, Algorithm: "aes-256-gcm", KeyEncoding: "utf8",
		FolderID: folder, CreatedAt: s.created, UpdatedAt: s.updated, Environment: environment,
	}
	value := s.sealedValue
	if fault.spoils(s.name) {
		value = value.spoiled()
	}
	b.KeyCiphertext, b.KeyIV, b.KeyTag = s.sealedName.ciphertext, s.sealedName.iv, s.sealedName.tag
	b.ValueCiphertext, b.ValueIV, b.ValueTag = value.ciphertext, value.iv, value.tag
	b.CommentCiphertext, b.CommentIV, b.CommentTag = s.sealedComment.ciphertext, s.sealedComment.iv, s.sealedComment.tag
	return b
}

// rawBody expands and trims; the encrypted endpoint does neither.
func (p *Project) rawBody(q question, s *secret, environment, path string) rawBody {
	b := rawBody{
		ID: s.id, OldID: s.id, Environment: environment, Version: s.version, Type: "shared", Key: s.shownName, Comment: s.comment,
		SkipMultilineEncoding: s.skipMultiline, Value: s.value,
	}
	if q.expand {
		b.Value = p.expand(b.Value, environment, path, 0)
	}
	b.Value = trim(b.Value)
	if q.v4 {
		b.ValueHidden = &q.hidden
	}
	if q.hidden {
		b.Value = hiddenValue
	}
	return b
}
