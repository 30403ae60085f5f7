package template

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"github.com/DataDog/datadog-agent/pkg/template/text"
)

const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"

	maxCertificates = 100
	// maxKey is how long a private key may be, in bytes: more than RSA with 16,384 bits takes. The arithmetic of a longer one takes
	// seconds.
	maxKey = 16 << 10
)

// certificates are about PEM and PKCS#12. None of them checks a signature or a date: what a certificate is worth is not decided here,
// and the answer would change with time.
func certificates() template.FuncMap {
	return template.FuncMap{
		"filterPEM":       filterPEM,
		"filterCertChain": filterCertChain,
		"certChain": func(text string) (string, error) {
			chain, err := certChain(text)
			return encodeCertificates(chain), err
		},

		"pkcs12key":                 func(file string) (string, error) { return pkcs12Key("", file) },
		"pkcs12keyPass":             pkcs12Key,
		"pkcs12cert":                func(file string) (string, error) { return pkcs12Cert("", file) },
		"pkcs12certPass":            pkcs12Cert,
		"pemToPkcs12":               func(cert, key string) (string, error) { return pemToPKCS12(cert, key, "", false) },
		"pemToPkcs12Pass":           func(cert, key, pass string) (string, error) { return pemToPKCS12(cert, key, pass, false) },
		"fullPemToPkcs12":           func(certs, key string) (string, error) { return pemToPKCS12(certs, key, "", true) },
		"fullPemToPkcs12Pass":       func(certs, key, pass string) (string, error) { return pemToPKCS12(certs, key, pass, true) },
		"pemTruststoreToPKCS12":     func(certs string) (string, error) { return trustStore(certs, "") },
		"pemTruststoreToPKCS12Pass": trustStore,
	}
}

// blocks calls f for every PEM block of a text.
func blocks(text string, f func(*pem.Block) error) error {
	rest := []byte(text)
	if i := strings.Index(text, "-----BEGIN"); i > 0 { // what stands before the first block must not hide it
		rest = rest[i:]
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil
		}
		if err := f(block); err != nil {
			return err
		}
	}
}

// filterPEM keeps the blocks of one type, such as CERTIFICATE. A text that has PEM, but none of that type, gives an empty one.
func filterPEM(kind, text string) (string, error) {
	var kept bytes.Buffer
	found := false
	err := blocks(text, func(b *pem.Block) error {
		found = true
		if !strings.EqualFold(b.Type, kind) {
			return nil
		}
		return pem.Encode(&kept, b)
	})
	if err != nil || !found && strings.TrimSpace(text) != "" {
		return "", because("that is no PEM")
	}
	return kept.String(), nil
}

// filterCertChain takes from the certificates of a text the "leaf", the "intermediate" ones or the "root", in PEM; what is not there
// is empty.
func filterCertChain(kind, text string) (string, error) {
	chain, err := certChain(text)
	if err != nil {
		return "", err
	}
	roots := len(chain)
	for roots > 0 && isRoot(chain[roots-1]) {
		roots--
	}
	switch kind {
	case "leaf":
		return encodeCertificates(chain[:min(1, roots)]), nil
	case "intermediate":
		return encodeCertificates(chain[min(1, roots):roots]), nil
	case "root":
		return encodeCertificates(chain[roots:]), nil
	}
	return "", because(`it takes "leaf", "intermediate" or "root"`)
}

// certChain orders the certificates of a text by who issued whom, the leaf first.
func certChain(text string) ([]*x509.Certificate, error) {
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, err
	}
	return orderCertificates(certs)
}

func orderCertificates(certs []*x509.Certificate) ([]*x509.Certificate, error) {
	parent := make([]int, len(certs))
	issuer := make([]bool, len(certs))
	for i, cert := range certs {
		parent[i] = -1
		for j, other := range certs {
			if i != j && !isRoot(cert) && issued(cert, other) {
				parent[i], issuer[j] = j, true
				break
			}
		}
	}
	leaf := -1
	for i := range certs {
		if issuer[i] {
			continue
		}
		if leaf >= 0 {
			return nil, because("the certificates are no single chain")
		}
		leaf = i
	}
	var chain []*x509.Certificate
	for i := leaf; i >= 0; i = parent[i] { // ends, as nobody is the leaf's child, and everybody has one parent
		if len(chain) == len(certs) {
			return nil, because("the certificates are no single chain")
		}
		chain = append(chain, certs[i])
	}
	if len(chain) < len(certs) {
		return nil, because("the certificates are no single chain")
	}
	return chain, nil
}

func issued(cert, by *x509.Certificate) bool {
	if len(cert.AuthorityKeyId) > 0 && len(by.SubjectKeyId) > 0 && !bytes.Equal(cert.AuthorityKeyId, by.SubjectKeyId) {
		return false
	}
	return bytes.Equal(cert.RawIssuer, by.RawSubject)
}

func isRoot(cert *x509.Certificate) bool { return issued(cert, cert) }

func parseCertificates(text string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	err := blocks(text, func(b *pem.Block) error {
		if b.Type != pemCertificate {
			return nil
		}
		if len(certs) == maxCertificates {
			return because("there are more than 100 certificates")
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return because("that is no certificate")
		}
		certs = append(certs, cert)
		return nil
	})
	if err == nil && len(certs) == 0 {
		err = because("there is no certificate in PEM")
	}
	return certs, err
}

// parseKey takes the first private key of a text.
func parseKey(text string) (crypto.Signer, error) {
	var key any
	err := blocks(text, func(b *pem.Block) error {
		if key != nil || !strings.HasSuffix(b.Type, pemKey) {
			return nil
		}
		if len(b.Bytes) > maxKey {
			return because("the private key is longer than any in use")
		}
		for _, parse := range []func([]byte) (any, error){
			x509.ParsePKCS8PrivateKey,
			func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
			func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
		} {
			if k, err := parse(b.Bytes); err == nil {
				key = k
				return nil
			}
		}
		return because("that is no private key of a known kind")
	})
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, because("there is no private key in PEM")
	}
	return signer, nil
}

func encodeCertificates(certs []*x509.Certificate) string {
	var b bytes.Buffer
	for _, cert := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: pemCertificate, Bytes: cert.Raw}) // to memory, without headers
	}
	return b.String()
}
