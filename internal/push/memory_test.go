package push

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func newMemory(t *testing.T) *Memory {
	t.Helper()
	m, err := NewMemory()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var shop, blog = types.NamespacedName{Namespace: "ns", Name: "shop"}, types.NamespacedName{Namespace: "ns", Name: "blog"}

func TestMemoryKnowsWhatWasWrittenLast(t *testing.T) {
	m := newMemory(t)
	if m.Knows(shop, "A", []byte("1")) || m.Knows(shop, "A", nil) {
		t.Error("it knows what was never written")
	}
	m.Wrote(shop, "A", []byte("1"))
	m.Wrote(shop, "E", nil)
	for _, test := range []struct {
		object types.NamespacedName
		name   string
		value  string
		want   bool
	}{
		{shop, "A", "1", true},
		{shop, "A", "2", false},
		{shop, "A", "", false},
		{shop, "A", "11", false},
		{shop, "B", "1", false},
		{shop, "E", "", true},
		{blog, "A", "1", false},
		{types.NamespacedName{Namespace: "other", Name: "shop"}, "A", "1", false},
	} {
		if m.Knows(test.object, test.name, []byte(test.value)) != test.want {
			t.Errorf("%s %s=%s", test.object, test.name, test.value)
		}
	}
	m.Wrote(shop, "A", []byte("2"))
	if m.Knows(shop, "A", []byte("1")) || !m.Knows(shop, "A", []byte("2")) || !m.Knows(shop, "E", []byte{}) {
		t.Error("it does not know the last")
	}
}

func TestMemoryDropsOneName(t *testing.T) {
	m := newMemory(t)
	m.Drop(shop, "A") // which it never had
	m.Wrote(shop, "A", nil)
	m.Wrote(shop, "B", nil)
	m.Wrote(blog, "A", nil)
	m.Drop(shop, "A")
	if m.Has(shop, "A") || !m.Has(shop, "B") || !m.Has(blog, "A") || m.Has(blog, "B") {
		t.Error("it has what it should not, or lacks what it should have")
	}
}

func TestMemoryForgetsOneObjectOnly(t *testing.T) {
	m := newMemory(t)
	m.Wrote(shop, "A", []byte("1"))
	m.Wrote(blog, "A", []byte("1"))
	m.Forget(shop)
	m.Forget(types.NamespacedName{Name: "unknown"})
	if m.Knows(shop, "A", []byte("1")) || !m.Knows(blog, "A", []byte("1")) {
		t.Error("it forgot the wrong one")
	}
	m.Wrote(shop, "A", []byte("2"))
	if !m.Knows(shop, "A", []byte("2")) {
		t.Error("it learns nothing after it forgot")
	}
}

func TestMemoryKeepsNeitherValuesNorTheKeyOfAnother(t *testing.T) {
	one, two := newMemory(t), newMemory(t)
	if one.sum([]byte("1")) == two.sum([]byte("1")) {
		t.Error("two memories have the same key")
	}
	if sum := one.sum([]byte(mark)); bytes.Contains(sum[:], []byte(mark)) || sum != one.sum([]byte(mark)) {
		t.Error("a digest is not one")
	}
}

func TestMemoryIsForManyAtOnce(t *testing.T) {
	m := newMemory(t)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			object := types.NamespacedName{Name: fmt.Sprint(i)}
			for range 100 {
				m.Wrote(object, "A", []byte("1"))
				if !m.Knows(object, "A", []byte("1")) {
					t.Error("forgotten")
				}
				m.Forget(object)
			}
		})
	}
	all.Wait()
}

func TestMemoryPrintsNothing(t *testing.T) {
	m := newMemory(t)
	m.Wrote(shop, "A", []byte(mark))
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
	numbers := regexp.MustCompile(`\d+( |, 0x)\d+`) // as bytes are printed
	for _, text := range texts {
		for _, secret := range [][]byte{m.key[:], []byte(mark)} {
			if strings.Contains(text, string(secret)) || strings.Contains(strings.ToLower(text), fmt.Sprintf("%x", secret)) {
				t.Errorf("%q", text)
			}
		}
		if numbers.MatchString(text) {
			t.Errorf("%q", text)
		}
	}
}
