// Plot draws what the benchmark measured: SVG files beside the results.json that its argument names.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/go-analyze/charts"
)

// results is as much of results.json as is drawn. hack/bench says what its fields are.
type results struct {
	ColdStarts []coldStart `json:"coldStarts"`
	Memory     []memory    `json:"memory"`
}

type coldStart struct {
	Objects  int       `json:"objects"`
	Floor    []float64 `json:"floorSeconds"`
	Operator []float64 `json:"operatorSeconds"`
}

type memory struct {
	Objects     int     `json:"objects"`
	RSS         float64 `json:"rssMiB"`
	WithForeign float64 `json:"rssWithForeignMiB"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: plot bench/results.json")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	slices.SortFunc(r.ColdStarts, func(a, b coldStart) int { return a.Objects - b.Objects })
	for name, draw := range map[string]func(results) ([]byte, error){
		"cold-start.svg": drawColdStarts, "cold-start-timeline.svg": drawTimeline, "memory.svg": drawMemory,
	} {
		svg, err := draw(r)
		if err != nil {
			return fmt.Errorf("drawing %s: %w", name, err)
		}
		if svg == nil {
			continue // that row was not measured
		}
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), name), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func painter() *charts.Painter {
	return charts.NewPainter(charts.PainterOptions{OutputFormat: charts.ChartOutputSVG, Width: 720, Height: 400, Theme: charts.GetTheme(charts.ThemeLight)})
}

func bars(title string, groups, series []string, values [][]float64) ([]byte, error) {
	o := charts.NewBarChartOptionWithData(values)
	o.Title.Text = title
	o.Legend.SeriesNames = series
	o.Legend.Offset = charts.OffsetRight
	o.CategoryAxis.Labels = groups
	o.ValueFormatter = func(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
	o.ValueAxis[0].Min = charts.Ptr(0.0)
	for i := range o.SeriesList {
		o.SeriesList[i].Label.Show = charts.Ptr(true)
	}
	p := painter()
	if err := p.BarChart(o); err != nil {
		return nil, err
	}
	return p.Bytes()
}

func drawColdStarts(r results) ([]byte, error) {
	if len(r.ColdStarts) == 0 {
		return nil, nil
	}
	var groups []string
	values := make([][]float64, 2)
	for _, c := range r.ColdStarts {
		groups = append(groups, fmt.Sprintf("%d objects", c.Objects))
		values[0] = append(values[0], c.Floor[len(c.Floor)-1])
		values[1] = append(values[1], c.Operator[len(c.Operator)-1])
	}
	return bars("Cold start, seconds until all are Ready", groups, []string{"bare writes", "operator"}, values)
}

func drawMemory(r results) ([]byte, error) {
	if len(r.Memory) == 0 {
		return nil, nil
	}
	var groups []string
	values := make([][]float64, 2)
	for _, m := range r.Memory {
		groups = append(groups, fmt.Sprintf("%d objects", m.Objects))
		values[0], values[1] = append(values[0], m.RSS), append(values[1], m.WithForeign)
	}
	return bars("Settled memory, MiB resident", groups, []string{"operator", "with foreign Secrets"}, values)
}

// drawTimeline shows the largest cold start as it went: how many objects were done after how many seconds.
func drawTimeline(r results) ([]byte, error) {
	if len(r.ColdStarts) == 0 {
		return nil, nil
	}
	largest := r.ColdStarts[len(r.ColdStarts)-1]
	end := max(largest.Floor[len(largest.Floor)-1], largest.Operator[len(largest.Operator)-1])
	const points = 60
	values := make([][]float64, 2)
	labels := make([]string, points+1)
	for i := range labels {
		at := end * float64(i) / points
		labels[i] = strconv.FormatFloat(at, 'f', 1, 64)
		for line, times := range [][]float64{largest.Floor, largest.Operator} {
			done, _ := slices.BinarySearch(times, at)
			values[line] = append(values[line], float64(largest.Objects)*float64(done)/float64(len(times)))
		}
	}
	o := charts.NewLineChartOptionWithData(values)
	o.Title.Text = fmt.Sprintf("%d objects Ready, over seconds", largest.Objects)
	o.Legend.SeriesNames = []string{"bare writes", "operator"}
	o.Legend.Offset = charts.OffsetRight
	o.XAxis.Labels = labels
	o.XAxis.LabelCount = 10
	o.Symbol = charts.Symbol{Shape: charts.SymbolNone}
	p := painter()
	if err := p.LineChart(o); err != nil {
		return nil, err
	}
	return p.Bytes()
}
