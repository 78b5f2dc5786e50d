package nmi

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	v1 "github.com/podid-io/podid/api/v1"
)

func TestCredentialIsMadeOncePerContent(t *testing.T) {
	c := newCredentials()
	which := secretOf{v1.ServicePrincipal, "team", "sp"}
	content := map[string][]byte{keyClientSecret: []byte("hush")}
	of := func(secret map[string][]byte) string {
		t.Helper()
		got, err := c.of(which, secret)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%p %s", got, string(got.ClientSecret))
	}
	first := of(content)
	if again := of(content); again != first {
		t.Error("a credential was made twice of one content")
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = c.of(which, content) }); n != 0 {
		t.Errorf("%v allocations for a credential that is there", n)
	}
	if same := of(maps.Clone(content)); same == first {
		t.Error("a credential was kept though the content came anew")
	}
	if rotated := of(map[string][]byte{keyClientSecret: []byte("new")}); !strings.HasSuffix(rotated, " new") {
		t.Error("a rotated secret has the old credential")
	}
	if _, err := c.of(which, map[string][]byte{}); err == nil || len(c.made) != 0 {
		t.Errorf("an emptied Secret gives %v and leaves %d credentials in memory", err, len(c.made))
	}
	for i := range 2 * mostCredentials {
		if which.name = fmt.Sprint(i); of(content) == "" || len(c.made) > mostCredentials {
			t.Fatalf("%d credentials are kept", len(c.made))
		}
	}
}

func TestLongCredentialsAreRefused(t *testing.T) {
	long := []byte(strings.Repeat("x", longestCredential))
	tests := map[string]struct {
		kind   v1.IdentityType
		secret map[string][]byte
		refuse bool
	}{
		"a secret of 64 KiB":               {1, map[string][]byte{"clientSecret": long}, false},
		"a longer one":                     {1, map[string][]byte{"clientSecret": append(long, 'x')}, true},
		"a certificate, with its password": {2, map[string][]byte{"certificate": long, "password": []byte("x")}, true},
		"what is not read":                 {2, map[string][]byte{"certificate": []byte("pem"), "other": append(long, 'x')}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := credential(tc.kind, tc.secret)
			if refused := err != nil; refused != tc.refuse || (refused && !strings.Contains(err.Error(), "65536 bytes")) {
				t.Errorf("credential() = %v, want refused %t", err, tc.refuse)
			}
		})
	}
}
