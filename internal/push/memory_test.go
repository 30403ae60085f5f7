package push

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

func TestMemoryKnowsWhatWasSentLast(t *testing.T) {
	m := NewMemory()
	if m.Knows("A", []byte("1")) || m.Knows("A", nil) || m.Has("A") {
		t.Error("it knows what was never sent")
	}
	m.Sent("A", []byte("1"))
	m.Sent("E", nil)
	for _, test := range []struct {
		name, value string
		want        bool
	}{
		{"A", "1", true},
		{"A", "2", false},
		{"A", "", false},
		{"A", "11", false},
		{"B", "1", false},
		{"B", "", false},
		{"E", "", true},
		{"E", "1", false},
	} {
		if m.Knows(test.name, []byte(test.value)) != test.want {
			t.Errorf("%s=%s", test.name, test.value)
		}
	}
	m.Sent("A", []byte("2"))
	if m.Knows("A", []byte("1")) || !m.Knows("A", []byte("2")) || !m.Knows("E", []byte{}) {
		t.Error("it does not know the last")
	}
}

func TestMemoryKeepsADigestAndNotWhatItWasGiven(t *testing.T) {
	m, value := NewMemory(), []byte("1")
	m.Sent("A", value)
	value[0] = '2'
	if !m.Knows("A", []byte("1")) || m.Knows("A", value) {
		t.Error("it follows the caller's bytes")
	}
}

func TestMemoryDropsOneName(t *testing.T) {
	m := NewMemory()
	m.Drop("A") // which it never had
	m.Sent("A", nil)
	m.Sent("B", nil)
	m.Drop("A")
	if m.Has("A") || m.Knows("A", nil) || !m.Has("B") || !m.Knows("B", nil) || m.Has("C") {
		t.Error("it has what it should not, or lacks what it should have")
	}
	m.Sent("A", []byte("1"))
	if !m.Has("A") || !m.Knows("A", []byte("1")) {
		t.Error("it learns nothing after it forgot")
	}
}

func TestMemoryKeepsNeitherValuesNorTheKeyOfAnother(t *testing.T) {
	one, two := NewMemory(), NewMemory()
	one.Sent("A", []byte("1"))
	if two.Has("A") {
		t.Error("two memories are one")
	}
	if one.sum([]byte("1")) == two.sum([]byte("1")) {
		t.Error("two memories have the same key")
	}
	if sum := one.sum([]byte(mark)); bytes.Contains(sum[:], []byte(mark)) || sum != one.sum([]byte(mark)) {
		t.Error("a digest is not one")
	}
}

func TestMemoryPrintsNothing(t *testing.T) {
	m := NewMemory()
	m.Sent("A", []byte(mark))
	holder := struct{ Memory *Memory }{m}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(handler).Info("m", "memory", m, "holder", holder)
	}
	asJSON, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(asJSON)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
		texts = append(texts, fmt.Sprintf(verb, m))
	}
	numbers, sum := regexp.MustCompile(`\d+( |, 0x)\d+`), m.sum([]byte(mark)) // as bytes are printed
	for _, text := range texts {
		for _, secret := range [][]byte{m.key[:], sum[:], []byte(mark)} {
			if strings.Contains(text, string(secret)) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", secret)) {
				t.Errorf("%q", text)
			}
		}
		if numbers.MatchString(text) {
			t.Errorf("%q", text)
		}
	}
}
