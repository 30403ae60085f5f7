package devserver

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// accessTokenType tells the JWTs of identities from those of people.
const accessTokenType = "identityAccessToken"

// claims are what an access token tells whoever decodes it. Its exp is the maximum TTL, so clients must not go by it.
type claims struct {
	IdentityID            string `json:"identityId"`
	ClientSecretID        string `json:"clientSecretId,omitempty"`
	IdentityAccessTokenID string `json:"identityAccessTokenId"`
	AuthTokenType         string `json:"authTokenType"`
	IssuedAt              int64  `json:"iat"`
	Expires               int64  `json:"exp"`
}

type loginBody struct {
	AccessToken       string `json:"accessToken"`
	ExpiresIn         int    `json:"expiresIn"`
	AccessTokenMaxTTL int    `json:"accessTokenMaxTTL"`
	TokenType         string `json:"tokenType"`
}

// sent are the parameters of a request: the query of a GET, or what is text in the body of all else. A body that is no JSON is
// worded in this server's own way.
func (c *call) sent() (url.Values, *answer) {
	if c.route.method == http.MethodGet {
		return c.request.URL.Query(), nil
	}
	data, err := io.ReadAll(io.LimitReader(c.request.Body, 1<<20))
	var body map[string]any
	if err != nil || json.Unmarshal(data, &body) != nil {
		return nil, failure(http.StatusBadRequest, "Bad Request", "Body is not valid JSON")
	}
	values := url.Values{}
	for name, value := range body {
		if text, ok := value.(string); ok {
			values.Set(name, text)
		}
	}
	if c.route.login {
		c.caller = trim(values.Get("clientId") + values.Get("identityId"))
	}
	return values, nil
}

// universalAuth answers POST /api/v1/auth/universal-auth/login.
func (s *Server) universalAuth(c *call) *answer {
	at := slices.IndexFunc(s.identities, func(i *identity) bool { return i.ClientID == c.query["clientId"] })
	if at < 0 {
		return failure(http.StatusNotFound, "NotFound", "No identity with specified client ID was found")
	}
	i := s.identities[at]
	if i.ClientSecret != c.query["clientSecret"] {
		return failure(http.StatusUnauthorized, "UnauthorizedError", "Invalid credentials")
	}
	return s.admit(i, i.secretID)
}

// kubernetesAuth answers POST /api/v1/auth/kubernetes-auth/login. Its refusals are not among the recordings; the first is worded as
// Infisical's source has it.
func (s *Server) kubernetesAuth(c *call) *answer {
	at := slices.IndexFunc(s.identities, func(i *identity) bool { return i.ID == c.query["identityId"] })
	if at < 0 || s.identities[at].accepts == nil {
		return failure(http.StatusNotFound, "NotFound", "Kubernetes auth method not found for identity, did you configure Kubernetes auth?")
	}
	i := s.identities[at]
	if !i.accepts(c.query["jwt"]) {
		return failure(http.StatusUnauthorized, "UnauthorizedError", "Invalid credentials")
	}
	return s.admit(i, "")
}

// admit makes an access token. Its signature is none: whether it is known decides.
func (s *Server) admit(i *identity, secretID string) *answer {
	now := s.clock.Now()
	payload := newAnswer(0, claims{
		IdentityID: i.ID, ClientSecretID: secretID, IdentityAccessTokenID: s.uuid(), AuthTokenType: accessTokenType,
		IssuedAt: now.Unix(), Expires: now.Add(i.maxTTL).Unix(),
	}).body
	encode := base64.RawURLEncoding.EncodeToString
	bearer := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(payload) + "." + encode(s.bytes(32))
	s.accessTokens[bearer] = &accessToken{identity: i, until: now.Add(i.ttl)}
	return newAnswer(http.StatusOK, loginBody{bearer, int(i.ttl / time.Second), int(i.maxTTL / time.Second), "Bearer"})
}

// claimsOf reads an access token, whether or not it is known.
func claimsOf(bearer string) (claims, bool) {
	parts := strings.Split(bearer, ".")
	if len(parts) != 3 {
		return claims{}, false
	}
	var c claims
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &c) != nil || c.AuthTokenType != accessTokenType {
		return claims{}, false
	}
	return c, true
}

// authenticateIdentity finds the identity of an access token. One that has ended is deleted when it is found: the text for that is
// from Infisical's source, and speaks of renewing whatever was asked.
func (s *Server) authenticateIdentity(c *call, bearer string) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.accessTokens[bearer]
	if t == nil {
		return failure(http.StatusUnauthorized, "UnauthorizedError", "No identity access token found")
	}
	if s.clock.Now().After(t.until) {
		delete(s.accessTokens, bearer)
		return failure(http.StatusUnauthorized, "UnauthorizedError", "Failed to renew MI access token due to TTL expiration")
	}
	c.token = t.identity.rights
	return nil
}

// forbidden is how the server refuses a route to a kind of caller that it is not for. It is from Infisical's source.
func (c *call) forbidden() *answer {
	return failure(http.StatusForbidden, "Forbidden access to "+c.request.URL.RequestURI(), "You are not allowed to access this resource")
}
