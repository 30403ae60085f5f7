package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// refresh is the interval of objects that say nothing else.
const refresh = time.Minute

// coldStarts measures how long it takes from the start of the operator until every object is Ready and every Secret right, and
// how long the same writes take the floor.
func coldStarts(ctx context.Context, b *bench) error {
	for _, n := range b.sizes {
		if n == b.large && slices.Contains(b.rows, "large") {
			continue // is measured there, where its operator is needed
		}
		times := 1
		if n <= 1000 {
			times = b.repeat
		}
		var floors, starts []timeline
		for range times {
			floor, err := b.floorOf(ctx, n)
			if err != nil {
				return err
			}
			start, err := b.coldStartOf(ctx, n)
			if err != nil {
				return err
			}
			floors, starts = append(floors, floor), append(starts, start)
		}
		b.recordColdStart(n, median(floors), median(starts))
	}
	return nil
}

// timeline is when objects were done, after the start: for each of them, in order.
type timeline []time.Duration

func (t timeline) end() time.Duration { return t[len(t)-1] }

func median(runs []timeline) timeline {
	slices.SortFunc(runs, func(a, b timeline) int { return int(a.end() - b.end()) })
	return runs[len(runs)/2]
}

func timelineOf(start time.Time, written []time.Time) timeline {
	t := make(timeline, len(written))
	for i := range written {
		t[i] = written[i].Sub(start)
	}
	return t
}

func (b *bench) floorOf(ctx context.Context, n int) (t timeline, err error) {
	err = b.withStage(ctx, newWorld(n, refresh), nil, func(s *stage) error {
		took, written, err := s.floor(ctx)
		if err != nil {
			return err
		}
		t = timelineOf(written[n-1].Add(-took), written)
		b.say("   %d objects: floor %.2f s", n, took.Seconds())
		return nil
	})
	return t, err
}

func (b *bench) coldStartOf(ctx context.Context, n int) (t timeline, err error) {
	err = b.withStage(ctx, newWorld(n, refresh), nil, func(s *stage) error {
		o, started, err := s.coldStart(ctx)
		if err != nil {
			return err
		}
		t = started
		return o.Stop()
	})
	return t, err
}

// withStage does something on a stage and takes it down.
func (b *bench) withStage(ctx context.Context, w *world, serverFlags []string, do func(*stage) error) error {
	s, err := b.newStage(ctx, w, serverFlags...)
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.down())
}

// coldStart starts the operator and waits until all is right. An object is done with the first write of its status; that this
// was the right one is looked at afterwards.
func (s *stage) coldStart(ctx context.Context) (*operator, timeline, error) {
	seen, err := s.observe(ctx, objectsResource, "")
	if err != nil {
		return nil, nil, err
	}
	defer seen.stop()
	before, err := s.apiWrites(ctx)
	if err != nil {
		return nil, nil, err
	}
	o, err := s.startOperator()
	if err != nil {
		return nil, nil, err
	}
	end, err := seen.await(ctx, s.world.objects, 5*time.Minute)
	if err != nil {
		return o, nil, errors.Join(err, o.Ended())
	}
	done := timelineOf(o.started, seen.times())
	used, err := processUsage(o.Pid())
	if err != nil {
		return o, nil, err
	}
	if err := s.verify(ctx); err != nil {
		return o, nil, err
	}
	writes, err := seen.count()
	if err != nil {
		return o, nil, err
	}
	after, err := s.apiWrites(ctx)
	if err != nil {
		return o, nil, err
	}
	s.say("   %d objects: operator %.2f s, %.2f s of CPU, %d MiB; %d status writes seen; %s", s.world.objects, end.Sub(o.started).Seconds(), used.cpu.Seconds(),
		used.rss>>20, writes, after.since(before))
	// Each of the objects takes two writes. Fewer would mean that writes are not counted, and the rows that allow none could not fail.
	if wrote := after.since(before); wrote["secrets"] < s.world.objects || wrote["servicetokensecrets"] < s.world.objects || wrote["events"] > s.world.objects/10 {
		return o, nil, fmt.Errorf("the API server counts %s for %d objects", wrote, s.world.objects)
	}
	return o, done, nil
}

func (b *bench) recordColdStart(n int, floor, start timeline) {
	factor := start.end().Seconds() / floor.end().Seconds()
	b.add(figure{
		Row: "cold start", Case: fmt.Sprintf("%d objects", n), Value: start.end().Seconds(), Unit: "s", Floor: floor.end().Seconds(),
		Target: "≤ 1.3 × floor", Met: factor <= 1.3,
	})
	// What the floor does without: the token, its project and its secrets are asked for one after the other before the first write.
	if requests := 3 * latency; requests > floor.end()/20 {
		b.add(figure{
			Row: "cold start", Case: fmt.Sprintf("%d objects", n), Name: "over the floor and three requests to the server", Value: start.end().Seconds(), Unit: "s",
			Floor: (floor.end() + requests).Seconds(), Target: "-", Met: true,
		})
	}
	b.ColdStarts = append(b.ColdStarts, coldStart{Objects: n, Floor: floor.thinned(), Operator: start.thinned()})
}

// thinned is the timeline in a hundred points or a few more, evenly spread over the objects, in seconds: enough to draw it.
func (t timeline) thinned() []float64 {
	const about = 100
	step := max(1, len(t)/about)
	var points []float64
	for i := step - 1; i < len(t); i += step {
		points = append(points, t[i].Seconds())
	}
	if len(t)%step != 0 {
		points = append(points, t.end().Seconds())
	}
	return points
}
