package entra

import (
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
)

// Cloud finds one of Azure's clouds by name, without regard to case: AzureCloud
// (or AzurePublicCloud), AzureChinaCloud, AzureUSGovernment (or
// AzureUSGovernmentCloud).
func Cloud(name string) (cloud.Configuration, error) {
	switch strings.ToLower(name) {
	case "azurecloud", "azurepubliccloud":
		return cloud.AzurePublic, nil
	case "azurechinacloud":
		return cloud.AzureChina, nil
	case "azureusgovernment", "azureusgovernmentcloud":
		return cloud.AzureGovernment, nil
	case "azuregermancloud":
		return cloud.Configuration{}, errors.New("AzureGermanCloud was closed in 2021: its regions are part of AzureCloud")
	default:
		return cloud.Configuration{}, fmt.Errorf("cloud %q is unknown: write AzureCloud, AzureChinaCloud or AzureUSGovernment", name)
	}
}

// azures reports whether an authority is one of Azure's own clouds'.
func azures(authority string) bool {
	for _, c := range []cloud.Configuration{cloud.AzurePublic, cloud.AzureChina, cloud.AzureGovernment} {
		if strings.EqualFold(strings.TrimSuffix(c.ActiveDirectoryAuthorityHost, "/"), strings.TrimSuffix(authority, "/")) {
			return true
		}
	}
	return false
}
