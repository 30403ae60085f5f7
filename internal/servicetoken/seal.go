package servicetoken

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
)

// keySize is that of AES-256. Keys are 32 hexadecimal characters used as 32 ASCII bytes, not decoded.
const keySize = 32

// Errors of opening. They tell what is wrong with the shape, never what was in it.
var (
	ErrNoKey      = errors.New("the token has no fourth part, so nothing can be decrypted with it")
	ErrEncoding   = errors.New("the encrypted field is not padded standard base64")
	ErrNonce      = errors.New("the encrypted field's IV is not 16 bytes long")
	ErrTag        = errors.New("the encrypted field's tag is not 16 bytes long")
	ErrOpen       = errors.New("the encrypted field does not open: it was changed, or encrypted for another key")
	ErrProjectKey = errors.New("the project key is not 32 bytes long")
)

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

// Open returns the plaintext, byte-exact, in memory of its own: an empty one is empty and not nil. It takes as long as the
// cipher alone. Errors: ErrEncoding, ErrNonce, ErrTag, ErrOpen, and ErrProjectKey of the zero key.
func (k ProjectKey) Open(s Sealed) ([]byte, error) {
	switch {
	case k.aead == nil:
		return nil, ErrProjectKey
	case s.err != nil:
		return nil, s.err
	case len(s.iv) != nonceSize: // GCM would panic
		return nil, ErrNonce
	}
	plain, err := k.aead.Open([]byte{}, s.iv, s.box, nil)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// Seal encrypts plain with an IV read from random.
func (k ProjectKey) Seal(plain []byte, random io.Reader) (Sealed, error) {
	iv := make([]byte, nonceSize)
	if _, err := io.ReadFull(random, iv); err != nil {
		return Sealed{}, fmt.Errorf("making an IV: %w", err)
	}
	return Sealed{iv: iv, box: k.aead.Seal(nil, iv, plain, nil)}, nil
}
