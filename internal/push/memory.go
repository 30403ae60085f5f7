package push

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Memory remembers what objects have written whose token cannot read, so that they send only what differs. It keeps digests, HMAC-SHA-256
// with a key that is made at start and never stored. It is lost with the process; then all of a Secret's values are sent
// once more when it changes.
type Memory struct {
	key [sha256.Size]byte

	mu   sync.Mutex
	sums map[types.NamespacedName]map[string][sha256.Size]byte
}

// NewMemory returns an empty Memory.
func NewMemory() (*Memory, error) {
	m := &Memory{sums: map[types.NamespacedName]map[string][sha256.Size]byte{}}
	if _, err := rand.Read(m.key[:]); err != nil {
		return nil, fmt.Errorf("make a key for digests: %w", err)
	}
	return m, nil
}

// Format covers all verbs of package fmt, %#v and %x among them: neither the key nor a digest is printed.
func (m *Memory) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("memory ***")) }

// Knows says whether a name was written with this value, and nothing since.
func (m *Memory) Knows(object types.NamespacedName, name string, value []byte) bool {
	sum := m.sum(value)
	m.mu.Lock()
	defer m.mu.Unlock()
	last, ok := m.sums[object][name]
	return ok && hmac.Equal(last[:], sum[:])
}

// Has says whether a name was written with some value, or may have been.
func (m *Memory) Has(object types.NamespacedName, name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.sums[object][name]
	return ok
}

// Drop forgets one name, which is not there any longer.
func (m *Memory) Drop(object types.NamespacedName, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sums[object], name)
}

// Wrote remembers the value that a name was written with.
func (m *Memory) Wrote(object types.NamespacedName, name string, value []byte) {
	sum := m.sum(value)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sums[object] == nil {
		m.sums[object] = map[string][sha256.Size]byte{}
	}
	m.sums[object][name] = sum
}

// Forget forgets what an object has written.
func (m *Memory) Forget(object types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sums, object)
}

func (m *Memory) sum(value []byte) [sha256.Size]byte {
	mac := hmac.New(sha256.New, m.key[:])
	mac.Write(value)
	return [sha256.Size]byte(mac.Sum(nil))
}
