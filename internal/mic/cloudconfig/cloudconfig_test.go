package cloudconfig_test

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
)

const clusterIdentity = `{
  "cloud": "AzurePublicCloud", "tenantId": "tenant", "subscriptionId": "sub", "resourceGroup": "MC_group", "vmType": "vmss",
  "aadClientId": "msi", "aadClientSecret": "msi", "useManagedIdentityExtension": true, "userAssignedIdentityID": "kubelet",
  "securityGroupName": "ignored", "routeTableName": "ignored"
}`

const stack = `{"name": "AzureStackCloud", "resourceManagerEndpoint": "https://management.local.example/", "activeDirectoryEndpoint": "https://login.local.example/", "tokenAudience": "https://management.example/token"}`

func TestRead(t *testing.T) {
	secret := map[string]string{"CLOUD": "AzureCloud", "TENANT_ID": "tenant", "CLIENT_ID": "client", "CLIENT_SECRET": "s3cret"}
	with := func(pairs ...string) map[string]string {
		env := maps.Clone(secret)
		for i := 0; i < len(pairs); i += 2 {
			env[pairs[i]] = pairs[i+1]
		}
		return env
	}
	asApp := entra.ARMConfig{Cloud: cloud.AzurePublic, TenantID: "tenant", ClientID: "client", Secret: "s3cret"}
	federated := func(c cloud.Configuration) entra.ARMConfig {
		return entra.ARMConfig{Cloud: c, TenantID: "tenant", ClientID: "client", FederatedTokenFile: "/var/token"}
	}
	webhook := map[string]string{
		"AZURE_FEDERATED_TOKEN_FILE": "/var/token", "AZURE_CLIENT_ID": "client", "AZURE_TENANT_ID": "tenant",
		"AZURE_AUTHORITY_HOST": "https://login.chinacloudapi.cn/",
	}
	for sentence, test := range map[string]struct {
		file string // content; empty means the environment
		env  map[string]string
		want cloudconfig.Config
		says string
	}{
		"azure.json of a cluster with a managed identity": {
			file: clusterIdentity,
			want: cloudconfig.Config{
				ARM:             entra.ARMConfig{Cloud: cloud.AzurePublic, ManagedIdentity: true, ClientID: "kubelet"},
				ClusterIdentity: "kubelet",
			},
		},
		"a federated application in azure.json": {
			file: `{"cloud": "AzureCloud", "tenantId": "tenant", "aadClientId": "client", "useFederatedWorkloadIdentityExtension": true, "aadFederatedTokenFile": "/var/token", "useManagedIdentityExtension": true}`,
			want: cloudconfig.Config{ARM: federated(cloud.AzurePublic)},
		},
		"a federated application, of which the webhook says the rest": {
			file: `{"cloud": "AzureCloud", "useFederatedWorkloadIdentityExtension": true}`,
			env:  webhook, want: cloudconfig.Config{ARM: federated(cloud.AzurePublic)},
		},
		"what the webhook says where azure.json names a secret": {
			file: `{"cloud": "AzureCloud", "tenantId": "tenant", "aadClientId": "client", "aadClientSecret": "s3cret"}`,
			env:  webhook, want: cloudconfig.Config{ARM: asApp},
		},
		"what the webhook says alone": {
			env: webhook, want: cloudconfig.Config{ARM: federated(cloud.AzureChina)},
		},
		"what the webhook says beside a secret": {
			env: with("AZURE_FEDERATED_TOKEN_FILE", "/var/token"), want: cloudconfig.Config{ARM: asApp},
		},
		"a federated application without a token": {
			file: `{"cloud": "AzureCloud", "tenantId": "tenant", "aadClientId": "client", "useFederatedWorkloadIdentityExtension": true}`,
			says: "no federated credential: set tenantId, aadClientId and aadFederatedTokenFile",
		},
		"a certificate in azure.json": {
			file: `{"cloud": "AzureCloud", "tenantId": "tenant", "aadClientId": "client", "aadClientCertPath": "CERTIFICATE", "aadClientCertPassword": "s3cret"}`,
			want: cloudconfig.Config{ARM: entra.ARMConfig{
				Cloud: cloud.AzurePublic, TenantID: "tenant", ClientID: "client", Certificate: "s3cret certificate", CertificatePassword: "s3cret",
			}},
		},
		"a certificate from the environment": {
			env: with("CLIENT_SECRET", "", "AZURE_CLIENT_CERTIFICATE_PATH", "CERTIFICATE"),
			want: cloudconfig.Config{ARM: entra.ARMConfig{
				Cloud: cloud.AzurePublic, TenantID: "tenant", ClientID: "client", Certificate: "s3cret certificate",
			}},
		},
		"a certificate that is not there": {
			env:  with("CLIENT_SECRET", "", "AZURE_CLIENT_CERTIFICATE_PATH", "/nowhere/certificate"),
			says: "aadClientCertPath: open /nowhere/certificate",
		},
		"an application from the environment": {env: secret, want: cloudconfig.Config{ARM: asApp}},
		"the virtual machine's own identity": {
			env:  map[string]string{"CLOUD": "AzureChinaCloud", "USE_MSI": "True"},
			want: cloudconfig.Config{ARM: entra.ARMConfig{Cloud: cloud.AzureChina, ManagedIdentity: true}},
		},
		"a cloud's name in any case": {
			env:  map[string]string{"CLOUD": "azureusgovernmentcloud", "USE_MSI": "true"},
			want: cloudconfig.Config{ARM: entra.ARMConfig{Cloud: cloud.AzureGovernment, ManagedIdentity: true}},
		},
		"a cloud of its own": {
			env: with("CLOUD", "AzureStackCloud", "AZURE_ENVIRONMENT_FILEPATH", "STACK"),
			want: cloudconfig.Config{ARM: entra.ARMConfig{
				Cloud: cloud.Configuration{
					ActiveDirectoryAuthorityHost: "https://login.local.example/",
					Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
						cloud.ResourceManager: {Endpoint: "https://management.local.example", Audience: "https://management.example/token"},
					},
				},
				TenantID: "tenant", ClientID: "client", Secret: "s3cret", DisableInstanceDiscovery: true,
			}},
		},
		"a cloud of its own without a file": {env: with("CLOUD", "AzureStackCloud"), says: "set AZURE_ENVIRONMENT_FILEPATH to its path"},
		"no cloud":                          {env: with("CLOUD", ""), says: "from the environment: cloud (CLOUD) is missing"},
		"an unknown cloud":                  {env: with("CLOUD", "MyCloud"), says: `cloud "MyCloud" is unknown: write AzureCloud`},
		"a closed cloud":                    {env: with("CLOUD", "AzureGermanCloud"), says: "AzureGermanCloud was closed"},
		"no credential":                     {env: with("CLIENT_SECRET", ""), says: "no credential: set useManagedIdentityExtension (USE_MSI) to true, or"},
		"no JSON":                           {file: `{"aadClientSecret": "s3cret", oops`, says: "is neither JSON nor YAML"},
		"a value of the wrong type":         {file: `{"aadClientSecret": {"s3cret": 1}}`, says: "or a value is of the wrong type"},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := t.TempDir()
			path := ""
			certificate := write(t, dir, "certificate", "s3cret certificate")
			if test.file != "" {
				path = write(t, dir, "azure.json", strings.ReplaceAll(test.file, "CERTIFICATE", certificate))
			}
			env := func(name string) string {
				switch v := test.env[name]; v {
				case "STACK":
					return write(t, dir, "stack.json", stack)
				case "CERTIFICATE":
					return certificate
				default:
					return v
				}
			}
			got, err := cloudconfig.Read(path, env)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Fatalf("error %v, want %q in it", err, test.says)
				}
				if strings.Contains(err.Error(), "s3cret") {
					t.Errorf("the error shows the secret: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got.Files = nil // see TestReadTellsItsFiles
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Read() (-want +got):\n%s", diff)
			}
			var log strings.Builder
			slog.New(slog.NewTextHandler(&log, nil)).InfoContext(t.Context(), "read", "config", got, "secret", got.ARM.Secret)
			if text := log.String() + fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(text, "s3cret") {
				t.Errorf("the secret shows in %s", text)
			}
		})
	}
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadSaysWhichFileIsMissing(t *testing.T) {
	_, err := cloudconfig.Read("/nowhere/azure.json", func(string) string { return "" })
	if err == nil || !strings.Contains(err.Error(), "/nowhere/azure.json") {
		t.Errorf("error %v", err)
	}
}

func TestReadTellsItsFiles(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "azure.json", `{"cloud": "AzureStackCloud", "tenantId": "tenant", "aadClientId": "client", "aadClientCertPath": "`+dir+`/certificate"}`)
	want := []string{path, "/etc/stack.json", dir + "/certificate"}
	c, err := cloudconfig.Read(path, func(name string) string {
		return map[string]string{"AZURE_ENVIRONMENT_FILEPATH": "/etc/stack.json"}[name]
	})
	if err == nil {
		t.Fatal("read a certificate that is not there")
	}
	if diff := cmp.Diff(want, c.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
