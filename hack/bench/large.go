package main

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/service-token-operator/service-token-operator/hack/lab"
)

const (
	// settled is how long the operator has nothing to do before its memory is looked at: the runtime gives it back by and by.
	settled = 60 * time.Second
	// foreign is how many Secrets of other people are added.
	foreign = 10_000
)

// large goes through the life of one operator with many objects: cold start, idle, restart, other people's Secrets, failover;
// before it, memory with a tenth of them.
func large(ctx context.Context, b *bench) error {
	few := max(1, b.large/10)
	if err := b.withStage(ctx, newWorld(few, refresh), nil, func(s *stage) error {
		o, _, err := s.coldStart(ctx)
		if err != nil {
			return err
		}
		if err := s.memory(ctx, o, 60); err != nil {
			return err
		}
		return o.Stop()
	}); err != nil {
		return err
	}
	floor, err := b.floorOf(ctx, b.large)
	if err != nil {
		return err
	}
	return b.withStage(ctx, newWorld(b.large, refresh), nil, func(s *stage) error { return s.life(ctx, floor) })
}

func (s *stage) life(ctx context.Context, floor timeline) error {
	o, done, err := s.coldStart(ctx)
	if err != nil {
		return err
	}
	s.recordColdStart(s.world.objects, floor, done)
	if err := s.idling(ctx, o); err != nil {
		return err
	}
	if o, err = s.restart(ctx, o); err != nil {
		return err
	}
	if err := s.memory(ctx, o, 150); err != nil {
		return err
	}
	return s.failover(ctx, o)
}

// idling watches an operator that has nothing to do.
func (s *stage) idling(ctx context.Context, o *operator) error {
	pause(ctx, settled)
	if err := s.resetLog(ctx); err != nil {
		return err
	}
	before, err := s.apiWrites(ctx)
	if err != nil {
		return err
	}
	used, err := processUsage(o.Pid())
	if err != nil {
		return err
	}
	began := time.Now()
	pause(ctx, s.idle)
	took := time.Since(began)
	after, err := s.apiWrites(ctx)
	if err != nil {
		return err
	}
	usedNow, err := processUsage(o.Pid())
	if err != nil {
		return err
	}
	requests, err := s.infisical.requests(ctx)
	if err != nil {
		return err
	}
	unchanged := 0
	for _, r := range requests {
		if r.Status == 304 {
			unchanged++
		}
	}
	wrote := after.since(before)
	share := 100 * (usedNow.cpu - used.cpu).Seconds() / took.Seconds()
	perPeriod, err := pollsPerPeriod(sourcePolls(requests))
	if err != nil {
		return err
	}
	s.say("   idle for %.0f s: %s; %d requests to the server, %d of them 304; %.2f %% of a core", took.Seconds(), wrote, len(requests), unchanged, share)
	of := fmt.Sprintf("%d objects, %.0f min", s.world.objects, took.Minutes())
	s.add(
		figure{Row: "idle", Case: of, Name: "writes at the API server", Value: float64(wrote.toObjects() + wrote["configmaps"]), Target: "0", Met: wrote.toObjects()+wrote["configmaps"] == 0},
		figure{Row: "idle", Case: of, Name: "requests per source and period", Value: perPeriod, Target: "≤ 1, all conditional", Met: perPeriod <= 1 && unchanged == len(requests)},
		figure{Row: "idle", Case: of, Name: "CPU", Value: share, Unit: "% of a core", Target: "< 1", Met: share < 1},
	)
	return nil
}

// pollsPerPeriod is how often sources were asked for in each of their intervals: by the time from the first to the last request
// for each, as a window that begins and ends anywhere holds one more or less.
func pollsPerPeriod(polls map[string][]time.Time) (float64, error) {
	var periods int
	var took time.Duration
	for _, times := range polls {
		periods += len(times) - 1
		took += times[len(times)-1].Sub(times[0])
	}
	if took == 0 {
		return 0, fmt.Errorf("no source was polled twice within --idle: make it three times %s at least", refresh)
	}
	return float64(periods) * refresh.Seconds() / took.Seconds(), nil
}

