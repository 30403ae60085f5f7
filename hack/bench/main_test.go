package main

import (
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/service-token-operator/service-token-operator/internal/devserver"
)

func TestALineOfABenchmarkIsRead(t *testing.T) {
	got, err := parseMicrobenchmark("BenchmarkExpand/values=250/bytes=1-2   \t 1162\t  1030000 ns/op\t 190.5 MB/s\t 195250 B-out\t 1234 allocs/op\n")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"ns/op": 1030000, "MB/s": 190.5, "B-out": 195250, "allocs/op": 1234}
	if got.name != "Expand/values=250/bytes=1" || !cmp.Equal(got.units, want) {
		t.Errorf("%+v", got)
	}
	for _, line := range []string{"", "PASS", "goos: linux", "BenchmarkX-2"} {
		if got, err := parseMicrobenchmark(line); err != nil || got.name != "" {
			t.Errorf("%q: %+v %v", line, got, err)
		}
	}
	if _, err := parseMicrobenchmark("BenchmarkX-2 10 fast ns/op"); err == nil {
		t.Error("what is no number was read")
	}
}

func TestGrowthIsThePowerOfTheCurve(t *testing.T) {
	x := []float64{1, 10, 100}
	for power, y := range map[float64][]float64{0: {7, 7, 7}, 1: {3, 30, 300}, 2: {5, 500, 50000}} {
		if got := growth(x, y); math.Abs(got-power) > 1e-9 {
			t.Errorf("%v: %v, not %v", y, got, power)
		}
	}
}

func TestATimelineIsThinnedToItsShape(t *testing.T) {
	long := make(timeline, 1053)
	for i := range long {
		long[i] = time.Duration(i+1) * time.Second
	}
	points := long.thinned()
	if len(points) != 106 || points[0] != 10 || points[104] != 1050 || points[len(points)-1] != long.end().Seconds() {
		t.Errorf("%d points: %v", len(points), points)
	}
	if got := (timeline{time.Second}).thinned(); !cmp.Equal(got, []float64{1}) {
		t.Errorf("%v", got)
	}
}

func TestTheMedianRunCounts(t *testing.T) {
	runs := []timeline{{3 * time.Second}, {1 * time.Second}, {2 * time.Second}}
	if got := median(runs).end(); got != 2*time.Second {
		t.Error(got)
	}
	if got := percentile([]time.Duration{4, 1, 3, 2}, 50); got != 2 {
		t.Error(got)
	}
	if got := percentile([]time.Duration{4, 1, 3, 2}, 99); got != 4 {
		t.Error(got)
	}
}

func TestPollsAreSpreadBySource(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	poll := func(path string, after time.Duration) devserver.Request {
		return devserver.Request{Time: at.Add(after), Route: "/api/v3/secrets", Query: "environment=prod&secretPath=" + path}
	}
	polls := sourcePolls([]devserver.Request{
		poll("%2Fa", 0), poll("%2Fb", time.Second), {Time: at, Route: "/api/v2/service-token"}, poll("%2Fa", 5*time.Minute), poll("%2Fa", 6*time.Minute),
	})
	fewest, most, longest := spread(polls)
	if len(polls) != 2 || fewest != 1 || most != 3 || longest != 5*time.Minute {
		t.Errorf("%d sources, %d to %d, %v", len(polls), fewest, most, longest)
	}
}

func TestPollsAreCountedByTheTimeBetweenThem(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	times := func(after ...time.Duration) (polls []time.Time) {
		for _, d := range after {
			polls = append(polls, at.Add(d))
		}
		return polls
	}
	got, err := pollsPerPeriod(map[string][]time.Time{"/a": times(0, 66*time.Second, 132*time.Second), "/b": times(time.Hour), "/c": times(0, 48*time.Second)})
	if err != nil || got != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := pollsPerPeriod(map[string][]time.Time{"/a": times(0)}); err == nil {
		t.Errorf("one poll is %v in each period", got)
	}
}

