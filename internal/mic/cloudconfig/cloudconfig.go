// Package cloudconfig reads which Azure cloud mic works in, and as whom: from
// azure.json, as on the nodes of AKS, or from the environment. Keys and
// variables are those of AAD Pod Identity.
package cloudconfig

import (
	"cmp"
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
	// ClusterIdentity is the client id of the managed identity that the file names,
	// which is the cluster's own and never taken off a machine. Empty means none.
	ClusterIdentity string
	// Files are those that it was read from, also when that failed.
	Files []string
}

// file is azure.json; everything else in it is the business of others. Its keys
// are those of Azure's cloud provider for Kubernetes.
type file struct {
	Cloud                string             `json:"cloud"`
	TenantID             string             `json:"tenantId"`
	ClientID             string             `json:"aadClientId"`
	ClientSecret         entra.ClientSecret `json:"aadClientSecret"`
	CertificatePath      string             `json:"aadClientCertPath"`
	CertificatePassword  entra.ClientSecret `json:"aadClientCertPassword"`
	Federated            bool               `json:"useFederatedWorkloadIdentityExtension"`
	FederatedTokenFile   string             `json:"aadFederatedTokenFile"`
	ManagedIdentity      bool               `json:"useManagedIdentityExtension"`
	UserAssignedIdentity string             `json:"userAssignedIdentityID"`
}

// Read reads the file at path, or the environment when path is empty. It fails
// when the cloud is unknown or no credential is described.
func Read(path string, getenv func(string) string) (Config, error) {
	f, from := fromEnvironment(getenv), "the environment"
	c := Config{}
	if path != "" {
		from = path
		c.Files = []string{path}
		text, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("cloud configuration: %w (write the path of azure.json, or nothing to read the environment)", err)
		}
		f = file{}
		if err := yaml.Unmarshal(text, &f); err != nil {
			return c, fmt.Errorf("cloud configuration %s is neither JSON nor YAML, or a value is of the wrong type", path) // the cause could show a secret
		}
	}
	if err := f.fill(&c, getenv); err != nil {
		return c, fmt.Errorf("cloud configuration from %s: %w", from, err)
	}
	return c, nil
}

// Variables that the webhook of Azure's workload identity sets in a pod.
const (
	federatedTokenFile = "AZURE_FEDERATED_TOKEN_FILE"
	federatedClient    = "AZURE_CLIENT_ID"
	federatedTenant    = "AZURE_TENANT_ID"
	federatedAuthority = "AZURE_AUTHORITY_HOST"
)

// fromEnvironment reads the variables of AAD Pod Identity, and those of workload
// identity where the former name no credential.
func fromEnvironment(getenv func(string) string) file {
	f := file{
		Cloud: getenv("CLOUD"), TenantID: getenv("TENANT_ID"),
		ClientID: getenv("CLIENT_ID"), ClientSecret: entra.ClientSecret(getenv("CLIENT_SECRET")),
		CertificatePath:      getenv("AZURE_CLIENT_CERTIFICATE_PATH"),
		CertificatePassword:  entra.ClientSecret(getenv("AZURE_CLIENT_CERTIFICATE_PASSWORD")),
		ManagedIdentity:      strings.EqualFold(getenv("USE_MSI"), "true"),
		UserAssignedIdentity: getenv("USER_ASSIGNED_MSI_CLIENT_ID"),
	}
	f.Federated = getenv(federatedTokenFile) != "" && !f.ManagedIdentity && f.ClientSecret == "" && f.CertificatePath == ""
	return f
}

// fill fills in what the file says.
func (f *file) fill(c *Config, getenv func(string) string) error {
	c.ClusterIdentity = f.UserAssignedIdentity
	if strings.EqualFold(f.Cloud, CustomCloud) && getenv(customCloudFile) != "" {
		c.Files = append(c.Files, getenv(customCloudFile))
	}
	if err := f.credential(c, getenv); err != nil {
		return err
	}
	if f.Cloud == "" && f.Federated {
		f.Cloud = byAuthority(getenv(federatedAuthority))
	}
	var err error
	c.ARM.Cloud, err = Cloud(f.Cloud, getenv)
	c.ARM.DisableInstanceDiscovery = strings.EqualFold(f.Cloud, CustomCloud)
	return err
}

// credential finds out as whom, in the order of Azure's cloud provider.
func (f *file) credential(c *Config, getenv func(string) string) error {
	c.ARM.TenantID, c.ARM.ClientID = f.TenantID, f.ClientID
	switch {
	case f.Federated:
		c.ARM.TenantID = cmp.Or(f.TenantID, getenv(federatedTenant))
		c.ARM.ClientID = cmp.Or(f.ClientID, getenv(federatedClient))
		c.ARM.FederatedTokenFile = cmp.Or(f.FederatedTokenFile, getenv(federatedTokenFile))
		if c.ARM.TenantID == "" || c.ARM.ClientID == "" || c.ARM.FederatedTokenFile == "" {
			return fmt.Errorf("no federated credential: set tenantId, aadClientId and aadFederatedTokenFile (or %s, %s and %s)", federatedTenant, federatedClient, federatedTokenFile)
		}
		return nil
	case f.ManagedIdentity:
		c.ARM = entra.ARMConfig{ManagedIdentity: true, ClientID: f.UserAssignedIdentity}
		return nil
	case f.TenantID == "" || f.ClientID == "" || f.ClientSecret == "" && f.CertificatePath == "":
		return errors.New("no credential: set useManagedIdentityExtension (USE_MSI) to true, or tenantId, aadClientId and aadClientSecret (TENANT_ID, CLIENT_ID, CLIENT_SECRET), or a certificate by aadClientCertPath (AZURE_CLIENT_CERTIFICATE_PATH) in place of the secret, or useFederatedWorkloadIdentityExtension")
	case f.ClientSecret != "":
		c.ARM.Secret = f.ClientSecret
		return nil
	}
	c.Files = append(c.Files, f.CertificatePath)
	certificate, err := os.ReadFile(f.CertificatePath)
	if err != nil {
		return fmt.Errorf("aadClientCertPath: %w", err)
	}
	c.ARM.Certificate, c.ARM.CertificatePassword = entra.ClientSecret(certificate), f.CertificatePassword
	return nil
}

// byAuthority is the name of the cloud that signs in at a host; empty where that
// is not known.
func byAuthority(host string) string {
	for name, c := range map[string]cloud.Configuration{
		"AzureCloud": cloud.AzurePublic, "AzureChinaCloud": cloud.AzureChina, "AzureUSGovernment": cloud.AzureGovernment,
	} {
		if strings.EqualFold(strings.TrimRight(host, "/"), strings.TrimRight(c.ActiveDirectoryAuthorityHost, "/")) {
			return name
		}
	}
	return ""
}

// CustomCloud is the name of a cloud of one's own, which Entra ID does not know.
const CustomCloud = "AzureStackCloud"

const customCloudFile = "AZURE_ENVIRONMENT_FILEPATH"

// Cloud finds a cloud by the name that azure.json has for it. Of CustomCloud it
// reads the endpoints from the file that AZURE_ENVIRONMENT_FILEPATH names.
func Cloud(name string, getenv func(string) string) (cloud.Configuration, error) {
	switch strings.ToLower(name) {
	case strings.ToLower(CustomCloud):
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
		return cloud.Configuration{}, fmt.Errorf("%s needs a file with its endpoints: set %s to its path", CustomCloud, customCloudFile)
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
