package controllers

import (
	"cmp"
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// collector answers a scrape from what the cache, the ledger and the pool hold at that moment, so a series ends with its object,
// token or host. A replica that waits for the lease tells of its build and nothing else: what there is would be told, and added up, twice.
type collector struct {
	leads     <-chan struct{} // closed when this process works
	cache     client.Reader
	uses      counter
	polls     loads
	build     Build
	perObject bool
	cluster   bool // there are ClusterServiceTokenSecrets
	push      bool // there are ServiceTokenPushes

	descs map[string]*prometheus.Desc // by the family's name
}

// Build is what the operator was built from.
type Build struct{ Version, Commit, Date string }

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

// measured makes the reconciler's metrics part of what is scraped.
func (r *reconciler) measured(mgr ctrl.Manager, o Options) error {
	if o.Metrics == nil {
		return nil
	}
	if err := r.counters.register(o.Metrics); err != nil {
		return err
	}
	return o.Metrics.Register(newCollector(collector{
		leads: mgr.Elected(), cache: mgr.GetClient(), uses: r.ledger, polls: r.pool, build: o.Build,
		perObject: o.PerObjectMetrics, cluster: o.ClusterSecrets, push: o.Push,
	}))
}

// newCollector completes a collector.
func newCollector(c collector) *collector {
	c.descs = map[string]*prometheus.Desc{}
	for _, f := range scraped {
		c.descs[f.Name] = f.desc()
	}
	return &c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	tell := func(f Family, value float64, labels ...string) {
		kind := prometheus.GaugeValue
		if f.Type == "counter" {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(c.descs[f.Name], kind, value, labels...)
	}
	tell(buildFamily, 1, c.build.Version, c.build.Commit, c.build.Date, runtime.Version())
	select {
	case <-c.leads:
	default:
		return
	}
	for host, l := range c.polls.Load() {
		tell(sourcesFamily, float64(l.Sources), host)
		tell(readersFamily, float64(l.Readers), host)
		tell(savedFamily, l.Saved, host)
		tell(undecryptableFamily, float64(l.Undecryptable), host)
		tell(overdueFamily, l.Overdue.Seconds(), host)
		out <- prometheus.MustNewConstHistogram(c.descs[delayFamily.Name], l.Polls, l.Late, l.Buckets, host)
	}
	c.collectObjects(tell)
}

// state is one condition of an object, as far as it is counted.
type state struct{ condition, status, reason string }

func (c *collector) collectObjects(tell func(f Family, value float64, labels ...string)) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	all, err := c.list(ctx)
	if err != nil {
		log.Log.Error(err, "listing objects for a scrape") // what else is scraped is told all the same
		return
	}
	objects := map[state]int{}
	thresholds := map[string]int64{}
	expiries := map[string]time.Time{}
	for _, obj := range all {
		ready := meta.FindStatusCondition(obj.Status.Conditions, stv1.ConditionReady)
		if ready == nil {
			ready = &metav1.Condition{}
			objects[state{condition: stv1.ConditionReady}]++
		}
		for _, condition := range obj.Status.Conditions {
			objects[state{condition.Type, string(condition.Status), condition.Reason}]++
		}
		if c.perObject {
			kind := cmp.Or(obj.Kind, "ServiceTokenSecret")
			tell(readyFamily, oneIf(ready.Status == metav1.ConditionTrue), kind, obj.Namespace, obj.Name, ready.Reason)
			if at := obj.Status.LastSyncTime; at != nil {
				tell(syncTimeFamily, float64(at.Unix()), kind, obj.Namespace, obj.Name)
			}
		}
		token := obj.Status.Token
		if token == nil || ready.Reason == stv1.ReasonSuspended || ready.Reason == stv1.ReasonTokenSecretNotFound || ready.Reason == stv1.ReasonTokenMalformed {
			continue // it is not in use
		}
		if obj.Spec.Auth.ServiceToken == nil {
			continue // an identity is neither counted nor does it expire
		}
		if known, ok := thresholds[token.ID]; !ok || obj.Spec.Rotation.Threshold < known {
			thresholds[token.ID] = obj.Spec.Rotation.Threshold
		}
		if token.ExpiresAt != nil {
			expiries[token.ID] = token.ExpiresAt.Time
		}
	}
	for s, n := range objects {
		tell(objectsFamily, float64(n), s.condition, s.status, s.reason)
	}
	if c.uses.Loaded() { // a counter that starts from 0 would be seen as one that was reset
		for id, threshold := range thresholds {
			count := float64(c.uses.Count(id))
			tell(usesFamily, count, id)
			tell(ratioFamily, count/float64(threshold), id)
		}
	}
	for id, at := range expiries {
		tell(expiryFamily, float64(at.Unix()), id)
	}
}

// list returns the objects of all kinds, the others as far as they are like a ServiceTokenSecret.
func (c *collector) list(ctx context.Context) ([]*stv1.ServiceTokenSecret, error) {
	options := []client.ListOption{client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency}
	var list stv1.ServiceTokenSecretList
	if err := c.cache.List(ctx, &list, options...); err != nil {
		return nil, err
	}
	all := make([]*stv1.ServiceTokenSecret, 0, len(list.Items))
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	if c.cluster {
		var clusters stv1.ClusterServiceTokenSecretList
		if err := c.cache.List(ctx, &clusters, options...); err != nil {
			return nil, err
		}
		for i := range clusters.Items {
			of := &clusters.Items[i]
			all = append(all, &stv1.ServiceTokenSecret{
				TypeMeta: metav1.TypeMeta{Kind: "ClusterServiceTokenSecret"}, ObjectMeta: of.ObjectMeta,
				Spec: of.Spec.ServiceTokenSecretSpec, Status: of.Status.ServiceTokenSecretStatus,
			})
		}
	}
	if c.push {
		var pushes stv1.ServiceTokenPushList
		if err := c.cache.List(ctx, &pushes, options...); err != nil {
			return nil, err
		}
		for i := range pushes.Items {
			all = append(all, accountOf(&pushes.Items[i], &pushes.Items[i].Status))
		}
	}
	return all, nil
}

func oneIf(so bool) float64 {
	if so {
		return 1
	}
	return 0
}
