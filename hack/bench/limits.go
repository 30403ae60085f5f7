package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

const (
	limitSecrets, limitOther = 40, 60 // requests a minute: what a self-hosted server allows
)

// rateLimit has more sources than the server's limit allows to be polled in their interval.
func rateLimit(ctx context.Context, b *bench) error {
	const sources = 200
	flags := []string{fmt.Sprintf("--rate-limit=%d,%d", limitSecrets, limitOther)}
	return b.withStage(ctx, newWorldOf(sources, sources, refresh), flags, func(s *stage) error {
		o, err := s.startOperator()
		if err != nil {
			return err
		}
		began := time.Now()
		pause(ctx, s.rateLimit)
		requests, err := s.infisical.requests(ctx)
		if err != nil {
			return err
		}
		refused, polls := 0, sourcePolls(requests)
		for _, r := range requests {
			if r.Status == 429 && r.Time.Sub(began) > time.Minute {
				refused++
			}
		}
		fewest, most, longest := spread(polls)
		late, overdue, err := s.lateness(ctx, o)
		if err != nil {
			return err
		}
		s.say("   %d sources polled within %d requests a minute for %.0f min: %d requests, %d × 429 after the first minute; each polled %d to %d times, %s apart at most; %d of %d objects say that they are late; the metric says %.0f s",
			len(polls), limitSecrets, s.rateLimit.Minutes(), len(requests), refused, fewest, most, longest.Round(time.Second), late, s.world.objects, overdue)
		of := fmt.Sprintf("%d sources, %d requests a minute, %.0f min", sources, limitSecrets, s.rateLimit.Minutes())
		s.add(
			figure{Row: "rate limit", Case: of, Name: "429 after the first minute", Value: float64(refused), Target: "0", Met: refused == 0},
			figure{Row: "rate limit", Case: of, Name: "polls of the source polled most, over those of the one polled least", Value: float64(most - fewest), Target: "≤ 1", Met: len(polls) == sources && most-fewest <= 1},
			figure{Row: "rate limit", Case: of, Name: "longest time between two polls of a source", Value: longest.Seconds(), Unit: "s", Target: "≤ 1.2 × 300 (200 sources at 40 a minute)", Met: longest <= 6*time.Minute},
			figure{Row: "rate limit", Case: of, Name: "objects whose status says that polls are late", Value: float64(late), Target: "all", Met: late == s.world.objects},
			figure{Row: "rate limit", Case: of, Name: "lateness by metric", Value: overdue, Unit: "s", Target: "> 60", Met: overdue > 60},
		)
		return o.Stop()
	})
}

// spread is how often the sources were polled that were polled least and most, and the longest time between two polls of one.
func spread(polls map[string][]time.Time) (fewest, most int, longest time.Duration) {
	for _, times := range polls {
		if fewest == 0 || len(times) < fewest {
			fewest = len(times)
		}
		most = max(most, len(times))
		for i := 1; i < len(times); i++ {
			longest = max(longest, times[i].Sub(times[i-1]))
		}
	}
	return fewest, most, longest
}

// lateness is how many objects say in their status that their polls are late, and the metric's number of seconds.
func (s *stage) lateness(ctx context.Context, o *operator) (objects int, seconds float64, err error) {
	var list stv1.ServiceTokenSecretList
	if err := s.client.List(ctx, &list); err != nil {
		return 0, 0, err
	}
	for i := range list.Items {
		if meta.IsStatusConditionPresentAndEqual(list.Items[i].Status.Conditions, stv1.ConditionRefreshDelayed, metav1.ConditionTrue) {
			objects++
		}
	}
	metrics, err := o.scrape(ctx)
	return objects, metrics.sum("servicetoken_poll_overdue_seconds", prometheus.Labels{}), err
}

