package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

var (
	objectsResource = stv1.GroupVersion.WithResource("servicetokensecrets")
	secretsResource = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

// observer notes when objects are written, by metadata alone, which is the least that an observer can cost.
type observer struct {
	stop func()

	mu     sync.Mutex
	first  map[string]time.Time // namespace/name: the first write that was seen
	writes int
	ended  bool          // before stop was called: what comes is not seen any more
	grown  chan struct{} // closed with the next write
}

// observe watches a resource from now on. What exists is not a write.
func (s *stage) observe(ctx context.Context, resource schema.GroupVersionResource, labels string) (*observer, error) {
	config := rest.CopyConfig(s.cluster.Config)
	c, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	list, err := c.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: labels, Limit: 1})
	if err != nil {
		return nil, err
	}
	w, err := c.Resource(resource).Watch(ctx, metav1.ListOptions{LabelSelector: labels, ResourceVersion: list.ResourceVersion})
	if err != nil {
		return nil, err
	}
	o := &observer{stop: w.Stop, first: map[string]time.Time{}, grown: make(chan struct{})}
	go o.run(w)
	return o, nil
}

func (o *observer) run(w watch.Interface) {
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.ended = true
	}()
	for event := range w.ResultChan() {
		m, err := meta.Accessor(event.Object)
		if err != nil || event.Type == watch.Deleted {
			continue
		}
		name, now := m.GetNamespace()+"/"+m.GetName(), time.Now()
		o.mu.Lock()
		if _, seen := o.first[name]; !seen {
			o.first[name] = now
		}
		o.writes++
		close(o.grown)
		o.grown = make(chan struct{})
		o.mu.Unlock()
	}
}

// await waits until n objects were written, and returns when the n-th was for the first time.
func (o *observer) await(ctx context.Context, n int, limit time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		o.mu.Lock()
		seen, grown := len(o.first), o.grown
		o.mu.Unlock()
		if seen >= n {
			times := o.times()
			return times[n-1], nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("waiting for %d objects to be written, of which %d were: %w", n, seen, ctx.Err())
		}
	}
}

// times are the first writes of all objects, in order.
func (o *observer) times() []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.SortedFunc(maps.Values(o.first), time.Time.Compare)
}

// count is how many writes were seen, unless the watch has ended.
func (o *observer) count() (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return 0, errors.New("the API server ended the watch")
	}
	return o.writes, nil
}

// usage is what a process has used.
type usage struct {
	cpu       time.Duration
	rss, anon int64 // bytes
	peak      int64 // of rss
}

// userHertz is how the kernel counts a process's time: in hundredths of a second, on all machines that Go runs on.
const userHertz = 100

func processUsage(pid int) (usage, error) {
	var u usage
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name before may hold anything
	fields := strings.Fields(rest)
	const user, system = 11, 12 // proc(5): fields 14 and 15, of which two are cut off
	for _, at := range []int{user, system} {
		ticks, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * time.Second / userHertz
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*int64{"VmRSS": &u.rss, "RssAnon": &u.anon, "VmHWM": &u.peak}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return u, err
		}
		*into = kib << 10
	}
	return u, nil
}

type families map[string]*dto.MetricFamily

func parseMetrics(text io.Reader) (families, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(text)
}

// scrape reads the operator's metrics.
func (o *operator) scrape(ctx context.Context) (families, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, o.metrics, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	return parseMetrics(answer.Body)
}

// sum adds up the series of a family that have these labels.
func (f families) sum(name string, labels prometheus.Labels) float64 {
	total := 0.0
	for _, m := range f[name].GetMetric() {
		if hasLabels(m, labels) {
			total += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return total
}

func hasLabels(m *dto.Metric, labels prometheus.Labels) bool {
	found := 0
	for _, pair := range m.GetLabel() {
		if value, ok := labels[pair.GetName()]; ok && value == pair.GetValue() {
			found++
		}
	}
	return found == len(labels)
}

// writes are the writes that the API server has seen, by resource.
type writes map[string]int

// apiWrites asks the API server for its own count. Leases are left out, and with them the events about them, which are of the old
// API group: they are how replicas agree, whatever there is to do.
func (s *stage) apiWrites(ctx context.Context) (writes, error) {
	c, err := kubernetes.NewForConfig(s.cluster.Config)
	if err != nil {
		return nil, err
	}
	text, err := c.RESTClient().Get().AbsPath("/metrics").Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = text.Close() }()
	all, err := parseMetrics(text)
	if err != nil {
		return nil, err
	}
	seen := writes{}
	for _, verb := range []string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"} {
		for resource, group := range map[string]string{"secrets": "", "configmaps": "", "servicetokensecrets": stv1.GroupVersion.Group, "events": "events.k8s.io"} {
			seen[resource] += int(all.sum("apiserver_request_total", prometheus.Labels{"verb": verb, "group": group, "resource": resource}))
		}
	}
	return seen, nil
}

func (w writes) since(before writes) writes {
	diff := writes{}
	for resource, n := range w {
		diff[resource] = n - before[resource]
	}
	return diff
}

// toObjects are the writes that grow with the number of objects: all but those of the ConfigMap with the uses of tokens.
func (w writes) toObjects() int { return w["secrets"] + w["servicetokensecrets"] + w["events"] }

func (w writes) String() string {
	return fmt.Sprintf("%d Secrets, %d objects, %d events, %d ConfigMaps", w["secrets"], w["servicetokensecrets"], w["events"], w["configmaps"])
}
