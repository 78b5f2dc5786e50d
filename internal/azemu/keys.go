package azemu

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
)

// backdate is how far before now a token begins, as Azure's do, unless it lives
// too shortly for that.
const backdate = 5 * time.Minute

// claims are those of an access token.
type claims struct {
	Audience  string `json:"aud"`
	Issuer    string `json:"iss"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expiry    int64  `json:"exp"`
	// AppID is the client id, which v2.0 tokens also call azp.
	AppID           string `json:"appid"`
	AuthorizedParty string `json:"azp,omitempty"`
	IdentityType    string `json:"idtyp"`
	Provider        string `json:"idp"`
	ObjectID        string `json:"oid"`
	Subject         string `json:"sub"`
	Tenant          string `json:"tid"`
	UniqueID        string `json:"uti"`
	ID              string `json:"jti"`
	Version         string `json:"ver"`
	// ResourceID is the ARM id of a managed identity.
	ResourceID string `json:"xms_mirid,omitempty"`
}

// principal is who a token speaks for.
type principal struct {
	clientID, objectID, tenant string
	resourceID                 string // empty for apps
}

// issued is a signed access token.
type issued struct {
	token             string
	notBefore, expiry time.Time
}

// keys signs tokens with one RSA key made at start.
type keys struct {
	signer jose.Signer
	public jose.JSONWebKey
}

func newKeys() (*keys, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make the signing key: %w", err)
	}
	public := jose.JSONWebKey{Key: private.Public(), Algorithm: string(jose.RS256), Use: "sig"}
	thumbprint, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("name the signing key: %w", err)
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("make the token signer: %w", err)
	}
	return &keys{signer: signer, public: public}, nil
}

// set is the JWKS.
func (k *keys) set() jose.JSONWebKeySet {
	return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k.public}}
}

// issue signs a token of p for resource. An issuer without version 2.0 is the
// one of managed identities.
func (k *keys) issue(p principal, resource, issuer, version string, lifetime time.Duration, now time.Time) (issued, error) {
	start, end := now.Add(-min(backdate, lifetime/20)), now.Add(lifetime)
	c := claims{
		Audience: resource, Issuer: issuer, Version: version,
		IssuedAt: start.Unix(), NotBefore: start.Unix(), Expiry: end.Unix(),
		AppID: p.clientID, IdentityType: "app", Provider: "https://sts.windows.net/" + p.tenant + "/",
		ObjectID: p.objectID, Subject: p.objectID, Tenant: p.tenant, ResourceID: p.resourceID,
		ID: uuid.NewString(),
	}
	c.UniqueID = c.ID
	if version == "2.0" {
		c.AuthorizedParty = p.clientID
	}
	token, err := jwt.Signed(k.signer).Claims(c).Serialize()
	if err != nil {
		return issued{}, fmt.Errorf("sign a token for %s: %w", p.clientID, err)
	}
	return issued{token: token, notBefore: time.Unix(c.NotBefore, 0), expiry: time.Unix(c.Expiry, 0)}, nil
}

// verify checks the signature and the times of a token of this emulator.
func (k *keys) verify(raw string) (claims, error) {
	token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return claims{}, errors.New("it is not a JWT signed with RS256")
	}
	var c claims
	if err := token.Claims(k.public.Key, &c); err != nil {
		return claims{}, errors.New("its signature does not verify")
	}
	if now := time.Now().Unix(); now >= c.Expiry || now < c.NotBefore {
		return claims{}, fmt.Errorf("it is valid from %d to %d, and now is %d", c.NotBefore, c.Expiry, now)
	}
	return c, nil
}