// restart stops the operator and starts it again, and waits until it has looked at everything.
func (s *stage) restart(ctx context.Context, o *operator) (*operator, error) {
	if err := o.Stop(); err != nil {
		return nil, err
	}
	if err := s.resetLog(ctx); err != nil {
		return nil, err
	}
	before, err := s.apiWrites(ctx)
	if err != nil {
		return nil, err
	}
	if o, err = s.startOperator(); err != nil {
		return nil, err
	}
	at, err := s.agree(ctx, o)
	if err != nil {
		return nil, err
	}
	took := at.Sub(o.started).Seconds()
	pause(ctx, 5*time.Second) // for writes that come late
	after, err := s.apiWrites(ctx)
	if err != nil {
		return nil, err
	}
	wrote := after.since(before)
	s.say("   restart: %.2f s until the caches agree; %s", took, wrote)
	of := fmt.Sprintf("%d objects", s.world.objects)
	s.add(
		figure{Row: "restart", Case: of, Name: "until the caches agree", Value: took, Unit: "s", Target: "≤ 10", Met: took <= 10},
		figure{Row: "restart", Case: of, Name: "writes of Secrets, objects and events", Value: float64(wrote.toObjects()), Target: "0", Met: wrote.toObjects() == 0},
		figure{Row: "restart", Case: of, Name: "writes of the ConfigMap of uses", Value: float64(wrote["configmaps"]), Target: "-", Met: true},
	)
	return o, nil
}

// agree waits until an operator has read every source since the server's log was reset, and has looked at every object since.
func (s *stage) agree(ctx context.Context, o *operator) (time.Time, error) {
	var at time.Time
	looks := -1.0
	queue := prometheus.Labels{"name": "servicetokensecret", "controller": "servicetokensecret"}
	err := lab.Await(ctx, "the operator's caches to agree", 3*time.Minute, func() (bool, error) {
		pause(ctx, 50*time.Millisecond)
		if ready, err := o.Ready(); err != nil || !ready {
			return false, err
		}
		requests, err := s.infisical.requests(ctx)
		if err != nil {
			return false, err
		}
		now := time.Now()
		metrics, err := o.scrape(ctx)
		if err != nil {
			return false, err
		}
		reconciles := metrics.sum("controller_runtime_reconcile_total", prometheus.Labels{"controller": queue["controller"]})
		busy := metrics.sum("workqueue_depth", prometheus.Labels{"name": queue["name"]}) + metrics.sum("controller_runtime_active_workers", prometheus.Labels{"controller": queue["controller"]})
		if len(sourcePolls(requests)) < s.world.sources || reconciles < float64(s.world.objects) || busy > 0 || reconciles != looks {
			at, looks = now, reconciles
			return false, nil
		}
		return true, nil
	})
	return at, err
}

// memory looks at what the operator holds, without and with other people's Secrets.
func (s *stage) memory(ctx context.Context, o *operator, limit int64) error {
	pause(ctx, settled)
	without, err := processUsage(o.Pid())
	if err != nil {
		return err
	}
	if err := s.world.createForeign(ctx, s, foreign); err != nil {
		return err
	}
	pause(ctx, settled)
	with, err := processUsage(o.Pid())
	if err != nil {
		return err
	}
	const mib = 1 << 20
	added := float64(with.rss-without.rss) / mib
	s.say("   %d objects: RSS %d MiB (%d MiB anonymous, peak %d); with %d foreign Secrets %d MiB (%d, %d)", s.world.objects,
		without.rss>>20, without.anon>>20, without.peak>>20, foreign, with.rss>>20, with.anon>>20, with.peak>>20)
	of := fmt.Sprintf("%d objects", s.world.objects)
	s.add(
		figure{Row: "memory", Case: of, Name: "settled RSS", Value: float64(without.rss) / mib, Unit: "MiB", Target: fmt.Sprintf("≤ %d", limit), Met: without.rss <= limit*mib},
		figure{Row: "memory", Case: of, Name: fmt.Sprintf("%d foreign Secrets of 20 KB add", foreign), Value: added, Unit: "MiB", Target: "≤ 25", Met: added <= 25},
	)
	s.Memory = append(s.Memory, memory{Objects: s.world.objects, RSS: float64(without.rss) / mib, WithForeign: float64(with.rss) / mib})
	return nil
}

