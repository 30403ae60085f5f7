package v1alpha1

// Condition types of all kinds.
const (
	// ConditionReady is True while the target Secret equals what the token may read; of a ServiceTokenPush, while the names at Infisical
	// have the values of the Secret. When it is not, the reason says why, and what is written is as it was.
	ConditionReady = "Ready"
	// ConditionRotationDue is True from spec.rotation.warnAtPercent of spec.rotation.threshold on.
	ConditionRotationDue = "RotationDue"
	// ConditionTokenExpiring is True from spec.rotation.warnBeforeExpiry before the token's expiry on.
	ConditionTokenExpiring = "TokenExpiring"
	// ConditionRefreshDelayed is True while a source is read at less than half the rate that spec.refreshInterval asks for. It is
	// absent until that happens for the first time, and where nothing is read.
	ConditionRefreshDelayed = "RefreshDelayed"
	// ConditionRolledOut is True while every workload that spec.rollout means was restarted after the last change of data. It is
	// absent where nothing is to be restarted.
	ConditionRolledOut = "RolledOut"
)

// Reasons of the condition Ready, each described in docs/troubleshooting.md.
const (
	// ReasonSynced: the target Secret equals what the token may read.
	ReasonSynced = "Synced"
	// ReasonSuspended: spec.suspend is true, nothing is read or written.
	ReasonSuspended = "Suspended"
	// ReasonTokenSecretNotFound: the Secret that should hold the token, or the key in it, or the CA bundle, is not there.
	ReasonTokenSecretNotFound = "TokenSecretNotFound"
	// ReasonTokenMalformed: what the Secret holds is no service token, or lacks the part that decryption needs.
	ReasonTokenMalformed = "TokenMalformed"
	// ReasonTokenRejected: the server knows the token's id but not its secret.
	ReasonTokenRejected = "TokenRejected"
	// ReasonTokenExpired: the token's time is over; the server deletes such a token at its next use.
	ReasonTokenExpired = "TokenExpired"
	// ReasonTokenRevoked: the server does not know the token; it, or its project, was deleted.
	ReasonTokenRevoked = "TokenRevoked"
	// ReasonScopeDenied: a source, or the absence of one, does not fit the token's scopes.
	ReasonScopeDenied = "ScopeDenied"
	// ReasonPermissionDenied: the token lacks the read permission, or the server refuses the request.
	ReasonPermissionDenied = "PermissionDenied"
	// ReasonEnvironmentNotFound: the project has no such environment.
	ReasonEnvironmentNotFound = "EnvironmentNotFound"
	// ReasonPathNotFound: the environment has no such folder.
	ReasonPathNotFound = "PathNotFound"
	// ReasonSourceEmpty: a source exists and holds nothing, or nothing of what is taken, and spec.allowEmpty is not set.
	ReasonSourceEmpty = "SourceEmpty"
	// ReasonDecryptionFailed: a field does not open, or the project cannot be decrypted the way spec.decryption asks for.
	ReasonDecryptionFailed = "DecryptionFailed"
	// ReasonReferenceUnresolved: a ${…} in a value leads nowhere, in a circle, or out of the token's scopes; or spec.data or a target's
	// keys name what is not there.
	ReasonReferenceUnresolved = "ReferenceUnresolved"
	// ReasonKeyInvalid: a secret's name is no valid key of a Kubernetes Secret.
	ReasonKeyInvalid = "KeyInvalid"
	// ReasonKeyConflict: sources hold the same key with different values, and spec.keyConflicts is Error; or two names became one key.
	ReasonKeyConflict = "KeyConflict"
	// ReasonTemplateFailed: the data does not make the Secret that the object describes: a template fails or is not there, or the Secret's type wants other keys.
	ReasonTemplateFailed = "TemplateFailed"
	// ReasonTargetConflict: the target Secret is not ours to write, cannot be changed, or the API server refuses the write; or somebody
	// changes it again and again.
	ReasonTargetConflict = "TargetConflict"
	// ReasonTargetTooLarge: the data is larger than a Kubernetes Secret may be.
	ReasonTargetTooLarge = "TargetTooLarge"
	// ReasonHostNotAllowed: the operator's flags do not allow spec.hostURL.
	ReasonHostNotAllowed = "HostNotAllowed"
	// ReasonNamespaceForbidden: the operator's flags do not allow spec.namespace of a ClusterServiceTokenSecret.
	ReasonNamespaceForbidden = "NamespaceForbidden"
	// ReasonSpecInvalid: an expression or selector of the spec is none, which the API server could not know.
	ReasonSpecInvalid = "SpecInvalid"
	// ReasonWriteFailed: the API server has failed to write a target for a while.
	ReasonWriteFailed = "WriteFailed"
	// ReasonSecretNotFound: the Secret that a ServiceTokenPush pushes, or a key of it that is asked for by name, is not there.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonValueInvalid: a value that a ServiceTokenPush is to push is no text.
	ReasonValueInvalid = "ValueInvalid"
	// ReasonNameConflict: a name that a ServiceTokenPush is to write has another value, and was written by somebody else.
	ReasonNameConflict = "NameConflict"
	// ReasonRateLimited: the server's rate limit holds the first read back, or of a push a read or writes.
	ReasonRateLimited = "RateLimited"
	// ReasonBackendUnavailable: the server cannot be reached or fails.
	ReasonBackendUnavailable = "BackendUnavailable"
)

