package servicetoken

import (
	"bytes"
	"errors"
)

// What an encrypted field looks like (observed on the wire; see test/contract):
// AES-256-GCM with a 16-byte IV, a 16-byte tag kept apart from the ciphertext, no associated data. An empty plaintext is
// an empty ciphertext with a real IV and tag, and is authenticated like any other.
const (
	nonceSize = 16
	// TagSize is the room that NewSealed likes to find behind a ciphertext.
	TagSize = 16
)

// Sealed is an encrypted field. The zero Sealed is one of which nothing was sent, as the project key of a token without one.
type Sealed struct {
	iv  []byte
	box []byte // the ciphertext, then the tag, as the cipher takes them
	err error  // why there is nothing to open
}

// NewSealed joins the three parts that a field is sent in, decoded from their base64. The ciphertext is the field's from
// then on: the tag is appended to it. A part that is not as long as it must be is told by Open: ErrNonce or ErrTag.
func NewSealed(ciphertext, iv, tag []byte) Sealed {
	switch {
	case len(ciphertext)+len(iv)+len(tag) == 0:
		return Sealed{}
	case len(iv) != nonceSize:
		return Sealed{err: ErrNonce}
	case len(tag) != TagSize:
		return Sealed{err: ErrTag}
	}
	return Sealed{iv: iv, box: append(ciphertext, tag...)}
}

// Undecodable is a field with a part that is not base64. That it was sent is known, and Open tells ErrEncoding of it, as it
// tells of every other field that cannot be opened.
func Undecodable() Sealed { return Sealed{err: ErrEncoding} }

// Parts are what the field is sent in. They are nil for the zero Sealed, and not to be changed.
func (s Sealed) Parts() (ciphertext, iv, tag []byte) {
	at := max(len(s.box)-TagSize, 0)
	return s.box[:at:at], s.iv, s.box[at:]
}

// IsZero says whether nothing at all was sent for the field.
func (s Sealed) IsZero() bool { return s.Equal(Sealed{}) }

// Equal says whether s and o open alike with every key: to the same, or to the same error of their shape.
func (s Sealed) Equal(o Sealed) bool {
	return bytes.Equal(s.iv, o.iv) && bytes.Equal(s.box, o.box) && errors.Is(s.err, o.err)
}
