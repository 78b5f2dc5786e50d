package entra

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"
)

const (
	// longestCertificate bounds what is parsed.
	longestCertificate = 256 << 10
	// leastBits and mostBits bound the key: Entra ID takes no shorter one, and a
	// longer one costs the node more than it brings.
	leastBits, mostBits = 2048, 8192
	// mostIterations bounds the work that opening a PKCS#12 can demand; common
	// are 2,048 to 600,000.
	mostIterations = 2_000_000
)

// parseCertificate reads a PKCS#12, or PEM with certificate and private key, in
// any order and with the chain or without. The key must be RSA and belong to one
// of the certificates. Its errors never show what was read.
func parseCertificate(data []byte, password string) ([]*x509.Certificate, *rsa.PrivateKey, error) {
	if len(data) == 0 {
		return nil, nil, errors.New("it is empty")
	}
	if len(data) > longestCertificate {
		return nil, nil, fmt.Errorf("it is longer than %d bytes", longestCertificate)
	}
	read := fromPKCS12
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		read = fromPEM
	}
	certificates, key, err := read(data, password)
	if err != nil {
		return nil, nil, err
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, nil, errors.New("its private key is not RSA, and Entra ID takes no other")
	}
	if bits := private.N.BitLen(); bits < leastBits || bits > mostBits {
		return nil, nil, fmt.Errorf("its RSA key has %d bits: use one of %d to %d", bits, leastBits, mostBits)
	}
	for _, c := range certificates {
		if private.PublicKey.Equal(c.PublicKey) {
			return certificates, private, nil
		}
	}
	return nil, nil, errors.New("its private key belongs to none of its certificates")
}

func fromPKCS12(data []byte, password string) ([]*x509.Certificate, any, error) {
	if costly(data, 0) {
		return nil, nil, fmt.Errorf("to open it would take more than %d iterations: export it again", mostIterations)
	}
	key, leaf, chain, err := pkcs12.DecodeChain(data, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, nil, errors.New("it is a PKCS#12 that the password does not open")
	case err != nil:
		return nil, nil, errors.New("it is neither PEM nor a PKCS#12 with one private key and its certificate") // the cause could quote it
	}
	return append([]*x509.Certificate{leaf}, chain...), key, nil
}

// costly reports whether DER holds a number of iterations that is out of reason,
// as far as can be seen without the password: a number that follows a salt.
func costly(der []byte, depth int) bool {
	const deepest = 16
	afterSalt := false
	for len(der) > 0 && depth < deepest {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return false
		}
		der = rest
		switch {
		case v.IsCompound:
			if costly(v.Bytes, depth+1) {
				return true
			}
		case v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOctetString:
			if afterSalt = true; costly(v.Bytes, depth+1) {
				return true
			}
		case v.Class == asn1.ClassUniversal && v.Tag == asn1.TagInteger && afterSalt:
			var n int
			if _, err := asn1.Unmarshal(v.FullBytes, &n); err != nil || n > mostIterations {
				return true
			}
		}
	}
	return false
}

func fromPEM(data []byte, _ string) ([]*x509.Certificate, any, error) {
	var certificates []*x509.Certificate
	var key any
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, errors.New("one of its certificates cannot be read")
			}
			certificates = append(certificates, c)
			continue
		}
		k, err := privateKey(block)
		switch {
		case err != nil:
			return nil, nil, err
		case k != nil && key != nil:
			return nil, nil, errors.New("it holds two private keys")
		case k != nil:
			key = k
		}
	}
	switch {
	case len(certificates) == 0:
		return nil, nil, errors.New("it holds no certificate")
	case key == nil:
		return nil, nil, errors.New("it holds no private key")
	}
	return certificates, key, nil
}

// privateKey reads a private key of PEM, and is nil for what is none.
func privateKey(block *pem.Block) (any, error) {
	if block.Headers["DEK-Info"] != "" || block.Type == "ENCRYPTED PRIVATE KEY" {
		return nil, errors.New("its private key is encrypted: write it without a password, or use PKCS#12")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, nil //nolint:nilnil // not ours to judge
	}
	if err != nil {
		return nil, errors.New("its private key cannot be read")
	}
	return key, nil
}