// Reasons of the conditions RotationDue and TokenExpiring, and of the events that tell of their turning True.
const (
	// ReasonRotationNotDue: the uses counted are below the mark.
	ReasonRotationNotDue = "RotationNotDue"
	// ReasonRotationThresholdReached: the uses counted are past warnAtPercent of the threshold.
	ReasonRotationThresholdReached = "RotationThresholdReached"
	// ReasonRotationThresholdExceeded: the uses counted are past the threshold itself.
	ReasonRotationThresholdExceeded = "RotationThresholdExceeded"
	// ReasonTokenExpiring: the token expires within warnBeforeExpiry, or has expired.
	ReasonTokenExpiring = "TokenExpiring"
	// ReasonExpiryNotDue: the token does not expire within warnBeforeExpiry.
	ReasonExpiryNotDue = "ExpiryNotDue"
	// ReasonNoExpiry: the token never expires.
	ReasonNoExpiry = "NoExpiry"
)

// Reasons of the condition RefreshDelayed, and of the event that tells of its turning True.
const (
	// ReasonPollsLate: the server's rate limit, or the time it takes to answer, does not allow reads as often as asked for.
	ReasonPollsLate = "PollsLate"
	// ReasonPollsOnTime: sources are read about as often as asked for.
	ReasonPollsOnTime = "PollsOnTime"
)

// Reasons of the condition RolledOut, and of the event that tells of its turning False.
const (
	// ReasonRolloutDone: nothing is left to restart.
	ReasonRolloutDone = "RolloutDone"
	// ReasonRolloutFailed: a workload could not be restarted, or not even be looked for.
	ReasonRolloutFailed = "RolloutFailed"
)

// Reasons of events that are no transition of a condition.
const (
	// ReasonHealed: somebody else's change of the target Secret was undone.
	ReasonHealed = "Healed"
	// ReasonUpdated: a change at the server was written to the target Secret.
	ReasonUpdated = "Updated"
	// ReasonTokenRotated: another token is in use.
	ReasonTokenRotated = "TokenRotated"
	// ReasonTargetLeft: spec.target.name is another now; the Secret of the old name stays as it was.
	ReasonTargetLeft = "TargetLeft"
	// ReasonRestarted: workloads were restarted, as spec.rollout asks for.
	ReasonRestarted = "Restarted"
	// ReasonPushed: a ServiceTokenPush has written names at Infisical.
	ReasonPushed = "Pushed"
	// ReasonNamesLeft: names that a ServiceTokenPush has written stay at Infisical, and it will not change them any more.
	ReasonNamesLeft = "NamesLeft"
	// ReasonTargetDeleted: the target Secret was deleted, as spec.target.deletionPolicy asks for.
	ReasonTargetDeleted = "TargetDeleted"
)

// PushFinalizer is on a ServiceTokenPush with deletionPolicy Delete, whose names are deleted before it goes.
const PushFinalizer = "servicetoken.io/push"

// RefreshAnnotation on an object makes the operator read its sources at once whenever its value changes.
const RefreshAnnotation = "servicetoken.io/refresh"
