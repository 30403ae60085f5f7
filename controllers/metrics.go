package controllers

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// collector answers a scrape from what the cache, the ledger and the pool hold at that moment, so a series ends with its object,
// token or host.
type collector struct {
	cache client.Reader
	uses  counter
	polls loads

	objects, total, ratio, expiry *prometheus.Desc
	sources, overdue, delay       *prometheus.Desc
}

// counter is the ledger of uses, as far as a scrape needs it.
type counter interface {
	Loaded() bool
	Count(tokenID string) int64
}

// loads is the pool of sources, as far as a scrape needs it.
type loads interface {
	Load() map[string]source.Load // by host
}

// scrapeTimeout limits what a scrape may take at the cache, which is in memory.
const scrapeTimeout = 5 * time.Second

func newCollector(cache client.Reader, uses counter, polls loads) *collector {
	name := func(n string) string { return prometheus.BuildFQName("servicetoken", "", n) }
	token, host := []string{"token_id"}, []string{"host"}
	return &collector{
		cache: cache, uses: uses, polls: polls,
		objects: prometheus.NewDesc(name("objects"), "ServiceTokenSecrets by status and reason of the condition Ready; both are empty before the first outcome.", []string{"ready", "reason"}, nil),
		total:   prometheus.NewDesc(name("token_uses_total"), "Requests authenticated with a token, since it was first seen; may be too high by what a crash left reserved, never too low.", token, nil),
		ratio:   prometheus.NewDesc(name("token_rotation_threshold_ratio"), "Uses of a token as a share of the smallest spec.rotation.threshold of the objects that use it; 1 is the threshold.", token, nil),
		expiry:  prometheus.NewDesc(name("token_expiry_timestamp_seconds"), "When a token expires, in seconds since 1970; absent for one that never does.", token, nil),
		sources: prometheus.NewDesc(name("sources"), "Distinct sources that are polled at a server, however many objects read them.", host, nil),
		overdue: prometheus.NewDesc(name("poll_overdue_seconds"), "How long that poll of a server's sources has been due that is due now and waits longest, for the rate limit or the answer; 0 when none is.", host, nil),
		delay:   prometheus.NewDesc(name("poll_delay_seconds"), "How long after they were due polls of a server's sources ended, those that failed aside.", host, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.objects, c.total, c.ratio, c.expiry, c.sources, c.overdue, c.delay} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	c.collectPolls(out)
	c.collectObjects(out)
}

func (c *collector) collectPolls(out chan<- prometheus.Metric) {
	for host, l := range c.polls.Load() {
		out <- prometheus.MustNewConstMetric(c.sources, prometheus.GaugeValue, float64(l.Sources), host)
		out <- prometheus.MustNewConstMetric(c.overdue, prometheus.GaugeValue, l.Overdue.Seconds(), host)
		out <- prometheus.MustNewConstHistogram(c.delay, l.Polls, l.Late, l.Buckets, host)
	}
}

func (c *collector) collectObjects(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	var list stv1.ServiceTokenSecretList
	if err := c.cache.List(ctx, &list, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		log.Log.Error(err, "listing objects for a scrape") // what else is scraped is told all the same
		return
	}
	type state struct{ ready, reason string }
	objects := map[state]int{}
	thresholds := map[string]int64{}
	expiries := map[string]time.Time{}
	for i := range list.Items {
		obj := &list.Items[i]
		var s state
		if ready := meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionReady); ready != nil {
			s = state{string(ready.Status), ready.Reason}
		}
		objects[s]++
		token := obj.Status.Token
		if token == nil {
			continue
		}
		if known, ok := thresholds[token.ID]; !ok || obj.Spec.Rotation.Threshold < known {
			thresholds[token.ID] = obj.Spec.Rotation.Threshold
		}
		if token.ExpiresAt != nil {
			expiries[token.ID] = token.ExpiresAt.Time
		}
	}
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for s, n := range objects {
		gauge(c.objects, float64(n), s.ready, s.reason)
	}
	if c.uses.Loaded() { // a counter that starts from 0 would be seen as one that was reset
		for id, threshold := range thresholds {
			count := float64(c.uses.Count(id))
			out <- prometheus.MustNewConstMetric(c.total, prometheus.CounterValue, count, id)
			gauge(c.ratio, count/float64(threshold), id)
		}
	}
	for id, at := range expiries {
		gauge(c.expiry, float64(at.Unix()), id)
	}
}
