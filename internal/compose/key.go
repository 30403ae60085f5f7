package compose

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// InvalidKeys says what happens to a secret whose key the API server would refuse.
type InvalidKeys string

// The values of InvalidKeys. Any other means the default.
const (
	InvalidKeysError   InvalidKeys = "Error"   // a *KeyError; the default
	InvalidKeysSkip    InvalidKeys = "Skip"    // it is left out, and listed in Output.Skipped
	InvalidKeysReplace InvalidKeys = "Replace" // "_" takes the place of what is not allowed; a *KeyError if that is not enough
)

// mends says whether a key that is not valid can be anything but an error.
func (i InvalidKeys) mends() bool { return i == InvalidKeysSkip || i == InvalidKeysReplace }

// validKey asks the API server's own rule.
func validKey(key string) bool { return len(validation.IsConfigMapKey(key)) == 0 }

// replaceInvalid puts "_" in the place of every character that no key may have, and of the first dot where a key may not begin
// with it: ".", "..", "..a". An empty key and one that is too long stay so.
func replaceInvalid(key string) string {
	key = strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, key)
	if key == "." || strings.HasPrefix(key, "..") {
		return "_" + key[1:]
	}
	return key
}
