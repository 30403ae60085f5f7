package controllers

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/source"
)

// subject is an object of either kind that is being looked at. What the kinds have in common is in a ServiceTokenSecret: that of a
// ClusterServiceTokenSecret has its name, spec and status, and no namespace, so no two subjects have the same key.
type subject struct {
	*stv1.ServiceTokenSecret

	cluster *stv1.ClusterServiceTokenSecret // nil for the other kind
}

func clusterSubject(c *stv1.ClusterServiceTokenSecret) *subject {
	return &subject{cluster: c, ServiceTokenSecret: &stv1.ServiceTokenSecret{
		ObjectMeta: *c.ObjectMeta.DeepCopy(), Spec: c.Spec.ServiceTokenSecretSpec, Status: *c.Status.ServiceTokenSecretStatus.DeepCopy(),
	}}
}

// load reads a subject. The namespace of its key tells the kind.
func load(ctx context.Context, from client.Reader, key source.Owner) (*subject, error) {
	if key.Namespace == "" {
		var c stv1.ClusterServiceTokenSecret
		if err := from.Get(ctx, key, &c); err != nil {
			return nil, err
		}
		return clusterSubject(&c), nil
	}
	var obj stv1.ServiceTokenSecret
	if err := from.Get(ctx, key, &obj); err != nil {
		return nil, err
	}
	return &subject{ServiceTokenSecret: &obj}, nil
}

// object is the subject as the API server has it.
func (s *subject) object() client.Object {
	if s.cluster == nil {
		return s.ServiceTokenSecret
	}
	s.cluster.Status.ServiceTokenSecretStatus = s.Status
	return s.cluster
}

func (s *subject) key() source.Owner { return client.ObjectKeyFromObject(s.ServiceTokenSecret) }

// home is the namespace of all that the subject reads in the cluster.
func (s *subject) home() string {
	if s.cluster != nil {
		return s.cluster.Spec.Namespace
	}
	return s.Namespace
}

func (s *subject) owner() metav1.OwnerReference {
	kind := "ServiceTokenSecret"
	if s.cluster != nil {
		kind = "ClusterServiceTokenSecret"
	}
	return *metav1.NewControllerRef(s.ServiceTokenSecret, stv1.GroupVersion.WithKind(kind))
}

// copied is a subject that nothing done to this one changes.
func (s *subject) copied() *subject {
	c := &subject{ServiceTokenSecret: s.DeepCopy()}
	if s.cluster != nil {
		c.cluster = s.cluster.DeepCopy()
	}
	return c
}

// targetsOf are what an object writes: spec.targets, or spec.target alone.
func targetsOf(obj *stv1.ServiceTokenSecret) []stv1.Target {
	if len(obj.Spec.Targets) > 0 {
		return obj.Spec.Targets
	}
	return []stv1.Target{obj.Spec.Target}
}

// referenceOf names a target of the object.
func referenceOf(obj *stv1.ServiceTokenSecret, t *stv1.Target) stv1.TargetReference {
	ref := stv1.TargetReference{Kind: t.Kind, Name: t.Name}
	if ref.Kind == "" {
		ref.Kind = stv1.TargetKindSecret
	}
	if ref.Name == "" {
		ref.Name = obj.Name
	}
	return ref
}

// referencesOf name all targets of the object.
func referencesOf(obj *stv1.ServiceTokenSecret) []stv1.TargetReference {
	targets := targetsOf(obj)
	refs := make([]stv1.TargetReference, len(targets))
	for i := range targets {
		refs[i] = referenceOf(obj, &targets[i])
	}
	return refs
}

// setWritten notes what was written: a single Secret by its name alone, as most objects have it, and there are many.
func setWritten(status *stv1.ServiceTokenSecretStatus, refs []stv1.TargetReference) {
	status.Target, status.Targets = "", nil
	if len(refs) > 0 {
		status.Target = refs[0].Name
	}
	if len(refs) > 1 || len(refs) == 1 && refs[0].Kind != stv1.TargetKindSecret {
		status.Targets = refs
	}
}

// writtenBy are what a status says was written.
func writtenBy(status *stv1.ServiceTokenSecretStatus) []stv1.TargetReference {
	switch {
	case len(status.Targets) > 0:
		return status.Targets
	case status.Target != "":
		return []stv1.TargetReference{{Kind: stv1.TargetKindSecret, Name: status.Target}}
	}
	return nil
}
