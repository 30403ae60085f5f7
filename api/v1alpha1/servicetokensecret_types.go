package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ServiceTokenSecret keeps a Kubernetes Secret equal to what an Infisical
// service token may read.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=stsec,categories=infisical
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.status.target`
// +kubebuilder:printcolumn:name="Secrets",type=integer,JSONPath=`.status.secrets`
// +kubebuilder:printcolumn:name="Token Uses",type=string,JSONPath=`.status.usage.used`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.token.expires`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Token",type=string,priority=1,JSONPath=`.status.token.id`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`
// +kubebuilder:validation:XValidation:rule="!has(self.spec.auth.serviceToken) || has(self.spec.targets) || (has(self.spec.target) && has(self.spec.target.kind) && self.spec.target.kind == 'ConfigMap') || self.spec.auth.serviceToken.secretRef.name != (has(self.spec.target) && has(self.spec.target.name) ? self.spec.target.name : self.metadata.name)",message="the target Secret must not be the Secret that holds the token: set spec.target.name to another name"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.auth.universalAuth) || (!has(self.spec.targets) && (has(self.spec.target) && has(self.spec.target.name) ? self.spec.target.name : self.metadata.name) != self.spec.auth.universalAuth.secretRef.name) || (has(self.spec.targets) && self.spec.targets.all(t, t.name != self.spec.auth.universalAuth.secretRef.name))",message="no target may have the name of the Secret that holds the client secret"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.auth.serviceToken) || !has(self.spec.targets) || self.spec.targets.all(t, t.name != self.spec.auth.serviceToken.secretRef.name || (has(t.kind) && t.kind == 'ConfigMap'))",message="no target may be the Secret that holds the token"
type ServiceTokenSecret struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// What to read, and where to write it.
	// +required
	Spec ServiceTokenSecretSpec `json:"spec"`

	// What the operator last saw and did.
	// +optional
	Status ServiceTokenSecretStatus `json:"status,omitzero"`
}

// ServiceTokenSecretList is a list of ServiceTokenSecrets.
//
// +kubebuilder:object:root=true
type ServiceTokenSecretList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []ServiceTokenSecret `json:"items"`
}

// ServiceTokenSecretSpec says what to read, and where to write it.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.target) && has(self.targets))",message="set target or targets, not both"
// +kubebuilder:validation:XValidation:rule="has(self.auth.serviceToken) || has(self.sources) || (has(self.data) && self.data.all(d, has(d.environment)))",message="a machine identity has no scopes that would tell what to read: set sources, or environment in each of data"
// +kubebuilder:validation:XValidation:rule="has(self.auth.serviceToken) || !has(self.decryption) || self.decryption != 'Client'",message="a machine identity has no key: decryption Client needs a service token"
type ServiceTokenSecretSpec struct {
	// How to authenticate at Infisical: exactly one method.
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

	// The places to read, in order, and what is taken of each. May be left out
	// when the token has one scope without a glob: that scope is read then, unless
	// data names what is wanted.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	// +kubebuilder:validation:XValidation:rule="self.all(a, has(a.tags) || has(a.include) || has(a.exclude) || has(a.rename) || self.exists_one(b, a.environment == b.environment && a.path == b.path && !(has(b.tags) || has(b.include) || has(b.exclude) || has(b.rename))))",message="sources that are taken whole are unique by environment and path"
	Sources []Source `json:"sources,omitempty"`

	// Single secrets by name, each under a key of its own. They win over sources.
	// Without sources, they are all that is read.
	// +optional
	// +listType=map
	// +listMapKey=key
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=200
	Data []DataEntry `json:"data,omitempty"`

	// What to do when sources hold the same key with different values. Override:
	// the later source wins; within a recursive source the folder nearest to its
	// path. Error: nothing is written.
	// +optional
	// +kubebuilder:default=Override
	KeyConflicts KeyConflicts `json:"keyConflicts,omitempty"`

	// What to do with a reference ${KEY} or ${env.folder.KEY} in a value that
	// cannot be resolved. Error: nothing is written. Keep: it stays as it is
	// written. Empty: it is replaced by nothing.
	// +optional
	// +kubebuilder:default=Error
	UnresolvedReferences UnresolvedReferences `json:"unresolvedReferences,omitempty"`

	// What to do with a name that cannot be a key of a Secret, which may have
	// letters, digits, -, _ and . only. Error: nothing is written. Skip: it is left
	// out. Replace: what is not allowed becomes _.
	// +optional
	// +kubebuilder:default=Error
	InvalidKeys InvalidKeys `json:"invalidKeys,omitempty"`

	// Who decrypts. Auto: the operator, where the project is of version 1 or 2 and
	// the token has its key part; otherwise the server. Client: the operator or
	// nobody. Server: the server.
	// +optional
	// +kubebuilder:default=Auto
	Decryption Decryption `json:"decryption,omitempty"`

	// The Secret to write; by default one of the object's own name, with all that
	// was read.
	// +optional
	Target Target `json:"target,omitzero"`

	// Several Secrets to write, or ConfigMaps, in place of target: each for itself,
	// so that one which cannot be written does not hold up the others.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:XValidation:rule="self.all(t, has(t.name))",message="each of targets has a name"
	// +kubebuilder:validation:XValidation:rule="self.all(a, !has(a.name) || self.exists_one(b, has(b.name) && a.name == b.name && (has(a.kind) ? a.kind : 'Secret') == (has(b.kind) ? b.kind : 'Secret')))",message="targets are unique by kind and name"
	Targets []Target `json:"targets,omitempty"`

	// Which workloads to restart when the data of a target has changed.
	// +optional
	Rollout *Rollout `json:"rollout,omitempty"`

	// Whether sources may exist and hold nothing, or nothing of what is taken. When
	// false, a single such source leaves the target as it was, and the reason is
	// SourceEmpty.
	// +optional
	AllowEmpty bool `json:"allowEmpty,omitempty"`

	// How often to look for changes at the server, at least 5s. Objects that read
	// the same source share one request, at the shortest of their intervals.
	// +optional
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('5s')",message="refreshInterval is at least 5s"
	RefreshInterval metav1.Duration `json:"refreshInterval,omitzero"`

	// Stop reading and writing; the target stays as it is.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// When to ask for a new token.
	// +optional
	// +kubebuilder:default={}
	Rotation Rotation `json:"rotation,omitzero"`
}

