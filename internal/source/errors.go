package source

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/infisical"
	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// Errors of reading that the server does not say in so many words. Errors that it does say are *infisical.Error.
var (
	// ErrNoRead: the token's permissions do not include read.
	ErrNoRead = errors.New("the token does not have the read permission")
	// ErrNoWrite: the token's permissions do not include write.
	ErrNoWrite = errors.New("the token does not have the write permission")
	// ErrProjectVersion: Client was asked for, and the project cannot be decrypted by clients.
	ErrProjectVersion = errors.New("the project is of version 3, whose secrets only the server encrypts and decrypts: use Auto or Server in place of Client")
	// ErrProjectKey: the key of the project does not open with the token's fourth part.
	ErrProjectKey = errors.New("the project's key does not open with the token's fourth part: put the whole token into its Secret again, as Infisical showed it")
	// ErrClientNeedsKey: Client was asked for, and the token has three parts, or the project has no key for it.
	ErrClientNeedsKey = errors.New("there is nothing to encrypt or decrypt with, as Client asks for: the token has no fourth part, or the project no key for it")
)

// What identities add to them.
var (
	// ErrIdentityIncomplete: a part of the identity is empty.
	ErrIdentityIncomplete = errors.New("the machine identity lacks its id, what it logs in with, or the project")
	// ErrIdentityClient: Client was asked for, and an identity reads.
	ErrIdentityClient = errors.New("a machine identity has no key of the project: use Auto or Server in place of Client")
	// ErrUnconfirmed: there is nothing, and no way to tell whether the place is empty or gone.
	ErrUnconfirmed = errors.New("the server found no secrets, and whether the folder is there cannot be asked for: " +
		"it does not tell the project's id, so name the project by its id")
)

// ErrProjectUnnamed says that what is to be written needs the project's id.
var ErrProjectUnnamed = errors.New("the server does not tell the project's id, which writing needs: name the project by its id")

// JWTError says that there was no token of a ServiceAccount to log in with. It counts as one that heals by itself: nothing here knows
// better.
type JWTError struct{ Err error }

func (e *JWTError) Error() string { return "getting a token of the ServiceAccount: " + e.Err.Error() }

func (e *JWTError) Unwrap() error { return e.Err }

// ScopeError says that a place lies outside the token's scopes. No request was made for it.
type ScopeError struct {
	Place  Place
	Scopes servicetoken.Scopes
}

func (e *ScopeError) Error() string {
	return fmt.Sprintf("%s is outside the token's scopes: %s", e.Place, e.Scopes)
}

// NotFoundError says that the server confirmed that a place does not exist.
type NotFoundError struct {
	Place Place
	// Environment is true when the whole environment is gone, false when only the folder is.
	Environment bool
	// Environments are the project's, by slug, when Environment is true.
	Environments []string
}

func (e *NotFoundError) Error() string {
	if e.Environment {
		return fmt.Sprintf("the project has no environment %q; it has: %s", e.Place.Environment, firstFew(slugs(e.Environments)))
	}
	return fmt.Sprintf("environment %q has no folder %q", e.Place.Environment, e.Place.Path)
}

// DecryptionError names the secrets that do not open.
type DecryptionError struct {
	Place Place
	// Names of the secrets whose value does not open; ids of those whose name does not.
	Names []string
	Err   error
}

func (e *DecryptionError) Error() string {
	return fmt.Sprintf("in %s: %s: %v", e.Place, firstFew(e.Names), e.Err)
}

var slug = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// slugs are the server's words for environments, if they are what slugs look like.
func slugs(environments []string) []string {
	var shown []string
	for _, environment := range environments {
		if slug.MatchString(environment) {
			shown = append(shown, environment)
		}
	}
	if shown == nil {
		return []string{"none"}
	}
	return shown
}

// firstFew are the first ten of some names, and how many more there are.
func firstFew(names []string) string {
	const most = 10
	if more := len(names) - most; more > 0 {
		names = append(slices.Clone(names[:most]), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

func (e *DecryptionError) Unwrap() error { return e.Err }

// Transient says whether err heals by itself: a network, a server, a rate limit, a use that could not be counted just now;
// nothing that a person has to change.
func Transient(err error) bool { return err != nil && paceOf(err) == paceRetry }

type pace int

const (
	paceRetry    pace = iota // heals by itself: back off
	paceInterval             // a person changes it at the server: look as often as for any change
	paceSlow                 // a person changes it here, which is seen at once: look rarely
)

// paceOf sorts failures by how soon another attempt makes sense.
func paceOf(err error) pace {
	switch {
	case is[*JWTError](err):
		return paceRetry
	case is[*NotFoundError](err), is[*DecryptionError](err), errors.Is(err, ErrUnconfirmed):
		return paceInterval
	case is[*ScopeError](err):
		return paceSlow
	}
	switch infisical.KindOf(err) {
	case infisical.KindTokenRejected, infisical.KindTokenExpired, infisical.KindTokenNotFound, infisical.KindTokenRevoked, infisical.KindPermissionDenied,
		infisical.KindWrongProject, infisical.KindAddressNotAllowed, infisical.KindValidation, infisical.KindNoServerKey,
		infisical.KindIdentityRejected, infisical.KindIdentityNotFound, infisical.KindProjectNotFound, infisical.KindWrongPlace, infisical.KindValueHidden, infisical.KindHostNotAllowed, infisical.KindBadCABundle,
		infisical.KindSecretExists, infisical.KindApprovalNeeded, infisical.KindUnsendable:
		return paceSlow // verdicts of the server, or of our own settings
	}
	for _, lasting := range []error{ErrNoRead, ErrNoWrite, ErrProjectUnnamed, ErrProjectVersion, ErrClientNeedsKey, ErrProjectKey, ErrIdentityClient} {
		if errors.Is(err, lasting) {
			return paceSlow
		}
	}
	// What is left heals by itself, or may: a refused access token by the next login; and an ingress says "404 page not found" while the server behind it is being replaced.
	return paceRetry
}

// backOffMax bounds the back-off of one poller after a failure.
func backOffMax(err error) time.Duration {
	switch infisical.KindOf(err) {
	case infisical.KindServer, infisical.KindNetwork:
		return brokenMax
	}
	return retryMax
}

// retryAfter is how long the server, or the back-off of its host, wants to be left alone.
func retryAfter(err error) time.Duration {
	if api, ok := errors.AsType[*infisical.Error](err); ok {
		return api.RetryAfter
	}
	return 0
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
