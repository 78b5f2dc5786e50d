package compute

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// policies are what each try of a request goes through, in this order: it waits
// for its turn, gets a token that is good then, and leaves. The SDK's own clients
// have the token before the turn, which can be half an hour later: they get none.
func (c Config) policies() []policy.Policy {
	services := c.Cloud.Services
	if len(services) == 0 { // as the SDK has it
		services = cloud.AzurePublic.Services
	}
	scope := services[cloud.ResourceManager].Audience + "/.default"
	return []policy.Policy{
		newThrottle(c),
		runtime.NewBearerTokenPolicy(c.Credential, []string{scope}, nil),
		departure{},
	}
}

type departureKey struct{}

// departing has it noted whether a request that is sent once has left for Azure.
func departing(ctx context.Context) (_ context.Context, left *bool) {
	left = new(bool)
	return context.WithValue(ctx, departureKey{}, left), left
}

// departure notes that a request has left: from then on Azure may have carried it
// out, whatever the error. Without a connection it may not.
type departure struct{}

// Do is the policy of the SDK's pipeline.
func (departure) Do(req *policy.Request) (*http.Response, error) {
	answer, err := req.Next()
	if left, ok := req.Raw().Context().Value(departureKey{}).(*bool); ok {
		*left = !unconnected(err)
	}
	return answer, err
}

func unconnected(err error) bool {
	if _, unverified := errors.AsType[*tls.CertificateVerificationError](err); unverified {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "dial" || op.Op == "proxyconnect")
}
