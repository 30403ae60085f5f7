package servicetoken

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// What an encrypted field looks like (observed on the wire; see testdata):
// AES-256-GCM with a 16-byte IV, a 16-byte tag kept apart from the ciphertext, no associated data; each of the three in
// padded standard base64. Keys are 32 hexadecimal characters used as 32 ASCII bytes, not decoded. An empty plaintext is
// an empty ciphertext with a real IV and tag, and is authenticated like any other.
const (
	keySize   = 32
	nonceSize = 16
	tagSize   = 16
)

// Errors of opening. They tell what is wrong with the shape, never what was in it.
var (
	ErrNoKey      = errors.New("the token has no fourth part, so nothing can be decrypted with it")
	ErrEncoding   = errors.New("the encrypted field is not padded standard base64")
	ErrNonce      = errors.New("the encrypted field's IV is not 16 bytes long")
	ErrTag        = errors.New("the encrypted field's tag is not 16 bytes long")
	ErrOpen       = errors.New("the encrypted field does not open: it was changed, or encrypted for another key")
	ErrProjectKey = errors.New("the project key is not 32 bytes long")
)

// Sealed is an encrypted field as the API carries it: three base64 texts.
type Sealed struct {
	Ciphertext, IV, Tag string
}

// IsZero says whether nothing at all was sent for the field, as for the project key of a token without one.
func (s Sealed) IsZero() bool { return s == Sealed{} }

// ProjectKey opens and seals the fields of a project's secrets. It is safe for concurrent use, and worth keeping: the
// key schedule costs more than opening a small field.
type ProjectKey struct {
	aead cipher.AEAD
}

// OpenProjectKey opens a project key that was encrypted for this token.
// Errors: ErrNoKey, ErrProjectKey, or one of Open's.
func (t Token) OpenProjectKey(s Sealed) (ProjectKey, error) {
	own, err := t.ownKey()
	if err != nil {
		return ProjectKey{}, err
	}
	key, err := own.Open(s)
	if err != nil {
		return ProjectKey{}, fmt.Errorf("opening the project key: %w", err)
	}
	return NewProjectKey(string(key))
}

// SealProjectKey encrypts a project key for this token, as Infisical's web client does when a token is made.
func (t Token) SealProjectKey(key string, random io.Reader) (Sealed, error) {
	own, err := t.ownKey()
	if err != nil {
		return Sealed{}, err
	}
	return own.Seal([]byte(key), random)
}

func (t Token) ownKey() (ProjectKey, error) {
	if !t.HasKey() {
		return ProjectKey{}, ErrNoKey
	}
	return NewProjectKey(t.key)
}

// NewProjectKey takes the 32 ASCII characters of a project key. Error: ErrProjectKey.
func NewProjectKey(key string) (ProjectKey, error) {
	if len(key) != keySize {
		return ProjectKey{}, ErrProjectKey
	}
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		return ProjectKey{}, fmt.Errorf("making the cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithNonceSize(block, nonceSize)
	if err != nil {
		return ProjectKey{}, fmt.Errorf("making the cipher: %w", err)
	}
	return ProjectKey{aead: aead}, nil
}

// Open returns the plaintext, byte-exact. Errors: ErrEncoding, ErrNonce, ErrTag, ErrOpen, and ErrProjectKey of the zero key.
func (k ProjectKey) Open(s Sealed) ([]byte, error) {
	if k.aead == nil {
		return nil, ErrProjectKey
	}
	// Lengths are checked before the cipher sees anything: GCM panics on an IV of another length.
	nonce, n, err := decodeShort(s.IV)
	if err != nil {
		return nil, err
	} else if n != nonceSize {
		return nil, ErrNonce
	}
	tag, n, err := decodeShort(s.Tag)
	if err != nil {
		return nil, err
	} else if n != tagSize {
		return nil, ErrTag
	}
	// One allocation: the ciphertext is decoded where the tag is appended and the plaintext is opened in place.
	buf := make([]byte, base64.StdEncoding.DecodedLen(len(s.Ciphertext)), base64.StdEncoding.DecodedLen(len(s.Ciphertext))+tagSize)
	n, err = base64.StdEncoding.Strict().Decode(buf, []byte(s.Ciphertext))
	if err != nil {
		return nil, ErrEncoding
	}
	buf = append(buf[:n], tag[:tagSize]...)
	plain, err := k.aead.Open(buf[:0], nonce[:nonceSize], buf, nil)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// Seal encrypts plain with an IV read from random.
func (k ProjectKey) Seal(plain []byte, random io.Reader) (Sealed, error) {
	var nonce [nonceSize]byte
	if _, err := io.ReadFull(random, nonce[:]); err != nil {
		return Sealed{}, fmt.Errorf("making an IV: %w", err)
	}
	sealed := k.aead.Seal(nil, nonce[:], plain, nil)
	at := len(sealed) - tagSize
	return Sealed{
		Ciphertext: base64.StdEncoding.EncodeToString(sealed[:at]),
		IV:         base64.StdEncoding.EncodeToString(nonce[:]),
		Tag:        base64.StdEncoding.EncodeToString(sealed[at:]),
	}, nil
}

// decodeShort decodes an IV or a tag without allocating. For a text that is too long for either, n is larger than both.
func decodeShort(text string) (raw [nonceSize + tagSize]byte, n int, err error) {
	if base64.StdEncoding.DecodedLen(len(text)) > len(raw) {
		return raw, len(raw) + 1, nil
	}
	n, err = base64.StdEncoding.Strict().Decode(raw[:], []byte(text))
	if err != nil {
		return raw, 0, ErrEncoding
	}
	return raw, n, nil
}
