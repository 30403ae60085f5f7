// Package v1alpha1 holds the API types of servicetoken.io: what users write, and what the operator answers in status.
// It knows Kubernetes' API machinery and nothing else of this project.
// +kubebuilder:object:generate=true
// +groupName=servicetoken.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is servicetoken.io/v1alpha1.
var GroupVersion = schema.GroupVersion{Group: "servicetoken.io", Version: "v1alpha1"}

// AddToScheme registers the types of this package.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &ServiceTokenSecret{}, &ServiceTokenSecretList{}, &ClusterServiceTokenSecret{}, &ClusterServiceTokenSecretList{},
		&ServiceTokenPush{}, &ServiceTokenPushList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
