package controllers

import (
	"context"
	"sync"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/rollout"
	"github.com/service-token-operator/service-token-operator/internal/source"
	"github.com/service-token-operator/service-token-operator/internal/target"
	"github.com/service-token-operator/service-token-operator/internal/usage"
)

// Options of the controllers.
type Options struct {
	// Namespaces to work in; none means all.
	Namespaces []string
	// Selector is what the labels of an object must match for it to be worked on; nil means all objects. The others are neither
	// cached nor written.
	Selector labels.Selector
	// OwnNamespace is the operator's, where the uses of tokens are kept.
	OwnNamespace string
	// Infisical is how to be a client of servers. Its Meter and Observer are set here.
	Infisical infisical.Options
	// DefaultURL is the server for objects without spec.hostURL.
	DefaultURL string
	// ClusterSecrets turns ClusterServiceTokenSecrets on, which needs all Namespaces. ForbiddenNamespaces are globs of those that they
	// may neither read nor write.
	ClusterSecrets      bool
	ForbiddenNamespaces []string
	// Push turns ServiceTokenPushes on.
	Push bool
	// Webhook is where deliveries are received.
	Webhook Webhook
	// Workers is how many objects are reconciled at the same time.
	Workers int
	// Metrics takes the controllers' metrics; nil is nowhere.
	Metrics prometheus.Registerer
	// PerObjectMetrics adds series of single objects to those that count them.
	PerObjectMetrics bool
	// Build is told in a metric.
	Build Build
}

// The names of the controllers, in logs and metrics.
const (
	secretController = "servicetokensecret"
	pushController   = "servicetokenpush"
)

// Setup makes the reconcilers and everything they need part of the manager, whose cache was made with the same options'
// CacheOptions.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) error {
	digester, err := target.NewDigester()
	if err != nil {
		return err
	}
	base := o.baseCache()
	base.HTTPClient, base.Scheme, base.Mapper = mgr.GetHTTPClient(), mgr.GetScheme(), mgr.GetRESTMapper()
	managed, err := target.NewCache(mgr.GetConfig(), base, digester)
	if err != nil {
		return err
	}
	// For Secrets and the ConfigMap of uses, of which the manager's cache knows metadata at most.
	live, err := client.New(mgr.GetConfig(), client.Options{HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()})
	if err != nil {
		return err
	}
	if o.Selector == nil {
		o.Selector = labels.Everything()
	}
	r := &reconciler{
		selector: o.Selector,
		client:   mgr.GetClient(),
		live:     live,
		targets:  target.NewWriter(managed, live, live, digester),
		rollouts: rollout.New(live, live),
		recorder: mgr.GetEventRecorder("service-token-operator"),
		counters: newCounters(),
		clock:    clock.RealClock{},
		heals:    flowcontrol.NewBackOff(healMin, healMax),
		restarts: flowcontrol.NewBackOff(restartMin, restartMax),
	}
	if o.ClusterSecrets {
		r.fanout = &fanout{cache: mgr.GetCache(), managed: managed, forbidden: o.ForbiddenNamespaces}
	}
	// What wakes an object besides its watches: its sources, and the count of its token.
	var queue, pushes waker
	var p *pusher
	r.pool = source.NewPool(source.Options{Notify: func(owner source.Owner) {
		if key, is := pushOf(owner); is {
			pushes.add(reconcile.Request{NamespacedName: key})
		} else {
			queue.add(reconcile.Request{NamespacedName: owner})
		}
	}})
	r.ledger = usage.NewLedger(usage.Options{Reader: live, Writer: live, Namespace: o.OwnNamespace, Shared: o.partial(), Changed: func(id string) {
		queue.add(append(r.find(ctx, "", indexToken, id), r.findCluster(ctx, indexToken, id)...)...)
		pushes.add(p.find(ctx, "", indexToken, id)...)
	}})
	o.Infisical.Meter, o.Infisical.Observer = r.ledger, r.counters
	r.inputs = newInputs(mgr.GetCache(), managed, live, infisical.NewClient(o.Infisical), o.DefaultURL)
	if o.Push {
		p = newPusher(r)
	}
	// Started in this order and stopped together; the ledger refuses uses once it has given back what was reserved.
	for _, runnable := range []manager.Runnable{managed, r.ledger, r.pool} {
		if err := mgr.Add(runnable); err != nil {
			return err
		}
	}
	if err := r.receive(mgr, live, o.Webhook); err != nil {
		return err
	}
	if err := r.measured(mgr, o); err != nil {
		return err
	}
	if err := r.setup(ctx, mgr, o.Workers, managed, &queue); err != nil || p == nil {
		return err
	}
	return p.setup(ctx, mgr, o.Workers, managed, &pushes)
}

