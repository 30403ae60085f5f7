package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
)

// floorCommand is how bench calls itself to be the floor: a process of its own, as the operator is one.
const floorCommand = "floor"

// task is one object's two writes, ready to be sent.
type task struct {
	Namespace, Name string
	Secret          *corev1.Secret
	Status          []byte // the object, with nothing but its status
}

// runFloor makes the writes that an operator cannot do without, a Secret and a status for each object, in the cheapest way there
// is: Secrets in protobuf, everything made beforehand, answers not decoded, and no read, no watch, no cache. Statuses are updates,
// as the operator's are; as patches they take as long.
func runFloor(ctx context.Context, args []string) error {
	var kubeconfig, file string
	fs := pflag.NewFlagSet(floorCommand, pflag.ContinueOnError)
	fs.StringVar(&kubeconfig, "kubeconfig", "", "Kubeconfig of the operator's account.")
	fs.StringVar(&file, "tasks", "", "File with the tasks.")
	if err := fs.Parse(args); err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var tasks []task
	if err := json.Unmarshal(text, &tasks); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.ContentType = -1, runtime.ContentTypeProtobuf
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	rest := c.CoreV1().RESTClient()
	objects := "/apis/" + objectsResource.GroupVersion().String() + "/namespaces/"
	return inParallel(ctx, len(tasks), func(ctx context.Context, i int) error {
		t := tasks[i]
		if err := rest.Post().Namespace(t.Namespace).Resource("secrets").Body(t.Secret).Do(ctx).Error(); err != nil {
			return err
		}
		path := objects + t.Namespace + "/" + objectsResource.Resource + "/" + t.Name + "/status"
		return rest.Put().AbsPath(path).SetHeader("Content-Type", runtime.ContentTypeJSON).Body(t.Status).Do(ctx).Error()
	})
}

// floor measures how long the bare client takes from its start to the last write.
func (s *stage) floor(ctx context.Context) (took time.Duration, written []time.Time, err error) {
	file := filepath.Join(s.dir, "tasks.json")
	tasks := make([]task, s.world.objects)
	for i := range tasks {
		if tasks[i], err = s.world.task(i); err != nil {
			return 0, nil, err
		}
	}
	text, err := json.Marshal(tasks)
	if err != nil {
		return 0, nil, err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return 0, nil, err
	}
	seen, err := s.observe(ctx, objectsResource, "")
	if err != nil {
		return 0, nil, err
	}
	defer seen.stop()
	self, err := os.Executable()
	if err != nil {
		return 0, nil, err
	}
	cmd := exec.CommandContext(ctx, self, floorCommand, "--kubeconfig="+s.kubeconfig, "--tasks="+file)
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, nil, fmt.Errorf("the floor: %w", err)
	}
	end, err := seen.await(ctx, s.world.objects, time.Minute)
	if err != nil {
		return 0, nil, err
	}
	return end.Sub(start), seen.times(), s.verify(ctx)
}

// task makes the writes for an object as the operator makes them, to the same bytes but for times and ids.
func (w *world) task(i int) (task, error) {
	source, namespace := w.of(i)
	t := task{Namespace: namespace, Name: objectName(i)}
	t.Secret = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: t.Name, Labels: managedLabel, Annotations: map[string]string{"servicetoken.io/owned-by": t.Name},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: stv1.GroupVersion.String(), Kind: "ServiceTokenSecret", Name: t.Name, UID: w.made[i].UID, Controller: ptr.To(true),
			}},
		},
		Type: corev1.SecretTypeOpaque, Data: map[string][]byte{},
	}
	for name, value := range w.values(source) {
		t.Secret.Data[name] = []byte(value)
	}
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	condition := func(kind string, status metav1.ConditionStatus, reason, message string) metav1.Condition {
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: 1, LastTransitionTime: now}
	}
	var err error
	t.Status, err = json.Marshal(map[string]any{
		"apiVersion": stv1.GroupVersion.String(), "kind": "ServiceTokenSecret",
		"metadata": map[string]any{"namespace": namespace, "name": t.Name, "resourceVersion": w.made[i].ResourceVersion},
		"status": stv1.ServiceTokenSecretStatus{
			ObservedGeneration: 1, SyncedGeneration: 1, Target: t.Name, Secrets: ptr.To[int32](keys), LastSyncTime: &now,
			Token: &stv1.TokenStatus{ID: "00000000-0000-4000-8000-000000000000"},
			Usage: &stv1.UsageStatus{Count: 12, Threshold: 1 << 32, Used: "0%", Time: now},
			Conditions: []metav1.Condition{
				condition(stv1.ConditionReady, metav1.ConditionTrue, stv1.ReasonSynced, fmt.Sprintf("Secret %s holds %d keys", t.Name, keys)),
				condition(stv1.ConditionTokenExpiring, metav1.ConditionFalse, stv1.ReasonNoExpiry, "the token never expires"),
				condition(stv1.ConditionRotationDue, metav1.ConditionFalse, stv1.ReasonRotationNotDue, "the token was used less than 90% of the 4294967296 times it may be"),
			},
		}})
	return t, err
}
