package template

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"

	"software.sslmate.com/src/go-pkcs12"
)

// What of RFC 7292 and RFC 8018 holds a count of iterations. The fields are those of go-pkcs12, so that both read the same.
type (
	pfx struct {
		Version  int
		AuthSafe content
		MAC      mac `asn1:"optional"`
	}
	content struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"tag:0,explicit,optional"`
	}
	mac struct {
		Digest struct {
			Algorithm pkix.AlgorithmIdentifier
			Digest    []byte
		}
		Salt       []byte
		Iterations int `asn1:"optional,default:1"`
	}
	encryptedContent struct {
		Version int
		Content struct {
			Type      asn1.ObjectIdentifier
			Algorithm pkix.AlgorithmIdentifier
			Encrypted []byte `asn1:"tag:0,optional"`
		}
	}
	bag struct {
		ID         asn1.ObjectIdentifier
		Value      asn1.RawValue   `asn1:"tag:0,explicit"`
		Attributes []asn1.RawValue `asn1:"set,optional"`
	}
	encryptedKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Encrypted []byte
	}
	pbes2 struct { // and PBMAC1
		KDF    pkix.AlgorithmIdentifier
		Scheme pkix.AlgorithmIdentifier
	}
	pbkdf2Params struct {
		Salt       asn1.RawValue
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
	pbe struct {
		Salt       []byte
		Iterations int
	}
)

const (
	oidData         = "1.2.840.113549.1.7.1"
	oidEncrypted    = "1.2.840.113549.1.7.6"
	oidKey          = "1.2.840.113549.1.12.10.1.1"
	oidEncryptedKey = "1.2.840.113549.1.12.10.1.2"
	oidPBES2        = "1.2.840.113549.1.5.13"
	oidPBMAC1       = "1.2.840.113549.1.5.14"
)

// iterationsPerStep makes a step of key derivation take about as long as one of anything else.
const iterationsPerStep = 4

// writtenPKCS12 is how many steps it takes to make a file: a key is derived for the MAC, the certificates and the private key.
const writtenPKCS12 = 3 * 2048 / iterationsPerStep

// pkcs12Cost charges for opening a PKCS#12 file. Such a file says how often the password is to be hashed, up to 2^63 times, and
// go-pkcs12 does as it is told. So the counts are read before. They stand at four places:
//
//	the file's MAC                                              in the open
//	encrypted content, usually the certificates                 in the open
//	an encrypted private key in content that is not encrypted   in the open
//	an encrypted private key in encrypted content               seen when go-pkcs12 already hashes
//
// Files with a private key at the last place are not common, and are refused: see hidesKey.
func pkcs12Cost(r *run, password, file string) error {
	var p pfx
	var contents []content
	data, ok := p.open(decodePKCS12(file))
	if !ok || !parseDER(data, &contents) {
		return because("that is no PKCS#12 file, nor one in base64")
	}
	// go-pkcs12 tries the MAC of an empty password twice. The older algorithms hash thrice for a key and its initialization vector.
	cost, ok := add(0, 2, p.MAC.Iterations, ok)
	if p.MAC.Digest.Algorithm.Algorithm.String() == oidPBMAC1 {
		cost, ok = addFor(0, 2, p.MAC.Digest.Algorithm, ok)
	}
	var encrypted []content
	for _, c := range contents {
		switch c.Type.String() {
		case oidEncrypted:
			var e encryptedContent
			ok = ok && parseDER(c.Content.Bytes, &e)
			cost, ok = addFor(cost, 9, e.Content.Algorithm, ok)
			encrypted = append(encrypted, c)
		case oidData:
			var inner []byte
			var bags []bag
			ok = ok && parseDER(c.Content.Bytes, &inner) && parseDER(inner, &bags)
			for _, b := range bags {
				var key encryptedKey
				switch b.ID.String() {
				case oidEncryptedKey:
					ok = ok && parseDER(b.Value.Bytes, &key) && len(key.Encrypted) <= maxKey
					cost, ok = addFor(cost, 3, key.Algorithm, ok)
				case oidKey:
					ok = ok && len(b.Value.Bytes) <= maxKey
				}
			}
		}
	}
	if !ok {
		return because("there is something in the PKCS#12 file that is not supported")
	}
	if err := r.chargeFor(cost / iterationsPerStep); err != nil {
		return err
	}
	for _, c := range encrypted {
		if hidesKey(c, password) {
			return because("a private key in the encrypted content of a PKCS#12 file is not supported")
		}
	}
	return nil
}

// open parses the file, and returns what is in it.
func (p *pfx) open(der []byte) (data []byte, ok bool) {
	ok = parseDER(der, p) && parseDER(p.AuthSafe.Content.Bytes, &data)
	return data, ok
}

func add(cost, times float64, iterations int, ok bool) (float64, bool) {
	return cost + times*float64(max(1, iterations)), ok
}

// addFor adds the iterations that an algorithm's parameters ask for.
func addFor(cost, times float64, algorithm pkix.AlgorithmIdentifier, ok bool) (float64, bool) {
	switch algorithm.Algorithm.String() {
	case oidPBES2, oidPBMAC1:
		var outer pbes2
		var inner pbkdf2Params
		ok = ok && parseDER(algorithm.Parameters.FullBytes, &outer) && parseDER(outer.KDF.Parameters.FullBytes, &inner)
		return add(cost, times, inner.Iterations, ok)
	}
	var p pbe
	ok = ok && parseDER(algorithm.Parameters.FullBytes, &p)
	return add(cost, times, p.Iterations, ok)
}

func parseDER(der []byte, v any) bool {
	rest, err := asn1.Unmarshal(der, v)
	return err == nil && len(rest) == 0
}

// hidesKey says whether encrypted content holds a private key. go-pkcs12 refuses a second private key before it opens it. So the
// content is put into a file of its own, after a key that costs nothing to open.
func hidesKey(c content, password string) bool {
	// go-pkcs12 takes an empty password as two zero bytes or as none, whichever the MAC is of.
	forms := [][]byte{{}}
	for _, char := range password {
		if char > 0xffff {
			return false // which go-pkcs12 refuses before anything else
		}
		forms[0] = append(forms[0], byte(char>>8), byte(char)) //nolint:gosec // see above
	}
	forms[0] = append(forms[0], 0, 0)
	if password == "" {
		forms = append(forms, nil)
	}
	for _, form := range forms {
		file, err := behindKey(c, form)
		if err != nil {
			return true
		}
		if _, _, _, err = pkcs12.DecodeChain(file, password); err != nil && err.Error() == "pkcs12: expected exactly one key bag" {
			return true
		}
	}
	return false
}

// behindKey makes a PKCS#12 file of a private key in the open and the given content, with a MAC of one iteration (RFC 7292, B.2).
func behindKey(c content, password []byte) ([]byte, error) {
	e := encodeDER{}
	key, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		return nil, err
	}
	bags := e.marshal([]bag{{ID: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 1}, Value: tagged(key)}})
	first := content{Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}, Content: tagged(e.marshal(bags))}
	contents := e.marshal([]content{first, c})

	file := pfx{Version: 3, AuthSafe: content{Type: first.Type, Content: tagged(e.marshal(contents))}}
	derived := sha256.New()
	derived.Write(bytes.Repeat([]byte{3}, sha256.BlockSize))
	if n := len(password); n > 0 {
		whole := (n + sha256.BlockSize - 1) / sha256.BlockSize * sha256.BlockSize
		derived.Write(bytes.Repeat(password, (whole+n-1)/n)[:whole])
	}
	sum := hmac.New(sha256.New, derived.Sum(nil))
	sum.Write(contents)
	file.MAC.Digest.Algorithm.Algorithm = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	file.MAC.Digest.Digest = sum.Sum(nil)
	file.MAC.Salt = []byte{}
	file.MAC.Iterations = 1
	return e.marshal(file), e.err
}

// encodeDER keeps the first error.
type encodeDER struct{ err error }

func (e *encodeDER) marshal(v any) []byte {
	der, err := asn1.Marshal(v)
	if err != nil && e.err == nil {
		e.err = err
	}
	return der
}

func tagged(der []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der}
}
