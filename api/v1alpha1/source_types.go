package v1alpha1

// Source is one place to read, and what is taken of it.
type Source struct {
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

	// Whether to read the folders below as well.
	// +optional
	Recursive bool `json:"recursive,omitempty"`

	// Slugs of tags: a secret is taken if it carries one of them. Imported secrets
	// are taken whatever they carry, since the server does not tell.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	Tags []string `json:"tags,omitempty"`

	// Which names are taken: those that one of these matches. Default: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Include []NamePattern `json:"include,omitempty"`

	// Which names are not taken, even if include matches them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=50
	Exclude []NamePattern `json:"exclude,omitempty"`

	// How names become keys: step by step, in this order. Two names that become
	// one key are a KeyConflict. References in values go by the names at the
	// server.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	Rename []RenameStep `json:"rename,omitempty"`
}

// NamePattern matches names of secrets.
// +kubebuilder:validation:ExactlyOneOf=glob;regexp
type NamePattern struct {
	// Glob for the whole name, with *, ?, [a-z] and {a,b}, such as DB_*.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Glob string `json:"glob,omitempty"`

	// Regular expression (RE2) for any part of the name; ^ and $ stand for its
	// ends.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="'x'.matches(self) || !'x'.matches(self)",message="regexp is a regular expression (RE2)"
	Regexp string `json:"regexp,omitempty"`
}

// RenameStep is one change of a name.
// +kubebuilder:validation:ExactlyOneOf=prefix;suffix;case;regexp
type RenameStep struct {
	// Text put before the name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Prefix string `json:"prefix,omitempty"`

	// Text put after the name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Suffix string `json:"suffix,omitempty"`

	// How the name is written: of DB_URL, Upper makes DB_URL, Lower db_url, Snake
	// db_url, Kebab db-url and Camel dbUrl; of dbUrl, Snake makes db_url.
	// +optional
	Case Case `json:"case,omitempty"`

	// What every match of a regular expression is replaced by.
	// +optional
	Regexp *Replacement `json:"regexp,omitempty"`
}

// Replacement replaces what a regular expression matches.
type Replacement struct {
	// Regular expression (RE2) for parts of the name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="'x'.matches(self) || !'x'.matches(self)",message="source is a regular expression (RE2)"
	Source string `json:"source"`

	// What takes their place; $1 or ${1} is the first group, ${name} a named one,
	// $$ a dollar sign. Empty removes them.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Target string `json:"target,omitempty"`
}

// DataEntry is one secret by name, under a key of its own.
type DataEntry struct {
	// Key in the target.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`

	// Name of the secret at the server. Default: key.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Name string `json:"name,omitempty"`

	// Slug of the environment. Default: that of the first source, or of the token's
	// only scope.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Environment string `json:"environment,omitempty"`

	// Path of the folder, starting with /. Default: / where environment is set,
	// else that of the first source, or of the token's only scope.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="path starts with /"
	Path string `json:"path,omitempty"`
}

// Case is a way to write names.
// +kubebuilder:validation:Enum=Upper;Lower;Snake;Kebab;Camel
type Case string

// KeyConflicts is what to do when sources hold the same key.
// +kubebuilder:validation:Enum=Override;Error
type KeyConflicts string

// UnresolvedReferences is what to do with a reference that leads nowhere.
// +kubebuilder:validation:Enum=Error;Keep;Empty
type UnresolvedReferences string

// InvalidKeys is what to do with a name that cannot be a key.
// +kubebuilder:validation:Enum=Error;Skip;Replace
type InvalidKeys string

// Decryption is who decrypts, or encrypts.
// +kubebuilder:validation:Enum=Auto;Client;Server
type Decryption string

// The values of the types above.
const (
	CaseUpper Case = "Upper"
	CaseLower Case = "Lower"
	CaseSnake Case = "Snake"
	CaseKebab Case = "Kebab"
	CaseCamel Case = "Camel"

	KeyConflictsOverride KeyConflicts = "Override"
	KeyConflictsError    KeyConflicts = "Error"

	UnresolvedError UnresolvedReferences = "Error"
	UnresolvedKeep  UnresolvedReferences = "Keep"
	UnresolvedEmpty UnresolvedReferences = "Empty"

	InvalidKeysError   InvalidKeys = "Error"
	InvalidKeysSkip    InvalidKeys = "Skip"
	InvalidKeysReplace InvalidKeys = "Replace"

	DecryptionAuto   Decryption = "Auto"
	DecryptionClient Decryption = "Client"
	DecryptionServer Decryption = "Server"
)
