package v1alpha1

// Auth is one way to authenticate.
// +kubebuilder:validation:ExactlyOneOf=serviceToken;universalAuth;kubernetesAuth
type Auth struct {
	// An Infisical service token in a Secret of the same namespace.
	// +optional
	ServiceToken *ServiceTokenAuth `json:"serviceToken,omitempty"`

	// A machine identity with a client id and a client secret.
	// +optional
	UniversalAuth *UniversalAuth `json:"universalAuth,omitempty"`

	// A machine identity that trusts ServiceAccounts of this cluster. The operator
	// needs a role for it of its own.
	// +optional
	KubernetesAuth *KubernetesAuth `json:"kubernetesAuth,omitempty"`
}

// UniversalAuth is a machine identity with a client id and a client secret.
type UniversalAuth struct {
	// Id or slug of the project.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Project string `json:"project"`

	// The Secret in the object's own namespace (of a ClusterServiceTokenSecret, in
	// spec.namespace) that holds both.
	// +required
	SecretRef ClientSecretRef `json:"secretRef"`
}

// ClientSecretRef names the keys of a Secret that hold a client id and a client
// secret.
type ClientSecretRef struct {
	// Name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Key of the client id.
	// +optional
	// +kubebuilder:default=clientId
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClientIDKey string `json:"clientIdKey,omitempty"`

	// Key of the client secret.
	// +optional
	// +kubebuilder:default=clientSecret
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ClientSecretKey string `json:"clientSecretKey,omitempty"`
}

// KubernetesAuth is a machine identity that trusts ServiceAccounts of this
// cluster.
type KubernetesAuth struct {
	// Id or slug of the project.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Project string `json:"project"`

	// Id of the identity at Infisical.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	IdentityID string `json:"identityId"`

	// The ServiceAccount in the object's own namespace (of a
	// ClusterServiceTokenSecret, in spec.namespace) to log in as.
	// +required
	ServiceAccountRef ServiceAccountRef `json:"serviceAccountRef"`
}

// ServiceAccountRef names a ServiceAccount.
type ServiceAccountRef struct {
	// Name of the ServiceAccount.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ServiceTokenAuth names the Secret that holds a service token.
type ServiceTokenAuth struct {
	// The Secret in the object's own namespace (of a ClusterServiceTokenSecret, in
	// spec.namespace) that holds the token
	// st.<id>.<secret>.<key>.
	// +required
	SecretRef SecretKeyRef `json:"secretRef"`
}

// SecretKeyRef names a key of a Secret in the object's own namespace.
type SecretKeyRef struct {
	// Name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Key in the Secret.
	// +optional
	// +kubebuilder:default=token
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}

// TLS says how to trust the server.
type TLS struct {
	// PEM certificates of the authorities that signed the server's certificate, in
	// addition to the operator's own.
	// +required
	CABundleRef CABundleRef `json:"caBundleRef"`
}

// CABundleRef names a key of a ConfigMap or Secret in the object's own
// namespace.
type CABundleRef struct {
	// Kind of the object that holds the bundle.
	// +optional
	// +kubebuilder:default=ConfigMap
	// +kubebuilder:validation:Enum=ConfigMap;Secret
	Kind string `json:"kind,omitempty"`

	// Name of the ConfigMap or Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Key in it.
	// +optional
	// +kubebuilder:default=ca.crt
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
}
