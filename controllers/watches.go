package controllers

import (
	"context"
	"unique"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
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
	// Workers is how many objects are reconciled at the same time.
	Workers int
	// Metrics takes the controllers' metrics; nil is nowhere.
	Metrics prometheus.Registerer
	// PerObjectMetrics adds series of single objects to those that count them.
	PerObjectMetrics bool
	// Build is told in a metric.
	Build Build
}

// CacheOptions is what the manager's cache must be made with: it keeps the objects to work on, and of ConfigMaps and of the Secrets
// that are not managed here as much metadata as is looked at, and refuses to be asked for what nobody watches. Managed Secrets are
// in a cache of their own; here too they would be sent and kept twice.
func (o Options) CacheOptions() cache.Options {
	c := o.baseCache()
	c.ByObject = map[client.Object]cache.ByObject{
		&stv1.ServiceTokenSecret{}: {Label: o.Selector, Transform: stripObject},
		metadataOf("Secret"):       {Label: target.NotManaged(), Transform: stripMetadata},
		metadataOf("ConfigMap"):    {Transform: stripMetadata},
	}
	return c
}

// partial says that objects may be left to other releases of the operator, which use tokens that are not seen here.
func (o Options) partial() bool {
	return len(o.Namespaces) > 0 || (o.Selector != nil && !o.Selector.Empty())
}

// ClientOptions is what the manager's client must be made with: an object is not looked at before the cache has seen what was last
// written to its status, or the same would be decided, and refused as a conflict, once more.
func ClientOptions() client.Options {
	return client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: ptr.To(true)}}
}

// baseCache is what all caches have in common.
func (o Options) baseCache() cache.Options {
	c := cache.Options{ReaderFailOnMissingInformer: true, DefaultTransform: cache.TransformStripManagedFields()}
	for _, ns := range o.Namespaces {
		if c.DefaultNamespaces == nil {
			c.DefaultNamespaces = map[string]cache.Config{}
		}
		c.DefaultNamespaces[ns] = cache.Config{}
	}
	return c
}

// Field indexes of ServiceTokenSecrets: the Secrets and ConfigMaps that an object reads, the Secret that it writes, and the id of
// the token that it was last seen to use.
const (
	indexInputs = "inputs"
	indexTarget = "target"
	indexToken  = "token"
)

const controllerName = "servicetokensecret"

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
		recorder: mgr.GetEventRecorder("service-token-operator"),
		counters: newCounters(),
		clock:    clock.RealClock{},
		heals:    flowcontrol.NewBackOff(healMin, healMax),
	}
	// What wakes an object besides its watches: its sources, and the count of its token. The queue is there before any object is
	// looked at, and so before anything can be told.
	var queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	wake := func(owner source.Owner) { queue.Add(reconcile.Request{NamespacedName: owner}) }
	r.pool = source.NewPool(source.Options{Notify: wake})
	r.ledger = usage.NewLedger(usage.Options{Reader: live, Writer: live, Namespace: o.OwnNamespace, Shared: o.partial(), Changed: func(id string) {
		for _, request := range r.find(ctx, "", indexToken, id) {
			wake(request.NamespacedName)
		}
	}})
	o.Infisical.Meter, o.Infisical.Observer = r.ledger, r.counters
	r.inputs = newInputs(mgr.GetCache(), managed, live, infisical.NewClient(o.Infisical), o.DefaultURL)
	// Started in this order and stopped together; the ledger refuses uses once it has given back what was reserved.
	for _, runnable := range []manager.Runnable{managed, r.ledger, r.pool} {
		if err := mgr.Add(runnable); err != nil {
			return err
		}
	}
	if o.Metrics != nil {
		if err := r.counters.register(o.Metrics); err != nil {
			return err
		}
		if err := o.Metrics.Register(newCollector(collector{
			leads: mgr.Elected(), cache: mgr.GetClient(), uses: r.ledger, polls: r.pool, build: o.Build, perObject: o.PerObjectMetrics,
		})); err != nil {
			return err
		}
	}
	for index, of := range map[string]client.IndexerFunc{indexInputs: inputsOf, indexTarget: targetOf, indexToken: tokenOf} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, &stv1.ServiceTokenSecret{}, index, of); err != nil {
			return err
		}
	}
	controller := ctrl.NewControllerManagedBy(mgr).
		Named(controllerName).
		WithOptions(controller.Options{MaxConcurrentReconciles: o.Workers}).
		WithLogConstructor(logFor(mgr.GetLogger())).
		// The pool and the ledger: what an object reads has changed or could not be read, or its token was used often.
		WatchesRawSource(ctrlsource.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			queue, r.started = q, r.clock.Now()
			return nil
		}))
	for _, w := range r.watches(mgr.GetCache(), managed) {
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
	secret := handler.EnqueueRequestsFromMapFunc(r.readOrWrite)
	return []watched{
		// The objects themselves: a new spec, or an annotation that asks for a fetch. Not their status: it is ours, and looking once
		// more at each object that was just looked at would be half of the work of a start.
		{caches, &stv1.ServiceTokenSecret{}, &handler.EnqueueRequestForObject{}, []predicate.Predicate{
			predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}),
		}},
		// The Secrets that were written: somebody may have changed or deleted one. One may also hold the token of another object.
		{managed, &corev1.Secret{}, secret, nil},
		// All other Secrets, by metadata: one may hold a token or a CA bundle that was rotated, or stand where one is to be written.
		{caches, metadataOf("Secret"), secret, nil},
		// ConfigMaps, by metadata: one may hold a CA bundle.
		{caches, metadataOf("ConfigMap"), handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, c client.Object) []reconcile.Request {
			r.inputs.changed("ConfigMap", c)
			return r.find(ctx, c.GetNamespace(), indexInputs, "ConfigMap/"+c.GetName())
		}), nil},
	}
}

