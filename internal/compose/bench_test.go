package compose

import (
	"fmt"
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
	return Input{Sources: []Folder{f}, MaxBytes: 1 << 30}
}

// BenchmarkExpand shows that the time is linear: ns/ref stays the same while there are more values, and MB/s while they are larger
// (it falls where the output leaves the processor's caches).
func BenchmarkExpand(b *testing.B) {
	run := func(values, bytes int) {
		b.Run(fmt.Sprintf("values=%d/bytes=%d", values, bytes), func(b *testing.B) {
			in := layers(values, bytes)
			out, err := Compose(in)
			if err != nil {
				b.Fatal(err)
			}
			size := 0
			for _, value := range out.Data {
				size += len(value)
			}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compose(in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(5*values), "ns/ref")
			b.ReportMetric(float64(size), "B-out")
		})
	}
	for _, values := range []int{250, 500, 1000, 2000, 4000} {
		run(values, 1)
	}
	for _, bytes := range []int{4, 16, 64} {
		run(1000, bytes)
	}
}

// BenchmarkPlain is what most Secrets are: no reference at all.
func BenchmarkPlain(b *testing.B) {
	f := source("dev:/")
	for i := range 1000 {
		f.Secrets = append(f.Secrets, secrets(fmt.Sprintf("KEY_%d=%s", i, strings.Repeat("x", 64)))...)
	}
	in := Input{Sources: []Folder{f}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compose(in); err != nil {
			b.Fatal(err)
		}
	}
}
