package infisical

import (
	"errors"
	"fmt"
	"testing"
)

// TestAnswersAreClassified has each row of the contract's tables, and what proxies and other versions answer.
func TestAnswersAreClassified(t *testing.T) {
	for _, c := range []struct {
		status        int
		name, message string
		want          Kind
		heals         bool
	}{
		{401, "UnauthorizedError", `"Token missing"`, KindTokenMissing, false},
		{401, "UnauthorizedError", `"Invalid service token"`, KindTokenRejected, false},
		{401, "UnauthorizedError", `"No identity access token found"`, KindAccessTokenRejected, false},
		{403, "TokenError", `"Your token has expired. Please re-authenticate."`, KindAccessTokenRejected, false},
		{400, "BadRequest", `"Unable to renew because access token number of uses limit reached"`, KindAccessTokenRejected, false},
		{401, "ValidationFailure", `[{"code":"invalid_type"}]`, KindValidation, false},
		{422, "ValidationFailure", `[{"code":"invalid_type"}]`, KindValidation, false},
		{401, "", `"who are you"`, KindUnexpected, false},
		{403, "ForbiddenError", `"Service token has expired"`, KindTokenExpired, false},
		{403, "PermissionDenied", `"You are not allowed to read on secrets"`, KindPermissionDenied, false},
		{403, "ForbiddenError", `"something new"`, KindPermissionDenied, false},
		{403, "Service token not a part of the specified project with ID 1", `"You are not allowed to access this resource"`, KindWrongProject, false},
		{403, "ForbiddenError", `"You are not allowed to access this resource from the current IP address"`, KindAddressNotAllowed, false},
		{403, "", `"blocked by the firewall"`, KindUnexpected, false},
		{404, "NotFound", `"Service token with ID 'x' not found"`, KindTokenNotFound, false},
		{404, "Not Found", `"Route GET:/api/v4/secrets not found"`, KindRouteNotFound, false},
		{404, "NotFound", `"Folder with path '/x' in environment with slug 'dev' not found"`, KindFolderNotFound, false},
		{404, "NotFound", `"Project bot not found for project with ID 'x'. Please ask an administrator"`, KindNoServerKey, false},
		{400, "bot_not_found_error", `"upgrade your project"`, KindNoServerKey, false},
		{404, "NotFound", `"Project with ID 'x' not found"`, KindProjectNotFound, false},
		{404, "CreateSecret", `"Blind index for project with ID 'x' not found"`, KindNoBlindIndex, false},
		{404, "CreateSecret", `"Folder with path '/x' in environment with slug 'dev' not found"`, KindFolderNotFound, false},
		{404, "NotFound", `"Secret not found: blind index x"`, KindSecretNotFound, false},
		{404, "NotFound", `"Secret not found"`, KindSecretNotFound, false},
		{404, "NotFound", `"Secret with name 'x' not found"`, KindSecretNotFound, false},
		{404, "NotFound", `"Route to success"`, KindNotFound, false},
		{400, "BadRequest", `"Secret already exist"`, KindSecretExists, false},
		{409, "BadRequest", `"Secret already exist"`, KindUnexpected, false},
		{400, "BadRequest", `"Must be user to create personal secret"`, KindUnexpected, false},
		{418, "", `{}`, KindUnexpected, false},
		{204, "", `""`, KindUnexpected, false},
		{429, "RateLimitExceeded", `"Rate limit exceeded"`, KindRateLimited, true},
		{500, "InternalServerError", `"Something went wrong"`, KindServer, true},
		{503, "", `""`, KindServer, true},
	} {
		got := classify(c.status, fmt.Appendf(nil, `{"statusCode":%d,"message":%s,"error":%q}`, c.status, c.message, c.name))
		if got != c.want {
			t.Errorf("%d %s %s: %q, want %q", c.status, c.name, c.message, got, c.want)
		}
		if e := (&Error{Kind: got}); e.Transient() != c.heals {
			t.Errorf("%s: heals by itself: %v", got, e.Transient())
		}
		if words[got] == "" {
			t.Errorf("%s has no words", got)
		}
	}
	for status, want := range map[int]Kind{401: KindUnexpected, 403: KindUnexpected, 404: KindNotFound, 502: KindServer} {
		if got := classify(status, []byte("<html>")); got != want {
			t.Errorf("%d with HTML: %q, want %q", status, got, want)
		}
	}
}

// TestTheSameWordsMeanOtherThingsToALogin has what the server says alike of tokens, client secrets and JWTs. Only the first two of
// the texts to a login are recorded.
func TestTheSameWordsMeanOtherThingsToALogin(t *testing.T) {
	for _, c := range []struct {
		status                     int
		name, message              string
		toLogin, toAccess, toToken Kind
	}{
		{401, "UnauthorizedError", "Invalid credentials", KindIdentityRejected, KindAccessTokenRejected, KindTokenRejected},
		{404, "NotFound", "No identity with specified client ID was found", KindIdentityNotFound, KindNotFound, KindNotFound},
		{404, "NotFound", "Kubernetes auth method not found for identity, did you configure Kubernetes auth?", KindIdentityNotFound, KindNotFound, KindNotFound},
		{401, "UnauthorizedError", "Access denied due to expired client secret", KindIdentityRejected, KindAccessTokenRejected, KindTokenRejected},
		{401, "UnauthorizedError", "Failed to renew MI access token due to TTL expiration", KindIdentityRejected, KindAccessTokenRejected, KindTokenRejected},
		{403, "ForbiddenError", "Access denied: the ServiceAccount is not allowed", KindIdentityRejected, KindPermissionDenied, KindPermissionDenied},
		{403, "ForbiddenError", "You are not allowed to access this resource from the current IP address", KindAddressNotAllowed, KindAddressNotAllowed, KindAddressNotAllowed},
		{404, "Not Found", "Route POST:/api/v1/auth/kubernetes-auth/login not found", KindRouteNotFound, KindRouteNotFound, KindRouteNotFound},
		{401, "ValidationFailure", "", KindValidation, KindValidation, KindValidation},
		{401, "", "who are you", KindUnexpected, KindUnexpected, KindUnexpected}, // a proxy
		{500, "InternalServerError", "Something went wrong", KindServer, KindServer, KindServer},
	} {
		body := fmt.Appendf(nil, `{"statusCode":%d,"message":%q,"error":%q}`, c.status, c.message, c.name)
		for _, to := range []struct {
			auth Authorization
			want Kind
		}{{nil, c.toLogin}, {AccessToken{bearer: "x"}, c.toAccess}, {testToken(t), c.toToken}} {
			if got := (&request{auth: to.auth}).kind(c.status, body); got != to.want {
				t.Errorf("%d %s to %v: %q, want %q", c.status, c.message, to.auth, got, to.want)
			}
		}
	}
}

func TestKindOfLooksThroughWrapping(t *testing.T) {
	e := &Error{Kind: KindHostDown, Route: "GET /x", Err: &Error{Kind: KindServer, Status: 502}}
	if got := KindOf(fmt.Errorf("reading: %w", e)); got != KindHostDown {
		t.Error(got)
	}
	if got := KindOf(errors.New("other")); got != "" {
		t.Error(got)
	}
	if got := e.Error(); got != "GET /x: the server failed (status 502)" {
		t.Error(got)
	}
	if !errors.Is(e, e.Err) {
		t.Error("the cause is not wrapped")
	}
}
