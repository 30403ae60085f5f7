package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
)

// microbenchmark is one result of `go test -bench`: its numbers by unit, such as ns/op, MB/s and allocs/op.
type microbenchmark struct {
	name  string // without Benchmark and without the number of processors
	units map[string]float64
}

// microbenchmarks runs the benchmarks of a package and keeps the fastest run of each. They take turns, so that what else the
// machine does meets them all alike.
func (b *bench) microbenchmarks(ctx context.Context, pkg, pattern string) ([]microbenchmark, error) {
	const rounds = 7
	var all []microbenchmark
	for range rounds {
		round, err := b.microbenchmarkRound(ctx, pkg, pattern)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = round
		}
		for i, m := range round {
			if m.units["ns/op"] < all[i].units["ns/op"] {
				all[i] = m
			}
		}
	}
	return all, nil
}

func (b *bench) microbenchmarkRound(ctx context.Context, pkg, pattern string) ([]microbenchmark, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench="+pattern, "-benchmem", "-benchtime=200ms", pkg)
	cmd.Dir = b.root
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, text)
	}
	var all []microbenchmark
	for line := range strings.Lines(string(text)) {
		m, err := parseMicrobenchmark(line)
		if err != nil {
			return nil, err
		}
		if m.name != "" {
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %w", cmd, errors.New("no benchmark ran"))
	}
	return all, nil
}

// parseMicrobenchmark reads a line of `go test -bench`: name, iterations, and pairs of a number and its unit. Other lines have no
// name.
func parseMicrobenchmark(line string) (microbenchmark, error) {
	fields := strings.Fields(line)
	if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
		return microbenchmark{}, nil
	}
	name := strings.TrimPrefix(fields[0], "Benchmark")
	if at := strings.LastIndexByte(name, '-'); at > 0 {
		name = name[:at]
	}
	m := microbenchmark{name: name, units: map[string]float64{}}
	for i := 2; i+1 < len(fields); i += 2 {
		value, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return microbenchmark{}, fmt.Errorf("reading %q: %w", line, err)
		}
		m.units[fields[i+1]] = value
	}
	return m, nil
}

// decrypt holds opening fields against the bare cipher on the same bytes.
func decrypt(ctx context.Context, b *bench) error {
	all, err := b.microbenchmarks(ctx, "./internal/servicetoken", "^(BenchmarkOpen|BenchmarkAEAD)$")
	if err != nil {
		return err
	}
	bare := map[string]microbenchmark{}
	for _, m := range all {
		if size, ok := strings.CutPrefix(m.name, "AEAD/"); ok {
			bare[size] = m
		}
	}
	for _, m := range all {
		size, ok := strings.CutPrefix(m.name, "Open/")
		if !ok {
			continue
		}
		floor, speed := bare[size].units["MB/s"], m.units["MB/s"]
		b.add(figure{Row: "decrypt", Case: size, Name: "throughput", Value: speed, Unit: "MB/s", Floor: floor, Target: "≥ 0.8 × AES-GCM alone", Met: floor > 0 && speed >= 0.8*floor})
	}
	return nil
}

// references looks at how the time of an expansion grows with what it makes, beside that of a plain copy of the same bytes.
func references(ctx context.Context, b *bench) error {
	all, err := b.microbenchmarks(ctx, "./internal/compose", "^(BenchmarkExpand|BenchmarkCopy)$")
	if err != nil {
		return err
	}
	for _, grows := range []struct{ name, prefix, suffix string }{
		{"more values", "/values=", "/bytes=1"},
		{"longer values", "/values=1000/bytes=", ""},
	} {
		sizes, times := curve(all, "Expand"+grows.prefix, grows.suffix)
		_, copies := curve(all, "Copy"+grows.prefix, grows.suffix)
		if len(sizes) < 3 || len(copies) != len(sizes) {
			return fmt.Errorf("%d results for %s, and %d for a copy, are too few", len(sizes), grows.name, len(copies))
		}
		power := growth(sizes, times)
		b.add(figure{
			Row: "reference expansion", Case: fmt.Sprintf("%s: %s to %s", grows.name, quantity(sizes[0]/1e6, "MB"), quantity(sizes[len(sizes)-1]/1e6, "MB")),
			Name: "time grows as output size to the power of", Value: power, Floor: growth(sizes, copies), Target: "≤ 1.1 (1 is linear)", Met: power <= 1.1,
		})
	}
	return nil
}

// curve is the time over the size of the output, of the microbenchmarks whose names begin and end so.
func curve(all []microbenchmark, prefix, suffix string) (sizes, times []float64) {
	for _, m := range all {
		if strings.HasPrefix(m.name, prefix) && strings.HasSuffix(m.name, suffix) {
			sizes, times = append(sizes, m.units["B-out"]), append(times, m.units["ns/op"])
		}
	}
	return sizes, times
}

// growth is the power p for which y is about c·x^p: the slope of the straight line through the logarithms.
func growth(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	n := float64(len(x))
	for i := range x {
		lx, ly := math.Log(x[i]), math.Log(y[i])
		sx, sy, sxx, sxy = sx+lx, sy+ly, sxx+lx*lx, sxy+lx*ly
	}
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
