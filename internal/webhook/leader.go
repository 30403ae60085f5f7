package webhook

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

// Start takes the label away, which a process before in the same pod may have left, and sets it when this one leads. One that leads no
// longer ends.
func (l *Leader) Start(ctx context.Context) error {
	if err := l.label(ctx, "false"); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-l.Leads:
		return l.label(ctx, "true")
	}
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