// setup makes the reconciler's controller. It is one for both kinds, as the reconciler does for both what is the same for both; the
// namespace of a request, which a ClusterServiceTokenSecret has not, tells them apart.
func (r *reconciler) setup(ctx context.Context, mgr ctrl.Manager, workers int, managed cache.Cache, queue *waker) error {
	kinds := []client.Object{&stv1.ServiceTokenSecret{}}
	watches := r.watches(mgr.GetCache(), managed)
	if r.fanout != nil {
		kinds = append(kinds, &stv1.ClusterServiceTokenSecret{})
		watches = append(watches, r.clusterWatches(mgr.GetCache())...)
		if err := mgr.GetFieldIndexer().IndexField(ctx, metadataOf("ConfigMap"), indexOwner, ownerOf); err != nil {
			return err
		}
	}
	for _, kind := range kinds {
		for index, of := range map[string]func(*subject) []string{indexInputs: inputsOf, indexTarget: targetIndexOf, indexToken: tokenOf} {
			if err := mgr.GetFieldIndexer().IndexField(ctx, kind, index, indexed(of)); err != nil {
				return err
			}
		}
	}
	return control(ctx, mgr, secretController, workers, r, watches, func(q requestQueue) {
		r.started = r.clock.Now()
		queue.serve(q)
	})
}

// requestQueue is what a controller works off.
type requestQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// waker adds to the queue of a controller. Before there is one, nothing of its own can be told, and what others use it will look at
// anyway.
type waker struct {
	mu    sync.Mutex
	queue requestQueue
}

func (w *waker) serve(q requestQueue) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = q
}

func (w *waker) add(requests ...reconcile.Request) {
	w.mu.Lock()
	queue := w.queue
	w.mu.Unlock()
	for _, request := range requests {
		if queue != nil {
			queue.Add(request)
		}
	}
}

