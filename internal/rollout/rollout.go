// Package rollout restarts the workloads that use a Secret or ConfigMap whose data changed: a process reads its environment
// once, when it starts.
//
// A restart is one annotation on a workload's pod template, the mark, and the workload's own controller does the rest, by the
// workload's own strategy: it replaces pods one after the other, waits while it is paused, or leaves it to somebody else (OnDelete). The mark
// names a state of the data and is opaque here; whoever chooses it puts no data and no hash of data into it. A template that has it
// already is left alone, so repeating a call that was cut short restarts nothing twice.
//
// It never deletes a pod, never changes anything but that annotation, and never takes a mark away. It keeps nothing and caches nothing: a
// call lists the namespace's workloads at the API server, in pages, so it is for when data has changed and not for each
// reconcile. That also keeps it from fighting with somebody who resets the template. It has its own role, apart from the operator's, which
// only those bind who want restarts.
package rollout

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets;daemonsets,verbs=list;patch
// +kubebuilder:rbac:groups=argoproj.io,resources=rollouts,verbs=list;patch

const (
	// RestartAnnotation with the value "true" on a workload, as annotation or label, asks for restarts in mode Annotated.
	RestartAnnotation = "servicetoken.io/restart"
	// RestartedAnnotation on a pod template is the mark that the workload was last restarted for.
	RestartedAnnotation = "servicetoken.io/restarted-for"

	// fieldManager is the name of our writes in the workloads' managedFields.
	fieldManager = "service-token-operator"
	// pageSize limits what is in memory at a time: a workload of 10 KiB is nothing unusual.
	pageSize = 200
)

// Mode says which workloads of the namespace are restarted.
type Mode string

const (
	// Annotated: those that carry RestartAnnotation, whatever they reference.
	Annotated Mode = "Annotated"
	// Referencing: those whose pod template references the target anywhere, be it as optional.
	Referencing Mode = "Referencing"
)

// Target is what changed.
type Target struct {
	Kind string // Secret or ConfigMap
	Name string
}

// kinds are the workloads that have a pod template and replace their pods when it changes. All are read as unstructured: that is
// one way for all, knows no less of an Argo Rollout than of a Deployment, and needs none of their types in the client's scheme.
var kinds = []schema.GroupVersionKind{
	{Group: "apps", Version: "v1", Kind: "Deployment"},
	{Group: "apps", Version: "v1", Kind: "StatefulSet"},
	{Group: "apps", Version: "v1", Kind: "DaemonSet"},
	{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"},
}

// Restarter restarts workloads. It keeps nothing about them.
type Restarter struct {
	reader client.Reader
	writer client.Client
}

// New returns a Restarter that lists by reader, which must be uncached, or it would start informers for all workloads.
func New(reader client.Reader, writer client.Client) *Restarter {
	return &Restarter{reader: reader, writer: writer}
}

// Restart sets the mark on the pod templates of the namespace's workloads that mode selects and that do not have it yet. It
// returns those that it restarted, as Kind/name, with an *Error as well as without: one failure does not stop the others. Any other error says
// that mode or target is none that exists, and nothing was asked or done.
func (r *Restarter) Restart(ctx context.Context, namespace string, target Target, mode Mode, mark string) (restarted []string, err error) {
	if mode != Annotated && mode != Referencing {
		return nil, fmt.Errorf("restart workloads: unknown mode %q", mode)
	}
	if target.Kind != secretKind && target.Kind != configMapKind {
		return nil, fmt.Errorf("restart workloads: target of unknown kind %q", target.Kind)
	}
	patch, err := markWith(mark)
	if err != nil {
		return nil, err
	}

	var failures []Failure
	for _, kind := range kinds {
		err := r.each(ctx, namespace, kind, func(workload *unstructured.Unstructured) {
			needed, err := needsRestart(workload, target, mode, mark)
			if err == nil && needed {
				err = r.writer.Patch(ctx, workload, patch, client.FieldOwner(fieldManager))
			}
			switch {
			case apierrors.IsNotFound(err): // deleted since the list was made: nothing is left to restart
			case err != nil:
				failures = append(failures, failed(kind.Kind+" "+workload.GetName(), err))
			case needed:
				restarted = append(restarted, kind.Kind+"/"+workload.GetName())
			}
		})
		if err != nil {
			failures = append(failures, failed(kind.Kind+"s", err))
		}
	}
	if len(failures) > 0 {
		return restarted, &Error{Failures: failures}
	}
	return restarted, nil
}

// each visits the namespace's workloads of a kind page by page. A kind that the cluster does not have, has no workloads.
func (r *Restarter) each(ctx context.Context, namespace string, kind schema.GroupVersionKind, visit func(*unstructured.Unstructured)) error {
	next := ""
	for {
		page := &unstructured.UnstructuredList{}
		page.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := r.reader.List(ctx, page, client.InNamespace(namespace), client.Limit(pageSize), client.Continue(next))
		// It is NotFound where the CRD was there when the client looked for it, and was deleted since.
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range page.Items {
			visit(&page.Items[i])
		}
		if next = page.GetContinue(); next == "" {
			return nil
		}
	}
}

// needsRestart says whether the mode selects the workload, and its template does not have the mark yet.
func needsRestart(workload *unstructured.Unstructured, target Target, mode Mode, mark string) (bool, error) {
	if workload.GetDeletionTimestamp() != nil {
		return false, nil
	}
	// An Argo Rollout may take the template of a Deployment, which is found by itself. A template of its own beside that is invalid.
	if borrowed, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "spec", "workloadRef"); borrowed != nil {
		return false, nil
	}
	content, found, err := unstructured.NestedMap(workload.Object, "spec", "template")
	if err != nil {
		return false, errUnreadableTemplate
	}
	if !found {
		return false, nil
	}
	if has, marked, _ := unstructured.NestedString(content, "metadata", "annotations", RestartedAnnotation); marked && has == mark {
		return false, nil
	}
	if mode == Annotated {
		return workload.GetAnnotations()[RestartAnnotation] == "true" || workload.GetLabels()[RestartAnnotation] == "true", nil
	}
	template := &corev1.PodTemplateSpec{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, template); err != nil {
		return false, errUnreadableTemplate // the converter's text may repeat what is in the template
	}
	return references(&template.Spec, target), nil
}

// markWith is a merge patch, which other writers' annotations and a change in between both survive.
func markWith(mark string) (client.Patch, error) {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{RestartedAnnotation: mark},
	}}}})
	if err != nil {
		return nil, fmt.Errorf("restart workloads: make the patch: %w", err)
	}
	return client.RawPatch(types.MergePatchType, patch), nil
}
