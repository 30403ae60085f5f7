package infisical

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what went wrong, and so what can be done about it.
type Kind string

// What the server answers. The rows of the contract's table of errors.
const (
	KindTokenMissing        Kind = "TokenMissing"        // 401, no Authorization header arrived
	KindTokenRejected       Kind = "TokenRejected"       // 401, wrong secret in the token
	KindTokenExpired        Kind = "TokenExpired"        // 403, said once; from then on it is KindTokenNotFound
	KindTokenNotFound       Kind = "TokenNotFound"       // 404, revoked, unknown, expired for a while, or project deleted
	KindTokenRevoked        Kind = "TokenRevoked"        // the same of a token that never expires, which only those know who asked before
	KindIdentityRejected    Kind = "IdentityRejected"    // 401 to a login, wrong client secret or JWT
	KindIdentityNotFound    Kind = "IdentityNotFound"    // 404 to a login, no identity with this id and way to log in
	KindAccessTokenRejected Kind = "AccessTokenRejected" // 401, an access token that has ended, was revoked, or that the server lost
	KindPermissionDenied    Kind = "PermissionDenied"    // 403, outside the scopes or without the permission
	KindWrongProject        Kind = "WrongProject"        // 403, the token belongs to another project
	KindAddressNotAllowed   Kind = "AddressNotAllowed"   // 403, the project's IP allow-list
	KindValidation          Kind = "Validation"          // 401 (422 from newer servers), the request did not fit the schema
	KindRateLimited         Kind = "RateLimited"         // 429
	KindRouteNotFound       Kind = "RouteNotFound"       // 404, the server does not know the route
	KindFolderNotFound      Kind = "FolderNotFound"      // 404, no such folder in the environment
	KindProjectNotFound     Kind = "ProjectNotFound"     // 404, no such project
	KindNoServerKey         Kind = "NoServerKey"         // 404, the server holds no key and so cannot decrypt
	KindSecretExists        Kind = "SecretExists"        // 400 to a create, the name is taken
	KindSecretNotFound      Kind = "SecretNotFound"      // 404 to an update or a delete, no secret of the name
	KindNoBlindIndex        Kind = "NoBlindIndex"        // 404 to an encrypted write, the project is of version 3
	KindNotFound            Kind = "NotFound"            // any other 404
	KindUnexpected          Kind = "Unexpected"          // any other status that is no success
	KindServer              Kind = "Server"              // 5xx
)

// What goes wrong between here and the server.
const (
	KindNetwork        Kind = "Network"        // no complete answer: dialing, TLS, time-out, cut body
	KindBadAnswer      Kind = "BadAnswer"      // 200, but not of the documented shape, or too large
	KindWrongPlace     Kind = "WrongPlace"     // 200 with secrets of another environment or path than asked
	KindValueHidden    Kind = "ValueHidden"    // 200 with placeholders for values that the token may not see
	KindApprovalNeeded Kind = "ApprovalNeeded" // 200 to a write that a policy of the project keeps for somebody to approve
	KindUnsendable     Kind = "Unsendable"     // not asked: a name or a value that no request can carry
	KindRedirect       Kind = "Redirect"       // to another host, to http, or too many
	KindHostNotAllowed Kind = "HostNotAllowed" // by the operator's settings, or an address that is always refused
	KindBadCABundle    Kind = "BadCABundle"    // no certificate in it
	KindHostDown       Kind = "HostDown"       // not asked: the host failed a moment ago; see Error.RetryAfter
)

