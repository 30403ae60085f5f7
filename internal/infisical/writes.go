package infisical

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

const (
	routeCreateEncrypted = "POST /api/v3/secrets/{name}"
	routeUpdateEncrypted = "PATCH /api/v3/secrets/{name}"
	routeDeleteEncrypted = "DELETE /api/v3/secrets/{name}"
	routeCreatePlain     = "POST /api/v3/secrets/raw/{name}"
	routeUpdatePlain     = "PATCH /api/v3/secrets/raw/{name}"
	routeDeletePlain     = "DELETE /api/v3/secrets/raw/{name}"
)

// longestName is in UTF-16 code units, as the server counts. It takes a longer one for a route that it does not have.
const longestName = 100

var errName = errors.New("the name is longer than 100 characters, is not UTF-8, or has an empty or a dot segment")

// Entry names one secret of a folder. Whether the token may write there is to be checked before, as for a Query.
type Entry struct {
	ProjectID   string
	Environment string // slug
	Path        string // with its leading slash; a trailing one is dropped; empty means /
	Name        string // 1 to 100 characters
}

// SealedFields are a secret as it is to be stored, each part encrypted for the project. The server does not compare Name with the
// name of the Entry: they must be the same. A part that is zero, or that nobody can open, is not sent. From Infisical's source: an update
// leaves such a Comment as it is, and the server refuses what has no Value.
type SealedFields struct {
	Name, Value, Comment servicetoken.Sealed
}

// CommentedSecret is a secret with its comment, which is zero where the server has none.
type CommentedSecret struct {
	SealedSecret
	Comment servicetoken.Sealed
}

// CreateEncrypted stores a new secret in a project of version 1 or 2. After KindNetwork and KindServer it may be there: read the folder
// again. What only writes meet: KindSecretExists, KindNoBlindIndex in a project of version 3, KindApprovalNeeded, and KindUnsendable
// for what is not even sent. A missing folder is KindFolderNotFound.
func (s *Server) CreateEncrypted(ctx context.Context, token servicetoken.Token, at Entry, fields SealedFields) error {
	return s.write(ctx, routeCreateEncrypted, token, at, fields.wire())
}

// UpdateEncrypted replaces a secret that is there: otherwise the error is KindSecretNotFound. The other errors are those of CreateEncrypted.
func (s *Server) UpdateEncrypted(ctx context.Context, token servicetoken.Token, at Entry, fields SealedFields) error {
	return s.write(ctx, routeUpdateEncrypted, token, at, fields.wire())
}

// DeleteEncrypted removes a secret. KindSecretNotFound may be about its own work, as the request is repeated on a new connection when a
// kept one has ended. The other errors are those of CreateEncrypted.
func (s *Server) DeleteEncrypted(ctx context.Context, token servicetoken.Token, at Entry) error {
	return s.write(ctx, routeDeleteEncrypted, token, at, nil)
}

// CreatePlain is CreateEncrypted for a project whose secrets the server encrypts. It stores what Trim says of the value, which must be UTF-8.
func (s *Server) CreatePlain(ctx context.Context, auth Authorization, at Entry, value string) error {
	return s.write(ctx, routeCreatePlain, auth, at, map[string]string{"secretValue": value})
}

// UpdatePlain is UpdateEncrypted where the server encrypts. The comment stays as it is.
func (s *Server) UpdatePlain(ctx context.Context, auth Authorization, at Entry, value string) error {
	return s.write(ctx, routeUpdatePlain, auth, at, map[string]string{"secretValue": value})
}

// DeletePlain is DeleteEncrypted where the server encrypts.
func (s *Server) DeletePlain(ctx context.Context, auth Authorization, at Entry) error {
	return s.write(ctx, routeDeletePlain, auth, at, nil)
}

// CommentedSecrets is EncryptedSecrets with the comments, for whoever updates a secret and is to send its comment along.
func (s *Server) CommentedSecrets(ctx context.Context, token servicetoken.Token, q Query) (Answer[CommentedSecret], error) {
	r, err := s.encrypted(ctx, token, q, "")
	if err != nil {
		return Answer[CommentedSecret]{}, err
	}
	return decodeAnswer(routeEncrypted, r, q, commentedWire.secret)
}

// Trim is what the server-decrypted routes make of a value: String.prototype.trim of ECMAScript, whose white space has U+FEFF and not
// U+0085. Newer servers leave one line feed at the end of a value that had one (from Infisical's source), so compare by Trim
// of both what was sent and what is there.
func Trim(value string) string {
	return strings.TrimFunc(value, func(r rune) bool { return r == '\uFEFF' || r != '\u0085' && unicode.IsSpace(r) })
}

// write sends one change, and believes only an answer with the secret in it.
func (s *Server) write(ctx context.Context, route string, auth Authorization, at Entry, fields map[string]string) error {
	if !at.routable() {
		return &Error{Kind: KindUnsendable, Route: route, Err: errName}
	}
	content := map[string]string{"workspaceId": at.ProjectID, "environment": at.Environment, "secretPath": cleanPath(at.Path), "type": "shared"}
	maps.Copy(content, fields)
	for _, text := range content {
		if !utf8.ValidString(text) { // encoding/json would put U+FFFD in the place of what is not
			return &Error{Kind: KindUnsendable, Route: route, Err: errNotUTF8}
		}
	}
	body, _ := json.Marshal(content) // which texts cannot make fail
	_, template, _ := strings.Cut(route, " ")
	r, err := s.do(ctx, request{auth: auth, route: route, path: strings.Replace(template, "{name}", url.PathEscape(at.Name), 1), body: body})
	if err != nil {
		return err
	}
	return written(route, r.body)
}

// routable says whether the name can stand in a URL and mean no other. The server ignores a slash at the end, and proxies take out dot
// segments, escaped ones too: without this, a server-decrypted delete of "" or "." would be one of the secret "raw".
func (e Entry) routable() bool {
	lost := slices.ContainsFunc(strings.Split(e.Name, "/"), func(segment string) bool { return segment == "" || segment == "." || segment == ".." })
	return !lost && utf8.ValidString(e.Name) && len(utf16.Encode([]rune(e.Name))) <= longestName
}

func (f SealedFields) wire() map[string]string {
	texts := map[string]string{}
	for field, s := range map[string]servicetoken.Sealed{"secretKey": f.Name, "secretValue": f.Value, "secretComment": f.Comment} {
		ciphertext, iv, tag := s.Parts()
		if len(iv) == 0 {
			continue
		}
		texts[field+"Ciphertext"] = base64.StdEncoding.EncodeToString(ciphertext) // of an empty plaintext "", not null
		texts[field+"IV"] = base64.StdEncoding.EncodeToString(iv)
		texts[field+"Tag"] = base64.StdEncoding.EncodeToString(tag)
	}
	return texts
}

// written says whether the body of a 200 tells that the change was made. Where a policy wants changes approved, it has the request for
// that in the place of the secret (not recorded; from Infisical's source).
func written(route string, body []byte) error {
	var wire struct {
		Secret   *struct{} `json:"secret"`
		Approval *struct{} `json:"approval"`
	}
	if err := decode(route, body, &wire); err != nil {
		return err
	}
	switch {
	case wire.Approval != nil:
		return &Error{Kind: KindApprovalNeeded, Status: http.StatusOK, Route: route}
	case wire.Secret == nil:
		return badAnswer(route, errIncomplete)
	}
	return nil
}
