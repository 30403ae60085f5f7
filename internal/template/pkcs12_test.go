package template

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"software.sslmate.com/src/go-pkcs12"
)

// authority issues certificates: a root, an intermediate one, and a leaf with its key.
type authority struct {
	root, intermediate, leaf *x509.Certificate
	key                      *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	var a authority
	issue := func(name string, serial int64, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Unix(1<<31, 0),
			IsCA: name != "leaf", BasicConstraintsValid: true}
		if parent == nil {
			parent, by = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	root, rootKey := issue("root", 1, nil, nil)
	intermediate, intermediateKey := issue("intermediate", 2, root, rootKey)
	a.root, a.intermediate = root, intermediate
	a.leaf, a.key = issue("leaf", 3, intermediate, intermediateKey)
	return a
}

func (a authority) keyPEM(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}))
}

func TestPKCS12IsOpened(t *testing.T) {
	a := newAuthority(t)
	chain := encodeCertificates([]*x509.Certificate{a.leaf, a.intermediate, a.root})
	for name, e := range map[string]*pkcs12.Encoder{
		"RC2": pkcs12.LegacyRC2, "DES": pkcs12.LegacyDES, "2023": pkcs12.Modern2023, "2026": pkcs12.Modern2026, "none": pkcs12.Passwordless,
		"100,000 iterations": pkcs12.Modern2023.WithIterations(100_000),
	} {
		for _, password := range []string{"", "p€ss"} {
			if name == "none" && password != "" {
				continue
			}
			t.Run(name+" "+password, func(t *testing.T) {
				g := NewWithT(t)
				file, err := e.Encode(a.key, a.leaf, []*x509.Certificate{a.root, a.intermediate}, password)
				g.Expect(err).NotTo(HaveOccurred())
				data := map[string][]byte{"RAW": file, "B64": []byte(base64.StdEncoding.EncodeToString(file) + "\n"), "PASS": []byte(password)}
				for _, text := range []string{
					`{{ pkcs12certPass .PASS .RAW }}{{ pkcs12keyPass .PASS .RAW }}`, `{{ pkcs12certPass .PASS .B64 }}{{ pkcs12keyPass .PASS .B64 }}`,
				} {
					out, err := renderOne(data, text)
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(out).To(Equal(chain + a.keyPEM(t)))
				}
				out, err := renderOne(data, `{{ pkcs12cert .RAW }}{{ pkcs12key .RAW }}`)
				if password != "" {
					g.Expect(err).To(MatchError("t:1:4: pkcs12cert failed: the PKCS#12 file does not open with this password, or has no key or no certificate"))
				} else {
					g.Expect(out).To(Equal(chain + a.keyPEM(t)))
				}
			})
		}
	}
}

func TestPKCS12IsMade(t *testing.T) {
	g := NewWithT(t)
	a := newAuthority(t)
	data := map[string][]byte{
		"CERTS": []byte(encodeCertificates([]*x509.Certificate{a.leaf, a.intermediate})), "KEY": []byte(a.keyPEM(t)), "OTHER": []byte(newAuthority(t).keyPEM(t)),
	}
	for text, want := range map[string]struct {
		password string
		certs    []*x509.Certificate
	}{
		`{{ pemToPkcs12 .CERTS .KEY }}`:              {"", []*x509.Certificate{a.leaf}},
		`{{ pemToPkcs12Pass .CERTS .KEY "p" }}`:      {"p", []*x509.Certificate{a.leaf}},
		`{{ fullPemToPkcs12 .CERTS .KEY }}`:          {"", []*x509.Certificate{a.leaf, a.intermediate}},
		`{{ fullPemToPkcs12Pass .CERTS .KEY "p" }}`:  {"p", []*x509.Certificate{a.leaf, a.intermediate}},
		`{{ pemTruststoreToPKCS12 .CERTS }}`:         {"", []*x509.Certificate{a.leaf, a.intermediate}},
		`{{ pemTruststoreToPKCS12Pass .CERTS "p" }}`: {"p", []*x509.Certificate{a.leaf, a.intermediate}},
	} {
		out, err := renderOne(data, text)
		g.Expect(err).NotTo(HaveOccurred(), text)
		again, err := renderOne(data, text)
		g.Expect(err).NotTo(HaveOccurred(), text)
		g.Expect(again).To(Equal(out), text)
		file, err := base64.StdEncoding.DecodeString(out)
		g.Expect(err).NotTo(HaveOccurred(), text)
		var certs []*x509.Certificate
		if strings.Contains(text, "Trust") {
			certs, err = pkcs12.DecodeTrustStore(file, want.password)
		} else {
			var key any
			var leaf *x509.Certificate
			var others []*x509.Certificate
			key, leaf, others, err = pkcs12.DecodeChain(file, want.password)
			certs = append(append(certs, leaf), others...)
			g.Expect(a.key.Equal(key.(crypto.PrivateKey))).To(BeTrue(), text)
		}
		g.Expect(err).NotTo(HaveOccurred(), text)
		g.Expect(encodeCertificates(certs)).To(Equal(encodeCertificates(want.certs)), text)
	}
	_, err := renderOne(data, `{{ pemToPkcs12 .CERTS .OTHER }}`)
	g.Expect(err).To(MatchError("t:1:4: pemToPkcs12 failed: the private key is not that of the first certificate"))
}

