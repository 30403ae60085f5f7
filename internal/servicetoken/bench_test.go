package servicetoken

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"strings"
	"testing"
)

// loads are what a project may hold: many small values, and some as large as values get.
var loads = []struct{ fields, size int }{{1000, 64}, {100, 60 << 10}}

// benchmark measures open, given one field after the other: an op is a field.
func benchmark(b *testing.B, open func(Sealed) ([]byte, error)) {
	key := testProjectKey(b)
	for _, load := range loads {
		b.Run(fmt.Sprintf("fields=%d/bytes=%d", load.fields, load.size), func(b *testing.B) {
			fields := make([]Sealed, load.fields)
			for i := range fields {
				fields[i] = seal(b, key, bytes.Repeat([]byte("v"), load.size))
			}
			b.SetBytes(int64(load.size))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := open(fields[i%len(fields)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen is as fast as BenchmarkAEAD, and allocates once for each field, however long.
func BenchmarkOpen(b *testing.B) { benchmark(b, testProjectKey(b).Open) }

// BenchmarkAEAD is the cipher alone, on the same bytes.
func BenchmarkAEAD(b *testing.B) {
	block, err := aes.NewCipher([]byte(strings.Repeat("k", keySize)))
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCMWithNonceSize(block, nonceSize)
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, func(s Sealed) ([]byte, error) { return aead.Open(nil, s.iv, s.box, nil) })
}

func TestOpenAllocatesOnceForAFieldOfAnySize(t *testing.T) {
	key := testProjectKey(t)
	for _, load := range loads {
		sealed := seal(t, key, bytes.Repeat([]byte("v"), load.size))
		if got := testing.AllocsPerRun(100, func() {
			if _, err := key.Open(sealed); err != nil {
				t.Error(err)
			}
		}); got != 1 {
			t.Errorf("%v allocations for %d bytes", got, load.size)
		}
	}
}