// words are the texts of the kinds. They change with the kind and the status only, never with time, so that a condition
// that shows them is not written again while nothing changes.
var words = map[Kind]string{ //nolint:gosec // texts about credentials, none of them one
	KindTokenMissing:        "the server saw no token; a proxy may have removed the Authorization header",
	KindTokenRejected:       "the server rejected the token",
	KindTokenExpired:        "the service token has expired",
	KindTokenNotFound:       "the server does not know the service token: it was revoked, has expired, or its project was deleted",
	KindTokenRevoked:        "the server does not know the service token any longer: it, or its project, was deleted",
	KindIdentityRejected:    "the server rejected the machine identity's login: its client secret, or the ServiceAccount and the token of it",
	KindIdentityNotFound:    "the server knows no machine identity of this id that logs in this way",
	KindAccessTokenRejected: "the server does not accept the machine identity's access token any more",
	KindPermissionDenied:    "the token is not allowed to do this here",
	KindWrongProject:        "the token does not belong to this project",
	KindAddressNotAllowed:   "the server does not accept this token from the operator's IP address",
	KindValidation:          "the server found the request invalid",
	KindRateLimited:         "the server's rate limit is used up",
	KindRouteNotFound:       "the server does not have this route; the host URL may be wrong, or the server too old or too new",
	KindFolderNotFound:      "the folder does not exist in the environment",
	KindProjectNotFound:     "the server knows no such project",
	KindNoServerKey:         "the server holds no key of the project, so it cannot decrypt; a token with a key can",
	KindSecretExists:        "the folder has a secret of this name already",
	KindSecretNotFound:      "the folder has no secret of this name",
	KindNoBlindIndex:        "the project is of version 3, whose secrets the server encrypts; it takes none that were encrypted before",
	KindNotFound:            "the server did not find it",
	KindUnexpected:          "the server gave an answer that it is not known to give",
	KindServer:              "the server failed",
	KindNetwork:             "no complete answer",
	KindBadAnswer:           "the answer is not what the server is known to give",
	KindWrongPlace:          "the server answered with secrets of another environment or path than asked for; nothing of the answer was used",
	KindValueHidden:         "the server hides values from this token",
	KindApprovalNeeded:      "a policy of the project wants the change approved first; nothing was written",
	KindUnsendable:          "no request can carry it, and none was made",
	KindRedirect:            "the server redirected, and the redirect was not followed",
	KindHostNotAllowed:      "the host is not allowed",
	KindBadCABundle:         "the CA bundle cannot be used",
	KindHostDown:            "the host failed a moment ago and is given time",
}

// Error is what every failed request returns, but for one whose context ended or whose use the Meter refused: those
// return that error, wrapped. An Error is safe to print anywhere: it has nothing in it of a body, a header or a token.
type Error struct {
	Kind   Kind
	Status int    // of the answer; 0 without one
	Route  string // template, such as "GET /api/v3/secrets"; empty when no request was made
	Host   string // of the server, as Server.Host has it; empty when no request was made, or its answer is not of the documented shape
	// RetryAfter is how long the server, or the backoff of its host, wants to be left alone. 0 when nothing is known: after
	// the first failure too, which may be of this one request and not of the host.
	RetryAfter time.Duration
	Err        error // what lies behind it, in this package's own words; may be nil
}

// Error does not change between two failures for the same cause. In particular KindHostDown repeats the failure that
// closed the host, and no text tells a time.
func (e *Error) Error() string {
	text := words[e.Kind]
	if e.Kind == KindHostDown && e.Err != nil {
		text = e.Err.Error()
	} else {
		if e.Status != 0 {
			text += fmt.Sprintf(" (status %d)", e.Status)
		}
		if e.Err != nil {
			text += ": " + e.Err.Error()
		}
	}
	switch {
	case e.Route == "":
		return text
	case e.Host == "":
		return e.Route + ": " + text
	}
	return e.Route + " at " + e.Host + ": " + text
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Transient says whether it heals by itself, so that asking again later is worth it.
func (e *Error) Transient() bool {
	switch e.Kind {
	case KindNetwork, KindServer, KindRateLimited, KindBadAnswer, KindHostDown:
		return true
	default:
		return false
	}
}

// KindOf returns the kind of the first Error in err's chain, "" when there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}
