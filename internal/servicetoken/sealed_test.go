package servicetoken

import (
	"bytes"
	"testing"
)

func TestAFieldIsMadeOfItsPartsAgain(t *testing.T) {
	key := testProjectKey(t)
	for _, plain := range []string{"", "value"} {
		sealed := seal(t, key, []byte(plain))
		ciphertext, iv, tag := sealed.Parts()
		if len(ciphertext) != len(plain) || len(iv) != nonceSize || len(tag) != TagSize {
			t.Errorf("%d, %d and %d bytes", len(ciphertext), len(iv), len(tag))
		}
		if !NewSealed(ciphertext, iv, tag).Equal(sealed) {
			t.Errorf("%q: another field", plain)
		}
		before := bytes.Clone(tag)
		NewSealed(ciphertext, iv, make([]byte, TagSize))
		if !bytes.Equal(tag, before) {
			t.Errorf("%q: the tag of one field is written over by another's", plain)
		}
	}
	if ciphertext, iv, tag := (Sealed{}).Parts(); ciphertext != nil || iv != nil || tag != nil {
		t.Error("the zero field has parts")
	}
}

func TestTheTagTakesTheRoomBehindTheCiphertext(t *testing.T) {
	ciphertext := make([]byte, 1, 1+TagSize)
	iv, tag := make([]byte, nonceSize), make([]byte, TagSize)
	if got := testing.AllocsPerRun(10, func() { NewSealed(ciphertext, iv, tag) }); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestFieldsAreEqualWhenTheyOpenAlike(t *testing.T) {
	part := func(filling byte) []byte { return bytes.Repeat([]byte{filling}, TagSize) }
	fields := []Sealed{
		{},
		Undecodable(),
		NewSealed(nil, part(1)[1:], part(1)),
		NewSealed(nil, part(1), part(1)[1:]),
		NewSealed(nil, part(1), part(1)),
		NewSealed(part(1), part(1), part(1)),
		NewSealed(part(2), part(1), part(1)),
		NewSealed(part(1), part(2), part(1)),
		NewSealed(part(1), part(1), part(2)),
	}
	for i, a := range fields {
		for j, b := range fields {
			if a.Equal(b) != (i == j) {
				t.Errorf("fields %d and %d: equal %v", i, j, a.Equal(b))
			}
		}
		if a.IsZero() != (i == 0) {
			t.Errorf("field %d: zero %v", i, a.IsZero())
		}
	}
	if !NewSealed([]byte{}, []byte{}, []byte{}).IsZero() {
		t.Error("a field of empty parts is not zero")
	}
	if !NewSealed(part(1), part(2), part(3)).Equal(NewSealed(part(1), part(2), part(3))) {
		t.Error("fields of equal parts differ")
	}
}
