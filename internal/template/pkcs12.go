package template

import (
	"bytes"
	"crypto"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// pkcs12Key returns the private key of a file as PKCS#8 in PEM.
func pkcs12Key(password, file string) (string, error) {
	key, _, err := openPKCS12(password, file)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", because("that is no private key of a known kind")
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der})), nil
}

// pkcs12Cert returns the certificates of a file in PEM, the leaf first. Those that are no single chain come in the order of the file.
func pkcs12Cert(password, file string) (string, error) {
	_, certs, err := openPKCS12(password, file)
	if err != nil {
		return "", err
	}
	if chain, err := orderCertificates(certs); err == nil {
		certs = chain
	}
	return encodeCertificates(certs), nil
}

func openPKCS12(password, file string) (key any, certs []*x509.Certificate, err error) {
	key, leaf, others, err := pkcs12.DecodeChain(decodePKCS12(file), password)
	if err != nil {
		return nil, nil, because("the PKCS#12 file does not open with this password, or has no key or no certificate")
	}
	return key, append([]*x509.Certificate{leaf}, others...), nil
}

// decodePKCS12 takes the file as it is or in base64. The first begins with a long ASN.1 sequence, the other with "MI".
func decodePKCS12(file string) []byte {
	if len(file) > 1 && file[0] == 0x30 && file[1] >= 0x80 {
		return []byte(file)
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(file))
	if err != nil {
		return nil
	}
	return decoded
}

// pemToPKCS12 makes a file of a key and its certificate, in base64. The first certificate is the key's; with chain, the others are
// put in too.
func pemToPKCS12(certs, key, password string, chain bool) (string, error) {
	parsed, err := parseCertificates(certs)
	if err != nil {
		return "", err
	}
	signer, err := parseKey(key)
	if err != nil {
		return "", err
	}
	if public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(parsed[0].PublicKey) {
		return "", because("the private key is not that of the first certificate")
	}
	if !chain {
		parsed = parsed[:1]
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return "", because("that is no private key of a known kind")
	}
	file, err := encoder(password, der, parsed).Encode(signer, parsed[0], parsed[1:], password)
	if err != nil {
		return "", because("a PKCS#12 file cannot hold this password")
	}
	return base64.StdEncoding.EncodeToString(file), nil
}

// trustStore makes a file of certificates to trust, as Java reads it, in base64.
func trustStore(certs, password string) (string, error) {
	parsed, err := parseCertificates(certs)
	if err != nil {
		return "", err
	}
	file, err := encoder(password, nil, parsed).EncodeTrustStore(parsed, password)
	if err != nil {
		return "", because("a PKCS#12 file cannot hold this password, or a certificate's subject")
	}
	return base64.StdEncoding.EncodeToString(file), nil
}

// encoder makes the same file of the same content each time, which a random salt and initialization vector would not.
//
// They are synthetic instead, as in RFC 5297: a pseudorandom function of all that goes into the file. They need to be different for
// different contents under one password, and unpredictable without the secrets; both holds, as HKDF-SHA-256 is keyed with
// the password and the private key. What they give away is that two files have the same content, which two equal keys in a Secret
// do too. In a trust store only the password is secret: a guess of it can be tested on the salt, but so it can on the file's MAC.
func encoder(password string, key []byte, certs []*x509.Certificate) *pkcs12.Encoder {
	var content []byte
	add := func(part []byte) { // with its length, so that no two contents are the same bytes
		content = binary.BigEndian.AppendUint64(content, uint64(len(part)))
		content = append(content, part...)
	}
	add([]byte(password))
	add(key)
	for _, cert := range certs {
		add(cert.Raw)
	}
	const need = 1024 // bytes; go-pkcs12 reads 80
	random, err := hkdf.Key(sha256.New, content, nil, "service-token-operator PKCS#12 salts v1", need)
	if err != nil {
		panic(err) // need is not more than HKDF can give
	}
	return pkcs12.Modern2023.WithRand(bytes.NewReader(random))
}