func TestAWorldKnowsWhatItsSecretsHold(t *testing.T) {
	w := newWorld(1000, time.Minute)
	if w.sources != 20 || w.namespaces() != 2 {
		t.Fatalf("%d sources in %d namespaces", w.sources, w.namespaces())
	}
	made, err := w.task(13)
	if err != nil {
		t.Fatal(err)
	}
	if made.Namespace != "team-1" || !w.holds(made.Secret) || len(made.Secret.Data["KEY_0"]) != 64 {
		t.Errorf("%+v", made.Secret)
	}
	w.versions[13]++
	if w.holds(made.Secret) {
		t.Error("a Secret with values of yesterday is taken for right")
	}
	if w.holds(&corev1.Secret{}) {
		t.Error("an empty Secret is taken for right")
	}
}

func TestMetricsAreAddedUpByLabels(t *testing.T) {
	all, err := parseMetrics(strings.NewReader("# TYPE x counter\nx{a=\"1\",b=\"1\"} 2\nx{a=\"1\",b=\"2\"} 3\nx{a=\"2\",b=\"1\"} 5\n# TYPE y gauge\ny 7\n"))
	if err != nil {
		t.Fatal(err)
	}
	for labels, want := range map[string]float64{"": 10, "a=1": 5, "b=1": 7, "c=1": 0} {
		match := map[string]string{}
		if name, value, ok := strings.Cut(labels, "="); ok {
			match[name] = value
		}
		if got := all.sum("x", match); got != want {
			t.Errorf("%s: %v, not %v", labels, got, want)
		}
	}
	if got := all.sum("y", nil); got != 7 {
		t.Error(got)
	}
}

func TestAShutDoorLetsNobodyInAndCountsKnocks(t *testing.T) {
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "in") }))
	defer behind.Close()
	d, err := openDoor(t.Context(), strings.TrimPrefix(behind.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	ask := func() string {
		conn, err := net.Dial("tcp", d.address())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		text, _ := io.ReadAll(conn)
		return string(text)
	}
	if !strings.HasSuffix(ask(), "in") {
		t.Error("an open door lets nobody in")
	}
	d.shut()
	if got := ask() + ask(); got != "" {
		t.Errorf("a shut door passes %q", got)
	}
	if k := d.knocked(); k.count != 2 || k.crowded != 1 {
		t.Errorf("%+v", k)
	}
	d.open()
	if !strings.HasSuffix(ask(), "in") {
		t.Error("the door stays shut")
	}
}

func TestTheTableSaysWhatWasMissed(t *testing.T) {
	r := results{Figures: []figure{
		{Row: "cold start", Case: "10 objects", Value: 1.234, Unit: "s", Floor: 1, Target: "≤ 1.3 × floor", Met: true},
		{Row: "memory", Case: "10 objects", Name: "settled RSS", Value: 200, Unit: "MiB", Target: "≤ 150"},
		{Row: "restart", Case: "10 objects", Name: "time", Value: 0.05, Unit: "s", Target: "-", Met: true},
	}}
	table := r.table()
	for _, line := range []string{
		"| cold start | 10 objects | 1.23 s | 1 s | 1.23 | ≤ 1.3 × floor | ✔ |",
		"| memory: settled RSS | 10 objects | 200 MiB |  |  | ≤ 150 | **missed** |",
		"| restart: time | 10 objects | 0.0500 s |  |  |  |  |",
	} {
		if !strings.Contains(table, line+"\n") {
			t.Errorf("no line %q in\n%s", line, table)
		}
	}
}

func TestTenTimesTheObjectsAreHeldAgainstTenTimesTheTime(t *testing.T) {
	r := results{}
	for n, seconds := range map[int]float64{1000: 2, 10000: 25} {
		r.ColdStarts = append(r.ColdStarts, coldStart{Objects: n, Operator: []float64{seconds}})
	}
	r.finish()
	if len(r.Figures) != 1 || r.Figures[0].Value != 12.5 || r.Figures[0].Met {
		t.Errorf("%+v", r.Figures)
	}
}
