package v1alpha1

// Target is a Kubernetes Secret to write, or a ConfigMap, in the object's own
// namespace (of a ClusterServiceTokenSecret, in each that it selects).
//
// +kubebuilder:validation:XValidation:rule="!(has(self.kind) && self.kind == 'ConfigMap' && has(self.name) && has(self.template) && has(self.template.templateFrom)) || self.template.templateFrom.all(f, f.configMap.name != self.name)",message="a target must not be the ConfigMap that holds its templates"
// +kubebuilder:validation:XValidation:rule="!has(self.kind) || self.kind != 'ConfigMap' || has(self.keys)",message="a ConfigMap is for what anybody may read: list its keys"
// +kubebuilder:validation:XValidation:rule="!has(self.immutable) || !self.immutable || !has(self.creationPolicy) || self.creationPolicy != 'Merge'",message="what somebody else made is not made immutable: use creationPolicy Owner or Orphan"
type Target struct {
	// Kind of what is written. A ConfigMap is for values that are no secrets:
	// whoever may see the namespace may read it.
	// +optional
	// +kubebuilder:default=Secret
	Kind TargetKind `json:"kind,omitempty"`

	// Name of the Secret or ConfigMap. Default: the object's own name. Another name
	// makes another one; that of the old name stays as it was, and with
	// creationPolicy Owner goes with the object.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="name is a valid name of a Secret: lower-case letters, digits, - and ."
	Name string `json:"name,omitempty"`

	// Type of the Secret; the keys that Kubernetes wants in one of its own types
	// must be there. It cannot be changed once the Secret exists.
	// +optional
	// +kubebuilder:default=Opaque
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self != 'kubernetes.io/service-account-token'",message="Kubernetes itself fills Secrets of this type with tokens of ServiceAccounts"
	Type string `json:"type,omitempty"`

	// Keys of what was read that go into this target, and that its templates see.
	// Default: all. A ConfigMap must have them listed.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Keys []string `json:"keys,omitempty"`

	// Go templates over what was read.
	// +optional
	Template *Template `json:"template,omitempty"`

	// Whether the Secret is immutable. A change of its data then deletes it and
	// makes a new one of the same name. Kubernetes does not let it be taken back:
	// a Secret that is immutable is replaced once more for the first change after.
	// +optional
	Immutable bool `json:"immutable,omitempty"`

	// Labels that the Secret carries in addition to the operator's own.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="!('app.kubernetes.io/managed-by' in self)",message="app.kubernetes.io/managed-by is set by the operator"
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations that the Secret carries in addition to the operator's own.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('servicetoken.io/'))",message="annotations of servicetoken.io/ are set by the operator"
	Annotations map[string]string `json:"annotations,omitempty"`

	// Who the Secret belongs to. Owner: to this object; it is garbage-collected
	// with it. Orphan: made by this object, and stays when the object goes. Merge:
	// to somebody else; only the keys read here are set and removed in it.
	// +optional
	// +kubebuilder:default=Owner
	CreationPolicy CreationPolicy `json:"creationPolicy,omitempty"`

	// What happens to the Secret when every source, having been there, is
	// confirmed gone: its environment or folder answers not found, not merely
	// empty. Retain: it stays as it was. Delete: it is deleted (Merge: the keys
	// set here are removed).
	// +optional
	// +kubebuilder:default=Retain
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// Template makes keys, labels and annotations of what was read. Every template
// is a Go template with the functions that docs/howto/template.md lists; {{ .NAME }}
// is the value of a key, {{ index . "a.name" }} that of one whose name is no
// identifier. One that fails leaves the target as it was.
type Template struct {
	// Whether keys that no template makes are kept. Replace: only what templates
	// make is written. Merge: everything that was read, and over it what templates
	// make.
	// +optional
	// +kubebuilder:default=Replace
	MergePolicy MergePolicy `json:"mergePolicy,omitempty"`

	// Templates by the key that each makes. They win over those of templateFrom.
	// +optional
	// +kubebuilder:validation:MaxProperties=200
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.matches('^[-._a-zA-Z0-9]{1,253}$'))",message="keys consist of letters, digits, -, _ and ."
	Data map[string]string `json:"data,omitempty"`

	// ConfigMaps of the object's namespace whose keys hold whole templates. Later
	// ones win.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	TemplateFrom []TemplateSource `json:"templateFrom,omitempty"`

	// Templates of labels, by the label's name. What they make is for everybody to
	// read who may list Secrets' metadata.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="!('app.kubernetes.io/managed-by' in self)",message="app.kubernetes.io/managed-by is set by the operator"
	Labels map[string]string `json:"labels,omitempty"`

	// Templates of annotations, by the annotation's name. What they make is for
	// everybody to read who may list Secrets' metadata.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('servicetoken.io/'))",message="annotations of servicetoken.io/ are set by the operator"
	Annotations map[string]string `json:"annotations,omitempty"`
}

// TemplateSource is where templates lie.
type TemplateSource struct {
	// A ConfigMap in the object's own namespace (of a ClusterServiceTokenSecret, in
	// spec.namespace).
	// +required
	ConfigMap ConfigMapTemplates `json:"configMap"`
}

// ConfigMapTemplates names a ConfigMap that holds templates.
type ConfigMapTemplates struct {
	// Name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Keys of the ConfigMap to use. Default: all.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	Items []TemplateItem `json:"items,omitempty"`
}

// TemplateItem is one template of a ConfigMap.
type TemplateItem struct {
	// Key in the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`

	// Key in the target. Default: key.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	As string `json:"as,omitempty"`
}

// Rollout says which workloads to restart when the data of a target has changed:
// Deployments, StatefulSets, DaemonSets and Argo Rollouts of the namespace get
// one new annotation on their pod template. The operator needs a role for it of
// its own.
type Rollout struct {
	// Never: none. Annotated: those that carry servicetoken.io/restart: "true".
	// Referencing: those whose pods use the target, in env, envFrom, volumes or
	// imagePullSecrets.
	// +required
	Mode RolloutMode `json:"mode"`
}

// TargetReference names what was written.
type TargetReference struct {
	// Secret or ConfigMap.
	Kind TargetKind `json:"kind"`
	// Its name.
	Name string `json:"name"`
}

// TargetKind is a kind that can be written.
// +kubebuilder:validation:Enum=Secret;ConfigMap
type TargetKind string

// CreationPolicy is who the target Secret belongs to.
// +kubebuilder:validation:Enum=Owner;Orphan;Merge
type CreationPolicy string

// DeletionPolicy is what happens to the target Secret when its sources are
// gone.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

// MergePolicy is whether templates replace what was read, or add to it.
// +kubebuilder:validation:Enum=Replace;Merge
type MergePolicy string

// RolloutMode is which workloads are restarted.
// +kubebuilder:validation:Enum=Never;Annotated;Referencing
type RolloutMode string

// The values of the types above.
const (
	TargetKindSecret    TargetKind = "Secret"
	TargetKindConfigMap TargetKind = "ConfigMap"

	CreationPolicyOwner  CreationPolicy = "Owner"
	CreationPolicyOrphan CreationPolicy = "Orphan"
	CreationPolicyMerge  CreationPolicy = "Merge"

	DeletionPolicyRetain DeletionPolicy = "Retain"
	DeletionPolicyDelete DeletionPolicy = "Delete"

	MergePolicyReplace MergePolicy = "Replace"
	MergePolicyMerge   MergePolicy = "Merge"

	RolloutNever       RolloutMode = "Never"
	RolloutAnnotated   RolloutMode = "Annotated"
	RolloutReferencing RolloutMode = "Referencing"
)
