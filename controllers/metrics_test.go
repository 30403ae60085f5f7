package controllers

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

func TestScrapeTellsOfObjectsAndTokens(t *testing.T) {
	object := func(name string, threshold int64, change func(*stv1.ServiceTokenSecretStatus)) *stv1.ServiceTokenSecret {
		o := &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
		o.Spec.Rotation.Threshold = threshold
		o.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{}
		if change != nil {
			change(&o.Status)
		}
		return o
	}
	ready := func(status metav1.ConditionStatus, reason, id string) func(*stv1.ServiceTokenSecretStatus) {
		return func(s *stv1.ServiceTokenSecretStatus) {
			s.Conditions = []metav1.Condition{{Type: stv1.ConditionReady, Status: status, Reason: reason}}
			s.Token = &stv1.TokenStatus{ID: id, ExpiresAt: &metav1.Time{Time: time.Unix(1800000000, 0)}}
		}
	}
	identity := object("identity", 1000, ready(metav1.ConditionTrue, stv1.ReasonSynced, "an identity's"))
	identity.Spec.Auth = stv1.Auth{UniversalAuth: &stv1.UniversalAuth{}}
	c := fake.NewClientBuilder().WithScheme(testScheme).WithObjects(
		object("a", 1000, ready(metav1.ConditionTrue, stv1.ReasonSynced, "one")),
		object("b", 100, ready(metav1.ConditionTrue, stv1.ReasonSynced, "one")),
		object("c", 1000, ready(metav1.ConditionFalse, stv1.ReasonTokenRevoked, "two")),
		object("new", 1000, nil),
		identity,
	).Build()
	err := testutil.CollectAndCompare(newCollector(collector{leads: leads, cache: c, uses: uses{"one": 90, "two": 7}, polls: polls(nil)}), strings.NewReader(`
# HELP servicetoken_build_info 1, with what the operator was built from.
# TYPE servicetoken_build_info gauge
servicetoken_build_info{commit="",date="",goversion="`+runtime.Version()+`",version=""} 1
# HELP servicetoken_objects Objects of all kinds by condition, status and reason. One that is being read for the first time has the condition Ready without status and reason.
# TYPE servicetoken_objects gauge
servicetoken_objects{condition="Ready",reason="",status=""} 1
servicetoken_objects{condition="Ready",reason="TokenRevoked",status="False"} 1
servicetoken_objects{condition="Ready",reason="Synced",status="True"} 3
# HELP servicetoken_token_expiry_timestamp_seconds When a token expires, in seconds since 1970; absent for one that never does.
# TYPE servicetoken_token_expiry_timestamp_seconds gauge
servicetoken_token_expiry_timestamp_seconds{token_id="one"} 1.8e+09
servicetoken_token_expiry_timestamp_seconds{token_id="two"} 1.8e+09
# HELP servicetoken_token_rotation_threshold_ratio Uses of a token as a share of the smallest spec.rotation.threshold of the objects that use it; 1 is the threshold.
# TYPE servicetoken_token_rotation_threshold_ratio gauge
servicetoken_token_rotation_threshold_ratio{token_id="one"} 0.9
servicetoken_token_rotation_threshold_ratio{token_id="two"} 0.007
# HELP servicetoken_token_uses_total Requests authenticated with a token, since it was first seen; may be too high by what a crash left reserved, never too low.
# TYPE servicetoken_token_uses_total counter
servicetoken_token_uses_total{token_id="one"} 90
servicetoken_token_uses_total{token_id="two"} 7
`))
	if err != nil {
		t.Error(err)
	}
}

func TestScrapeLeavesOutWhatIsNotKnownYet(t *testing.T) {
	o := &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
	o.Spec.Rotation.Threshold = 10
	o.Spec.Auth.ServiceToken = &stv1.ServiceTokenAuth{}
	o.Status.Token = &stv1.TokenStatus{ID: "one"}
	c := fake.NewClientBuilder().WithScheme(testScheme).WithObjects(o).Build()
	if n := testutil.CollectAndCount(newCollector(collector{leads: leads, cache: c, uses: uses(nil), polls: polls(nil)}), "servicetoken_token_uses_total", "servicetoken_token_rotation_threshold_ratio"); n != 0 {
		t.Errorf("%d series before the marks were read", n)
	}
	failing := interceptor.NewClient(c, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("no cache")
		},
	})
	if n := testutil.CollectAndCount(newCollector(collector{leads: leads, cache: failing, uses: uses{}, polls: polls(nil), perObject: true})); n != 1 { // of the build
		t.Errorf("%d series without a cache", n)
	}
}

