// The operator that keeps Kubernetes Secrets equal to what Infisical service tokens may read.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/labels"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubeconfigs of every kind of cluster, for `make run`
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/controllers"
	"github.com/service-token-operator/service-token-operator/internal/convert"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/scrape"
)

// Set when a release is built.
var (
	version = "dev"
	commit  = "unknown"
	date    = "unknown"
)

// options are the command line.
type options struct {
	infisicalURL    string
	allowHTTP       bool
	allowedHosts    []string
	requestTimeout  time.Duration
	watchNamespaces []string
	objectSelector  string
	clusterSecrets  bool
	forbidden       []string
	push            bool
	webhookAddress  string
	webhookSecrets  string
	webhookCertDir  string
	podName         string
	namespace       string
	workers         int
	leaderElect     bool
	leaseName       string
	metricsAddress  string
	metricsSecure   bool
	metricsCertDir  string
	metricsPerObj   bool
	probeAddress    string
	pprofAddress    string
	logLevel        string
	logFormat       string
	version         bool

	selector labels.Selector // objectSelector, parsed by validate
}

func (o *options) bind(fs *pflag.FlagSet) {
	fs.StringVar(&o.infisicalURL, "infisical-url", "https://app.infisical.com", "Infisical server for objects without spec.hostURL.")
	fs.BoolVar(&o.allowHTTP, "allow-http", false, "Allow Infisical servers without TLS. Tokens then travel in clear text: for development only.")
	fs.StringSliceVar(&o.allowedHosts, "allowed-hosts", nil, "Infisical hosts that objects may name, as host, host:port or *.domain, separated by commas. Empty allows all.")
	fs.DurationVar(&o.requestTimeout, "request-timeout", 30*time.Second, "Longest time for one request to an Infisical server.")
	fs.StringSliceVar(&o.watchNamespaces, "watch-namespaces", nil, "Namespaces to work in, separated by commas. Empty means all.")
	fs.StringVar(&o.objectSelector, "object-selector", "", "Labels of the objects to work on, such as team=a or 'team notin (a,b)'; the others are left to other releases. Empty means all.")
	fs.BoolVar(&o.clusterSecrets, "cluster-secrets", false, "Work on ClusterServiceTokenSecrets too, which write to the namespaces that they select.")
	fs.StringSliceVar(&o.forbidden, "forbidden-namespaces", []string{"kube-system", "kube-public", "kube-node-lease"}, "Namespaces that ClusterServiceTokenSecrets may neither write to nor read a token from, by name or glob, separated by commas.")
	fs.BoolVar(&o.push, "push", false, "Work on ServiceTokenPushes too, which send keys of Secrets to Infisical.")
	fs.StringVar(&o.webhookAddress, "webhook-bind-address", "0", "Address for deliveries of Infisical's webhooks, which make what was modified be read at once; 0 turns it off.")
	fs.StringVar(&o.webhookSecrets, "webhook-secrets-dir", "", "Directory with the secrets of these webhooks, one in each file.")
	fs.StringVar(&o.webhookCertDir, "webhook-cert-dir", "", "Directory with tls.crt and tls.key for deliveries; without it they come by plain HTTP, for an ingress that has the certificate.")
	fs.StringVar(&o.podName, "pod-name", os.Getenv("POD_NAME"), "The operator's own pod, which is labeled while it leads, so that a Service finds it. Default: POD_NAME.")
	fs.StringVar(&o.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "The operator's own namespace, where it keeps the uses of tokens and its lease. Default: POD_NAMESPACE.")
	fs.IntVar(&o.workers, "workers", 16, "How many objects are reconciled at the same time.")
	fs.BoolVar(&o.leaderElect, "leader-elect", false, "Work only while holding the lease, so that several replicas can run.")
	fs.StringVar(&o.leaseName, "leader-election-id", "service-token-operator.servicetoken.io", "Name of the lease in --namespace. Releases that share a namespace need one each.")
	fs.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "Address of the metrics endpoint; 0 turns it off.")
	fs.BoolVar(&o.metricsSecure, "metrics-secure", true, "Serve metrics over HTTPS, to clients that the API server authenticates and authorizes for GET /metrics.")
	fs.StringVar(&o.metricsCertDir, "metrics-cert-dir", "", "Directory with tls.crt and tls.key for metrics; a self-signed certificate is made when empty.")
	fs.BoolVar(&o.metricsPerObj, "metrics-per-object", false, "Serve metrics of single objects, besides those that count them: two series for each.")
	fs.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "Address of /healthz and /readyz; 0 turns them off.")
	fs.StringVar(&o.pprofAddress, "pprof-bind-address", "0", "Address of Go's profiles under /debug/pprof/, without authentication: use a loopback address, and only to look for something. 0 turns them off.")
	fs.StringVar(&o.logLevel, "log-level", "info", "Least level that is logged: debug, info, warn or error.")
	fs.StringVar(&o.logFormat, "log-format", "json", "Format of the log: json or console.")
	fs.AddGoFlag(flag.CommandLine.Lookup("kubeconfig")) // controller-runtime's
	fs.BoolVar(&o.version, "version", false, "Print the version and exit.")
}

