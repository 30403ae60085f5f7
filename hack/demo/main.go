// Demo shows the operator at work on a machine with nothing but Go: a real control plane, a development Infisical, the
// operator's binary with the permissions that config/ gives it, and the manifests of config/samples.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	var o options
	flag.StringVar(&o.assets, "assets", os.Getenv("KUBEBUILDER_ASSETS"), "Directory with etcd, kube-apiserver and kubectl.")
	flag.StringVar(&o.manager, "manager", "bin/manager", "The operator's binary.")
	flag.StringVar(&o.root, "root", ".", "The repository, for config/.")
	flag.BoolVar(&o.exit, "exit", false, "End after the last step instead of staying up.")
	flag.DurationVar(&o.pace, "pace", 2*time.Second, "Pause between steps.")
	flag.Parse()
	o.out = os.Stdout
	ctrl.SetLogger(logr.Discard()) // envtest's

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing to undo at exit
	}
}

type options struct {
	assets, manager, root string
	exit                  bool
	pace                  time.Duration
	out                   io.Writer
}

// run sets the stage, plays the scenes, and takes everything down again, however it ends.
func run(ctx context.Context, o options) (err error) {
	s := &stage{options: o}
	defer func() { err = errors.Join(err, s.down()) }()
	if err := s.up(ctx); err != nil {
		return err
	}
	for i, scene := range scenes {
		s.say("\n\033[1m%d. %s\033[0m", i+1, scene.title)
		if err := scene.play(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", scene.title, err)
		}
		s.sleep(ctx, o.pace)
	}
	if o.exit {
		s.say("\nThat was it. Without EXIT=1 it stays up for you to look around.")
		return nil
	}
	s.say(lookAround, s.cluster.Kubeconfig, o.assets, s.operator.Log, s.infisical.url)
	<-ctx.Done()
	s.say("\ntaking everything down")
	return nil
}

const lookAround = `
It stays up until Ctrl-C. Look around in another terminal:

  export KUBECONFIG=%s PATH=%s:$PATH
  kubectl get stsec
  kubectl describe stsec shop
  kubectl get secret shop-env -o yaml
  kubectl get events
  kubectl explain stsec.spec

The operator's log is %s, the development Infisical is at %s.`
