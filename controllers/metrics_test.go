package controllers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

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
	c := fake.NewClientBuilder().WithScheme(testScheme).WithObjects(
		object("a", 1000, ready(metav1.ConditionTrue, stv1.ReasonSynced, "one")),
		object("b", 100, ready(metav1.ConditionTrue, stv1.ReasonSynced, "one")),
		object("c", 1000, ready(metav1.ConditionFalse, stv1.ReasonTokenRevoked, "two")),
		object("new", 1000, nil),
	).Build()
	err := testutil.CollectAndCompare(newCollector(c, uses{"one": 90, "two": 7}, polls(nil)), strings.NewReader(`
# HELP servicetoken_objects ServiceTokenSecrets by status and reason of the condition Ready; both are empty before the first outcome.
# TYPE servicetoken_objects gauge
servicetoken_objects{ready="",reason=""} 1
servicetoken_objects{ready="False",reason="TokenRevoked"} 1
servicetoken_objects{ready="True",reason="Synced"} 2
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
	o.Status.Token = &stv1.TokenStatus{ID: "one"}
	c := fake.NewClientBuilder().WithScheme(testScheme).WithObjects(o).Build()
	if n := testutil.CollectAndCount(newCollector(c, uses(nil), polls(nil)), "servicetoken_token_uses_total", "servicetoken_token_rotation_threshold_ratio"); n != 0 {
		t.Errorf("%d series before the marks were read", n)
	}
	failing := interceptor.NewClient(c, interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("no cache")
		},
	})
	if n := testutil.CollectAndCount(newCollector(failing, uses{}, polls(nil))); n != 0 {
		t.Errorf("%d series without a cache", n)
	}
}

func TestScrapeTellsHowLatePollsAreByHost(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme).Build()
	hosts := polls{
		"a.example.com:8443": {Sources: 200, Overdue: 90 * time.Second, Polls: 5, Late: 301.5, Buckets: map[float64]uint64{1: 3, 60: 4}},
		"b.example.com":      {Sources: 1, Buckets: map[float64]uint64{1: 0, 60: 0}},
	}
	err := testutil.CollectAndCompare(newCollector(c, uses{}, hosts), strings.NewReader(`
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
# HELP servicetoken_sources Distinct sources that are polled at a server, however many objects read them.
# TYPE servicetoken_sources gauge
servicetoken_sources{host="a.example.com:8443"} 200
servicetoken_sources{host="b.example.com"} 1
`))
	if err != nil {
		t.Error(err)
	}
}

// polls are what a pool has to poll, by host.
type polls map[string]source.Load

func (p polls) Load() map[string]source.Load { return p }

// uses are counts by token id; nil ones have not been read yet.
type uses map[string]int64

func (u uses) Loaded() bool          { return u != nil }
func (u uses) Count(id string) int64 { return u[id] }
