package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

const (
	// signatureHeader holds t=<milliseconds>;<hex HMAC-SHA256 of the body, keyed with the webhook's secret>.
	signatureHeader = "X-Infisical-Signature"
	// modified is the one event that means something here.
	modified = "secrets.modified"
	// maxName and maxPath are what a ServiceTokenSecret can ask for, in characters: what is longer, nothing reads.
	maxName = 128
	maxPath = 1024
)

// delivery is the body. Newer servers send more fields, which are none of our business.
type delivery struct {
	Event   string `json:"event"`
	Project struct {
		WorkspaceID string `json:"workspaceId"`
		Environment string `json:"environment"`
		SecretPath  string `json:"secretPath"`
	} `json:"project"`
	Timestamp int64 `json:"timestamp"` // milliseconds since 1970; without one it is stale
}

// parseSignature reads the header. The time in it has to be there, but is not believed: the signature does not cover it, so
// whoever intercepts a delivery could write any. The server copies it from the body, whose timestamp is signed and counts.
// Refusing a t that differs would keep out nobody, as he could write the right one.
func parseSignature(header string) (signature [sha256.Size]byte, ok bool) {
	stamp, digits, _ := strings.Cut(header, ";")
	millis, ok := strings.CutPrefix(stamp, "t=")
	if !ok || millis == "" || strings.Trim(millis, "0123456789") != "" || len(digits) != hex.EncodedLen(len(signature)) {
		return signature, false
	}
	_, err := hex.Decode(signature[:], []byte(digits))
	return signature, err == nil
}

// signed says whether body has that signature with one of the secrets. It tries all of them and compares in constant time, so
// that how long it takes tells neither which one fits nor how much of a signature does.
func signed(body []byte, signature [sha256.Size]byte, secrets [][]byte) bool {
	found := 0
	for _, secret := range secrets {
		if len(secret) == 0 { // with which anybody can sign
			continue
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		found |= subtle.ConstantTimeCompare(mac.Sum(nil), signature[:])
	}
	return found == 1
}

// parse reads a body: one JSON object, whose event and timestamp are of the right type.
func parse(body []byte) (d delivery, err error) {
	err = json.Unmarshal(body, &d)
	return d, err
}

// change is what a delivery of the event says was modified; ok is false when that can be no folder.
func (d delivery) change() (c Change, ok bool) {
	c = Change{ProjectID: d.Project.WorkspaceID, Environment: d.Project.Environment, Path: d.Project.SecretPath}
	if c.Path != "/" {
		c.Path = strings.TrimSuffix(c.Path, "/")
	}
	ok = c.ProjectID != "" && utf8.RuneCountInString(c.ProjectID) <= maxName &&
		c.Environment != "" && utf8.RuneCountInString(c.Environment) <= maxName &&
		strings.HasPrefix(c.Path, "/") && utf8.RuneCountInString(c.Path) <= maxPath
	return c, ok
}
