package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/service-token-operator/service-token-operator/hack/lab"
)

// change measures how long after the poll that sees it a change is in the last Secret that it belongs to.
func change(ctx context.Context, b *bench) error {
	const objects, interval = 1000, 5 * time.Second // the shortest interval there is, so that many changes can be timed
	return b.withStage(ctx, newWorld(objects, interval), nil, func(s *stage) error {
		o, _, err := s.coldStart(ctx)
		if err != nil {
			return err
		}
		var afterPoll, afterChange []time.Duration
		for i := range s.changes {
			poll, whole, err := s.timeChange(ctx, i%s.world.sources)
			if err != nil {
				return err
			}
			afterPoll, afterChange = append(afterPoll, poll...), append(afterChange, whole...)
		}
		p99, latest := percentile(afterPoll, 99), slices.Max(afterChange)
		s.say("   change: %d × %d Secrets, p50 %v, p99 %v, last %v after the poll; last %v after the change", s.changes, objects/s.world.sources,
			percentile(afterPoll, 50).Round(time.Millisecond), p99.Round(time.Millisecond), slices.Max(afterPoll).Round(time.Millisecond), latest.Round(time.Millisecond))
		of := fmt.Sprintf("%d × %d Secrets", s.changes, objects/s.world.sources)
		s.add(
			figure{Row: "change", Case: of, Name: "poll to Secret, p50", Value: percentile(afterPoll, 50).Seconds(), Unit: "s", Target: "-", Met: true},
			figure{Row: "change", Case: of, Name: "poll to Secret, p99", Value: p99.Seconds(), Unit: "s", Target: "≤ 1", Met: p99 <= time.Second},
		)
		if err := s.verify(ctx); err != nil {
			return err
		}
		return o.Stop()
	})
}

// timeChange changes a source and returns, for each Secret that it belongs to, how long after the poll and after the change it
// was written.
func (s *stage) timeChange(ctx context.Context, source int) (afterPoll, afterChange []time.Duration, err error) {
	seen, err := s.observe(ctx, secretsResource, "app.kubernetes.io/managed-by=service-token-operator")
	if err != nil {
		return nil, nil, err
	}
	defer seen.stop()
	if err := s.infisical.resetLog(ctx); err != nil {
		return nil, nil, err
	}
	if err := s.infisical.change(ctx, s.world, source); err != nil {
		return nil, nil, err
	}
	changed := time.Now()
	affected := s.world.objects / s.world.sources
	if _, err := seen.await(ctx, affected, time.Minute); err != nil {
		return nil, nil, err
	}
	requests, err := s.infisical.requests(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range requests {
		if path, ok := isSource(r); ok && path == sourcePath(source) && r.Status == 200 {
			for _, at := range seen.times() {
				afterPoll, afterChange = append(afterPoll, at.Sub(r.Time)), append(afterChange, at.Sub(changed))
			}
			return afterPoll, afterChange, nil
		}
	}
	return nil, nil, fmt.Errorf("no answer of the server had the change of %s", sourcePath(source))
}

func percentile(all []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[(len(sorted)*percent+99)/100-1]
}

// soak changes sources for long, and looks for objects that do not follow any more.
func soak(ctx context.Context, b *bench) error {
	const interval, round = 10 * time.Second, time.Second
	return b.withStage(ctx, newWorld(b.large, interval), nil, func(s *stage) error {
		o, _, err := s.coldStart(ctx)
		if err != nil {
			return err
		}
		changes, latest, most := 0, time.Duration(0), int64(0)
		look := func() error {
			late, used, err := s.soaked(ctx, o, changes)
			latest, most = max(latest, late), max(most, used.rss)
			return err
		}
		for end := time.Now().Add(s.soak); time.Now().Before(end) && ctx.Err() == nil; {
			if err := s.infisical.change(ctx, s.world, changes%s.world.sources); err != nil {
				return err
			}
			if changes++; changes%600 == 0 {
				if err := look(); err != nil {
					return err
				}
			}
			pause(ctx, round)
		}
		if err := look(); err != nil {
			return err
		}
		of := fmt.Sprintf("%d objects, %s, %d changes of %d Secrets each", s.world.objects, s.soak, changes, s.world.objects/s.world.sources)
		s.add(
			figure{Row: "soak", Case: of, Name: "until all Secrets follow, at the latest", Value: latest.Seconds(), Unit: "s", Target: "≤ 2 × 10 (the interval)", Met: latest <= 2*interval},
			figure{Row: "soak", Case: of, Name: "RSS under change, at the most", Value: float64(most) / (1 << 20), Unit: "MiB", Target: "-", Met: true},
		)
		return o.Stop()
	})
}

// soaked says how things are after so many changes. An object that does not follow within minutes is an error: it was forgotten.
func (s *stage) soaked(ctx context.Context, o *operator, changes int) (late time.Duration, used usage, err error) {
	began := time.Now()
	if err := s.settle(ctx, 10*s.world.refresh); err != nil {
		return 0, used, fmt.Errorf("after %d changes: %w", changes, err)
	}
	late = time.Since(began)
	if used, err = processUsage(o.Pid()); err != nil {
		return 0, used, err
	}
	s.say("   %d changes: all right %.1f s later; RSS %d MiB, %.0f s of CPU", changes, late.Seconds(), used.rss>>20, used.cpu.Seconds())
	return late, used, lab.Await(ctx, "the operator", time.Second, o.Ready)
}
