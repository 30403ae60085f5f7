package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// results are what results.json holds.
type results struct {
	Machine    machine     `json:"machine"`
	Started    time.Time   `json:"started"`
	Figures    []figure    `json:"figures"`
	ColdStarts []coldStart `json:"coldStarts,omitempty"`
	Memory     []memory    `json:"memory,omitempty"`
}

// machine is where it was measured.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryGiB  int    `json:"memoryGiB"`
	Go         string `json:"go"`
	Kubernetes string `json:"kubernetes"` // the API server's version
	Commit     string `json:"commit"`
}

// figure is one measured number and what it is held against.
type figure struct {
	Row    string  `json:"row"`
	Case   string  `json:"case"`
	Name   string  `json:"name,omitempty"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`
	Floor  float64 `json:"floor,omitempty"` // what the bare client, or the bare cipher, reached in the same run
	Target string  `json:"target"`          // "-" where there is none
	Met    bool    `json:"met"`
}

// coldStart has the seconds after the start by which more and more objects were done, evenly spread over them.
type coldStart struct {
	Objects  int       `json:"objects"`
	Floor    []float64 `json:"floorSeconds"`
	Operator []float64 `json:"operatorSeconds"`
}

// memory is settled resident memory in MiB.
type memory struct {
	Objects     int     `json:"objects"`
	RSS         float64 `json:"rssMiB"`
	WithForeign float64 `json:"rssWithForeignMiB"`
}

func (r *results) add(figures ...figure) { r.Figures = append(r.Figures, figures...) }

// finish adds what only all cold starts together tell.
func (r *results) finish() {
	seconds := map[int]float64{}
	for _, c := range r.ColdStarts {
		seconds[c.Objects] = c.Operator[len(c.Operator)-1]
	}
	if seconds[1000] > 0 && seconds[10000] > 0 {
		factor := seconds[10000] / seconds[1000]
		at := 1 + slices.IndexFunc(r.Figures, func(f figure) bool { return f.Row == "cold start" && f.Case == "10000 objects" })
		r.Figures = slices.Insert(r.Figures, at, figure{
			Row: "cold start", Case: "10000 objects", Name: "over 1000 objects", Value: factor, Unit: "×", Target: "≤ 1.2 × 10", Met: factor <= 12,
		})
	}
}

// write puts everything into a directory: results.json and, of the same, results.md.
func (b *bench) write(dir string) error {
	b.finish()
	table := b.table()
	b.say("%s", table)
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	text, err := json.MarshalIndent(b.results, "", " ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"results.json": append(text, '\n'), "results.md": []byte(table)}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// table is the figures in Markdown.
func (r *results) table() string {
	var out bytes.Buffer
	fmt.Fprintf(&out, "Measured on %s with %d × %s, %d GiB, %s, Kubernetes %s, at commit %s.\n\n", r.Started.Format(time.DateOnly), r.Machine.Cores, r.Machine.CPU,
		r.Machine.MemoryGiB, r.Machine.Go, r.Machine.Kubernetes, r.Machine.Commit)
	fmt.Fprintln(&out, "| what | of | measured | floor | × | target | |")
	fmt.Fprintln(&out, "|---|---|---:|---:|---:|---|---|")
	for _, f := range r.Figures {
		what, floor, factor, met := f.Row, "", "", "✔"
		if f.Name != "" {
			what += ": " + f.Name
		}
		if f.Floor != 0 {
			floor, factor = quantity(f.Floor, f.Unit), fmt.Sprintf("%.2f", f.Value/f.Floor)
		}
		switch {
		case f.Target == "-":
			met = ""
		case !f.Met:
			met = "**missed**"
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s |\n", what, f.Case, quantity(f.Value, f.Unit), floor, factor, strings.TrimPrefix(f.Target, "-"), met)
	}
	return out.String()
}

// quantity has three significant digits, or all of a whole number.
func quantity(value float64, unit string) string {
	digits := 0
	if value != math.Trunc(value) {
		digits = max(0, 2-int(math.Floor(math.Log10(math.Abs(value)))))
	}
	return strings.TrimSpace(fmt.Sprintf("%.*f %s", digits, value, unit))
}

func describeMachine(ctx context.Context, root string) machine {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version(), CPU: "unknown CPU", Commit: "unknown", Kubernetes: "unknown"}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int
		if _, err := fmt.Sscanf(string(info), "MemTotal: %d kB", &kib); err == nil {
			m.MemoryGiB = (kib + 1<<19) >> 20
		}
	}
	if commit, err := exec.CommandContext(ctx, "git", "-C", root, "describe", "--always", "--dirty").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(commit))
	}
	return m
}
