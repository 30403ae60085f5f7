// Bench measures the operator from outside: its own process, against a control plane and a development Infisical that are
// processes too, beside a bare client that makes the same writes and nothing else. What that one takes is the floor. It writes
// results.json, a table and plots, and says of each target whether it was reached.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

type options struct {
	assets, manager, devserver, root, out string

	rows        []string
	sizes       []int
	repeat      int
	large       int // objects of the rows idle, restart, memory and failover
	idle        time.Duration
	outage      time.Duration
	outageSize  int
	rateLimit   time.Duration
	soak        time.Duration
	changes     int
	operatorLog string
	flags       []string // more for the operator
}

func (o *options) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.assets, "assets", os.Getenv("KUBEBUILDER_ASSETS"), "Directory with etcd, kube-apiserver and kubectl.")
	fs.StringVar(&o.manager, "manager", "bin/manager", "The operator's binary.")
	fs.StringVar(&o.devserver, "devserver", "bin/devserver", "The development Infisical's binary.")
	fs.StringVar(&o.root, "root", ".", "The repository, for config/.")
	fs.StringVar(&o.out, "out", "", "Directory for results.json, results.md and the plots; nothing is written when empty.")
	fs.StringSliceVar(&o.rows, "rows", defaultRows(), "What to measure: "+strings.Join(rowNames(), ", ")+".")
	fs.IntSliceVar(&o.sizes, "sizes", []int{100, 1000, 5000, 10000}, "Objects of a cold start.")
	fs.IntVar(&o.repeat, "repeat", 3, "How often cold starts of up to 1,000 objects are measured; the median counts. Larger ones are measured once.")
	fs.IntVar(&o.large, "large", 10000, "Objects of the rows that ask for many.")
	fs.DurationVar(&o.idle, "idle", 5*time.Minute, "How long an idle operator is watched.")
	fs.DurationVar(&o.outage, "outage", 5*time.Minute, "How long the server is down.")
	fs.IntVar(&o.outageSize, "outage-size", 5000, "Objects while the server is down.")
	fs.DurationVar(&o.rateLimit, "rate-limit", 12*time.Minute, "How long polling within a rate limit is watched.")
	fs.DurationVar(&o.soak, "soak", time.Hour, "How long changes are made in the row soak.")
	fs.IntVar(&o.changes, "changes", 20, "How many changes are timed.")
	fs.StringVar(&o.operatorLog, "operator-log", "", "Append the operator's log to this file.")
	fs.StringSliceVar(&o.flags, "operator-flags", nil, "More flags for the operator.")
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(logr.Discard()) // envtest's
	klog.SetLogger(logr.Discard()) // client-go's
	play, args := run, os.Args[1:]
	if len(args) > 0 && args[0] == floorCommand {
		play, args = runFloor, args[1:]
	}
	if err := play(ctx, args); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing to undo at exit
	}
}

// row is one line of the table: what is measured, in the order in which it is.
type row struct {
	name     string
	optional bool // only when asked for
	measure  func(context.Context, *bench) error
}

var rows = []row{
	{name: "decrypt", measure: decrypt},
	{name: "references", measure: references},
	{name: "cold-start", measure: coldStarts},
	{name: "change", measure: change},
	{name: "webhook", measure: bell},
	{name: "large", measure: large}, // cold start, idle, restart, memory and failover of many objects
	{name: "rate-limit", measure: rateLimit},
	{name: "outage", measure: outage},
	{name: "soak", measure: soak, optional: true},
}

func rowNames() (names []string) {
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

func defaultRows() (names []string) {
	for _, r := range rows {
		if !r.optional {
			names = append(names, r.name)
		}
	}
	return names
}

// bench is one run: its options, where its files go while it lasts, and what it found.
type bench struct {
	options
	dir string
	results
}

func run(ctx context.Context, args []string) (err error) {
	b := &bench{}
	fs := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	fs.SortFlags = false
	b.bind(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	for _, name := range b.rows {
		if !slices.Contains(rowNames(), name) {
			return fmt.Errorf("--rows: there is no %q; there are %s", name, strings.Join(rowNames(), ", "))
		}
	}
	if b.dir, err = os.MkdirTemp("", "service-token-operator-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.operatorLog == "" {
		b.operatorLog = filepath.Join(b.dir, "operator.log")
	}
	b.Machine, b.Started = describeMachine(ctx, b.root), time.Now().UTC().Truncate(time.Second)
	for _, r := range rows {
		if !slices.Contains(b.rows, r.name) {
			continue
		}
		b.say("== %s", r.name)
		began := time.Now()
		if err := r.measure(ctx, b); err != nil { // what was measured before is not lost
			return errors.Join(fmt.Errorf("%s: %w", r.name, err), b.write(b.out))
		}
		b.say("   took %.0f s", time.Since(began).Seconds())
	}
	return b.write(b.out)
}

// say tells whoever watches.
func (b *bench) say(format string, args ...any) { log.Printf(format, args...) }
