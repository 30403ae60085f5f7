package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/hack/lab"
)

const (
	// latency is what a request costs a real server: it compares the token's secret with a bcrypt hash.
	latency = 85 * time.Millisecond
	// workers is how many objects the operator reconciles at a time by default, and how many writes the floor has under way.
	workers = 16
)

// stage is a fresh control plane, a fresh server with its own, and what is made in both.
type stage struct {
	*bench
	dir        string
	cluster    *lab.Cluster
	client     client.Client // an admin's, uncached
	kubeconfig string        // of the operator's account

	infisical *infisical
	server    *lab.Process
	operators []*operator // that were started
	world     *world
	uses      map[string]int // of each token, up to when the server's log was last reset
}

// newStage starts a control plane and a server, and makes a world in them, whose objects nobody has looked at yet.
func (b *bench) newStage(ctx context.Context, w *world, serverFlags ...string) (*stage, error) {
	s := &stage{bench: b, world: w}
	if err := s.up(ctx, serverFlags); err != nil {
		return nil, errors.Join(err, s.down())
	}
	return s, nil
}

func (s *stage) up(ctx context.Context, serverFlags []string) (err error) {
	if s.dir, err = os.MkdirTemp(s.bench.dir, "stage-"); err != nil {
		return err
	}
	if s.cluster, err = lab.StartCluster(s.assets, s.dir); err != nil {
		return err
	}
	if err := s.cluster.Install(ctx, s.root); err != nil {
		return err
	}
	if s.kubeconfig, err = s.cluster.OperatorKubeconfig(); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(stv1.AddToScheme(scheme))
	config := rest.CopyConfig(s.cluster.Config)
	config.QPS = -1
	if s.Machine.Kubernetes, err = serverVersion(config); err != nil {
		return err
	}
	if s.client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	if err := s.startServer(ctx, serverFlags); err != nil {
		return err
	}
	return s.world.create(ctx, s)
}

func serverVersion(config *rest.Config) (string, error) {
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return "", err
	}
	v, err := d.ServerVersion()
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(v.GitVersion, "v"), nil
}

func (s *stage) startServer(ctx context.Context, flags []string) (err error) {
	output := filepath.Join(s.dir, "devserver.log")
	s.server, err = lab.Start(output, nil, s.devserver, append([]string{"--listen=127.0.0.1:0", "--latency=" + latency.String()}, flags...)...)
	if err != nil {
		return err
	}
	return lab.Await(ctx, "the development Infisical", 20*time.Second, func() (bool, error) {
		text, err := os.ReadFile(output)
		if err != nil {
			return false, err
		}
		url, whole := strings.CutSuffix(string(text), "\n")
		if whole {
			s.infisical = newInfisical(url)
		}
		return whole, s.server.Ended()
	})
}

// resetLog makes the server forget what it was asked, but for how often each token was used.
func (s *stage) resetLog(ctx context.Context) error {
	counts, err := s.infisical.counts(ctx)
	if err != nil {
		return err
	}
	if s.uses == nil {
		s.uses = map[string]int{}
	}
	for id, n := range counts {
		s.uses[id] += n
	}
	return s.infisical.resetLog(ctx)
}

// down ends everything that the stage holds. Rows stop their operators in order; one that runs still is of a row that failed.
func (s *stage) down() error {
	var errs []error
	for _, o := range s.operators {
		if o.Ended() == nil {
			errs = append(errs, o.Kill())
		}
	}
	if s.server != nil {
		errs = append(errs, s.server.Stop())
	}
	if s.cluster != nil {
		errs = append(errs, s.cluster.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// operator is one whose metrics the benchmark reads.
type operator struct {
	*lab.Operator
	metrics string // URL
	started time.Time
}

func (s *stage) startOperator() (*operator, error) { return s.startOperatorAt(s.infisical.url) }

func (s *stage) startOperatorAt(infisicalURL string) (*operator, error) {
	address, err := lab.FreeAddress()
	if err != nil {
		return nil, err
	}
	flags := append([]string{"--metrics-bind-address=" + address, "--metrics-secure=false"}, s.flags...)
	started := time.Now()
	p, err := lab.StartOperator(s.manager, s.operatorLog, s.kubeconfig, infisicalURL, flags...)
	if err != nil {
		return nil, err
	}
	o := &operator{Operator: p, metrics: "http://" + address + "/metrics", started: started}
	s.operators = append(s.operators, o)
	return o, nil
}

// verify says whether every object is Ready and every Secret holds what the server does.
func (s *stage) verify(ctx context.Context) error {
	wrong, ready, right := "", 0, 0
	for n := range s.world.namespaces() {
		var objects stv1.ServiceTokenSecretList
		if err := s.client.List(ctx, &objects, client.InNamespace(namespaceName(n))); err != nil {
			return err
		}
		for i := range objects.Items {
			if isReady(&objects.Items[i]) {
				ready++
			} else {
				wrong = objects.Items[i].Name + " is not Ready"
			}
		}
		var secrets corev1.SecretList
		if err := s.client.List(ctx, &secrets, client.InNamespace(namespaceName(n)), managedLabel); err != nil {
			return err
		}
		for i := range secrets.Items {
			if s.world.holds(&secrets.Items[i]) {
				right++
			} else {
				wrong = "Secret " + secrets.Items[i].Name + " does not hold what the server does"
			}
		}
	}
	if ready != s.world.objects || right != s.world.objects {
		return fmt.Errorf("of %d objects %d are Ready, and %d Secrets are right; for example, %s", s.world.objects, ready, right, wrong)
	}
	return nil
}

// settle waits until everything is right, which verify looks at no more often than it takes.
func (s *stage) settle(ctx context.Context, limit time.Duration) error {
	var last error
	err := lab.Await(ctx, "all objects", limit, func() (bool, error) {
		last = s.verify(ctx)
		if last != nil && ctx.Err() == nil {
			pause(ctx, time.Second)
		}
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// pause lets time pass.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
