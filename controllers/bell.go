package controllers

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/service-token-operator/service-token-operator/internal/webhook"
)

// Webhook says where deliveries of Infisical's webhooks are received. Without an address they are not.
type Webhook struct {
	Address string
	// SecretsDir holds the webhooks' secrets, one in each file: a mounted Secret.
	SecretsDir string
	// CertDir holds tls.crt and tls.key; without them deliveries come by plain HTTP, from an ingress that has them.
	CertDir string
	// Pod is the operator's own, which is labeled while it leads; without a name it is not.
	Pod types.NamespacedName
}

// receive adds the receiver of webhooks, which makes the pool read now what would have its turn later.
func (r *reconciler) receive(mgr ctrl.Manager, c client.Client, o Webhook) error {
	if o.Address == "" || o.Address == "0" {
		return nil
	}
	secrets := webhook.Dir(o.SecretsDir, clock.RealClock{})
	if len(secrets()) == 0 {
		mgr.GetLogger().Info("there is no secret of a webhook: no delivery will be accepted until there is", "directory", o.SecretsDir)
	}
	handler := webhook.NewHandler(webhook.Options{
		Secrets:  secrets,
		Modified: func(c webhook.Change) { r.pool.Modified(c.ProjectID, c.Environment, c.Path) },
		Observe:  r.counters.delivered,
		Leads:    mgr.Elected(),
	})
	runnables := []manager.Runnable{webhook.NewServer(o.Address, o.CertDir, handler)}
	if o.Pod.Name != "" {
		runnables = append(runnables, &webhook.Leader{Client: c, Pod: o.Pod, Leads: mgr.Elected()})
	}
	for _, runnable := range runnables {
		if err := mgr.Add(runnable); err != nil {
			return err
		}
	}
	return nil
}
