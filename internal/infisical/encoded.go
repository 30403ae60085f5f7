package infisical

import (
	"encoding/base64"

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

// UnmarshalText decodes text, leaving room behind a ciphertext for its tag.
func (e *encoded) UnmarshalText(text []byte) error {
	raw, err := strict.AppendDecode(make([]byte, 0, strict.DecodedLen(len(text))+servicetoken.TagSize), text)
	e.raw, e.bad = raw, err != nil
	return nil
}

func sealed(ciphertext, iv, tag encoded) servicetoken.Sealed {
	if ciphertext.bad || iv.bad || tag.bad {
		return servicetoken.Undecodable()
	}
	return servicetoken.NewSealed(ciphertext.raw, iv.raw, tag.raw)
}
