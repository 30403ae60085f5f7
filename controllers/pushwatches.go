package controllers

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// setup makes the pusher's controller.
func (r *pusher) setup(ctx context.Context, mgr ctrl.Manager, workers int, managed cache.Cache, queue *waker) error {
	for index, of := range map[string]client.IndexerFunc{indexInputs: pushInputs, indexToken: pushToken} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, &stv1.ServiceTokenPush{}, index, of); err != nil {
			return err
		}
	}
	return control(ctx, mgr, pushController, workers, r, r.watches(mgr.GetCache(), managed), func(q requestQueue) {
		r.started = r.clock.Now()
		queue.serve(q)
	})
}

// watches are what wakes pushes when it changes: themselves, and what they name, by its metadata.
func (r *pusher) watches(caches, managed cache.Cache) []watched {
	secret := handler.EnqueueRequestsFromMapFunc(r.namers("Secret"))
	return []watched{
		{caches, &stv1.ServiceTokenPush{}, &handler.EnqueueRequestForObject{}, ownChange},
		{managed, &corev1.Secret{}, secret, nil},
		{caches, metadataOf("Secret"), secret, nil},
		{caches, metadataOf("ConfigMap"), handler.EnqueueRequestsFromMapFunc(r.namers("ConfigMap")), nil},
	}
}

// namers returns the pushes that name a Secret or ConfigMap of which there is another version now.
func (r *pusher) namers(kind string) handler.MapFunc {
	return func(ctx context.Context, o client.Object) []reconcile.Request {
		r.inputs.changed(kind, o)
		return r.find(ctx, o.GetNamespace(), indexInputs, kind+"/"+o.GetName())
	}
}

// find returns the pushes of a namespace that name something. A nil pusher is for where there are none.
func (r *pusher) find(ctx context.Context, namespace, index, value string) []reconcile.Request {
	if r == nil {
		return nil
	}
	var list stv1.ServiceTokenPushList
	if !listCached(ctx, r.client, &list, client.InNamespace(namespace), client.MatchingFields{index: value}) {
		return nil
	}
	requests := make([]reconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return requests
}

// pushInputs are Kind/name of what a push reads.
func pushInputs(o client.Object) []string {
	spec := o.(*stv1.ServiceTokenPush).Spec //nolint:forcetypeassert // it is indexed by its type
	return append(connectionInputs(&spec.Auth, spec.TLS, ""), "Secret/"+spec.Source.SecretRef.Name)
}

// pushToken is the id of the token that a push was last seen to use.
func pushToken(o client.Object) []string {
	if t := o.(*stv1.ServiceTokenPush).Status.Token; t != nil { //nolint:forcetypeassert // it is indexed by its type
		return []string{t.ID}
	}
	return nil
}
