package controllers

import (
	"sigs.k8s.io/controller-runtime/pkg/client"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/target"
)

// Field indexes of objects: the Secrets and ConfigMaps that an object reads, those that it writes, and the id of the token that it
// was last seen to use. And of ConfigMaps: the object whose they are.
const (
	indexInputs = "inputs"
	indexTarget = "target"
	indexToken  = "token"
	indexOwner  = "owner"
)

// indexed makes an index of both kinds.
func indexed(of func(*subject) []string) client.IndexerFunc {
	return func(o client.Object) []string {
		if c, is := o.(*stv1.ClusterServiceTokenSecret); is {
			return of(&subject{cluster: c, ServiceTokenSecret: &stv1.ServiceTokenSecret{Spec: c.Spec.ServiceTokenSecretSpec, Status: c.Status.ServiceTokenSecretStatus}})
		}
		return of(&subject{ServiceTokenSecret: o.(*stv1.ServiceTokenSecret)}) //nolint:forcetypeassert // there are two kinds
	}
}

// inputsOf are Kind/name of what the subject reads; for a ClusterServiceTokenSecret with the namespace in front.
func inputsOf(s *subject) []string {
	prefix := ""
	if s.cluster != nil {
		prefix = s.home() + "/"
	}
	names := connectionInputs(&s.Spec.Auth, s.Spec.TLS, prefix)
	for _, t := range targetsOf(s.ServiceTokenSecret) {
		if t.Template != nil {
			for _, from := range t.Template.TemplateFrom {
				names = append(names, prefix+"ConfigMap/"+from.ConfigMap.Name)
			}
		}
	}
	return names
}

// connectionInputs are Kind/name of what it takes to get to the server, each with the prefix in front.
func connectionInputs(auth *stv1.Auth, tls *stv1.TLS, prefix string) []string {
	var names []string
	if st := auth.ServiceToken; st != nil {
		names = append(names, prefix+"Secret/"+st.SecretRef.Name)
	}
	if ua := auth.UniversalAuth; ua != nil {
		names = append(names, prefix+"Secret/"+ua.SecretRef.Name)
	}
	if tls != nil {
		names = append(names, prefix+tls.CABundleRef.Kind+"/"+tls.CABundleRef.Name)
	}
	return names
}

// targetIndexOf are Kind/name of what the subject writes.
func targetIndexOf(s *subject) []string {
	targets := targetsOf(s.ServiceTokenSecret)
	names := make([]string, len(targets))
	for i := range targets {
		ref := referenceOf(s.ServiceTokenSecret, &targets[i])
		names[i] = string(ref.Kind) + "/" + ref.Name
	}
	return names
}

func tokenOf(s *subject) []string {
	if t := s.Status.Token; t != nil {
		return []string{t.ID}
	}
	return nil
}

// ownerOf is whose a ConfigMap is.
func ownerOf(o client.Object) []string {
	if owner := o.GetAnnotations()[target.OwnerAnnotation]; owner != "" {
		return []string{owner}
	}
	return nil
}
