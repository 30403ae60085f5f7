package servicetoken

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

const contract = "../../test/contract"

// plaintexts are what is behind the recorded answers.
type plaintexts struct {
	Tokens            map[string]string
	ProjectKey        string
	Plaintext         map[string]map[string]map[string]string // environment, path, name
	ImportedPlaintext map[string]map[string]string            // environment:path, name
}

type recordedSecret struct {
	Environment           string
	SecretPath            string
	SecretKeyCiphertext   []byte
	SecretKeyIV           []byte
	SecretKeyTag          []byte
	SecretValueCiphertext []byte
	SecretValueIV         []byte
	SecretValueTag        []byte
}

func (s recordedSecret) sealed() (name, value Sealed) {
	return NewSealed(s.SecretKeyCiphertext, s.SecretKeyIV, s.SecretKeyTag), NewSealed(s.SecretValueCiphertext, s.SecretValueIV, s.SecretValueTag)
}

func load(t testing.TB, file string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(contract, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// loadKey opens the recorded project key with the recorded token, and hands out the plaintexts.
func loadKey(t testing.TB) (ProjectKey, plaintexts) {
	t.Helper()
	var known plaintexts
	load(t, "plaintext.json", &known)
	var described struct {
		Response struct {
			Body struct{ EncryptedKey, IV, Tag []byte }
		}
	}
	load(t, "recorded/service-token.json", &described)
	token, err := Parse(known.Tokens["full"])
	if err != nil {
		t.Fatal(err)
	}
	body := described.Response.Body
	key, err := token.OpenProjectKey(NewSealed(body.EncryptedKey, body.IV, body.Tag))
	if err != nil {
		t.Fatal(err)
	}
	return key, known
}

func TestEveryRecordedSecretOpensToItsPlaintext(t *testing.T) {
	key, known := loadKey(t)
	opened := map[string]bool{}
	for _, file := range []string{"secrets-dev-db", "secrets-dev-recursive", "secrets-dev-root", "secrets-dev-root-imports", "secrets-staging-imports"} {
		var recorded struct {
			Response struct {
				Body struct {
					Secrets []recordedSecret
					Imports []struct{ Secrets []recordedSecret }
				}
			}
		}
		load(t, "recorded/"+file+".json", &recorded)
		body := recorded.Response.Body
		for _, s := range body.Secrets {
			name, value := open(t, key, s)
			want, ok := known.Plaintext[s.Environment][s.SecretPath][name]
			if !ok || value != want {
				t.Errorf("%s: %s:%s %s differs from its plaintext", file, s.Environment, s.SecretPath, name)
			}
			opened[s.Environment+":"+s.SecretPath+" "+name] = true
		}
		for _, i := range body.Imports {
			for _, s := range i.Secrets {
				if name, value := open(t, key, s); !isPlaintext(known, name, value) {
					t.Errorf("%s: imported %s differs from every plaintext of that name", file, name)
				}
			}
		}
	}
	for path, secrets := range known.Plaintext["dev"] {
		for name := range secrets {
			if !opened["dev:"+path+" "+name] {
				t.Errorf("dev:%s %s was in no recording", path, name)
			}
		}
	}
}

func open(t *testing.T, key ProjectKey, s recordedSecret) (name, value string) {
	t.Helper()
	sealedName, sealedValue := s.sealed()
	plainName, err := key.Open(sealedName)
	if err != nil {
		t.Fatal(err)
	}
	plainValue, err := key.Open(sealedValue)
	if err != nil {
		t.Fatalf("%s: %v", plainName, err)
	}
	return string(plainName), string(plainValue)
}

func isPlaintext(known plaintexts, name, value string) bool {
	for _, paths := range known.Plaintext {
		for _, secrets := range paths {
			if want, ok := secrets[name]; ok && want == value {
				return true
			}
		}
	}
	for _, secrets := range known.ImportedPlaintext {
		if want, ok := secrets[name]; ok && want == value {
			return true
		}
	}
	return false
}

func testProjectKey(tb testing.TB) ProjectKey {
	tb.Helper()
	key, err := NewProjectKey(strings.Repeat("k", keySize))
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func seal(tb testing.TB, key ProjectKey, plain []byte) Sealed {
	tb.Helper()
	sealed, err := key.Seal(plain, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func TestSealedFieldsOpenToTheSameBytes(t *testing.T) {
	key := testProjectKey(t)
	for _, plain := range []string{"", "x", "line\r\n  and blanks ", strings.Repeat("60 KB", 12<<10), "héllo 🔐", "\x00\xff"} {
		got, err := key.Open(seal(t, key, []byte(plain)))
		if err != nil || string(got) != plain {
			t.Errorf("%d bytes: %v, equal %v", len(plain), err, string(got) == plain)
		}
	}
}

func TestProjectKeyOpensForItsTokenOnly(t *testing.T) {
	token, _ := Parse(testToken)
	other, _ := Parse("st." + testID + "." + testSecret + "." + testSecret)
	keyless, _ := Parse("st." + testID + "." + testSecret)
	sealed, err := token.SealProjectKey(strings.Repeat("p", keySize), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.OpenProjectKey(sealed); err != nil {
		t.Errorf("the token itself: %v", err)
	}
	if _, err := other.OpenProjectKey(sealed); !errors.Is(err, ErrOpen) {
		t.Errorf("another token: %v", err)
	}
	if _, err := keyless.OpenProjectKey(sealed); !errors.Is(err, ErrNoKey) {
		t.Errorf("a token without key: %v", err)
	}
	if _, err := keyless.SealProjectKey("p", rand.Reader); !errors.Is(err, ErrNoKey) {
		t.Errorf("sealing for a token without key: %v", err)
	}
	short, err := token.SealProjectKey("short", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.OpenProjectKey(short); !errors.Is(err, ErrProjectKey) {
		t.Errorf("a project key of another length: %v", err)
	}
	if _, err := token.SealProjectKey("p", iotest.ErrReader(os.ErrClosed)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("no randomness: %v", err)
	}
}

func TestOpenRefusesEveryDamage(t *testing.T) {
	key := testProjectKey(t)
	good := seal(t, key, []byte("value"))
	flipped := func(raw []byte) []byte {
		raw = bytes.Clone(raw)
		raw[0] ^= 1
		return raw
	}
	type parts struct{ ciphertext, iv, tag []byte }
	for name, tt := range map[string]struct {
		damage func(*parts)
		want   error
	}{
		"ciphertext changed": {func(p *parts) { p.ciphertext = flipped(p.ciphertext) }, ErrOpen},
		"ciphertext missing": {func(p *parts) { p.ciphertext = nil }, ErrOpen},
		"IV changed":         {func(p *parts) { p.iv = flipped(p.iv) }, ErrOpen},
		"IV of 12 bytes":     {func(p *parts) { p.iv = p.iv[:12] }, ErrNonce},
		"IV of 17 bytes":     {func(p *parts) { p.iv = make([]byte, 17) }, ErrNonce},
		"IV of 1 MiB":        {func(p *parts) { p.iv = make([]byte, 1<<20) }, ErrNonce},
		"IV missing":         {func(p *parts) { p.iv = nil }, ErrNonce},
		"tag changed":        {func(p *parts) { p.tag = flipped(p.tag) }, ErrOpen},
		"tag of 12 bytes":    {func(p *parts) { p.tag = p.tag[:12] }, ErrTag},
		"tag of 32 bytes":    {func(p *parts) { p.tag = make([]byte, 32) }, ErrTag},
		"tag missing":        {func(p *parts) { p.tag = nil }, ErrTag},
		"tag alone":          {func(p *parts) { *p = parts{tag: p.tag} }, ErrNonce},
		"all missing":        {func(p *parts) { *p = parts{} }, ErrNonce},
	} {
		t.Run(name, func(t *testing.T) {
			var p parts
			p.ciphertext, p.iv, p.tag = good.Parts()
			tt.damage(&p)
			if _, err := key.Open(NewSealed(p.ciphertext, p.iv, p.tag)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := key.Open(Undecodable()); !errors.Is(err, ErrEncoding) {
		t.Errorf("what is not base64: %v", err)
	}
	if _, err := (ProjectKey{}).Open(good); !errors.Is(err, ErrProjectKey) {
		t.Errorf("the zero key: %v", err)
	}
	if plain, err := key.Open(good); err != nil || string(plain) != "value" {
		t.Errorf("undamaged: %q, %v", plain, err)
	}
}

func TestOpenLeavesTheFieldAsItIs(t *testing.T) {
	key := testProjectKey(t)
	sealed := seal(t, key, []byte("value"))
	for range 2 {
		plain, err := key.Open(sealed)
		if err != nil || string(plain) != "value" {
			t.Fatalf("%q, %v", plain, err)
		}
		clear(plain) // whoever has a plaintext has it alone
	}
}

// TestAnEmptyValueIsNotNil: in a Kubernetes Secret, nil would be null.
func TestAnEmptyValueIsNotNil(t *testing.T) {
	key := testProjectKey(t)
	if plain, err := key.Open(seal(t, key, nil)); err != nil || plain == nil || len(plain) != 0 {
		t.Errorf("%v, %v", plain, err)
	}
}

func FuzzOpen(f *testing.F) {
	key := testProjectKey(f)
	ciphertext, iv, tag := seal(f, key, []byte("value")).Parts()
	f.Add(ciphertext, iv, tag)
	f.Add([]byte{}, []byte{}, []byte{})
	f.Add([]byte("0"), make([]byte, 16), make([]byte, 16))
	f.Fuzz(func(t *testing.T, ciphertext, iv, tag []byte) {
		if plain, err := key.Open(NewSealed(slices.Clip(ciphertext), iv, tag)); err == nil && string(plain) != "value" {
			t.Error("something forged opens")
		}
	})
}
