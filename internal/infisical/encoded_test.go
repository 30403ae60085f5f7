package infisical

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/service-token-operator/service-token-operator/internal/servicetoken"
)

func anyProjectKey(tb testing.TB) servicetoken.ProjectKey {
	tb.Helper()
	key, err := servicetoken.NewProjectKey(strings.Repeat("k", 32))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// fields writes a plaintext as the three fields of an answer.
func fields(tb testing.TB, key servicetoken.ProjectKey, name string, plain []byte) map[string]any {
	tb.Helper()
	sealed, err := key.Seal(plain, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	ciphertext, iv, tag := sealed.Parts()
	return map[string]any{name + "Ciphertext": ciphertext, name + "IV": iv, name + "Tag": tag}
}

// TestAFieldThatIsNotBase64DoesNotSpoilTheAnswer: it is found when it is opened, where its secret can be named.
func TestAFieldThatIsNotBase64DoesNotSpoilTheAnswer(t *testing.T) {
	key := anyProjectKey(t)
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for name, tt := range map[string]struct {
		part string
		text any
		want error
	}{
		"ciphertext not base64":   {"Ciphertext", "%", servicetoken.ErrEncoding},
		"ciphertext unpadded":     {"Ciphertext", "dmFsdWU", servicetoken.ErrEncoding},
		"ciphertext URL-encoded":  {"Ciphertext", "__8=", servicetoken.ErrEncoding},
		"ciphertext padded twice": {"Ciphertext", "dmFsdWU=====", servicetoken.ErrEncoding},
		"ciphertext goes on":      {"Ciphertext", "dmFsdWU=dmFsdWU=", servicetoken.ErrEncoding},
		"ciphertext stray bits":   {"Ciphertext", "dmFsdWV=", servicetoken.ErrEncoding},
		"ciphertext with a blank": {"Ciphertext", "dmFs dWU=", servicetoken.ErrEncoding},
		"ciphertext with a quote": {"Ciphertext", `dmFs"WU=`, servicetoken.ErrEncoding},
		"ciphertext another":      {"Ciphertext", b64(5), servicetoken.ErrOpen},
		"ciphertext empty":        {"Ciphertext", "", servicetoken.ErrOpen},
		"IV not base64":           {"IV", "!!!!", servicetoken.ErrEncoding},
		"IV too long":             {"IV", b64(17), servicetoken.ErrNonce},
		"IV null":                 {"IV", nil, servicetoken.ErrNonce},
		"tag not base64":          {"Tag", "*", servicetoken.ErrEncoding},
		"tag too short":           {"Tag", b64(12), servicetoken.ErrTag},
		"tag null":                {"Tag", nil, servicetoken.ErrTag},
		"untouched":               {"Other", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			secret := fields(t, key, "secretKey", []byte("NAME"))
			for field, part := range fields(t, key, "secretValue", []byte("value")) {
				secret[field] = part
			}
			secret["secretValue"+tt.part] = tt.text
			body, err := json.Marshal(map[string]any{"secrets": []any{secret}})
			if err != nil {
				t.Fatal(err)
			}
			answer, err := serve(t, Options{}, respond(200, string(body))).EncryptedSecrets(t.Context(), testToken(t), anyQuery, "")
			if err != nil {
				t.Fatal(err)
			}
			if plain, err := key.Open(answer.Secrets[0].Name); err != nil || string(plain) != "NAME" {
				t.Errorf("the name: %q, %v", plain, err)
			}
			if _, err := key.Open(answer.Secrets[0].Value); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

// FuzzEncoded compares what is read in place with the long way, over a text.
func FuzzEncoded(f *testing.F) {
	for _, value := range []string{
		`""`, `"dmFsdWU="`, `"dmFsdWU"`, `"dmFsdWV="`, `"dmFs\ndWU="`, `"\/w=="`, `"\u0041A=="`, `"="`, `"é"`, `null`, `1`, `true`, `[]`, `{"a":""}`, `"`,
	} {
		f.Add([]byte(value))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		var text string
		var got encoded
		wantErr, err := json.Unmarshal(value, &text), json.Unmarshal(value, &got)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("got %v, want %v", err, wantErr)
		}
		if err != nil {
			return
		}
		want, wantErr := base64.StdEncoding.Strict().DecodeString(text)
		if got.bad != (wantErr != nil) || !got.bad && !bytes.Equal(got.raw, want) {
			t.Errorf("got %q, bad %v, want %q, %v", got.raw, got.bad, want, wantErr)
		}
	})
}
