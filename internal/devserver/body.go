package devserver

import "slices"

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

// sealedBody is a secret of the encrypted endpoint; an imported one has no path and no tags. Bytes become base64.
type sealedBody struct {
	ID                    string     `json:"id"`
	Version               int        `json:"version"`
	Type                  string     `json:"type"`
	KeyCiphertext         []byte     `json:"secretKeyCiphertext"`
	KeyIV                 []byte     `json:"secretKeyIV"`
	KeyTag                []byte     `json:"secretKeyTag"`
	ValueCiphertext       []byte     `json:"secretValueCiphertext"`
	ValueIV               []byte     `json:"secretValueIV"`
	ValueTag              []byte     `json:"secretValueTag"`
	CommentCiphertext     []byte     `json:"secretCommentCiphertext"`
	CommentIV             []byte     `json:"secretCommentIV"`
	CommentTag            []byte     `json:"secretCommentTag"`
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

// rawBody is a secret of the server-decrypted endpoints; an imported one has no times, no path and no tags, and in
// version 3 no reminder.
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
		b := s.sealedBody(f.id, q.environment, fault)
		b.Workspace, b.SecretPath, b.Tags = p.id, f.path, &tags
		return b
	}
	b := p.rawBody(q, s, q.environment, f.path)
	b.Workspace, b.SecretPath, b.Tags = p.id, f.path, &tags
	b.CreatedAt, b.UpdatedAt = s.created, s.updated
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
		if names[s.name] {
			continue
		}
		names[s.name] = true
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
	b.KeyCiphertext, b.KeyIV, b.KeyTag = s.sealedName.Parts()
	b.ValueCiphertext, b.ValueIV, b.ValueTag = s.sealedValue.Parts()
	b.CommentCiphertext, b.CommentIV, b.CommentTag = s.sealedComment.Parts()
	if fault.spoils(s.name) {
		b.ValueTag = slices.Clone(b.ValueTag)
		b.ValueTag[0] ^= 1
	}
	return b
}

// rawBody expands and trims; the encrypted endpoint does neither.
func (p *Project) rawBody(q question, s *secret, environment, path string) rawBody {
	b := rawBody{
		ID: s.id, OldID: s.id, Environment: environment, Version: s.version, Type: "shared", Key: s.name, Comment: s.comment,
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
