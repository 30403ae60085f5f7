// Package servicetoken knows what an Infisical service token is: how it is written, what it may read, and how its key
// opens a project's secrets. It is pure: it never talks to a network or to Kubernetes, never logs, and no error it
// returns holds a part of a token or a value.
package servicetoken

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// Each way in which a token can be malformed has an error of its own. None of them repeats what was read.
var (
	ErrEmpty    = errors.New("the token is empty")
	ErrPrefix   = errors.New(`the token does not start with "st."`)
	ErrParts    = errors.New("the token does not have 3 or 4 parts separated by dots: st.<id>.<secret> or st.<id>.<secret>.<key>")
	ErrID       = errors.New("the token's second part, the id, is neither a UUID nor 24 hexadecimal characters")
	ErrSecret   = errors.New("the token's third part, the secret, is not 32 lower-case hexadecimal characters")
	ErrKey      = errors.New("the token's fourth part, the key, is not 32 lower-case hexadecimal characters")
	ErrTooLarge = errors.New("the token is longer than any service token is")
)

// maxTokenLen is generous: the longest valid token, with a UUID and a key, has 106 bytes.
const maxTokenLen = 1024

var (
	idPattern  = regexp.MustCompile(`^(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{24})$`)
	hexPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// Token is a parsed service token. It is comparable, so that it can be part of a map key, and prints itself redacted.
type Token struct {
	id, secret, key string
}

// Parse reads st.<id>.<secret>[.<key>]. White space around it is ignored, as it comes with `kubectl create secret
// --from-file`. id is a UUID, or 24 hexadecimal characters on tokens of old servers; secret and key are 32 lower-case
// hexadecimal characters. The error is one of this package's Err values.
func Parse(raw string) (Token, error) {
	raw = strings.TrimSpace(raw)
	switch {
	case raw == "":
		return Token{}, ErrEmpty
	case len(raw) > maxTokenLen:
		return Token{}, ErrTooLarge
	case !strings.HasPrefix(raw, "st."):
		return Token{}, ErrPrefix
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 && len(parts) != 4 {
		return Token{}, ErrParts
	}
	if !idPattern.MatchString(parts[1]) {
		return Token{}, ErrID
	}
	if !hexPattern.MatchString(parts[2]) {
		return Token{}, ErrSecret
	}
	t := Token{id: parts[1], secret: parts[2]}
	if len(parts) == 4 {
		if !hexPattern.MatchString(parts[3]) {
			return Token{}, ErrKey
		}
		t.key = parts[3]
	}
	return t, nil
}

// ID is the public part: it names the token in Infisical's user interface and in this operator's status and events.
func (t Token) ID() string { return t.id }

// Bearer is what goes on the wire, the first three parts. The fourth part never does.
func (t Token) Bearer() string { return "st." + t.id + "." + t.secret }

// HasKey says whether the token can open the project key, so whether secrets can be decrypted here.
func (t Token) HasKey() bool { return t.key != "" }

// String, and every other way in which Go prints a value, shows the id only.
func (t Token) String() string {
	if t.id == "" {
		return "st.***"
	}
	return "st." + t.id + ".***"
}

// Format covers all verbs of package fmt, %#v and %x among them.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// MarshalText covers JSON, YAML and text encoders, as a value and as a map key.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON is MarshalText in quotes.
func (t Token) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// LogValue covers log/slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }
