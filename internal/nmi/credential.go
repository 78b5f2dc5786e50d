package nmi

import (
	"fmt"
	"reflect"
	"sync"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/token"
)

// Keys of the Secrets that AAD Pod Identity documents.
const (
	keyClientSecret = "clientSecret"
	keyCertificate  = "certificate"
	keyPassword     = "password"
)

const (
	// longestCredential bounds a credential, in bytes: certificates with their
	// chain and key have a few thousand.
	longestCredential = 64 << 10
	// mostCredentials bounds those that are kept.
	mostCredentials = 256
)

var errLongCredential = fmt.Errorf("has more than %d bytes: put the one credential there, and nothing else", longestCredential)

// credentials keeps what was made of Secrets for as long as they do not change:
// its digest is not worth making for each request.
type credentials struct {
	mu   sync.RWMutex
	made map[secretOf]made // guarded by mu
}

// secretOf is a Secret as identities of one type read it.
type secretOf struct {
	kind            v1.IdentityType
	namespace, name string
}

// made is a credential, and the content that it was made of: another content is
// another map, and this one stays where it is for as long as it is held here.
type made struct {
	of         map[string][]byte
	credential *token.Credential
}

func newCredentials() *credentials { return &credentials{made: make(map[secretOf]made)} }

// of is the credential in a Secret.
func (c *credentials) of(which secretOf, secret map[string][]byte) (*token.Credential, error) {
	c.mu.RLock()
	m, ok := c.made[which]
	c.mu.RUnlock()
	if ok && reflect.ValueOf(m.of).Pointer() == reflect.ValueOf(secret).Pointer() {
		return m.credential, nil
	}
	credential, err := credential(which.kind, secret)
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.made, which); err != nil {
		return nil, err
	}
	if len(c.made) >= mostCredentials {
		clear(c.made) // they are made anew when they are asked for
	}
	c.made[which] = made{secret, credential}
	return credential, nil
}

// credential finds the credential in a Secret: by its documented key, or the
// only key there is. Which of several others was meant is not ours to guess.
func credential(kind v1.IdentityType, secret map[string][]byte) (*token.Credential, error) {
	if kind == v1.ServicePrincipalCertificate {
		certificate, password := secret[keyCertificate], secret[keyPassword]
		if len(certificate) == 0 {
			return nil, fmt.Errorf("has no key %q: put the certificate there, as PKCS#12 or as PEM with its private key", keyCertificate)
		}
		if len(certificate)+len(password) > longestCredential {
			return nil, errLongCredential
		}
		return token.NewCredential("", string(certificate), string(password)), nil
	}
	value, ok := secret[keyClientSecret]
	for _, only := range secret {
		if !ok && len(secret) == 1 {
			value = only
		}
	}
	if len(value) == 0 {
		return nil, fmt.Errorf("has no key %q, or it is empty: put the client secret there, and nothing else or under other names", keyClientSecret)
	}
	if len(value) > longestCredential {
		return nil, errLongCredential
	}
	return token.NewCredential(string(value), "", ""), nil
}
