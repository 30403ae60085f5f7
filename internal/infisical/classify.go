package infisical

import (
	"encoding/json"
	"net/http"
	"strings"
)

// kind is what an answer that is no success means for this request: the server words a refusal of a token much like one of a
// client secret.
func (r *request) kind(status int, body []byte) Kind {
	kind := classify(status, body)
	if r.auth == nil {
		switch kind {
		case KindTokenRejected, KindPermissionDenied: // the texts differ by what exactly is wrong with a client secret or a JWT
			return KindIdentityRejected
		case KindNotFound:
			return KindIdentityNotFound
		}
	}
	if _, ok := r.auth.(AccessToken); ok && kind == KindTokenRejected {
		return KindAccessTokenRejected
	}
	return kind
}

// complaint is the body of an error answer.
type complaint struct {
	Message json.RawMessage `json:"message"` // a text, or an array for a schema error
	Error   string          `json:"error"`
}

// classify decides what an answer that is no success means. The status alone does not tell: a 401 can be a schema
// error, and a 404 can be the token, the route, a folder or the server's key. This is the one place where texts of the
// server are compared; they go no further.
func classify(status int, body []byte) Kind {
	switch {
	case status >= 500:
		return KindServer
	case status == http.StatusTooManyRequests:
		return KindRateLimited
	case status < 400:
		return KindUnexpected
	}
	var c complaint
	var message string
	if json.Unmarshal(body, &c) == nil {
		_ = json.Unmarshal(c.Message, &message) // an array leaves it empty
	}
	switch {
	case c.Error == "ValidationFailure":
		return KindValidation
	case c.Error == "bot_not_found_error" || strings.HasPrefix(message, "Project bot") && strings.Contains(message, "not found"):
		return KindNoServerKey // 400 on older servers
	case c.Error == "TokenError", strings.HasPrefix(message, "Unable to renew because access token number of uses"):
		// Not recorded; from Infisical's source. The first is a JWT that has expired or is damaged, by 401 or 403; the second comes from
		// the same check as the expiry of an access token, by 400 or 401.
		return KindAccessTokenRejected
	case status == http.StatusBadRequest && strings.HasPrefix(message, "Secret already exist"):
		return KindSecretExists
	case status == http.StatusUnauthorized:
		return unauthorized(c.Error, message)
	case status == http.StatusForbidden:
		return forbidden(c.Error, message)
	case status == http.StatusNotFound:
		return notFound(message)
	}
	return KindUnexpected
}

func unauthorized(name, message string) Kind {
	switch {
	case message == "Token missing":
		return KindTokenMissing
	case message == "No identity access token found":
		return KindAccessTokenRejected
	case message == "Invalid service token", name == "UnauthorizedError":
		return KindTokenRejected
	}
	return KindUnexpected
}

func forbidden(name, message string) Kind {
	switch {
	case message == "Service token has expired":
		return KindTokenExpired
	case strings.Contains(message, "from the current IP address"):
		return KindAddressNotAllowed
	case strings.HasPrefix(name, "Service token not a part of the specified project"):
		return KindWrongProject
	case name == "PermissionDenied", name == "ForbiddenError", strings.HasPrefix(message, "You are not allowed to"):
		return KindPermissionDenied
	}
	return KindUnexpected // a firewall's, perhaps
}

func notFound(message string) Kind {
	switch {
	case !strings.Contains(message, "not found"):
		return KindNotFound
	case strings.HasPrefix(message, "Service token with ID "):
		return KindTokenNotFound
	case strings.HasPrefix(message, "Route "):
		return KindRouteNotFound
	case strings.HasPrefix(message, "Folder with path "):
		return KindFolderNotFound
	case strings.HasPrefix(message, "Project with "):
		return KindProjectNotFound
	case strings.HasPrefix(message, "Secret not found"), strings.HasPrefix(message, "Secret with name "): // the second from Infisical's source
		return KindSecretNotFound
	case strings.HasPrefix(message, "Blind index for project "):
		return KindNoBlindIndex
	}
	return KindNotFound
}
