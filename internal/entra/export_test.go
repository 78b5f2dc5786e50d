package entra

import "context"

// ParseCertificate is for fuzzing.
var ParseCertificate = parseCertificate

// TenantOf is Tenant over something else than IMDS.
func TenantOf(fetch func(context.Context) (string, error)) func(context.Context) (string, error) {
	return newTenant(fetch).get
}

// Turns are those of requests for metadata. What is returned takes one, and one for
// a page.
func Turns() (take, takePage func(context.Context) (end func(), err error)) {
	t := newTurns()
	return t.take, t.takePage
}

// TakePage takes one that a page of s would have had.
func TakePage(ctx context.Context, s *IMDS) (end func(), err error) { return s.turns.takePage(ctx) }

// AccountIn reads the claims of a token.
var AccountIn = accountIn
