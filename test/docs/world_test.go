package docs_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/docs"
	"github.com/podid-io/podid/test/localcluster"
)

// What the emulated subscription holds from the start.
const (
	scaleSet = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/MC_podid-demo/providers/Microsoft.Compute/virtualMachineScaleSets/aks-pool-12345678-vmss"

	// operator signs in for podid roles.
	operator       = "99999999-0000-0000-0000-000000000001"
	operatorObject = "99999999-0000-0000-0000-000000000002"
	operatorSecret = "the operator's"
)

// world is an API server with two nodes that run nothing, beside an Azure.
type world struct {
	*localcluster.ControlPlane

	env []string
}

// programs are compiled once.
var programs = sync.OnceValues(func() ([]string, error) {
	ctx := context.Background()
	kubectl, err := localcluster.BuildKubectl(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(programsFolder)
	if err != nil {
		return nil, err
	}
	if err := docs.Programs(ctx, root, dir, kubectl); err != nil {
		return nil, err
	}
	caches, err := docs.Caches(ctx, root, kubectl)
	return append(docs.Environment(dir), caches...), err
})

// programsFolder is the home of who follows the pages.
const programsFolder = root + "/.local/docs"

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(m.Run()) //nolint:forbidigo // TestMain is the main of a test
}

// newWorld starts one.
func newWorld(t *testing.T) world {
	t.Helper()
	env, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cp, err := localcluster.StartControlPlane(t.Context(), localcluster.ControlPlaneConfig{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	api, err := client.New(cp.REST(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range []string{"0", "1"} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "aks-pool-12345678-vmss00000" + number}}
		node.Spec.ProviderID = "azure://" + scaleSet + "/virtualMachines/" + number
		if err := api.Create(t.Context(), node); err != nil {
			t.Fatal(err)
		}
	}
	ready := startAzure(t, dir)
	return world{ControlPlane: cp, env: append(env,
		"KUBECONFIG="+cp.Kubeconfig(), "DOCS_AZURE="+ready.Admin, "DOCS_SCALE_SET="+scaleSet, "DOCS_ISSUER="+cp.REST().Host,
		"SSL_CERT_FILE="+ready.CAFile, "AZURE_ENVIRONMENT_FILEPATH="+cloudFile(t, ready.Azure),
		"AZURE_TENANT_ID="+azemu.DefaultTenant, "AZURE_CLIENT_ID="+operator, "AZURE_CLIENT_SECRET="+operatorSecret,
	)}
}

// startAzure starts the emulator, until the test ends.
func startAzure(t *testing.T, dir string) (ready azemu.Ready) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { // ends with the test
		err := azemu.Serve(ctx, azemu.ServeConfig{
			Config: azemu.Config{EnforceRoles: true, Seed: azemu.State{
				Apps:            []azemu.App{{ClientID: operator, ObjectID: operatorObject, Secrets: []string{operatorSecret}}},
				ScaleSets:       []azemu.ScaleSet{{ID: scaleSet}},
				RoleAssignments: []azemu.RoleAssignment{{Scope: strings.Join(strings.Split(scaleSet, "/")[:3], "/"), PrincipalID: operatorObject, Role: "Owner"}},
			}},
			Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", CAFile: filepath.Join(dir, "azure.pem"), Out: in,
		})
		_ = in.Close() // nobody waits for more
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatal(err)
	}
	return ready
}

// cloudFile says where the emulated cloud is, as Azure Stack's tools do.
func cloudFile(t *testing.T, endpoint string) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{
		"name": "AzureStackCloud", "resourceManagerEndpoint": endpoint + "/",
		"activeDirectoryEndpoint": endpoint + "/", "tokenAudience": "https://management.azure.com/",
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "cloud.json")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// kubectl runs kubectl with what is on its standard input.
func (w world) kubectl(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(programsFolder, "kubectl"), args...)
	cmd.Env = append(os.Environ(), w.env...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// bin is the folder of podid's programs.
func (world) bin(t *testing.T) string {
	t.Helper()
	bin, err := filepath.Abs(filepath.Join(programsFolder, "real"))
	if err != nil {
		t.Fatal(err)
	}
	return bin
}