// outage takes the server away and brings it back.
func outage(ctx context.Context, b *bench) error {
	flags := []string{fmt.Sprintf("--rate-limit=%d,%d", 0, 0)}
	return b.withStage(ctx, newWorld(b.outageSize, refresh), flags, func(s *stage) (err error) {
		door, err := openDoor(ctx, strings.TrimPrefix(s.infisical.url, "http://"))
		if err != nil {
			return err
		}
		defer door.close()
		o, err := s.startOperatorAt("http://" + door.address())
		if err != nil {
			return err
		}
		if err := s.settle(ctx, 5*time.Minute); err != nil {
			return err
		}
		pause(ctx, refresh) // all have been polled once more
		// The limit counts from here on, so that coming back is paced, as it is at a self-hosted server.
		if err := s.infisical.setRateLimit(ctx, limitSecrets, limitOther); err != nil {
			return err
		}
		secrets, err := s.observe(ctx, secretsResource, "app.kubernetes.io/managed-by=service-token-operator")
		if err != nil {
			return err
		}
		defer secrets.stop()
		door.shut()
		pause(ctx, s.outage)
		knocks := door.knocked()
		if err := s.infisical.resetLog(ctx); err != nil {
			return err
		}
		door.open()
		up := time.Now()
		paced := max(refresh, time.Duration(s.world.sources)*time.Minute/limitSecrets)
		if err := s.settle(ctx, 4*paced); err != nil {
			return err
		}
		took := time.Since(up)
		requests, err := s.infisical.requests(ctx)
		if err != nil {
			return err
		}
		written, err := secrets.count()
		if err != nil {
			return err
		}
		s.say("   outage of %.0f min: %d requests while down, %s; all Ready %.1f s after it, of %.0f s that %d sources take at %d a minute; %d requests; %d Secrets written",
			s.outage.Minutes(), knocks.count, knocks, took.Seconds(), paced.Seconds(), s.world.sources, limitSecrets, len(requests), written)
		of := fmt.Sprintf("%d objects, down %.0f min", s.world.objects, s.outage.Minutes())
		s.add(
			figure{Row: "outage", Case: of, Name: "requests while down beyond one per back-off step", Value: float64(knocks.crowded), Target: "0", Met: knocks.crowded == 0},
			figure{Row: "outage", Case: of, Name: "requests while down", Value: float64(knocks.count), Target: "-", Met: true},
			figure{Row: "outage", Case: of, Name: "all Ready after the server is back", Value: took.Seconds(), Unit: "s", Target: fmt.Sprintf("≤ %.0f (one paced period)", paced.Seconds()), Met: took <= paced},
			figure{Row: "outage", Case: of, Name: "Secrets written", Value: float64(written), Target: "0", Met: written == 0},
		)
		return o.Stop()
	})
}

// door passes connections on to the server, unless it is shut: then it lets nobody in and notes who knocks.
type door struct {
	listener net.Listener
	server   string
	isShut   atomic.Bool

	mu     sync.Mutex
	times  []time.Time // of knocks
	inside map[net.Conn]struct{}
}

func openDoor(ctx context.Context, server string) (*door, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{listener: listener, server: server, inside: map[net.Conn]struct{}{}}
	go d.serve()
	return d, nil
}

func (d *door) address() string { return d.listener.Addr().String() }
func (d *door) close()          { _ = d.listener.Close() }
func (d *door) open()           { d.isShut.Store(false) }

// shut also ends the connections that there are, as a server does that falls over.
func (d *door) shut() {
	d.isShut.Store(true)
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn := range d.inside {
		_ = conn.Close()
	}
}

func (d *door) serve() {
	for {
		conn, err := d.listener.Accept()
		if err != nil {
			return // closed
		}
		if d.isShut.Load() {
			d.mu.Lock()
			d.times = append(d.times, time.Now())
			d.mu.Unlock()
			_ = conn.Close()
			continue
		}
		go d.pass(conn)
	}
}

func (d *door) pass(conn net.Conn) {
	behind, err := net.Dial("tcp", d.server)
	if err != nil {
		_ = conn.Close()
		return
	}
	d.mu.Lock()
	if d.isShut.Load() { // meanwhile
		_, _ = conn.Close(), behind.Close()
	}
	d.inside[conn], d.inside[behind] = struct{}{}, struct{}{}
	d.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, behind}, {behind, conn}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // ends with either side
			_, _ = way[0].Close(), way[1].Close()
		})
	}
	both.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.inside, conn)
	delete(d.inside, behind)
}

// knocks are the requests that a server got while it was down.
type knocks struct {
	count   int
	crowded int // that came sooner after the one before than the back-off allows
	gaps    []time.Duration
}

func (k knocks) String() string {
	texts := make([]string, len(k.gaps))
	for i, gap := range k.gaps {
		texts[i] = gap.Round(100 * time.Millisecond).String()
	}
	return strings.Join(texts, " ") + " apart"
}

// knocked holds each gap against the back-off: one second at first, doubled by each failure, a quarter less at most by jitter,
// and 20 seconds at the longest.
func (d *door) knocked() knocks {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := knocks{count: len(d.times)}
	step := time.Second
	for i := 1; i < len(d.times); i++ {
		gap := d.times[i].Sub(d.times[i-1])
		k.gaps = append(k.gaps, gap)
		if gap < step*3/4 {
			k.crowded++
		}
		step = min(2*step, 20*time.Second)
	}
	return k
}