// failover kills the leader while another one waits.
func (s *stage) failover(ctx context.Context, leader *operator) error {
	standby, err := s.startOperator()
	if err != nil {
		return err
	}
	if err := lab.Await(ctx, "the second operator", time.Minute, standby.Ready); err != nil {
		return err
	}
	pause(ctx, 10*time.Second)
	before, err := s.apiWrites(ctx)
	if err != nil {
		return err
	}
	old, err := s.holder(ctx)
	if err != nil {
		return err
	}
	if err := leader.Kill(); err != nil {
		return err
	}
	killed := time.Now()
	if err := s.resetLog(ctx); err != nil {
		return err
	}
	if err := lab.Await(ctx, "another leader", time.Minute, func() (bool, error) {
		now, err := s.holder(ctx)
		return now != old, err
	}); err != nil {
		return err
	}
	elected := time.Since(killed).Seconds()
	at, err := s.agree(ctx, standby)
	if err != nil {
		return err
	}
	took := at.Sub(killed).Seconds()
	pause(ctx, 5*time.Second)
	after, err := s.apiWrites(ctx)
	if err != nil {
		return err
	}
	wrote := after.since(before)
	short, err := s.undercounted(ctx, standby)
	if err != nil {
		return err
	}
	s.say("   failover: leads after %.1f s, caches agree after %.1f s; %s; %d tokens undercounted", elected, took, wrote, short)
	of := fmt.Sprintf("%d objects", s.world.objects)
	s.add(
		figure{Row: "failover", Case: of, Name: "until the other one leads", Value: elected, Unit: "s", Target: "≤ 15 + 2 × 4.4 (lease, seen and tried for every 2 to 4.4 s)", Met: elected <= 23.8},
		figure{Row: "failover", Case: of, Name: "until its caches agree", Value: took, Unit: "s", Target: "-", Met: true},
		figure{Row: "failover", Case: of, Name: "writes of Secrets, objects and events", Value: float64(wrote.toObjects()), Target: "0", Met: wrote.toObjects() == 0},
		figure{Row: "failover", Case: of, Name: "tokens whose uses are undercounted", Value: float64(short), Target: "0", Met: short == 0},
	)
	return standby.Stop()
}

// holder is who holds the lease.
func (s *stage) holder(ctx context.Context) (string, error) {
	var leases coordinationv1.LeaseList
	if err := s.client.List(ctx, &leases, client.InNamespace(lab.Namespace)); err != nil {
		return "", err
	}
	if len(leases.Items) != 1 || leases.Items[0].Spec.HolderIdentity == nil {
		return "", fmt.Errorf("there are %d leases where one was expected, with a holder", len(leases.Items))
	}
	return *leases.Items[0].Spec.HolderIdentity, nil
}

// undercounted is how many tokens the operator counts fewer uses of than the server has had since it started.
func (s *stage) undercounted(ctx context.Context, o *operator) (int, error) {
	if err := s.resetLog(ctx); err != nil { // what the operator counts is read after it, so a use in between is no fault
		return 0, err
	}
	metrics, err := o.scrape(ctx)
	if err != nil {
		return 0, err
	}
	short := 0
	for id, uses := range s.uses {
		if int(metrics.sum("servicetoken_token_uses_total", prometheus.Labels{"token_id": id})) < uses {
			short++
		}
	}
	if len(s.uses) != s.world.namespaces() {
		return 0, fmt.Errorf("%d tokens were used where there are %d", len(s.uses), s.world.namespaces())
	}
	return short, nil
}
