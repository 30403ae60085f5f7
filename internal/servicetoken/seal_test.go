package servicetoken

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
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
	SecretKeyCiphertext   string
	SecretKeyIV           string
	SecretKeyTag          string
	SecretValueCiphertext string
	SecretValueIV         string
	SecretValueTag        string
}

func (s recordedSecret) sealed() (name, value Sealed) {
	return Sealed{s.SecretKeyCiphertext, s.SecretKeyIV, s.SecretKeyTag}, Sealed{s.SecretValueCiphertext, s.SecretValueIV, s.SecretValueTag}
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
			Body struct{ EncryptedKey, IV, Tag string }
		}
	}
	load(t, "recorded/service-token.json", &described)
	token, err := Parse(known.Tokens["full"])
	if err != nil {
		t.Fatal(err)
	}
	body := described.Response.Body
	key, err := token.OpenProjectKey(Sealed{body.EncryptedKey, body.IV, body.Tag})
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

func TestSealedFieldsOpenToTheSameBytes(t *testing.T) {
	key, err := NewProjectKey(strings.Repeat("k", keySize))
	if err != nil {
		t.Fatal(err)
	}
	for _, plain := range []string{"", "x", "line\r\n  and blanks ", strings.Repeat("60 KB", 12<<10), "héllo 🔐", "\x00\xff"} {
		sealed, err := key.Seal([]byte(plain), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		got, err := key.Open(sealed)
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
	key, err := NewProjectKey(strings.Repeat("k", keySize))
	if err != nil {
		t.Fatal(err)
	}
	good, err := key.Seal([]byte("value"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	flip := func(text string) string {
		raw, _ := base64.StdEncoding.DecodeString(text)
		raw[0] ^= 1
		return base64.StdEncoding.EncodeToString(raw)
	}
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for name, tt := range map[string]struct {
		damage func(*Sealed)
		want   error
	}{
		"ciphertext changed":    {func(s *Sealed) { s.Ciphertext = flip(s.Ciphertext) }, ErrOpen},
		"ciphertext missing":    {func(s *Sealed) { s.Ciphertext = "" }, ErrOpen},
		"ciphertext not base64": {func(s *Sealed) { s.Ciphertext = "%" }, ErrEncoding},
		"ciphertext unpadded":   {func(s *Sealed) { s.Ciphertext = strings.TrimRight(s.Ciphertext, "=") }, ErrEncoding},
		"IV changed":            {func(s *Sealed) { s.IV = flip(s.IV) }, ErrOpen},
		"IV of 12 bytes":        {func(s *Sealed) { s.IV = b64(12) }, ErrNonce},
		"IV of 17 bytes":        {func(s *Sealed) { s.IV = b64(17) }, ErrNonce},
		"IV of 18 bytes":        {func(s *Sealed) { s.IV = b64(18) }, ErrNonce},
		"IV of 1 MiB":           {func(s *Sealed) { s.IV = b64(1 << 20) }, ErrNonce},
		"IV missing":            {func(s *Sealed) { s.IV = "" }, ErrNonce},
		"IV not base64":         {func(s *Sealed) { s.IV = "!!!!" }, ErrEncoding},
		"tag changed":           {func(s *Sealed) { s.Tag = flip(s.Tag) }, ErrOpen},
		"tag of 12 bytes":       {func(s *Sealed) { s.Tag = b64(12) }, ErrTag},
		"tag of 32 bytes":       {func(s *Sealed) { s.Tag = b64(32) }, ErrTag},
		"tag missing":           {func(s *Sealed) { s.Tag = "" }, ErrTag},
		"tag not base64":        {func(s *Sealed) { s.Tag = "*" }, ErrEncoding},
		"all missing":           {func(s *Sealed) { *s = Sealed{} }, ErrNonce},
	} {
		t.Run(name, func(t *testing.T) {
			sealed := good
			tt.damage(&sealed)
			if _, err := key.Open(sealed); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	if _, err := (ProjectKey{}).Open(good); !errors.Is(err, ErrProjectKey) {
		t.Errorf("the zero key: %v", err)
	}
	if !(Sealed{}).IsZero() || good.IsZero() {
		t.Error("IsZero")
	}
}

func TestOpenAllocatesTheSameForEverySize(t *testing.T) {
	key, _ := NewProjectKey(strings.Repeat("k", keySize))
	var counts []float64
	for _, size := range []int{64, 60 << 10} {
		sealed, err := key.Seal(bytes.Repeat([]byte("v"), size), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, testing.AllocsPerRun(100, func() {
			if _, err := key.Open(sealed); err != nil {
				t.Error(err)
			}
		}))
	}
	if counts[0] != counts[1] {
		t.Errorf("%v allocations for 64 bytes, %v for 60 KiB", counts[0], counts[1])
	}
}

func FuzzOpen(f *testing.F) {
	key, err := NewProjectKey(strings.Repeat("k", keySize))
	if err != nil {
		f.Fatal(err)
	}
	good, err := key.Seal([]byte("value"), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Ciphertext, good.IV, good.Tag)
	f.Add("", "", "")
	f.Add("AAAA", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAA==")
	f.Fuzz(func(t *testing.T, ciphertext, iv, tag string) {
		sealed := Sealed{ciphertext, iv, tag}
		plain, err := key.Open(sealed)
		if err == nil && sealed != good && !bytes.Equal(plain, []byte("value")) {
			t.Error("something forged opens")
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	key, _ := NewProjectKey(strings.Repeat("k", keySize))
	for name, size := range map[string]int{"64B": 64, "60KB": 60 << 10} {
		sealed, err := key.Seal(bytes.Repeat([]byte("v"), size), rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := key.Open(sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