// validate returns the level of the log.
func (o *options) validate() (zapcore.Level, error) {
	var level zapcore.Level
	switch u, err := url.Parse(o.infisicalURL); {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return level, errors.New("--infisical-url is not a URL such as https://infisical.example.com")
	case u.Scheme == "http" && !o.allowHTTP:
		return level, errors.New("--infisical-url is http, which needs --allow-http")
	case o.namespace == "":
		return level, errors.New("--namespace or POD_NAMESPACE must be set")
	case o.webhookAddress != "" && o.webhookAddress != "0" && o.webhookSecrets == "":
		return level, errors.New("--webhook-bind-address needs --webhook-secrets-dir: nothing is accepted that is not signed")
	case len(validation.IsDNS1123Subdomain(o.leaseName)) > 0:
		return level, errors.New("--leader-election-id must be the name of a lease: lower-case letters, digits, '-' and '.'")
	case o.workers < 1:
		return level, errors.New("--workers must be at least 1")
	case o.requestTimeout <= 0:
		return level, errors.New("--request-timeout must be positive")
	case o.logFormat != "json" && o.logFormat != "console":
		return level, errors.New("--log-format must be json or console")
	}
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return level, errors.New("--log-level must be debug, info, warn or error")
	}
	if err := o.validateNamespaces(); err != nil {
		return level, err
	}
	var err error
	if o.selector, err = labels.Parse(o.objectSelector); err != nil {
		return level, fmt.Errorf("--object-selector is not a label selector such as team=a or 'team notin (a,b)': %w", err)
	}
	return level, nil
}

func (o *options) validateNamespaces() error {
	switch {
	case slices.ContainsFunc(o.watchNamespaces, func(ns string) bool { return len(validation.IsDNS1123Label(ns)) > 0 }):
		return errors.New("--watch-namespaces must be names of namespaces, separated by commas without blanks")
	case o.clusterSecrets && len(o.watchNamespaces) > 0:
		return errors.New("--cluster-secrets is for all namespaces, and cannot be combined with --watch-namespaces")
	case slices.ContainsFunc(o.forbidden, coversNothing):
		return errors.New("--forbidden-namespaces must be names or globs, such as kube-*, separated by commas without blanks")
	}
	return nil
}

// coversNothing says whether a glob can match no name of a namespace: what was meant to be forbidden would not be.
func coversNothing(glob string) bool {
	return glob == "" || strings.ContainsAny(glob, " \t") || !doublestar.ValidatePattern(glob)
}

// logTime is RFC 3339 to the millisecond: what happens at a start or a failover happens within few seconds.
const logTime = "2006-01-02T15:04:05.000Z07:00"

