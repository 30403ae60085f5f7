package devserver

import (
	"net/http"
	"slices"
)

// The routes that write one secret, which the name in the path tells. The server does not compare it with an encrypted name.
const (
	sealedWrite = "/api/v3/secrets/:secretName"
	rawWrite    = "/api/v3/secrets/raw/:secretName"
)

// What the bodies of writes have: all of them, and those that bring something in clear text or encrypted.
var (
	writeParams = []param{
		{name: "workspaceId", required: true}, {name: "environment", required: true}, {name: "secretPath", path: true},
		{name: "type", options: []string{"shared", "personal"}, fallback: "shared"},
	}
	rawParams = slices.Concat(writeParams, []param{{name: "secretValue", required: true}, {name: "secretComment"}})
)

// sealedParams has the encrypted name too, which only a new secret needs.
func sealedParams(isNew bool) []param {
	params := slices.Clone(writeParams)
	for _, field := range []param{{name: "secretKey", required: isNew}, {name: "secretValue", required: true}, {name: "secretComment"}} {
		for _, part := range []string{"Ciphertext", "IV", "Tag"} {
			params = append(params, param{name: field.name + part, required: field.required})
		}
	}
	return params
}

// operation is what a write does to the secret of a name: it returns the secret, or why not.
type operation struct {
	action string // that a token is not allowed to do
	name   string // of the error where the folder is missing
	do     func(p *Project, f *folder, name string, set func(*secret)) (*secret, *answer)
}

// The refusal of a token that may not edit or delete is not among the recordings, nor is the name of the error when one of these finds
// no folder: they are worded as those of creating are.
var (
	creating = operation{"create", "CreateSecret", func(p *Project, f *folder, name string, set func(*secret)) (*secret, *answer) {
		if f.secret(name) != nil {
			return nil, failure(http.StatusBadRequest, "BadRequest", "Secret already exist")
		}
		return p.create(f, name, set), nil
	}}
	updating = operation{"edit", "UpdateSecret", func(p *Project, f *folder, name string, set func(*secret)) (*secret, *answer) {
		s, missing := f.existing(name)
		if missing == nil {
			p.update(s, set)
		}
		return s, missing
	}}
	deleting = operation{"delete", "DeleteSecret", func(_ *Project, f *folder, name string, _ func(*secret)) (*secret, *answer) {
		s, missing := f.existing(name)
		f.remove(name)
		return s, missing
	}}
)

// existing words a missing secret as the server does in versions 1 and 2; how it does in version 3 is not among the recordings.
func (f *folder) existing(name string) (*secret, *answer) {
	if s := f.secret(name); s != nil {
		return s, nil
	}
	return nil, failure(http.StatusNotFound, "NotFound", "Secret not found: blind index "+name)
}

// write is an operation by a route whose secrets are encrypted by the client, or not.
type write struct {
	operation
	sealed bool
}

// answer answers POST, PATCH and DELETE of /api/v3/secrets/<name> and /api/v3/secrets/raw/<name>.
func (w write) answer(_ *Server, c *call) *answer {
	p, refused := c.project(c.query["workspaceId"])
	if refused != nil {
		return refused
	}
	f, refused := w.folder(p, c)
	if refused != nil {
		return refused
	}
	set := p.encrypted(c)
	if !w.sealed {
		set = p.plain(c.query["secretValue"], c.text("secretComment"))
	}
	s, failed := w.do(p, f, trim(c.segment["secretName"]), set)
	if failed != nil {
		return failed
	}
	p.answers = nil
	environment := c.query["environment"]
	p.modified(environment, f.path)
	if !w.sealed && s.unreadable {
		return wentWrong() // of what was deleted, which Infisical's source opens afterwards
	}
	return newAnswer(http.StatusOK, struct {
		Secret any `json:"secret"`
	}{p.writtenBody(question{sealed: w.sealed, environment: environment}, s, f, c.fault)})
}

// folder finds where a write goes, or why it goes nowhere. Among the recordings is a missing folder only for creating in clear text, and
// version 3 only for creating encrypted. The order of the checks is that of Infisical's source, and so is the refusal of personal secrets.
func (w write) folder(p *Project, c *call) (*folder, *answer) {
	environment, path := c.query["environment"], c.query["secretPath"]
	if w.sealed && c.token.identity {
		return nil, notAllowed(w.action, "secrets") // as for reading
	}
	if !w.sealed && p.strict {
		return nil, p.withoutKey()
	}
	if refused := c.token.may(w.action, "secrets", environment, path); refused != nil {
		return nil, refused
	}
	f := p.findFolder(environment, path)
	if f == nil {
		return nil, failure(http.StatusNotFound, w.name, "Folder with path '"+path+"' in environment with slug '"+environment+"' not found")
	}
	if w.sealed && p.version == 3 {
		return nil, failure(http.StatusNotFound, "CreateSecret", "Blind index for project with ID '"+p.id+"' not found")
	}
	if c.query["type"] == "personal" {
		return nil, failure(http.StatusBadRequest, "BadRequest", "Must be user to create personal secret")
	}
	return f, nil
}

// text is a parameter, or nil if it was not sent.
func (c *call) text(name string) *string {
	if text, sent := c.query[name]; sent {
		return &text
	}
	return nil
}

// encrypted sets the fields that a call brings, whatever they are, and opens them for the server-decrypted endpoints.
func (p *Project) encrypted(c *call) func(*secret) {
	field := func(name string) encrypted {
		return encrypted{c.text(name + "Ciphertext"), c.text(name + "IV"), c.text(name + "Tag")}
	}
	return func(s *secret) {
		s.sealedName = field("secretKey").or(s.sealedName)
		s.sealedValue = field("secretValue").or(s.sealedValue)
		s.sealedComment = field("secretComment").or(s.sealedComment)
		p.open(s)
	}
}

// open decrypts all fields. The server does not look at a comment without a ciphertext, so it need not be authentic.
func (p *Project) open(s *secret) {
	s.unreadable = false
	plain := func(e encrypted) string {
		text, err := p.cipher.Open(e.sealed())
		s.unreadable = s.unreadable || err != nil
		return string(text)
	}
	s.shownName, s.value, s.comment = plain(s.sealedName), plain(s.sealedValue), ""
	if ciphertext := s.sealedComment.ciphertext; ciphertext != nil && *ciphertext != "" {
		s.comment = plain(s.sealedComment)
	}
}
