package roles_test

import (
	"maps"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/podid-io/podid/internal/cli/roles"
	"github.com/podid-io/podid/internal/entra"
)

func TestACloudIsKnownByItsSignInAndItsResourceManager(t *testing.T) {
	for _, name := range []string{"AzureCloud", "AzureChinaCloud", "AzureUSGovernment"} {
		c, err := entra.Cloud(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := roles.NameOf(c); got != name {
			t.Errorf("%s is called %s", name, got)
		}
		arm := c.Services[cloud.ResourceManager]
		arm.Endpoint = "https://management.local.azurestack.example"
		c.Services = maps.Clone(c.Services)
		c.Services[cloud.ResourceManager] = arm
		if got := roles.NameOf(c); got != "AzureStackCloud" {
			t.Errorf("an Azure Stack with the sign-in of %s is called %s", name, got)
		}
	}
}
