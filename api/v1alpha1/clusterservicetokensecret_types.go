package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClusterServiceTokenSecret keeps a Secret equal to what an Infisical service
// token may read, in each of the namespaces that it selects. The token stays in
// one namespace. It works where the operator runs with --cluster-secrets.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=cstsec,categories=infisical
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.status.target`
// +kubebuilder:printcolumn:name="Namespaces",type=integer,JSONPath=`.status.namespaces.selected`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.namespaces.failed`
// +kubebuilder:printcolumn:name="Token Uses",type=string,JSONPath=`.status.usage.used`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.token.expires`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Token",type=string,priority=1,JSONPath=`.status.token.id`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type ClusterServiceTokenSecret struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// What to read, and where to write it.
	// +required
	Spec ClusterServiceTokenSecretSpec `json:"spec"`

	// What the operator last saw and did.
	// +optional
	Status ClusterServiceTokenSecretStatus `json:"status,omitzero"`
}

// ClusterServiceTokenSecretList is a list of ClusterServiceTokenSecrets.
//
// +kubebuilder:object:root=true
type ClusterServiceTokenSecretList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []ClusterServiceTokenSecret `json:"items"`
}

// ClusterServiceTokenSecretSpec is that of a ServiceTokenSecret, with where its
// inputs lie and which namespaces get its targets.
//
// +kubebuilder:validation:XValidation:rule="has(self.targets) || (has(self.target) && has(self.target.name))",message="set target.name, or targets"
// +kubebuilder:validation:XValidation:rule="!has(self.auth.serviceToken) || ((!has(self.target) || !has(self.target.name) || self.target.name != self.auth.serviceToken.secretRef.name) && (!has(self.targets) || self.targets.all(t, t.name != self.auth.serviceToken.secretRef.name)))",message="no target may have the name of the Secret that holds the token"
// +kubebuilder:validation:XValidation:rule="!has(self.auth.universalAuth) || ((!has(self.target) || !has(self.target.name) || self.target.name != self.auth.universalAuth.secretRef.name) && (!has(self.targets) || self.targets.all(t, t.name != self.auth.universalAuth.secretRef.name)))",message="no target may have the name of the Secret that holds the client secret"
// +kubebuilder:validation:XValidation:rule="!(has(self.target) && has(self.target.creationPolicy) && self.target.creationPolicy == 'Merge' && has(self.target.deletionPolicy) && self.target.deletionPolicy == 'Delete') && (!has(self.targets) || self.targets.all(t, !(has(t.creationPolicy) && t.creationPolicy == 'Merge' && has(t.deletionPolicy) && t.deletionPolicy == 'Delete')))",message="what is merged cannot be found again in a namespace that is not selected any longer: creationPolicy Merge goes with deletionPolicy Retain"
type ClusterServiceTokenSecretSpec struct {
	// The namespace of everything that is read in the cluster: the Secret with the
	// token, the CA bundle, and ConfigMaps with templates.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`

	// The namespaces to write to, by their labels; {} selects all. Those that the
	// operator's --forbidden-namespaces names are never written to. In a namespace
	// that is not selected any longer, the target stays or goes as its
	// deletionPolicy says.
	// +required
	NamespaceSelector metav1.LabelSelector `json:"namespaceSelector"`

	ServiceTokenSecretSpec `json:",inline"`
}

// ClusterServiceTokenSecretStatus is what the operator last saw and did.
type ClusterServiceTokenSecretStatus struct {
	ServiceTokenSecretStatus `json:",inline"`

	// How many namespaces are selected, and how they fare. Absent while nothing is
	// read.
	// +optional
	Namespaces *NamespaceCounts `json:"namespaces,omitempty"`

	// Up to 20 of the namespaces whose targets could not be written.
	// +optional
	// +listType=map
	// +listMapKey=namespace
	Failures []NamespaceFailure `json:"failures,omitempty"`
}

// NamespaceCounts says how many namespaces are selected, and how they fare.
type NamespaceCounts struct {
	// Selected by the labels, and not forbidden.
	Selected int32 `json:"selected"`
	// Whose targets are right.
	Synced int32 `json:"synced"`
	// Whose targets could not be written.
	Failed int32 `json:"failed"`
}

// NamespaceFailure is why a namespace's target could not be written.
type NamespaceFailure struct {
	// The namespace.
	Namespace string `json:"namespace"`
	// As of the condition Ready.
	Reason string `json:"reason"`
	// What is wrong.
	Message string `json:"message"`
}