// Other content, another salt: or two files would say what they have in common.
func TestPKCS12SaltsDependOnEverything(t *testing.T) {
	g := NewWithT(t)
	a := newAuthority(t)
	salt := func(password, key string, certs ...*x509.Certificate) string {
		file, err := encoder(password, []byte(key), certs).EncodeTrustStore([]*x509.Certificate{a.root}, "p")
		g.Expect(err).NotTo(HaveOccurred())
		var p pfx
		g.Expect(parseDER(file, &p)).To(BeTrue())
		return string(p.MAC.Salt)
	}
	seen := map[string]bool{
		salt("", ""): true, salt("a", ""): true, salt("", "a"): true, salt("", "", a.leaf): true, salt("", "", a.root): true,
		salt("", "", a.leaf, a.root): true, salt("", "", a.root, a.leaf): true,
	}
	g.Expect(seen).To(HaveLen(7))
	g.Expect(salt("p", "k", a.leaf)).To(Equal(salt("p", "k", a.leaf)))
}

func TestCertificatesAreOrderedAndFiltered(t *testing.T) {
	g := NewWithT(t)
	a := newAuthority(t)
	in := func(certs ...*x509.Certificate) string { return encodeCertificates(certs) }
	data := map[string][]byte{
		"MIXED": []byte("junk\n" + in(a.root, a.leaf) + a.keyPEM(t) + in(a.intermediate)), "ALIENS": []byte(in(a.leaf, newAuthority(t).leaf)),
		"GAP": []byte(in(a.root, a.leaf)), "LEAF": []byte(in(a.leaf)), "ROOT": []byte(in(a.root)),
	}
	for text, want := range map[string]string{
		`{{ certChain .MIXED }}`:                      in(a.leaf, a.intermediate, a.root),
		`{{ filterCertChain "leaf" .MIXED }}`:         in(a.leaf),
		`{{ filterCertChain "intermediate" .MIXED }}`: in(a.intermediate),
		`{{ filterCertChain "root" .MIXED }}`:         in(a.root),
		`{{ filterCertChain "root" .LEAF }}`:          "",
		`{{ filterCertChain "leaf" .LEAF }}`:          in(a.leaf),
		`{{ filterCertChain "leaf" .ROOT }}`:          "",
		`{{ filterPEM "CERTIFICATE" .MIXED }}`:        in(a.root, a.leaf, a.intermediate),
		`{{ filterPEM "private key" .MIXED }}`:        a.keyPEM(t),
		`{{ filterPEM "X" .MIXED }}`:                  "",
	} {
		out, err := renderOne(data, text)
		g.Expect(err).NotTo(HaveOccurred(), text)
		g.Expect(out).To(Equal(want), text)
	}
	for _, text := range []string{`{{ certChain .ALIENS }}`, `{{ certChain .GAP }}`} {
		_, err := renderOne(data, text)
		g.Expect(err).To(MatchError(ContainSubstring("the certificates are no single chain")), text)
	}
}

