package controllers

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Family is a family of metrics that the operator serves.
type Family struct {
	Name string
	// Type is gauge, counter or histogram.
	Type string
	Help string
	// Labels have few values each: none holds a key's name or value, and only those of the PerObject families grow with the cluster.
	Labels []string
	// PerObject families are served when asked for (Options.PerObjectMetrics).
	PerObject bool
}

// The families that a scrape reads from caches, the ledger and the pool.
var (
	objectsFamily       = Family{Name: "servicetoken_objects", Type: "gauge", Help: "Objects of all kinds by condition, status and reason. One that is being read for the first time has the condition Ready without status and reason.", Labels: []string{"condition", "status", "reason"}}
	usesFamily          = Family{Name: "servicetoken_token_uses_total", Type: "counter", Help: "Requests authenticated with a token, since it was first seen; may be too high by what a crash left reserved, never too low.", Labels: []string{"token_id"}}
	ratioFamily         = Family{Name: "servicetoken_token_rotation_threshold_ratio", Type: "gauge", Help: "Uses of a token as a share of the smallest spec.rotation.threshold of the objects that use it; 1 is the threshold.", Labels: []string{"token_id"}}
	expiryFamily        = Family{Name: "servicetoken_token_expiry_timestamp_seconds", Type: "gauge", Help: "When a token expires, in seconds since 1970; absent for one that never does.", Labels: []string{"token_id"}}
	sourcesFamily       = Family{Name: "servicetoken_sources", Type: "gauge", Help: "Distinct sources that are polled at a server, however many objects read them.", Labels: []string{"host"}}
	readersFamily       = Family{Name: "servicetoken_source_readers", Type: "gauge", Help: "Readers of these sources: an object counts once for each source that it reads.", Labels: []string{"host"}}
	savedFamily         = Family{Name: "servicetoken_polls_saved_total", Type: "counter", Help: "How many more polls there would have been if each reader had polled by itself.", Labels: []string{"host"}}
	overdueFamily       = Family{Name: "servicetoken_poll_overdue_seconds", Type: "gauge", Help: "How long that poll of a server's sources has been due that is due now and waits longest, for the rate limit or the answer; 0 when none is.", Labels: []string{"host"}}
	delayFamily         = Family{Name: "servicetoken_poll_delay_seconds", Type: "histogram", Help: "How long after they were due polls of a server's sources ended, those that failed aside.", Labels: []string{"host"}}
	undecryptableFamily = Family{Name: "servicetoken_undecryptable_fields_total", Type: "counter", Help: "Fields that did not open with the project's key, each time they were read.", Labels: []string{"host"}}
	buildFamily         = Family{Name: "servicetoken_build_info", Type: "gauge", Help: "1, with what the operator was built from.", Labels: []string{"version", "commit", "date", "goversion"}}
	readyFamily         = Family{Name: "servicetoken_object_ready", Type: "gauge", Help: "1 for an object that is Ready, else 0, with the reason.", Labels: []string{"kind", "namespace", "name", "reason"}, PerObject: true}
	syncTimeFamily      = Family{Name: "servicetoken_object_last_sync_timestamp_seconds", Type: "gauge", Help: "When the data or the outcome of an object last changed, in seconds since 1970.", Labels: []string{"kind", "namespace", "name"}, PerObject: true}
)

var scraped = []Family{
	objectsFamily, usesFamily, ratioFamily, expiryFamily, sourcesFamily, readersFamily, savedFamily, overdueFamily, delayFamily, undecryptableFamily,
	buildFamily, readyFamily, syncTimeFamily,
}

// The families that are counted where it happens.
var (
	syncsFamily      = Family{Name: "servicetoken_syncs_total", Type: "counter", Help: "Looks at objects that came to an outcome, by its reason: Synced, or why not.", Labels: []string{"reason"}}
	writesFamily     = Family{Name: "servicetoken_secret_writes_total", Type: "counter", Help: "Secrets and ConfigMaps that were created, updated, healed from somebody else's change, or deleted.", Labels: []string{"operation"}}
	pushesFamily     = Family{Name: "servicetoken_push_writes_total", Type: "counter", Help: "Names at Infisical that ServiceTokenPushes created, updated or deleted.", Labels: []string{"operation"}}
	restartsFamily   = Family{Name: "servicetoken_workload_restarts_total", Type: "counter", Help: "Workloads that were restarted because the data of a target had changed."}
	deliveriesFamily = Family{Name: "servicetoken_webhook_deliveries_total", Type: "counter", Help: "Deliveries of webhooks by what became of them: accepted, ignored (another event), forged, stale, replayed, malformed, oversized, or elsewhere (this replica does not lead).", Labels: []string{"outcome"}}
	changeFamily     = Family{Name: "servicetoken_change_duration_seconds", Type: "histogram", Help: "From the poll that saw a change at the server to the Secret that holds it."}
	requestsFamily   = Family{Name: "servicetoken_infisical_requests_total", Type: "counter", Help: "Requests to Infisical servers by host, route and outcome: 200, 304, 3xx, 4xx, 429, 5xx, or network for one without a complete answer.", Labels: []string{"host", "route", "outcome"}}
	limitFamily      = Family{Name: "servicetoken_infisical_rate_limit", Type: "gauge", Help: "Requests a minute that an Infisical server allows on a route to all who ask from the operator's address, as the last answer that told said.", Labels: []string{"host", "route"}}
	latencyFamily    = Family{Name: "servicetoken_infisical_request_duration_seconds", Type: "histogram", Help: "How long requests took, from sending them to the last byte of the answer.", Labels: []string{"route"}}
)

var (
	// changeBuckets are in seconds; the target is one.
	changeBuckets = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60}
	// latencyBuckets are in seconds; a server takes 85 ms to check a token.
	latencyBuckets = []float64{0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
)

// Families are all that the operator serves of its own, sorted by name.
func Families() []Family {
	all := slices.Concat(scraped, []Family{syncsFamily, writesFamily, pushesFamily, restartsFamily, deliveriesFamily, changeFamily, requestsFamily, limitFamily, latencyFamily})
	slices.SortFunc(all, func(a, b Family) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (f Family) desc() *prometheus.Desc { return prometheus.NewDesc(f.Name, f.Help, f.Labels, nil) }

func (f Family) counter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: f.Name, Help: f.Help}, f.Labels)
}

func (f Family) gauge() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: f.Name, Help: f.Help}, f.Labels)
}

func (f Family) histogram(buckets []float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: f.Name, Help: f.Help, Buckets: buckets}, f.Labels)
}
