package compose

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// layers makes 1,000 values in five layers, each value with five references to the layer below, and plain values at the bottom.
func layers(values, valueBytes int) Input {
	const depth, references = 5, 5
	f := source("dev:/")
	width := values / depth
	for level := range depth + 1 {
		for i := range width {
			var value strings.Builder
			if level == 0 {
				value.WriteString(strings.Repeat("x", valueBytes))
			} else {
				for r := range references {
					fmt.Fprintf(&value, "${V_%d_%d}", level-1, (i*references+r)%width)
				}
			}
			f.Secrets = append(f.Secrets, secrets(fmt.Sprintf("V_%d_%d=%s", level, i, value.String()))...)
		}
	}
	return Input{Sources: []Source{f}, MaxBytes: 1 << 30}
}

// sizes are the cases of BenchmarkExpand and BenchmarkCopy: ever more values, then ever longer ones.
var sizes = []struct{ values, bytes int }{{250, 1}, {500, 1}, {1000, 1}, {2000, 1}, {4000, 1}, {1000, 4}, {1000, 16}, {1000, 64}}

// forSizes runs one benchmark for all sizes, which makes an output of a number of bytes, in a process that holds as much as an
// operator with thousands of objects does: in an empty heap, garbage would be collected with every other expansion.
func forSizes(b *testing.B, prepare func(Input) (size int, expand func())) {
	held := make([]byte, 64<<20)
	defer runtime.KeepAlive(held)
	for _, c := range sizes {
		b.Run(fmt.Sprintf("values=%d/bytes=%d", c.values, c.bytes), func(b *testing.B) {
			size, expand := prepare(layers(c.values, c.bytes))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				expand()
			}
			b.ReportMetric(float64(size), "B-out")
		})
	}
}

// BenchmarkExpand shows that the time is linear in the size of the output, as far as that of BenchmarkCopy is.
func BenchmarkExpand(b *testing.B) {
	forSizes(b, func(in Input) (size int, expand func()) {
		for _, value := range composed(b, in) {
			size += len(value)
		}
		return size, func() { composed(b, in) }
	})
}

// BenchmarkCopy is the least that can make the same output: every value is found by its name in a map, and copied into a buffer of
// the final length. Where that takes more than twice as long for twice the output, the processor's caches end.
func BenchmarkCopy(b *testing.B) {
	forSizes(b, func(in Input) (size int, expand func()) {
		want := composed(b, in)
		type value struct {
			name, plain string
			parts       []string
			size        int
		}
		var values []value // parts come before what is made of them
		for _, s := range in.Sources[0].Secrets {
			v := value{name: s.Name, plain: string(s.Value), size: len(want[s.Name])}
			if parts, ok := strings.CutPrefix(v.plain, "${"); ok {
				v.parts = strings.Split(strings.TrimSuffix(parts, "}"), "}${")
			}
			values = append(values, v)
			size += v.size
		}
		return size, func() {
			made := make(map[string][]byte, len(values))
			for _, v := range values {
				text := make([]byte, 0, v.size)
				if v.parts == nil {
					text = append(text, v.plain...)
				}
				for _, part := range v.parts {
					text = append(text, made[part]...)
				}
				if len(text) != v.size {
					b.Fatalf("%s has %d bytes instead of %d", v.name, len(text), v.size)
				}
				made[v.name] = text
			}
		}
	})
}

func composed(b *testing.B, in Input) map[string][]byte {
	b.Helper()
	out, err := Compose(in)
	if err != nil {
		b.Fatal(err)
	}
	return out.Data
}

// BenchmarkPlain is what most Secrets are: no reference at all, and all of the folder.
func BenchmarkPlain(b *testing.B) { benchmarkPlain(b, Selection{}) }

// BenchmarkSelection takes the same secrets one by one, and renames them.
func BenchmarkSelection(b *testing.B) {
	benchmarkPlain(b, Selection{Include: globs("KEY_*"), Exclude: globs("*_OLD"), Rename: []Renaming{Prefix("APP_"), must(Case("Snake"))}})
}

func benchmarkPlain(b *testing.B, selection Selection) {
	b.Helper()
	f := source("dev:/").taking(selection)
	for i := range 1000 {
		f.Secrets = append(f.Secrets, secrets(fmt.Sprintf("KEY_%d=%s", i, strings.Repeat("x", 64)))...)
	}
	in := Input{Sources: []Source{f}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compose(in); err != nil {
			b.Fatal(err)
		}
	}
}
