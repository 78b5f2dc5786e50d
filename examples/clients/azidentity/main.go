// Command azidentity is an application as a team would write it: it asks the
// official Azure SDK, unmodified, for a token of the pod's managed identity and
// prints what it got. It knows nothing of podid.
//
//	azidentity [-resource https://vault.azure.net] [-client-id ID] [-default]
//
// It prints one JSON object.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func main() {
	resource := flag.String("resource", "https://vault.azure.net", "App-ID URI that the token is for")
	clientID := flag.String("client-id", os.Getenv("AZURE_CLIENT_ID"), "client id of the identity; empty leaves the choice to the cluster")
	chain := flag.Bool("default", false, "use DefaultAzureCredential instead of ManagedIdentityCredential")
	timeout := flag.Duration("timeout", 90*time.Second, "how long to try")
	flag.Parse()
	if err := run(context.Background(), *timeout, *resource, *clientID, *chain); err != nil {
		fmt.Fprintln(os.Stderr, "azidentity:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, timeout time.Duration, resource, clientID string, chain bool) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cred, err := credential(clientID, chain)
	if err != nil {
		return err
	}
	start := time.Now()
	t, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"access_token": t.Token, "expires_on": t.ExpiresOn, "took_ms": time.Since(start).Milliseconds(),
	})
}

func credential(clientID string, chain bool) (azcore.TokenCredential, error) {
	if chain {
		return azidentity.NewDefaultAzureCredential(nil)
	}
	options := &azidentity.ManagedIdentityCredentialOptions{}
	if clientID != "" {
		options.ID = azidentity.ClientID(clientID)
	}
	return azidentity.NewManagedIdentityCredential(options)
}