// A file says how often to hash, and each of these says: for hours.
func TestPKCS12ThatWouldTakeHoursIsRefused(t *testing.T) {
	const hours = 1 << 36
	a := newAuthority(t)
	change := func(e *pkcs12.Encoder, change func(g *WithT, p *pfx, contents []content)) []byte {
		g := NewWithT(t)
		file, err := e.Encode(a.key, a.leaf, nil, "p")
		g.Expect(err).NotTo(HaveOccurred())
		var p pfx
		var contents []content
		data, ok := p.open(file)
		g.Expect(ok && parseDER(data, &contents)).To(BeTrue())
		change(g, &p, contents)
		p.AuthSafe.Content = tagged(der(g, der(g, contents)))
		return der(g, p)
	}
	kdf := func(g *WithT, algorithm *pkix.AlgorithmIdentifier) {
		var outer pbes2
		var inner pbkdf2Parameters
		g.Expect(parseDER(algorithm.Parameters.FullBytes, &outer) && parseDER(outer.KDF.Parameters.FullBytes, &inner)).To(BeTrue())
		inner.Iterations = hours
		outer.KDF.Parameters.FullBytes = der(g, inner)
		algorithm.Parameters.FullBytes = der(g, outer)
	}
	encrypted := func(g *WithT, c *content, change func(*encryptedContent)) {
		var e encryptedContent
		g.Expect(parseDER(c.Content.Bytes, &e)).To(BeTrue())
		change(&e)
		c.Content = tagged(der(g, e))
	}
	openKey := func(g *WithT, c *content, change func(*bag)) {
		var inner []byte
		var bags []bag
		g.Expect(parseDER(c.Content.Bytes, &inner) && parseDER(inner, &bags)).To(BeTrue())
		change(&bags[0])
		c.Content = tagged(der(g, der(g, bags)))
	}
	const steps = "it takes more than 1000000 steps"
	for name, test := range map[string]struct {
		file []byte
		want string
	}{
		"MAC":    {change(pkcs12.LegacyDES, func(_ *WithT, p *pfx, _ []content) { p.MAC.Iterations = hours }), steps},
		"PBMAC1": {change(pkcs12.Modern2026, func(g *WithT, p *pfx, _ []content) { kdf(g, &p.MAC.Digest.Algorithm) }), steps},
		"certificates": {change(pkcs12.Modern2023, func(g *WithT, _ *pfx, contents []content) {
			encrypted(g, &contents[0], func(e *encryptedContent) { kdf(g, &e.Content.Algorithm) })
		}), steps},
		"certificates, the old way": {change(pkcs12.LegacyRC2, func(g *WithT, _ *pfx, contents []content) {
			encrypted(g, &contents[0], func(e *encryptedContent) {
				e.Content.Algorithm.Parameters.FullBytes = der(g, pbe{Salt: []byte("12345678"), Iterations: hours})
			})
		}), steps},
		"key": {change(pkcs12.Modern2023, func(g *WithT, _ *pfx, contents []content) {
			openKey(g, &contents[1], func(b *bag) {
				var key encryptedKey
				g.Expect(parseDER(b.Value.Bytes, &key)).To(BeTrue())
				kdf(g, &key.Algorithm)
				b.Value = tagged(der(g, key))
			})
		}), steps},
		"key among the certificates": {change(pkcs12.Modern2023, func(g *WithT, _ *pfx, contents []content) {
			var evil []byte
			openKey(g, &contents[1], func(b *bag) {
				var key encryptedKey
				g.Expect(parseDER(b.Value.Bytes, &key)).To(BeTrue())
				kdf(g, &key.Algorithm)
				evil = der(g, []bag{{ID: b.ID, Value: tagged(der(g, key))}})
			})
			encrypted(g, &contents[0], func(e *encryptedContent) { encryptAs(g, e, evil, "p") })
		}), "a private key in the encrypted content of a PKCS#12 file is not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, f := range []string{"pkcs12keyPass", "pkcs12certPass"} {
				_, err := renderOne(map[string][]byte{"F": test.file}, `{{ `+f+` "p" .F }}`)
				g.Expect(err).To(MatchError("t:1:4: " + f + " failed: " + test.want))
			}
		})
	}
}

// pbkdf2Parameters has a PRF that is kept as it is.
type pbkdf2Parameters struct {
	Salt       asn1.RawValue
	Iterations int
	KeyLength  int `asn1:"optional"`
	PRF        asn1.RawValue
}

func der(g *WithT, v any) []byte {
	encoded, err := asn1.Marshal(v)
	g.Expect(err).NotTo(HaveOccurred())
	return encoded
}

// encryptAs replaces encrypted content, with the salt and the initialization vector that are there.
func encryptAs(g *WithT, e *encryptedContent, plain []byte, password string) {
	var outer pbes2
	var inner pbkdf2Parameters
	g.Expect(parseDER(e.Content.Algorithm.Parameters.FullBytes, &outer) && parseDER(outer.KDF.Parameters.FullBytes, &inner)).To(BeTrue())
	key, err := pbkdf2.Key(sha256.New, password, inner.Salt.Bytes, inner.Iterations, 32)
	g.Expect(err).NotTo(HaveOccurred())
	block, err := aes.NewCipher(key)
	g.Expect(err).NotTo(HaveOccurred())
	n := aes.BlockSize - len(plain)%aes.BlockSize
	plain = append(plain, []byte(strings.Repeat(string(rune(n)), n))...)
	e.Content.Encrypted = make([]byte, len(plain))
	cipher.NewCBCEncrypter(block, outer.Scheme.Parameters.Bytes).CryptBlocks(e.Content.Encrypted, plain)
}
