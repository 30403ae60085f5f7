package devserver

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

// IdentitySpec is what a user chooses when making a machine identity and letting it into the project. Any can log in by
// Universal Auth; by Kubernetes Auth those can that have a JWT, a ServiceAccount or Accepts.
type IdentitySpec struct {
	ID           string              `json:"id"`           // random if empty
	ClientID     string              `json:"clientId"`     // random if empty
	ClientSecret string              `json:"clientSecret"` // random if empty
	TTL          time.Duration       `json:"-"`            // of an access token, in whole seconds; 0 is a day; in JSON a text
	MaxTTL       time.Duration       `json:"-"`            // to which one could be renewed; 0 is 30 days; in JSON a text
	Scopes       servicetoken.Scopes `json:"scopes"`       // what it may read and write; everything in the project if none is given
	JWT          string              `json:"jwt"`          // the token of a ServiceAccount

	// ServiceAccount is namespace/name of one that each token is taken for which says so. This server has no cluster to ask.
	ServiceAccount string                `json:"serviceAccount"`
	Accepts        func(jwt string) bool `json:"-"` // in place of a TokenReview
}

// Identity is what people know of a machine identity that was made.
type Identity struct {
	ID           string `json:"identityId"`
	ClientID     string `json:"clientId"`
	ClientSecret string `json:"clientSecret"`
}

// identity is one as the server has it: with the client secret in clear text, which a real one knows only as a hash.
type identity struct {
	Identity
	secretID    string // of the client secret
	ttl, maxTTL time.Duration
	accepts     func(jwt string) bool
	rights      *token // what it may do, in the terms of a service token
}

// accessToken is what a login gave.
type accessToken struct {
	identity *identity
	until    time.Time
}

// AddIdentity makes a machine identity that may read and write in the project.
func (p *Project) AddIdentity(spec IdentitySpec) Identity {
	defer p.lock()()
	return p.addIdentity(spec)
}

func (p *Project) addIdentity(spec IdentitySpec) Identity {
	s := p.server
	orRandom := func(text string, random func() string) string {
		if text == "" {
			return random()
		}
		return text
	}
	i := &identity{
		Identity: Identity{
			ID: orRandom(spec.ID, s.uuid), ClientID: orRandom(spec.ClientID, s.uuid),
			ClientSecret: orRandom(spec.ClientSecret, func() string { return s.hex(32) }),
		},
		secretID: s.uuid(), ttl: spec.TTL, maxTTL: spec.MaxTTL, accepts: spec.Accepts,
	}
	if i.ttl == 0 {
		i.ttl = 24 * time.Hour
	}
	if i.maxTTL == 0 {
		i.maxTTL = 30 * 24 * time.Hour
	}
	if i.ttl < time.Second || i.ttl%time.Second != 0 || i.maxTTL < i.ttl {
		panic(wrong("an access token lives for whole seconds, up to its maximum TTL"))
	}
	if spec.JWT != "" {
		i.accepts = func(jwt string) bool { return jwt == spec.JWT }
	}
	if spec.ServiceAccount != "" {
		i.accepts = func(jwt string) bool {
			return subject(jwt) == "system:serviceaccount:"+strings.Replace(spec.ServiceAccount, "/", ":", 1)
		}
	}
	if slices.ContainsFunc(s.identities, func(o *identity) bool { return o.ID == i.ID || o.ClientID == i.ClientID }) {
		panic(wrong("there is an identity with id %s or client id %s already", i.ID, i.ClientID))
	}
	i.rights = &token{
		id: i.ID, project: p, scopes: slices.Clone(spec.Scopes), permissions: []string{"read", "write"}, identity: true,
		everywhere: len(spec.Scopes) == 0,
	}
	s.identities = append(s.identities, i)
	return i.Identity
}

// subject is whose a JWT claims to be, whoever has signed it.
func subject(jwt string) string {
	var claims struct {
		Subject string `json:"sub"`
	}
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Subject
}

// RotateClientSecret replaces the client secret of an identity and returns the new one. Access tokens stay.
func (s *Server) RotateClientSecret(clientID string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.identities, func(i *identity) bool { return i.ClientID == clientID })
	if at < 0 {
		panic(wrong("there is no identity with client id %s", clientID))
	}
	i := s.identities[at]
	i.ClientSecret, i.secretID = s.hex(32), s.uuid()
	return i.ClientSecret
}

// RevokeAccessTokens deletes all access tokens of an identity, or those of every identity where the client id is empty.
func (s *Server) RevokeAccessTokens(clientID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoke(func(i *identity) bool { return clientID == "" || i.ClientID == clientID })
}

func (s *Server) revoke(of func(*identity) bool) {
	for bearer, t := range s.accessTokens {
		if of(t.identity) {
			delete(s.accessTokens, bearer)
		}
	}
}

// removeIdentities is the end of those that a project let in.
func (s *Server) removeIdentities(p *Project) {
	of := func(i *identity) bool { return i.rights.project == p }
	s.revoke(of)
	s.identities = slices.DeleteFunc(s.identities, of)
}

// UnmarshalJSON reads ttl and maxTTL as texts, and refuses unknown fields.
func (i *IdentitySpec) UnmarshalJSON(data []byte) error {
	type plain IdentitySpec // without this method
	in := struct {
		*plain
		TTL    duration `json:"ttl"`
		MaxTTL duration `json:"maxTTL"`
	}{plain: (*plain)(i)}
	err := strictly(data, &in)
	i.TTL, i.MaxTTL = time.Duration(in.TTL), time.Duration(in.MaxTTL)
	return err
}
