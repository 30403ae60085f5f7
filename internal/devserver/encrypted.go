package devserver

import (
	"cmp"
	"encoding/base64"
	"strings"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// encrypted is a field as a client sent it: texts that should be base64, which the server keeps as they are. What was not sent is nil.
type encrypted struct{ ciphertext, iv, tag *string }

func encryptedOf(s servicetoken.Sealed) encrypted {
	encoded := func(part []byte) *string {
		text := base64.StdEncoding.EncodeToString(part)
		return &text
	}
	ciphertext, iv, tag := s.Parts()
	return encrypted{encoded(ciphertext), encoded(iv), encoded(tag)}
}

// sealed is what can be opened of it, or tells why it cannot.
func (e encrypted) sealed() servicetoken.Sealed {
	var parts [3][]byte
	for i, text := range []*string{e.ciphertext, e.iv, e.tag} {
		if text == nil {
			continue
		}
		var err error
		if parts[i], err = base64.StdEncoding.DecodeString(*text); err != nil {
			return servicetoken.Undecodable()
		}
	}
	return servicetoken.NewSealed(parts[0], parts[1], parts[2])
}

// or takes from another field what was not sent in this one.
func (e encrypted) or(other encrypted) encrypted {
	return encrypted{cmp.Or(e.ciphertext, other.ciphertext), cmp.Or(e.iv, other.iv), cmp.Or(e.tag, other.tag)}
}

// spoiled has another tag of the same length, if it has one at all.
func (e encrypted) spoiled() encrypted {
	if e.tag == nil || *e.tag == "" {
		return e
	}
	first := "A"
	if strings.HasPrefix(*e.tag, first) {
		first = "B"
	}
	tag := first + (*e.tag)[1:]
	e.tag = &tag
	return e
}