// control makes a controller part of the manager. started gets its queue, before any object is looked at.
func control(
	ctx context.Context, mgr ctrl.Manager, name string, workers int, r reconcile.Reconciler, watches []watched,
	started func(requestQueue),
) error {
	controller := ctrl.NewControllerManagedBy(mgr).
		Named(name).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		WithLogConstructor(logFor(mgr.GetLogger(), name)).
		WatchesRawSource(ctrlsource.Func(func(_ context.Context, q requestQueue) error {
			started(q)
			return nil
		}))
	for _, w := range watches {
		// All informers are made before the caches start, which are full before any controller starts: so one that becomes the leader
		// begins at once. Other sources wait for their caches, in steps of 100 ms.
		informer, err := w.cache.GetInformer(ctx, w.object, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		controller.WatchesRawSource(&ctrlsource.Informer{Informer: informer, Handler: w.handler, Predicates: w.predicates})
	}
	return controller.Complete(r)
}

// watched is what wakes objects when it changes.
type watched struct {
	cache      cache.Cache
	object     client.Object
	handler    handler.EventHandler
	predicates []predicate.Predicate
}

func (r *reconciler) watches(caches, managed cache.Cache) []watched {
	secret := handler.EnqueueRequestsFromMapFunc(r.namers("Secret"))
	return []watched{
		{caches, &stv1.ServiceTokenSecret{}, &handler.EnqueueRequestForObject{}, ownChange},
		// The Secrets that were written: somebody may have changed or deleted one. One may also hold the token of another object.
		{managed, &corev1.Secret{}, secret, nil},
		// All other Secrets, by metadata: one may hold a token or a CA bundle that was rotated, or stand where one is to be written.
		{caches, metadataOf("Secret"), secret, nil},
		// ConfigMaps, by metadata: one may hold a CA bundle or templates, or be a target.
		{caches, metadataOf("ConfigMap"), handler.EnqueueRequestsFromMapFunc(r.namers("ConfigMap")), nil},
	}
}

// clusterWatches are those that ClusterServiceTokenSecrets need besides.
func (r *reconciler) clusterWatches(caches cache.Cache) []watched {
	return []watched{
		{caches, &stv1.ClusterServiceTokenSecret{}, &handler.EnqueueRequestForObject{}, ownChange},
		// Namespaces, by metadata: one that is new, or has other labels, may be selected now, or not any longer.
		{caches, metadataOf("Namespace"), handler.EnqueueRequestsFromMapFunc(r.selecting), []predicate.Predicate{predicate.LabelChangedPredicate{}}},
	}
}

// selecting returns the ClusterServiceTokenSecrets that select a namespace. Of one whose labels have changed it is asked with the former
// labels, too.
func (r *reconciler) selecting(ctx context.Context, namespace client.Object) []reconcile.Request {
	var list stv1.ClusterServiceTokenSecretList
	if !r.list(ctx, &list) {
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		c := &list.Items[i]
		if selector, err := selectorOf(c); err == nil && selector.Matches(labels.Set(namespace.GetLabels())) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(c)})
		}
	}
	return requests
}

// ownChange is a change of an object that is worth a look: a new spec, or an annotation that asks for a fetch. Not of its status: it is
// ours, and looking once more at each object that was just looked at would be half of the work of a start.
var ownChange = []predicate.Predicate{predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{})}

// logFor names the object in each line about it, in one field: controller-runtime's own way says it three times, for every look.
func logFor(log logr.Logger, controller string) func(*reconcile.Request) logr.Logger {
	log = log.WithValues("controller", controller)
	return func(request *reconcile.Request) logr.Logger {
		if request == nil {
			return log
		}
		return log.WithValues("object", klog.KRef(request.Namespace, request.Name))
	}
}

// namers returns the objects that read or write a Secret or ConfigMap of which there is another version now.
func (r *reconciler) namers(kind string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		r.inputs.changed(kind, o)
		name := kind + "/" + o.GetName()
		requests := r.find(ctx, o.GetNamespace(), indexInputs, name)
		requests = append(requests, r.find(ctx, o.GetNamespace(), indexTarget, name)...)
		requests = append(requests, r.findCluster(ctx, indexInputs, o.GetNamespace()+"/"+name)...)
		return append(requests, r.findCluster(ctx, indexTarget, name)...)
	}
}

// find returns the ServiceTokenSecrets of a namespace that name something.
func (r *reconciler) find(ctx context.Context, namespace, index, value string) []reconcile.Request {
	var list stv1.ServiceTokenSecretList
	if !r.list(ctx, &list, client.InNamespace(namespace), client.MatchingFields{index: value}) {
		return nil
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return requests
}

// findCluster returns the ClusterServiceTokenSecrets that name something.
func (r *reconciler) findCluster(ctx context.Context, index, value string) []reconcile.Request {
	if r.fanout == nil {
		return nil
	}
	var list stv1.ClusterServiceTokenSecretList
	if !r.list(ctx, &list, client.MatchingFields{index: value}) {
		return nil
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i].Name = list.Items[i].Name
	}
	return requests
}

func (r *reconciler) list(ctx context.Context, list client.ObjectList, options ...client.ListOption) (ok bool) {
	return listCached(ctx, r.client, list, options...)
}

// listCached lists objects from the cache, for which there is no reason to fail.
func listCached(ctx context.Context, from client.Reader, list client.ObjectList, options ...client.ListOption) (ok bool) {
	err := from.List(ctx, list, append(options, client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency)...)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "listing the objects that name something")
	}
	return err == nil
}
