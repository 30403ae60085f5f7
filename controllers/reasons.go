package controllers

import (
	"errors"

	stv1 "github.com/service-token-operator/service-token-operator/api/v1alpha1"
	"github.com/service-token-operator/service-token-operator/internal/compose"
	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/push"
	"github.com/service-token-operator/service-token-operator/internal/source"
	"github.com/service-token-operator/service-token-operator/internal/target"
	"github.com/service-token-operator/service-token-operator/internal/template"
	"github.com/service-token-operator/service-token-operator/internal/usage"
)

// reasonOf gives the reason of the condition Ready for an error of any room. An error without one is the API server's.
func reasonOf(err error) (reason string, known bool) {
	for _, r := range []struct {
		reason string
		is     bool
	}{
		{stv1.ReasonReferenceUnresolved, is[*compose.ReferenceError](err)}, // whatever it is about the place that it leads to
		{stv1.ReasonReferenceUnresolved, is[*compose.MissingError](err)},
		{stv1.ReasonReferenceUnresolved, is[*unreadKeyError](err)},
		{stv1.ReasonScopeDenied, is[*source.ScopeError](err)},
		{stv1.ReasonScopeDenied, is[*unspecifiedError](err)},
		{stv1.ReasonSourceEmpty, is[*emptyError](err)},
		{stv1.ReasonSourceEmpty, is[*compose.NothingTakenError](err)},
		{stv1.ReasonPermissionDenied, errors.Is(err, source.ErrNoRead)},
		{stv1.ReasonPermissionDenied, errors.Is(err, source.ErrNoWrite)},
		{stv1.ReasonSourceEmpty, errors.Is(err, source.ErrUnconfirmed)},
		{stv1.ReasonTokenMalformed, errors.Is(err, source.ErrClientNeedsKey)},
		{stv1.ReasonDecryptionFailed, is[*source.DecryptionError](err)},
		{stv1.ReasonDecryptionFailed, errors.Is(err, source.ErrProjectVersion)},
		{stv1.ReasonDecryptionFailed, errors.Is(err, source.ErrProjectKey)},
		{stv1.ReasonKeyInvalid, is[*compose.KeyError](err)},
		{stv1.ReasonKeyInvalid, is[*push.NameError](err)},
		{stv1.ReasonKeyConflict, is[*compose.ConflictError](err)},
		{stv1.ReasonKeyConflict, is[*push.ClashError](err)},
		{stv1.ReasonValueInvalid, is[*push.TextError](err)},
		{stv1.ReasonSecretNotFound, is[*push.KeyMissingError](err)},
		{stv1.ReasonNameConflict, is[*push.ConflictError](err)},
		{stv1.ReasonTargetTooLarge, is[*compose.TooLargeError](err)},
		{stv1.ReasonTargetTooLarge, is[*target.TooLargeError](err)},
		{stv1.ReasonTargetConflict, is[*target.ConflictError](err)},
		{stv1.ReasonTargetConflict, is[*target.RefusedError](err)},
		{stv1.ReasonTargetConflict, is[*foughtError](err)},
		{stv1.ReasonWriteFailed, is[*writeError](err)},
		{stv1.ReasonTemplateFailed, is[*target.InvalidError](err)},
		{stv1.ReasonTemplateFailed, is[*target.IncompleteError](err)},
		{stv1.ReasonTemplateFailed, is[*template.Error](err)},
		{stv1.ReasonSpecInvalid, is[*specError](err)},
		{stv1.ReasonSpecInvalid, is[*push.TooManyError](err)},
		{stv1.ReasonSpecInvalid, errors.Is(err, source.ErrIdentityClient)},
		{stv1.ReasonSpecInvalid, errors.Is(err, source.ErrProjectUnnamed)},
		{stv1.ReasonNamespaceForbidden, is[*forbiddenError](err)},
		{stv1.ReasonBackendUnavailable, is[*usage.NotCoveredError](err)},
	} {
		if r.is {
			return r.reason, true
		}
	}
	if e, ok := errors.AsType[*inputError](err); ok {
		return e.reason, true
	}
	if e, ok := errors.AsType[*source.NotFoundError](err); ok {
		if e.Environment {
			return stv1.ReasonEnvironmentNotFound, true
		}
		return stv1.ReasonPathNotFound, true
	}
	if is[*source.JWTError](err) {
		return stv1.ReasonBackendUnavailable, true
	}
	if e, ok := errors.AsType[*infisical.Error](err); ok {
		return apiReason(e.Kind), true
	}
	return "", false
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func apiReason(kind infisical.Kind) string {
	switch kind {
	case infisical.KindTokenMissing, infisical.KindTokenRejected, infisical.KindIdentityRejected, infisical.KindAccessTokenRejected:
		return stv1.ReasonTokenRejected
	case infisical.KindTokenExpired:
		return stv1.ReasonTokenExpired
	case infisical.KindTokenNotFound, infisical.KindTokenRevoked, infisical.KindIdentityNotFound:
		return stv1.ReasonTokenRevoked
	case infisical.KindPermissionDenied, infisical.KindWrongProject, infisical.KindAddressNotAllowed, infisical.KindProjectNotFound, infisical.KindValueHidden,
		infisical.KindValidation, infisical.KindApprovalNeeded:
		return stv1.ReasonPermissionDenied
	case infisical.KindUnsendable:
		return stv1.ReasonKeyInvalid
	case infisical.KindWrongPlace:
		return stv1.ReasonScopeDenied
	case infisical.KindFolderNotFound:
		return stv1.ReasonPathNotFound
	case infisical.KindNoServerKey:
		return stv1.ReasonDecryptionFailed
	case infisical.KindHostNotAllowed:
		return stv1.ReasonHostNotAllowed
	case infisical.KindRateLimited:
		return stv1.ReasonRateLimited
	default:
		return stv1.ReasonBackendUnavailable
	}
}
