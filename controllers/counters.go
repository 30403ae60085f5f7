package controllers

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/target"
)

// counters are what is counted where it happens. Their labels are reasons, operations, routes and outcomes, of which the code has
// few; nothing of an object is in them, so nothing has to end with one.
type counters struct {
	syncs, writes, pushes, restarts, deliveries, requests *prometheus.CounterVec
	limits                                                *prometheus.GaugeVec
	change, latency                                       *prometheus.HistogramVec
}

func newCounters() *counters {
	c := &counters{
		syncs: syncsFamily.counter(), writes: writesFamily.counter(), pushes: pushesFamily.counter(), restarts: restartsFamily.counter(),
		deliveries: deliveriesFamily.counter(), requests: requestsFamily.counter(), limits: limitFamily.gauge(),
		change: changeFamily.histogram(changeBuckets), latency: latencyFamily.histogram(latencyBuckets),
	}
	// From 0 on, or the first of each would not be seen as an increase.
	for _, operation := range []string{"create", "update", "heal", "delete"} {
		c.writes.WithLabelValues(operation)
	}
	for _, operation := range []string{"create", "update", "delete"} {
		c.pushes.WithLabelValues(operation)
	}
	return c
}

// register makes them part of what is scraped.
func (c *counters) register(with prometheus.Registerer) error {
	for _, family := range []prometheus.Collector{c.syncs, c.writes, c.pushes, c.restarts, c.deliveries, c.requests, c.limits, c.change, c.latency} {
		if err := with.Register(family); err != nil {
			return err
		}
	}
	return nil
}

// Observe implements infisical.Observer.
func (c *counters) Observe(e infisical.Exchange) {
	c.requests.WithLabelValues(e.Host, e.Route, string(e.Outcome)).Inc()
	c.latency.WithLabelValues(e.Route).Observe(e.Took.Seconds())
	if e.Limit > 0 { // else the answer does not say, as a 304 may not
		c.limits.WithLabelValues(e.Host, e.Route).Set(float64(e.Limit))
	}
}

// ended counts an outcome, with the reason that status has for it.
func (c *counters) ended(obj *stv1.ServiceTokenSecret, out outcome) {
	if out.reason != "" {
		c.syncs.WithLabelValues(meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionReady).Reason).Inc()
	}
	if n := len(out.deleted); n > 0 {
		c.writes.WithLabelValues("delete").Add(float64(n))
	}
	for _, restart := range out.restarts {
		if n := len(restart.done); n > 0 {
			c.restarts.WithLabelValues().Add(float64(n))
		}
	}
}

// pushed counts what was written at Infisical.
func (c *counters) pushed(done pushed) {
	for operation, names := range map[string][]string{"create": done.created, "update": done.updated, "delete": done.deleted} {
		if len(names) > 0 {
			c.pushes.WithLabelValues(operation).Add(float64(len(names)))
		}
	}
}

// delivered counts a webhook's delivery by what became of it.
func (c *counters) delivered(outcome string) { c.deliveries.WithLabelValues(outcome).Inc() }

// wrote counts a write. seen is when the newest of what was written was first read, where that is the reason of the write, else
// zero.
func (c *counters) wrote(written target.Result, seen, now time.Time) {
	switch {
	case !written.Changed:
	case written.Healed:
		c.writes.WithLabelValues("heal").Inc()
	case written.Created:
		c.writes.WithLabelValues("create").Inc()
	default:
		c.writes.WithLabelValues("update").Inc()
		if !seen.IsZero() {
			c.change.WithLabelValues().Observe(now.Sub(seen).Seconds())
		}
	}
}