func TestScrapeTellsHowLatePollsAreByHost(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme).Build()
	hosts := polls{
		"a.example.com:8443": {Sources: 200, Readers: 10_000, Overdue: 90 * time.Second, Polls: 5, Saved: 245, Undecryptable: 3, Late: 301.5, Buckets: map[float64]uint64{1: 3, 60: 4}},
		"b.example.com":      {Sources: 1, Buckets: map[float64]uint64{1: 0, 60: 0}},
	}
	err := testutil.CollectAndCompare(newCollector(collector{leads: leads, cache: c, uses: uses{}, polls: hosts, build: Build{Version: "1.2.3", Commit: "abc", Date: "today"}, perObject: true}), strings.NewReader(`
# HELP servicetoken_poll_delay_seconds How long after they were due polls of a server's sources ended, those that failed aside.
# TYPE servicetoken_poll_delay_seconds histogram
servicetoken_poll_delay_seconds_bucket{host="a.example.com:8443",le="1"} 3
servicetoken_poll_delay_seconds_bucket{host="a.example.com:8443",le="60"} 4
servicetoken_poll_delay_seconds_bucket{host="a.example.com:8443",le="+Inf"} 5
servicetoken_poll_delay_seconds_sum{host="a.example.com:8443"} 301.5
servicetoken_poll_delay_seconds_count{host="a.example.com:8443"} 5
servicetoken_poll_delay_seconds_bucket{host="b.example.com",le="1"} 0
servicetoken_poll_delay_seconds_bucket{host="b.example.com",le="60"} 0
servicetoken_poll_delay_seconds_bucket{host="b.example.com",le="+Inf"} 0
servicetoken_poll_delay_seconds_sum{host="b.example.com"} 0
servicetoken_poll_delay_seconds_count{host="b.example.com"} 0
# HELP servicetoken_poll_overdue_seconds How long that poll of a server's sources has been due that is due now and waits longest, for the rate limit or the answer; 0 when none is.
# TYPE servicetoken_poll_overdue_seconds gauge
servicetoken_poll_overdue_seconds{host="a.example.com:8443"} 90
servicetoken_poll_overdue_seconds{host="b.example.com"} 0
# HELP servicetoken_polls_saved_total How many more polls there would have been if each reader had polled by itself.
# TYPE servicetoken_polls_saved_total counter
servicetoken_polls_saved_total{host="a.example.com:8443"} 245
servicetoken_polls_saved_total{host="b.example.com"} 0
# HELP servicetoken_source_readers Readers of these sources: an object counts once for each source that it reads.
# TYPE servicetoken_source_readers gauge
servicetoken_source_readers{host="a.example.com:8443"} 10000
servicetoken_source_readers{host="b.example.com"} 0
# HELP servicetoken_sources Distinct sources that are polled at a server, however many objects read them.
# TYPE servicetoken_sources gauge
servicetoken_sources{host="a.example.com:8443"} 200
servicetoken_sources{host="b.example.com"} 1
# HELP servicetoken_undecryptable_fields_total Fields that did not open with the project's key, each time they were read.
# TYPE servicetoken_undecryptable_fields_total counter
servicetoken_undecryptable_fields_total{host="a.example.com:8443"} 3
servicetoken_undecryptable_fields_total{host="b.example.com"} 0
# HELP servicetoken_build_info 1, with what the operator was built from.
# TYPE servicetoken_build_info gauge
servicetoken_build_info{commit="abc",date="today",goversion="`+runtime.Version()+`",version="1.2.3"} 1
`))
	if err != nil {
		t.Error(err)
	}
}

func TestSeriesOfSingleObjectsAreServedWhenAskedFor(t *testing.T) {
	at := metav1.NewTime(time.Unix(1700000000, 0))
	good := &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "good"}}
	good.Status.Conditions = []metav1.Condition{{Type: stv1.ConditionReady, Status: metav1.ConditionTrue, Reason: stv1.ReasonSynced}}
	good.Status.LastSyncTime = &at
	fresh := &stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "fresh"}}
	c := fake.NewClientBuilder().WithScheme(testScheme).WithObjects(good, fresh).Build()
	families := []string{readyFamily.Name, syncTimeFamily.Name}
	err := testutil.CollectAndCompare(newCollector(collector{leads: leads, cache: c, uses: uses{}, polls: polls(nil), perObject: true}), strings.NewReader(`
# HELP servicetoken_object_last_sync_timestamp_seconds When the data or the outcome of an object last changed, in seconds since 1970.
# TYPE servicetoken_object_last_sync_timestamp_seconds gauge
servicetoken_object_last_sync_timestamp_seconds{kind="ServiceTokenSecret",name="good",namespace="ns"} 1.7e+09
# HELP servicetoken_object_ready 1 for an object that is Ready, else 0, with the reason.
# TYPE servicetoken_object_ready gauge
servicetoken_object_ready{kind="ServiceTokenSecret",name="fresh",namespace="ns",reason=""} 0
servicetoken_object_ready{kind="ServiceTokenSecret",name="good",namespace="ns",reason="Synced"} 1
`), families...)
	if err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(newCollector(collector{leads: leads, cache: c, uses: uses{}, polls: polls(nil)}), families...); n != 0 {
		t.Errorf("%d series that nobody asked for", n)
	}
}

