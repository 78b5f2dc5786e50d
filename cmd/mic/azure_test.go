package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
)

const scaleSet = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/group/providers/Microsoft.Compute/virtualMachineScaleSets/pool"

// newCloud is an Azure on loopback, and its azure.json in dir.
func newCloud(t *testing.T, dir string, c azemu.Config, apps ...azemu.App) (azure *azemu.Emulator, path string) {
	t.Helper()
	c.Seed = azemu.State{
		Apps:      append(apps, azemu.App{ClientID: "mic", Secrets: []string{"mic's secret"}}),
		ScaleSets: []azemu.ScaleSet{{ID: scaleSet, Instances: []azemu.Instance{{InstanceID: "0", Name: "pool000000"}}}},
	}
	azure, err := azemu.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(azure.Azure())
	server.TLS = azure.TLS()
	server.StartTLS()
	t.Cleanup(func() { azure.Close(); server.Close() })
	write(t, dir, "cloud.json", `{"resourceManagerEndpoint": "`+server.URL+`/", "activeDirectoryEndpoint": "`+server.URL+`/", "tokenAudience": "https://management.azure.com/"}`)
	return azure, write(t, dir, "azure.json", `{"cloud": "AzureStackCloud", "tenantId": "`+azemu.DefaultTenant+`", "aadClientId": "mic", "aadClientSecret": "mic's secret"}`)
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnotherConfigurationCountsFromTheNextCall(t *testing.T) {
	scope, err := assign.ParseID(scaleSet)
	if err != nil {
		t.Fatal(err)
	}
	m, dirs := newMachines("of=a-test", nil), []string{t.TempDir(), t.TempDir()}
	var clouds []*azemu.Emulator
	authorities := ""
	var configs []cloudconfig.Config
	for _, dir := range dirs {
		azure, path := newCloud(t, dir, azemu.Config{})
		c, err := cloudconfig.Read(path, func(name string) string {
			return map[string]string{"AZURE_ENVIRONMENT_FILEPATH": filepath.Join(dir, "cloud.json")}[name]
		})
		if err != nil {
			t.Fatal(err)
		}
		c.ClusterIdentity = fmt.Sprintf("kubelet-%d", len(configs))
		clouds, configs = append(clouds, azure), append(configs, c)
		authorities += string(azure.CA())
	}
	t.Setenv("SSL_CERT_FILE", write(t, dirs[0], "ca.pem", authorities)) // before anybody reads it, which happens once
	for i, c := range configs {
		if err := m.use(c); err != nil {
			t.Fatal(err)
		}
		if got, want := m.clusterIdentity(), fmt.Sprintf("kubelet-%d", i); got != want {
			t.Errorf("the cluster's own identity is %q, want %q", got, want)
		}
		if _, err := m.Get(t.Context(), scope); err != nil {
			t.Fatal(err)
		}
		for j, azure := range clouds {
			want := 0
			if j <= i {
				want = 1
			}
			if n := azure.Counters()[azemu.EndpointVMSSGet].Calls; n != want {
				t.Errorf("after configuration %d cloud %d was asked %d times, want %d", i, j, n, want)
			}
		}
	}
	all, err := m.List(t.Context(), scope.Kind, scope.Subscription, scope.ResourceGroup)
	if _, ok := all[scope]; err != nil || !ok {
		t.Errorf("List() = %v, %v", all, err)
	}
	if err := m.use(cloudconfig.Config{}); err == nil {
		t.Error("a configuration without a credential was taken")
	}
	if _, err := m.Get(t.Context(), scope); err != nil {
		t.Errorf("and the last one is not in use any more: %v", err)
	}
}

// TestARunningMicAnswers starts mic where there is no API server, and asks it.
func TestARunningMicAnswers(t *testing.T) {
	dir := t.TempDir()
	_, path := newCloud(t, dir, azemu.Config{})
	t.Setenv("AZURE_ENVIRONMENT_FILEPATH", filepath.Join(dir, "cloud.json"))
	kubeconfig := write(t, dir, "kubeconfig", `{"apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
		"clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "x"}]}`)
	health := "unix:" + filepath.Join(dir, "health.sock") // no port that was free is another's by then
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { // ends with cancel
		ended <- run(ctx, []string{
			"--namespace=x", "--kubeconfig=" + kubeconfig, "--cloud-config=" + path, "--metrics-listen=", "--health-listen=" + health, "--log-level=error",
		}, t.Output())
	}()
	ask := func(command ...string) (string, error) {
		var out strings.Builder
		err := run(t.Context(), append(command, "--health-listen="+health), &out)
		return out.String(), err
	}
	awaitAnswer(t, func() error {
		_, err := ask("ready")
		if err == nil || !strings.Contains(err.Error(), "[-] api-server: API server http://127.0.0.1:1") {
			return fmt.Errorf("mic ready: %w", err)
		}
		return nil
	})
	if out, err := ask("log-level", "warn"); err != nil || out != "WARN\n" {
		t.Errorf("mic log-level: %q, %v", out, err)
	}
	// A configuration that cannot be used shows, and one that can again too.
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ content, says string }{{`{"cloud": "nowhere"`, "[-] cloud-config: cloud configuration"}, {string(good), "[+] cloud-config"}} {
		write(t, dir, "next.json", step.content)
		if err := os.Rename(filepath.Join(dir, "next.json"), path); err != nil {
			t.Fatal(err)
		}
		awaitAnswer(t, func() error {
			if _, err := ask("ready"); err == nil || !strings.Contains(err.Error(), step.says) {
				return fmt.Errorf("mic ready says %w, want %q", err, step.says)
			}
			return nil
		})
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("mic ended with %v", err)
	}
}

// awaitAnswer asks again until the answer is good.
func awaitAnswer(t *testing.T, ask func() error) {
	t.Helper()
	err := ask()
	deadline := time.Now().Add(2 * time.Minute)
	for tick := time.Tick(50 * time.Millisecond); err != nil && time.Now().Before(deadline); <-tick {
		err = ask()
	}
	if err != nil {
		t.Fatal(err)
	}
}
