package entra_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/token"
)

func audience(t *testing.T, s token.Secret) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(string(s), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Audience string `json:"aud"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		t.Fatal(err)
	}
	return c.Audience
}

func newKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func newCertificate(tb testing.TB, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(tb testing.TB, key any) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func pfx(tb testing.TB, e *pkcs12.Encoder, key any, c *x509.Certificate, chain []*x509.Certificate, password string) string {
	tb.Helper()
	data, err := e.Encode(key, c, chain, password)
	if err != nil {
		tb.Fatal(err)
	}
	return string(data)
}

func TestApplicationsSignInWithACertificate(t *testing.T) {
	key, other := newKey(t, 2048), newKey(t, 2048)
	mine, foreign := newCertificate(t, key), newCertificate(t, other)
	short := newKey(t, 1024)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := newCertificate(t, curve)
	curveDER, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	d := newDirectory(t, azemu.App{Certificates: []string{block("CERTIFICATE", mine.Raw)}})
	source := d.applications(t)
	crt, p8 := block("CERTIFICATE", mine.Raw), block("PRIVATE KEY", pkcs8(t, key))
	tests := map[string]struct {
		certificate, password string
		wantText              string // of the refusal; empty: a token
	}{
		"PEM":                              {certificate: crt + p8},
		"PEM, the key first":               {certificate: p8 + crt},
		"PEM with an old key":              {certificate: crt + block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))},
		"PEM with a chain":                 {certificate: block("CERTIFICATE", foreign.Raw) + crt + p8},
		"PEM with a password nobody needs": {certificate: crt + p8, password: "x"},
		"PKCS#12":                          {certificate: pfx(t, pkcs12.Modern2023, key, mine, nil, "pass"), password: "pass"},
		"PKCS#12 with a chain":             {certificate: pfx(t, pkcs12.Modern2023, key, mine, []*x509.Certificate{foreign}, "pass"), password: "pass"},
		"PKCS#12, the old ciphers":         {certificate: pfx(t, pkcs12.LegacyDES, key, mine, nil, "pass"), password: "pass"},
		"PKCS#12, the oldest cipher":       {certificate: pfx(t, pkcs12.LegacyRC2, key, mine, nil, "pass"), password: "pass"},
		"PKCS#12 without a password":       {certificate: pfx(t, pkcs12.Modern2023, key, mine, nil, "")},
		"PKCS#12 without encryption":       {certificate: pfx(t, pkcs12.Passwordless, key, mine, nil, "")},
		"PKCS#12 with another password":    {certificate: pfx(t, pkcs12.Modern2023, key, mine, nil, "pass"), password: "wrong", wantText: "the password does not open"},
		"PKCS#12 that costs too much":      {certificate: costlyPFX(t, key, mine), password: "pass", wantText: "iterations"},
		"an elliptic curve":                {certificate: block("CERTIFICATE", ec.Raw) + block("EC PRIVATE KEY", curveDER), wantText: "not RSA"},
		"an elliptic curve in PKCS#8":      {certificate: block("CERTIFICATE", ec.Raw) + block("PRIVATE KEY", pkcs8(t, curve)), wantText: "not RSA"},
		"an elliptic curve in PKCS#12":     {certificate: pfx(t, pkcs12.Modern2023, curve, ec, nil, ""), wantText: "not RSA"},
		"a short key":                      {certificate: block("CERTIFICATE", newCertificate(t, short).Raw) + block("PRIVATE KEY", pkcs8(t, short)), wantText: "1024 bits"},
		"a key of another certificate":     {certificate: crt + block("PRIVATE KEY", pkcs8(t, other)), wantText: "belongs to none"},
		"no key":                           {certificate: crt, wantText: "no private key"},
		"no certificate":                   {certificate: p8, wantText: "no certificate"},
		"two keys":                         {certificate: crt + p8 + p8, wantText: "two private keys"},
		"an encrypted key":                 {certificate: crt + block("ENCRYPTED PRIVATE KEY", pkcs8(t, key)), wantText: "encrypted"},
		"a broken key":                     {certificate: crt + block("PRIVATE KEY", []byte("hunter2")), wantText: "cannot be read"},
		"a broken certificate":             {certificate: p8 + block("CERTIFICATE", []byte("hunter2")), wantText: "cannot be read"},
		"rubbish":                          {certificate: "hunter2 rubbish", wantText: "neither PEM nor a PKCS#12"},
		"nothing":                          {certificate: "", password: "x", wantText: "empty"},
		"far too much":                     {certificate: strings.Repeat(crt, 1000), wantText: "longer than"},
		"one that Entra ID does not know":  {certificate: block("CERTIFICATE", foreign.Raw) + block("PRIVATE KEY", pkcs8(t, other)), wantText: "AADSTS700027"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := d.request(func(r *token.Request) {
				r.Type, r.Credential = v1.ServicePrincipalCertificate, token.NewCredential("", tt.certificate, tt.password)
			})
			got, err := source.Token(t.Context(), r)
			if tt.wantText != "" {
				if err == nil || token.KindOf(err) != token.Rejected || !strings.Contains(err.Error(), tt.wantText) {
					t.Errorf("Token() = %v, want it rejected with %q", err, tt.wantText)
				}
				if err != nil && strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error quotes what it read: %v", err)
				}
				return
			}
			if err != nil || got.Value == "" {
				t.Errorf("Token() = %v", err)
			}
		})
	}
}

// costlyPFX is a PKCS#12 that claims to have been closed with 8 million iterations.
func costlyPFX(tb testing.TB, key *rsa.PrivateKey, c *x509.Certificate) string {
	tb.Helper()
	data := []byte(pfx(tb, pkcs12.Modern2023.WithIterations(0x011170), key, c, nil, "pass"))
	cheap, dear := []byte{0x02, 0x03, 0x01, 0x11, 0x70}, []byte{0x02, 0x03, 0x7f, 0xff, 0xff}
	if !bytes.Contains(data, cheap) {
		tb.Fatal("the number of iterations is not where it should be")
	}
	return string(bytes.Replace(data, cheap, dear, 1))
}

func FuzzParseCertificate(f *testing.F) {
	key := newKey(f, 2048)
	c := newCertificate(f, key)
	f.Add([]byte(block("CERTIFICATE", c.Raw)+block("PRIVATE KEY", pkcs8(f, key))), "")
	f.Add([]byte(pfx(f, pkcs12.Modern2023.WithIterations(1), key, c, nil, "p")), "p")
	f.Add([]byte(pfx(f, pkcs12.LegacyDES.WithIterations(1), key, c, nil, "")), "")
	f.Add([]byte("-----BEGIN "), "")
	f.Add([]byte{0x30, 0x80}, "")
	f.Fuzz(func(t *testing.T, data []byte, password string) {
		certificates, private, err := entra.ParseCertificate(data, password)
		if (err == nil) != (private != nil && len(certificates) > 0) {
			t.Errorf("ParseCertificate() = %d certificates, %v", len(certificates), err)
		}
	})
}
