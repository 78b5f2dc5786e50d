// Package cloudconfig reads which Azure cloud mic works in, and as whom: from
// azure.json, as on the nodes of AKS, or from the environment. Keys and
// variables are those of AAD Pod Identity.
package cloudconfig

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"sigs.k8s.io/yaml"

	"github.com/podid-io/podid/internal/entra"
)

// DefaultPath is where azure.json is on the nodes of AKS.
const DefaultPath = "/etc/kubernetes/azure.json"

// Config is what was read.
type Config struct {
	// ARM says in which cloud and as whom.
	ARM entra.ARMConfig
}

// file is azure.json; everything else in it is the business of others.
type file struct {
	Cloud                string             `json:"cloud"`
	TenantID             string             `json:"tenantId"`
	ClientID             string             `json:"aadClientId"`
	ClientSecret         entra.ClientSecret `json:"aadClientSecret"`
	ManagedIdentity      bool               `json:"useManagedIdentityExtension"`
	UserAssignedIdentity string             `json:"userAssignedIdentityID"`
}

// Read reads the file at path, or the environment when path is empty. It fails
// when the cloud is unknown or no credential is described.
func Read(path string, getenv func(string) string) (Config, error) {
	f, from := fromEnvironment(getenv), "the environment"
	if path != "" {
		from = path
		text, err := os.ReadFile(path)
		if err != nil {
			return Config{}, fmt.Errorf("cloud configuration: %w (write the path of azure.json, or nothing to read the environment)", err)
		}
		f = file{}
		if err := yaml.Unmarshal(text, &f); err != nil {
			return Config{}, fmt.Errorf("cloud configuration %s is neither JSON nor YAML, or a value is of the wrong type", path) // the cause could show a secret
		}
	}
	c, err := f.config(getenv)
	if err != nil {
		return Config{}, fmt.Errorf("cloud configuration from %s: %w", from, err)
	}
	return c, nil
}

func fromEnvironment(getenv func(string) string) file {
	return file{
		Cloud: getenv("CLOUD"), TenantID: getenv("TENANT_ID"),
		ClientID: getenv("CLIENT_ID"), ClientSecret: entra.ClientSecret(getenv("CLIENT_SECRET")),
		ManagedIdentity:      strings.EqualFold(getenv("USE_MSI"), "true"),
		UserAssignedIdentity: getenv("USER_ASSIGNED_MSI_CLIENT_ID"),
	}
}

func (f file) config(getenv func(string) string) (Config, error) {
	c := Config{
		ARM: entra.ARMConfig{
			ManagedIdentity: f.ManagedIdentity,
			TenantID:        f.TenantID, ClientID: f.ClientID, Secret: f.ClientSecret,
		},
	}
	if f.ManagedIdentity {
		c.ARM.TenantID, c.ARM.ClientID, c.ARM.Secret = "", f.UserAssignedIdentity, ""
	} else if f.TenantID == "" || f.ClientID == "" || f.ClientSecret == "" {
		return Config{}, errors.New("no credential: set useManagedIdentityExtension (USE_MSI) to true, or tenantId, aadClientId and aadClientSecret (TENANT_ID, CLIENT_ID, CLIENT_SECRET)")
	}
	var err error
	c.ARM.Cloud, err = byName(f.Cloud, getenv)
	c.ARM.DisableInstanceDiscovery = strings.EqualFold(f.Cloud, customCloud)
	return c, err
}

const (
	customCloud     = "AzureStackCloud"
	customCloudFile = "AZURE_ENVIRONMENT_FILEPATH"
)

func byName(name string, getenv func(string) string) (cloud.Configuration, error) {
	switch strings.ToLower(name) {
	case strings.ToLower(customCloud):
		return custom(getenv(customCloudFile))
	case "":
		return cloud.Configuration{}, errors.New("cloud (CLOUD) is missing: write AzureCloud, AzureChinaCloud, AzureUSGovernment or AzureStackCloud")
	default:
		return entra.Cloud(name)
	}
}

// custom reads the endpoints of a cloud of its own from a file as Azure Stack
// tools write it.
func custom(path string) (cloud.Configuration, error) {
	if path == "" {
		return cloud.Configuration{}, fmt.Errorf("%s needs a file with its endpoints: set %s to its path", customCloud, customCloudFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return cloud.Configuration{}, fmt.Errorf("%s: %w", customCloudFile, err)
	}
	var e struct {
		ResourceManager   string `json:"resourceManagerEndpoint"`
		ActiveDirectory   string `json:"activeDirectoryEndpoint"`
		TokenAudience     string `json:"tokenAudience"`
		ServiceManagement string `json:"serviceManagementEndpoint"`
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return cloud.Configuration{}, fmt.Errorf("%s: %w", path, err)
	}
	if e.ResourceManager == "" || e.ActiveDirectory == "" {
		return cloud.Configuration{}, fmt.Errorf("%s: resourceManagerEndpoint or activeDirectoryEndpoint is missing", path)
	}
	audience := e.ResourceManager
	for _, a := range []string{e.ServiceManagement, e.TokenAudience} {
		if a != "" {
			audience = a
		}
	}
	return cloud.Configuration{
		ActiveDirectoryAuthorityHost: e.ActiveDirectory,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: strings.TrimSuffix(e.ResourceManager, "/"), Audience: audience},
		},
	}, nil
}
