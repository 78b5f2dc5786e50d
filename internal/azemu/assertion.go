package azemu

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // names certificates, as x5t does; proves nothing
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// assertionType is the client_assertion_type of a JWT (RFC 7523, 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// certificates reads those that are registered for an app.
func (a App) certificates() ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for _, text := range a.Certificates {
		der := []byte(nil)
		if block, _ := pem.Decode([]byte(text)); block != nil {
			der = block.Bytes
		} else if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
			der = raw
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, errors.New("a certificate is neither PEM nor DER in base64")
		}
		out = append(out, c)
	}
	return out, nil
}

// verify checks an assertion that the app signed with a certificate: by whom,
// when, for whom, and with a key that is registered.
func (a App) verify(raw string, audiences []string, now time.Time) *entraError {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.PS256, jose.RS256})
	if err != nil {
		return refuse(http.StatusUnauthorized, "invalid_client", 50027, "JWT token is invalid or malformed.")
	}
	certificate, refused := a.signer(token.Headers[0])
	if refused != nil {
		return refused
	}
	var c jwt.Claims
	if err := token.Claims(certificate.PublicKey, &c); err != nil {
		return refuse(http.StatusUnauthorized, "invalid_client", 700027,
			"Client assertion failed signature validation. [Reason - The provided signature value did not match the expected signature value.]")
	}
	if now.Before(certificate.NotBefore) || now.After(certificate.NotAfter) {
		return refuse(http.StatusUnauthorized, "invalid_client", 700027, "Client assertion failed signature validation. [Reason - The key used is expired.]")
	}
	switch {
	case !strings.EqualFold(c.Issuer, a.ClientID) || !strings.EqualFold(c.Subject, a.ClientID):
		return refuse(http.StatusUnauthorized, "invalid_client", 700021, "Client assertion application identifier doesn't match 'client_id' parameter.")
	case !slices.ContainsFunc(audiences, func(known string) bool {
		return slices.ContainsFunc(c.Audience, func(s string) bool { return strings.EqualFold(s, known) })
	}):
		return refuse(http.StatusUnauthorized, "invalid_client", 700023, "Client assertion audience claim does not match Realm issuer.")
	case c.Expiry == nil || !now.Before(c.Expiry.Time()) || (c.NotBefore != nil && now.Before(c.NotBefore.Time())):
		return refuse(http.StatusUnauthorized, "invalid_client", 700024, "Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.",
			now.UTC().Format(time.RFC3339), stamp(c.NotBefore), stamp(c.Expiry))
	case c.ID == "":
		return refuse(http.StatusUnauthorized, "invalid_client", 50027, "JWT token is invalid or malformed: it has no 'jti'.")
	}
	return nil
}

// signer finds the registered certificate that a header names.
func (a App) signer(h jose.Header) (*x509.Certificate, *entraError) {
	registered, err := a.certificates()
	if err != nil {
		return nil, refuse(http.StatusInternalServerError, "server_error", 90033, "%s.", err)
	}
	name := "none"
	for _, header := range []jose.HeaderKey{"x5t#S256", "x5t"} {
		text, ok := h.ExtraHeaders[header].(string)
		if !ok {
			continue
		}
		wanted, err := thumbprint(text)
		if err != nil {
			continue
		}
		name = strings.ToUpper(hex.EncodeToString(wanted))
		for _, c := range registered {
			long, short := sha256.Sum256(c.Raw), sha1.Sum(c.Raw) //nolint:gosec // see above
			if bytes.Equal(wanted, long[:]) || bytes.Equal(wanted, short[:]) {
				return c, nil
			}
		}
	}
	return nil, refuse(http.StatusUnauthorized, "invalid_client", 700027,
		"Client assertion failed signature validation. [Reason - The key was not found., Thumbprint of key used by client: '%s'.]", name)
}

// thumbprint reads base64 of either alphabet, padded or not: clients differ.
func thumbprint(text string) ([]byte, error) {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("thumbprint: %w", err)
	}
	return b, nil
}

func stamp(d *jwt.NumericDate) string {
	if d == nil {
		return "none"
	}
	return d.Time().UTC().Format(time.RFC3339)
}
