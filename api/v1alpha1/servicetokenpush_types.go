package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServiceTokenPush keeps secrets of an Infisical folder equal to keys of a
// Kubernetes Secret. It works where the operator runs with --push.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=stpush,categories=infisical
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Secret",type=string,JSONPath=`.spec.source.secretRef.name`
// +kubebuilder:printcolumn:name="Environment",type=string,JSONPath=`.spec.destination.environment`
// +kubebuilder:printcolumn:name="Path",type=string,JSONPath=`.spec.destination.path`
// +kubebuilder:printcolumn:name="Secrets",type=integer,JSONPath=`.status.secrets`
// +kubebuilder:printcolumn:name="Token Uses",type=string,JSONPath=`.status.usage.used`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.token.expires`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Token",type=string,priority=1,JSONPath=`.status.token.id`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
type ServiceTokenPush struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// What to push, and where to.
	// +required
	Spec ServiceTokenPushSpec `json:"spec"`

	// What the operator last saw and did.
	// +optional
	Status ServiceTokenPushStatus `json:"status,omitzero"`
}

// ServiceTokenPushList is a list of ServiceTokenPushes.
//
// +kubebuilder:object:root=true
type ServiceTokenPushList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []ServiceTokenPush `json:"items"`
}

// ServiceTokenPushSpec says what to push, and where to.
//
// +kubebuilder:validation:XValidation:rule="!has(self.auth.serviceToken) || self.auth.serviceToken.secretRef.name != self.source.secretRef.name",message="the Secret that holds the token must not be pushed"
// +kubebuilder:validation:XValidation:rule="!has(self.auth.universalAuth) || self.auth.universalAuth.secretRef.name != self.source.secretRef.name",message="the Secret that holds the client secret must not be pushed"
// +kubebuilder:validation:XValidation:rule="has(self.auth.serviceToken) || !has(self.encryption) || self.encryption != 'Client'",message="a machine identity has no key: encryption Client needs a service token"
type ServiceTokenPushSpec struct {
	// How to authenticate at Infisical: exactly one method. A service token needs
	// the permission write; with read as well, only what differs is sent.
	// +required
	Auth Auth `json:"auth"`

	// Base URL of the Infisical server, with or without /api, such as
	// https://infisical.example.com. Default: the operator's --infisical-url.
	// Plain http needs the operator's --allow-http.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/?#@]+(/[^?#@]*)?$')",message="hostURL is https://host[:port][/path]"
	HostURL string `json:"hostURL,omitempty"`

	// How to trust the Infisical server.
	// +optional
	TLS *TLS `json:"tls,omitempty"`

	// The Secret in the object's own namespace, and what is taken of it.
	// +required
	Source PushSource `json:"source"`

	// The folder at Infisical.
	// +required
	Destination PushDestination `json:"destination"`

	// Who encrypts. Auto: the operator, where the project is of version 1 or 2 and
	// the token has its key part; otherwise the server, which removes white space
	// around values. Client: the operator or nobody. Server: the server.
	// +optional
	// +kubebuilder:default=Auto
	Encryption Decryption `json:"encryption,omitempty"`

	// What to do with a name whose value differs. Overwrite: it gets the Secret's
	// value, also when somebody has changed it at Infisical. IfNotExists: it stays
	// as it is.
	// +optional
	// +kubebuilder:default=Overwrite
	UpdatePolicy UpdatePolicy `json:"updatePolicy,omitempty"`

	// What to do with a name that is there already, with another value, and was
	// not written by this object. Refuse: it stays, and the reason is NameConflict;
	// with a token that may read, nothing else is written either. TakeOver: it
	// counts as written by this object. With updatePolicy IfNotExists it stays as it
	// is anyway.
	// +optional
	// +kubebuilder:default=Refuse
	ExistingNames ExistingNames `json:"existingNames,omitempty"`

	// What becomes of a name that this object has written, when its key is not in
	// the Secret any longer or the object is deleted. Retain: it stays. Delete: it
	// is deleted. That the Secret is gone, or nothing of it is taken, deletes
	// nothing.
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`

	// How often to look whether names at Infisical have changed, at least 5s. A
	// change of the Secret is pushed at once.
	// +optional
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5s')",message="refreshInterval is at least 5s"
	RefreshInterval metav1.Duration `json:"refreshInterval,omitzero"`

	// Stop reading and writing; everything stays as it is.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// When to ask for a new token.
	// +optional
	// +kubebuilder:default={}
	Rotation Rotation `json:"rotation,omitzero"`
}

// PushSource is a Secret, and what is taken of it.
type PushSource struct {
	// The Secret.
	// +required
	SecretRef SecretRef `json:"secretRef"`

	// Which keys are taken: those that one of these matches. Default: all, or those
	// of data alone if that is set.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Include []NamePattern `json:"include,omitempty"`

	// Which keys are not taken, even if include matches them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Exclude []NamePattern `json:"exclude,omitempty"`

	// How keys become names at Infisical: step by step, in this order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Rename []RenameStep `json:"rename,omitempty"`

	// Single keys, each under a name of its own, whatever include, exclude and
	// rename say. Each must be in the Secret.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	Data []PushEntry `json:"data,omitempty"`
}

// SecretRef names a Secret in the object's own namespace.
type SecretRef struct {
	// Name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// PushEntry is one key of a Secret, and its name at Infisical.
type PushEntry struct {
	// Key in the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`

	// Name at Infisical. Default: key.
	// +optional
	// +kubebuilder:validation:MaxLength=100
	Name string `json:"name,omitempty"`
}

