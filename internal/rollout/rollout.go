// Package rollout restarts the workloads that use a Secret or ConfigMap whose data changed: a process reads its environment
// once, when it starts.
//
// A restart is one annotation on a workload's pod template, the mark, and the workload's own controller does the rest, by the
// workload's own strategy: it replaces pods one after the other, waits while it is paused, or leaves it to somebody else (OnDelete). The mark
// lists the revisions of the data that it is for, which are opaque here; whoever chooses them puts no data and no hash of data into them. A
// template whose mark lists a revision already is left alone, so repeating a call that was cut short restarts nothing twice. Each object that
// has workloads restarted has an annotation of its own: they would take turns with one for all.
//
// It never deletes a pod, never changes anything but that annotation, and never takes a mark away. It keeps nothing and caches nothing: a
// call lists the namespace's workloads at the API server, in pages, so it is for when data has changed and not for each
// reconcile. That also keeps it from fighting with somebody who resets the template. It has its own role, apart from the operator's, which
// only those bind who want restarts.
package rollout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

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
	// markPrefix and the name of the object are the annotation that is the mark.
	markPrefix = "restarted-for.servicetoken.io/"
	// separator stands between the revisions of a mark.
	separator = "."

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

// Change is a target whose data has changed.
type Change struct {
	Kind     string // Secret or ConfigMap
	Name     string
	Revision string // of the data, without a dot
}

// MarkOf is the annotation for the workloads that an object has restarted. Of a name that is too long for one, it has the beginning and a
// digest of all.
func MarkOf(object string) string {
	const longest = 63
	if len(object) > longest {
		sum := sha256.Sum256([]byte(object))
		digest := hex.EncodeToString(sum[:8])
		object = object[:longest-1-len(digest)] + "-" + digest
	}
	return markPrefix + object
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

// Restart sets the mark, an annotation from MarkOf, on the pod templates of the namespace's workloads that mode selects and whose mark
// does not list all the changes that concern them. It returns those that it restarted, as Kind/name, with an *Error as well as without: one
// failure does not stop the others. Any other error says that mode or kind is none that exists, and nothing was asked or done.
func (r *Restarter) Restart(ctx context.Context, namespace string, mode Mode, mark string, changes []Change) (restarted []string, err error) {
	if mode != Annotated && mode != Referencing {
		return nil, fmt.Errorf("restart workloads: unknown mode %q", mode)
	}
	for _, c := range changes {
		if c.Kind != secretKind && c.Kind != configMapKind {
			return nil, fmt.Errorf("restart workloads: target of unknown kind %q", c.Kind)
		}
	}

	var failures []Failure
	for _, kind := range kinds {
		err := r.each(ctx, namespace, kind, func(workload *unstructured.Unstructured) {
			value, err := newMark(workload, mode, mark, changes)
			if err == nil && value != "" {
				err = r.mark(ctx, workload, mark, value)
			}
			switch {
			case apierrors.IsNotFound(err): // deleted since the list was made: nothing is left to restart
			case err != nil:
				failures = append(failures, failed(kind.Kind+" "+workload.GetName(), err))
			case value != "":
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

// newMark is what to set the mark of a workload to, empty where it is to be left alone: the mode does not select it, or its template has
// all the revisions that it is to have.
func newMark(workload *unstructured.Unstructured, mode Mode, mark string, changes []Change) (string, error) {
	if workload.GetDeletionTimestamp() != nil {
		return "", nil
	}
	// An Argo Rollout may take the template of a Deployment, which is found by itself. A template of its own beside that is invalid.
	if borrowed, _, _ := unstructured.NestedFieldNoCopy(workload.Object, "spec", "workloadRef"); borrowed != nil {
		return "", nil
	}
	content, found, err := unstructured.NestedMap(workload.Object, "spec", "template")
	if err != nil {
		return "", errUnreadableTemplate
	}
	if !found {
		return "", nil
	}
	template := &corev1.PodTemplateSpec{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, template); err != nil {
		return "", errUnreadableTemplate // the converter's text may repeat what is in the template
	}
	asks := workload.GetAnnotations()[RestartAnnotation] == "true" || workload.GetLabels()[RestartAnnotation] == "true"
	var revisions []string
	for _, c := range changes {
		if mode == Annotated && asks || mode == Referencing && references(&template.Spec, c) {
			revisions = append(revisions, c.Revision)
		}
	}
	slices.Sort(revisions)
	revisions = slices.Compact(revisions)
	has := strings.Split(template.Annotations[mark], separator)
	if !slices.ContainsFunc(revisions, func(revision string) bool { return !slices.Contains(has, revision) }) {
		return "", nil
	}
	return strings.Join(revisions, separator), nil
}

// mark sets the annotation by a merge patch, which other writers' annotations and a change in between both survive.
func (r *Restarter) mark(ctx context.Context, workload *unstructured.Unstructured, annotation, value string) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{annotation: value},
	}}}})
	if err != nil {
		return err
	}
	return r.writer.Patch(ctx, workload, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fieldManager))
}
