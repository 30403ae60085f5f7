package infisical

import (
	"bytes"
	"encoding/base64"
	"encoding/json"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// strict refuses bits behind the last byte. Line breaks it skips, as every decoder of the standard library.
var strict = base64.StdEncoding.Strict()

// encoded is one of the three base64 texts that an encrypted field is sent in, decoded. A text that is no base64 does not
// spoil the answer: its field tells when it is opened, where the secret can be named.
type encoded struct {
	raw []byte
	bad bool
}

// UnmarshalJSON decodes the base64 where it stands in the answer. For encoding/json to unquote it and make a text of it would
// be a quarter of the work for a large answer.
func (e *encoded) UnmarshalJSON(value []byte) error {
	if value[0] == '"' && bytes.IndexByte(value, '\\') < 0 {
		e.decode(value[1 : len(value)-1])
		return nil
	}
	// Base64 needs no escapes, but may have some. Otherwise this is null, or no text and an error.
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return err
	}
	e.decode([]byte(text))
	return nil
}

// decode leaves room behind a ciphertext for its tag.
func (e *encoded) decode(text []byte) {
	raw, err := strict.AppendDecode(make([]byte, 0, strict.DecodedLen(len(text))+servicetoken.TagSize), text)
	e.raw, e.bad = raw, err != nil
}

func sealed(ciphertext, iv, tag encoded) servicetoken.Sealed {
	if ciphertext.bad || iv.bad || tag.bad {
		return servicetoken.Undecodable()
	}
	return servicetoken.NewSealed(ciphertext.raw, iv.raw, tag.raw)
}
