package entra

import (
	"context"
	"fmt"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/token"
)

// Sources is a token.Source that asks the one for the type of the identity. A
// type without a source is refused.
type Sources struct {
	// Managed answers for managed identities.
	Managed token.Source
	// Applications answers for applications with a secret or a certificate.
	Applications token.Source
}

var _ token.Source = Sources{}

// Token asks the source for the type of the identity.
func (s Sources) Token(ctx context.Context, r *token.Request) (token.Token, error) {
	var source token.Source
	switch r.Type {
	case v1.UserAssignedMSI:
		source = s.Managed
	case v1.ServicePrincipal, v1.ServicePrincipalCertificate:
		source = s.Applications
	default:
	}
	if source == nil {
		return token.Token{}, &token.Error{Kind: token.Rejected, Err: fmt.Errorf("nothing gets tokens for identities of type %d", r.Type)}
	}
	return source.Token(ctx, r)
}
