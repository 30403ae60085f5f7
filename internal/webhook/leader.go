package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// LeaderLabel with the value "true" is on the pod that reads sources, so that a Service can lead deliveries to it: the sender does not try
// again where another replica has to refuse one.
const LeaderLabel = "servicetoken.io/leader"

// Leader keeps that label on the operator's own pod. It is a Runnable of every replica.
type Leader struct {
	Client client.Client
	Pod    types.NamespacedName
	Leads  <-chan struct{} // closed when this replica is the one
}

// retryEvery is how often a label is tried again that the API server did not take.
const retryEvery = 5 * time.Second

// Start takes the label away, which a process before in the same pod may have left, and sets it when this one leads. One that leads no
// longer ends. It never fails: without the label deliveries are late, and an operator that ends for it would be worse.
func (l *Leader) Start(ctx context.Context) error {
	l.keep(ctx, "false")
	select {
	case <-ctx.Done():
	case <-l.Leads:
		l.keep(ctx, "true")
	}
	return nil
}

// keep sets the label, and tries until it is set or the process ends.
func (l *Leader) keep(ctx context.Context, value string) {
	_ = wait.PollUntilContextCancel(ctx, retryEvery, true, func(ctx context.Context) (bool, error) {
		err := l.label(ctx, value)
		if err != nil {
			log.FromContext(ctx).Error(err, "deliveries of webhooks may be led elsewhere")
		}
		return err == nil, nil
	})
}

// NeedLeaderElection says that it runs on every replica.
func (l *Leader) NeedLeaderElection() bool { return false }

func (l *Leader) label(ctx context.Context, value string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]string{LeaderLabel: value}}})
	if err != nil {
		return err
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: l.Pod.Namespace, Name: l.Pod.Name}}
	err = l.Client.Patch(ctx, pod, client.RawPatch(types.MergePatchType, patch))
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("label the pod %s, which leads deliveries to it: %w", l.Pod.Name, err)
}