// PushDestination is a folder at Infisical. It must exist.
type PushDestination struct {
	// Slug of the environment, such as prod.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Environment string `json:"environment"`

	// Path of the folder, starting with /.
	// +optional
	// +kubebuilder:default=/
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="path starts with /"
	Path string `json:"path,omitempty"`
}

// UpdatePolicy is what to do with a name whose value differs.
// +kubebuilder:validation:Enum=Overwrite;IfNotExists
type UpdatePolicy string

// ExistingNames is what to do with a name that somebody else has written.
// +kubebuilder:validation:Enum=Refuse;TakeOver
type ExistingNames string

// The values of the types above.
const (
	UpdatePolicyOverwrite   UpdatePolicy = "Overwrite"
	UpdatePolicyIfNotExists UpdatePolicy = "IfNotExists"

	ExistingNamesRefuse   ExistingNames = "Refuse"
	ExistingNamesTakeOver ExistingNames = "TakeOver"
)

// ServiceTokenPushStatus is what the operator last saw and did.
type ServiceTokenPushStatus struct {
	// Generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Ready, RotationDue and TokenExpiring.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Number of names at Infisical that are as the Secret has them, or as
	// updatePolicy leaves them.
	// +optional
	Secrets *int32 `json:"secrets,omitempty"`

	// What was written, and where. Only these names are ever changed or deleted.
	// +optional
	Written *PushedNames `json:"written,omitempty"`

	// Uid and version of the Secret that was pushed, and the project's id, where
	// the token has no permission read, so that what is at Infisical cannot be
	// compared.
	// +optional
	SecretVersion string `json:"secretVersion,omitempty"`

	// When something was last written, or the outcome last changed.
	// +optional
	LastSyncTime *metav1.Time `json:"lastSyncTime,omitempty"`

	// The token in use, or the identity.
	// +optional
	Token *TokenStatus `json:"token,omitempty"`

	// How often the token was used, by all objects together. Absent for a machine
	// identity.
	// +optional
	Usage *UsageStatus `json:"usage,omitempty"`

	// Value of the annotation servicetoken.io/refresh that was last acted upon.
	// +optional
	LastHandledRefresh string `json:"lastHandledRefresh,omitempty"`
}

// PushedNames are names at Infisical that an object has written.
type PushedNames struct {
	// Id of the project.
	ProjectID string `json:"projectId"`

	// Slug of the environment.
	Environment string `json:"environment"`

	// Path of the folder.
	Path string `json:"path"`

	// The names, sorted.
	// +optional
	// +listType=atomic
	Names []string `json:"names,omitempty"`

	// Names that are about to be created. One that is left here after a crash counts
	// as written if it is there with the Secret's value.
	// +optional
	// +listType=atomic
	Creating []string `json:"creating,omitempty"`
}
