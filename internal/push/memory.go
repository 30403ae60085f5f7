package push

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
)

// Memory remembers what a push has sent, where it cannot look or does not know whether it arrived. It keeps digests, HMAC-SHA-256 with a
// key that is made with it and never stored, and is lost with the process. It is for one goroutine.
type Memory struct {
	key  [sha256.Size]byte
	sums map[string][sha256.Size]byte
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	m := &Memory{sums: map[string][sha256.Size]byte{}}
	_, _ = rand.Read(m.key[:]) // which does not fail
	return m
}

// Format covers all verbs of package fmt, %#v and %x among them: neither the key nor a digest is printed.
func (m *Memory) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("memory ***")) }

// Knows says whether a name was sent with this value, and nothing since.
func (m *Memory) Knows(name string, value []byte) bool {
	sum := m.sum(value)
	last, ok := m.sums[name]
	return ok && hmac.Equal(last[:], sum[:])
}

// Has says whether a name was sent with some value.
func (m *Memory) Has(name string) bool {
	_, ok := m.sums[name]
	return ok
}

// Sent remembers the value that a name was sent with.
func (m *Memory) Sent(name string, value []byte) { m.sums[name] = m.sum(value) }

// Drop forgets one name.
func (m *Memory) Drop(name string) { delete(m.sums, name) }

func (m *Memory) sum(value []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, m.key[:])
	mac.Write(value)
	return [sha256.Size]byte(mac.Sum(nil))
}