// TestWhatHappensIsCounted looks at the families that a real operator serves, which are those that are documented.
func TestWhatHappensIsCounted(t *testing.T) {
	w := newWorld(t)
	w.infisical.SetRateLimit(600, 600)
	w.synced()
	w.project.Put("prod", "/shop", "A", "changed")
	w.refresh("shop")
	w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("A", "changed"))
	secret, err := w.secret("shop-env")
	w.Expect(err).NotTo(HaveOccurred())
	secret.Data["A"] = []byte("edited")
	w.Expect(w.client.Update(w.ctx, secret)).To(Succeed())
	w.Eventually(w.data("shop-env")).Should(HaveKeyWithValue("A", "changed"))
	w.change("shop", func(o *stv1.ServiceTokenSecret) { o.Spec.Sources[0].Path = "/nowhere" })
	w.Eventually(w.reason("shop")).Should(Equal(stv1.ReasonPathNotFound))

	var values map[string]float64
	host := strings.TrimPrefix(w.url, "http://")
	w.Eventually(func() map[string]float64 {
		values = w.gathered()
		return values
	}).Should(And(HaveKey("servicetoken_syncs_total,PathNotFound"), HaveKey("servicetoken_objects,Ready,PathNotFound,False")), "it is counted when it is told, and the cache has it then")
	for series, least := range map[string]float64{
		"servicetoken_syncs_total,Synced": 3, "servicetoken_syncs_total,PathNotFound": 1,
		"servicetoken_secret_writes_total,create": 1, "servicetoken_secret_writes_total,update": 1, "servicetoken_secret_writes_total,heal": 1,
		"servicetoken_change_duration_seconds":                                       1,
		"servicetoken_infisical_requests_total," + host + ",200,GET /api/v3/secrets": 2,
		"servicetoken_infisical_rate_limit," + host + ",GET /api/v3/secrets":         600,
		"servicetoken_infisical_request_duration_seconds,GET /api/v2/service-token":  1,
		"servicetoken_objects,Ready,PathNotFound,False":                              1,
	} {
		w.Expect(values[series]).To(BeNumerically(">=", least), "%s of %v", series, values)
	}
	w.Expect(values["servicetoken_change_duration_seconds"]).To(BeEquivalentTo(1), "a change of the spec is no change at the server")
}

// gathered are the values of all series of the operator, which must be as they are documented; of a histogram, the count.
func (w *world) gathered() map[string]float64 {
	w.t.Helper()
	gathered, err := w.metrics.Gather()
	w.Expect(err).NotTo(HaveOccurred())
	documented := map[string]Family{}
	for _, f := range Families() {
		documented[f.Name] = f
	}
	values := map[string]float64{}
	for _, family := range gathered {
		f, ok := documented[family.GetName()]
		w.Expect(ok).To(BeTrue(), family.GetName())
		w.Expect(strings.ToLower(family.GetType().String())).To(Equal(f.Type), f.Name)
		w.Expect(family.GetHelp()).To(Equal(f.Help))
		for _, m := range family.GetMetric() {
			w.Expect(m.GetLabel()).To(HaveLen(len(f.Labels)), f.Name)
			series := f.Name
			for _, label := range m.GetLabel() { // sorted by name
				series += "," + label.GetValue()
			}
			values[series] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func TestAReplicaThatWaitsTellsOfItsBuildAlone(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme).WithObjects(&stv1.ServiceTokenSecret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}).Build()
	hosts := polls{"a.example.com": {Sources: 1}}
	if n := testutil.CollectAndCount(newCollector(collector{leads: make(chan struct{}), cache: c, uses: uses{}, polls: hosts})); n != 1 {
		t.Errorf("%d series", n)
	}
}

// leads is closed, as that of a process which works.
var leads = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// polls are what a pool has to poll, by host.
type polls map[string]source.Load

func (p polls) Load() map[string]source.Load { return p }

// uses are counts by token id; nil ones have not been read yet.
type uses map[string]int64

func (u uses) Loaded() bool          { return u != nil }
func (u uses) Count(id string) int64 { return u[id] }