// gcPercent is by how much the heap may grow until garbage is collected. Most of the heap lives as long as the objects do; the
// default of 100 would hold as much again for what a start leaves behind, to save CPU that an idle operator does not need.
const gcPercent = 60

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:]); err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "convert" {
		return convert.Command(ctx, args[1:], os.Stdin, os.Stdout, os.Stderr, connect)
	}
	var o options
	fs := pflag.NewFlagSet("service-token-operator", pflag.ContinueOnError)
	fs.SortFlags = false
	o.bind(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.version {
		fmt.Printf("service-token-operator %s, commit %s, built %s, %s\n", version, commit, date, runtime.Version())
		return nil
	}
	level, err := o.validate()
	if err != nil {
		return err
	}
	logger := zap.New(zap.UseDevMode(o.logFormat == "console"), zap.Level(level), func(z *zap.Options) { z.TimeEncoder = zapcore.TimeEncoderOfLayout(logTime) })
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	logStandard(logger)
	logger.Info("starting", "version", version, "commit", commit, "infisicalURL", o.infisicalURL, "watchNamespaces", strings.Join(o.watchNamespaces, ","),
		"objectSelector", o.selector.String(), "clusterSecrets", o.clusterSecrets, "push", o.push, "forbiddenNamespaces", strings.Join(o.forbidden, ","))
	mgr, err := newManager(o, logger)
	if err != nil {
		return err
	}
	if err := setup(ctx, mgr, o); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// connect returns a reader of the cluster that the kubeconfig leads to.
func connect() (client.Reader, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	return client.New(config, client.Options{})
}

// logStandard sends the lines of Go's standard log to ours.
func logStandard(logger logr.Logger) {
	log.SetFlags(0)
	log.SetOutput(standardLog{logger})
}

type standardLog struct{ logr.Logger }

// Write leaves out what the HTTP client tells of an answer that nobody asked for: its first 4 KiB, which may be secrets.
func (l standardLog) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(strings.TrimSpace(string(line)), " starting with ")
	l.Info(text)
	return len(line), nil
}

func newManager(o options, logger logr.Logger) (ctrl.Manager, error) {
	scheme := k8sruntime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(stv1.AddToScheme(scheme))

	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // the API server's own priority and fairness decides
	config.UserAgent = "service-token-operator/" + version

	metrics := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure, CertDir: o.metricsCertDir}
	if o.metricsSecure {
		metrics.FilterProvider = scrape.Authorized
		metrics.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.MinVersion = tls.VersionTLS12 }}
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Logger:                        logger,
		Cache:                         o.controllers().CacheOptions(),
		Client:                        controllers.ClientOptions(),
		Metrics:                       metrics,
		HealthProbeBindAddress:        o.probeAddress,
		PprofBindAddress:              o.pprofAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              o.leaseName,
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true, // main ends right after the manager
	})
}

// controllers are the options that decide what is worked on, and how.
func (o *options) controllers() controllers.Options {
	return controllers.Options{
		Namespaces:   o.watchNamespaces,
		Selector:     o.selector,
		OwnNamespace: o.namespace,
		Infisical:    infisical.Options{Version: fmt.Sprintf("%s (%s, %s)", version, commit, date), AllowHTTP: o.allowHTTP, AllowedHosts: o.allowedHosts, Timeout: o.requestTimeout},
		DefaultURL:   o.infisicalURL,
		Workers:      o.workers,

		ClusterSecrets:      o.clusterSecrets,
		ForbiddenNamespaces: o.forbidden,
		Push:                o.push,
		Webhook: controllers.Webhook{
			Address: o.webhookAddress, SecretsDir: o.webhookSecrets, CertDir: o.webhookCertDir, Pod: types.NamespacedName{Namespace: o.namespace, Name: o.podName},
		},

		Metrics:          ctrlmetrics.Registry,
		PerObjectMetrics: o.metricsPerObj,
		Build:            controllers.Build{Version: version, Commit: commit, Date: date},
	}
}

func setup(ctx context.Context, mgr ctrl.Manager, o options) error {
	if err := controllers.Setup(ctx, mgr, o.controllers()); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.AddReadyzCheck("caches", func(req *http.Request) error {
		if !mgr.GetCache().WaitForCacheSync(req.Context()) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	})
}