// Rotation says when to ask for a new token.
type Rotation struct {
	// How many requests may be made with one token. Default 2^32, the limit of
	// NIST SP 800-38D for one AES-GCM key with random IVs.
	// +optional
	// +kubebuilder:default=4294967296
	// +kubebuilder:validation:Minimum=1
	Threshold int64 `json:"threshold,omitempty"`

	// Percent of the threshold from which RotationDue is True and the event
	// RotationThresholdReached is raised, 1 to 100.
	// +optional
	// +kubebuilder:default=90
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	WarnAtPercent int32 `json:"warnAtPercent,omitempty"`

	// How long before the token's expiry TokenExpiring becomes True and an event
	// is raised. Default: 14 days.
	// +optional
	// +kubebuilder:default="336h"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s')",message="warnBeforeExpiry is not negative"
	WarnBeforeExpiry metav1.Duration `json:"warnBeforeExpiry,omitzero"`
}

// ServiceTokenSecretStatus is what the operator last saw and did.
type ServiceTokenSecretStatus struct {
	// Generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Ready, RotationDue, TokenExpiring; RefreshDelayed once reads were late, and
	// RolledOut where spec.rollout restarts workloads.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Name of the target that is there; the first one where there are several.
	// +optional
	Target string `json:"target,omitempty"`

	// All targets that are there, unless it is a single Secret.
	// +optional
	// +listType=atomic
	Targets []TargetReference `json:"targets,omitempty"`

	// Generation of the spec for which all sources were last read. With
	// deletionPolicy Delete, only sources of this spec can be gone: others may never
	// have been there.
	// +optional
	SyncedGeneration int64 `json:"syncedGeneration,omitempty"`

	// Number of keys that the operator keeps in the target, or in all targets
	// together.
	// +optional
	Secrets *int32 `json:"secrets,omitempty"`

	// When the target's data or the outcome last changed; not the last time the
	// server was asked.
	// +optional
	LastSyncTime *metav1.Time `json:"lastSyncTime,omitempty"`

	// The token in use, or the identity.
	// +optional
	Token *TokenStatus `json:"token,omitempty"`

	// How often the token was used, by all objects together. Absent for a machine
	// identity, whose access tokens are new each day.
	// +optional
	Usage *UsageStatus `json:"usage,omitempty"`

	// Value of the annotation servicetoken.io/refresh that was last acted upon.
	// +optional
	LastHandledRefresh string `json:"lastHandledRefresh,omitempty"`
}

// TokenStatus is about the token in use.
type TokenStatus struct {
	// Id of the token, its public part, as Infisical's user interface shows it.
	ID string `json:"id"`

	// When the token expires; absent when it never does.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// How long that was away when the status was written, such as 171d.
	// +optional
	Expires string `json:"expires,omitempty"`
}

// UsageStatus is how often a token was used. One use is one request
// authenticated with it.
type UsageStatus struct {
	// Uses counted since the token was first seen.
	Count int64 `json:"count"`

	// spec.rotation.threshold.
	Threshold int64 `json:"threshold"`

	// Count in percent of the threshold, rounded down.
	Percent int64 `json:"percent"`

	// Percent for people, such as 0%.
	Used string `json:"used"`

	// When the count was taken. It is refreshed with any other change of the
	// status, when the percent changes, or hourly.
	Time metav1.Time `json:"time"`
}