// logFor names the object in each line about it, in one field: controller-runtime's own way says it three times, for every look.
func logFor(log logr.Logger) func(*reconcile.Request) logr.Logger {
	log = log.WithValues("controller", controllerName)
	return func(request *reconcile.Request) logr.Logger {
		if request == nil {
			return log
		}
		return log.WithValues("object", klog.KRef(request.Namespace, request.Name))
	}
}

// readOrWrite returns the objects that read a Secret, of which there is another version now, and those that write it.
func (r *reconciler) readOrWrite(ctx context.Context, secret client.Object) []reconcile.Request {
	r.inputs.changed("Secret", secret)
	readers := r.find(ctx, secret.GetNamespace(), indexInputs, "Secret/"+secret.GetName())
	return append(readers, r.find(ctx, secret.GetNamespace(), indexTarget, secret.GetName())...)
}

// find returns the objects of a namespace that name something.
func (r *reconciler) find(ctx context.Context, namespace, index, value string) []reconcile.Request {
	var list stv1.ServiceTokenSecretList
	if err := r.client.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{index: value},
		client.UnsafeDisableDeepCopy, client.DisableReadYourWritesConsistency); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "listing the objects that name something", "index", index, "name", value)
		return nil
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return requests
}

func inputsOf(o client.Object) []string {
	obj := o.(*stv1.ServiceTokenSecret) //nolint:forcetypeassert // the index is of this type only
	var names []string
	if st := obj.Spec.Auth.ServiceToken; st != nil {
		names = append(names, "Secret/"+st.SecretRef.Name)
	}
	if obj.Spec.TLS != nil {
		names = append(names, obj.Spec.TLS.CABundleRef.Kind+"/"+obj.Spec.TLS.CABundleRef.Name)
	}
	return names
}

func targetOf(o client.Object) []string {
	return []string{targetName(o.(*stv1.ServiceTokenSecret))} //nolint:forcetypeassert // the index is of this type only
}

func tokenOf(o client.Object) []string {
	if t := o.(*stv1.ServiceTokenSecret).Status.Token; t != nil { //nolint:forcetypeassert // the index is of this type only
		return []string{t.ID}
	}
	return nil
}

func metadataOf(kind string) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind))
	return m
}

// stripObject takes out of an object what is not looked at, and lets it have in common with others what most of them have: among
// ten thousand there are few different namespaces, reasons and messages. Nothing in a cache is ever changed, and what is missing is
// not missed by a write, as the API server takes nothing but the status from it.
func stripObject(in any) (any, error) {
	obj, ok := in.(*stv1.ServiceTokenSecret)
	if !ok {
		return in, nil // a tombstone of the informer
	}
	obj.ManagedFields = nil
	delete(obj.Annotations, corev1.LastAppliedConfigAnnotation)
	spec, status := &obj.Spec, &obj.Status
	for _, text := range []*string{&obj.APIVersion, &obj.Kind, &obj.Namespace, &spec.HostURL, &spec.Target.Type} {
		share(text)
	}
	share(&spec.KeyConflicts)
	share(&spec.UnresolvedReferences)
	share(&spec.Decryption)
	share(&spec.Target.CreationPolicy)
	share(&spec.Target.DeletionPolicy)
	if st := spec.Auth.ServiceToken; st != nil {
		share(&st.SecretRef.Name)
		share(&st.SecretRef.Key)
	}
	for i := range spec.Sources {
		share(&spec.Sources[i].Environment)
	}
	for i := range status.Conditions {
		c := &status.Conditions[i]
		share(&c.Type)
		share(&c.Status)
		share(&c.Reason)
		if c.Type != stv1.ConditionReady { // whose message names the object's own Secret
			share(&c.Message)
		}
	}
	if status.Token != nil {
		share(&status.Token.ID)
		share(&status.Token.Expires)
	}
	if status.Usage != nil {
		share(&status.Usage.Used)
	}
	return obj, nil
}

// share makes equal texts one in memory. For a text that no other object has it costs more than it saves.
func share[T ~string](text *T) { *text = unique.Make(*text).Value() }

// stripMetadata keeps of an object what is looked at: which one it is, and in which version.
func stripMetadata(in any) (any, error) {
	m, ok := in.(*metav1.PartialObjectMetadata)
	if !ok {
		return in, nil // a tombstone of the informer
	}
	kept := metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
	return &metav1.PartialObjectMetadata{TypeMeta: m.TypeMeta, ObjectMeta: kept}, nil
}
