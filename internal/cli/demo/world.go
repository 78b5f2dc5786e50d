package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/config"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/localcluster"
)

// What the emulated subscription holds. The ids are made up; those of the
// identities stand in examples/quickstart.
const (
	subscription = "11111111-1111-1111-1111-111111111111"
	tenant       = "44444444-4444-4444-4444-444444444444"
	group        = "podid-demo"
	scaleSet     = "aks-pool-12345678-vmss"
	vaultClient  = "22222222-2222-2222-2222-222222222222"
	blobClient   = "33333333-3333-3333-3333-333333333333"
	micClient    = "99999999-9999-9999-9999-999999999999"

	systemNamespace = "podid-system"
	micPod          = "podid-mic-0"

	azurePort  = 8443
	adminPort  = 8444
	healthPort = 8085
)

func groupID() string { return "/subscriptions/" + subscription + "/resourceGroups/" + group }

func identityID(name string) string {
	return groupID() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
}

func scaleSetID() string {
	return groupID() + "/providers/Microsoft.Compute/virtualMachineScaleSets/" + scaleSet
}

// nodeName is the name of an instance of the scale set.
func nodeName(i int) string { return fmt.Sprintf("%s%06d", scaleSet, i) }

// Config says how a World is started.
type Config struct {
	// Dir is for state, logs and keys.
	Dir string
	// Bin is the folder of mic, nmi, azemu and azidentity. The default is that
	// of the running program.
	Bin string
	// ARMDelay is how long Azure takes to put an identity on the scale set.
	ARMDelay time.Duration
	// Hosts are names that Azure's certificate is for, beside its address.
	Hosts []string
	// AgentFlags are given to every nmi after those that it needs here, and
	// AgentEnv is added to its environment.
	AgentFlags, AgentEnv []string
	// MICFlags are given to mic after those that it needs here.
	MICFlags []string
	// NoMIC leaves mic out, as in managed mode.
	NoMIC bool
	// Bridged adds a node whose pods hang on a bridge, as with kubenet.
	Bridged bool
	// Out is told what happens, line by line. The default is nobody.
	Out io.Writer
}

// World is everything that the demo runs on, inside a sandbox: a cluster of two
// nodes in one scale set, Azure, mic in its pod, and an nmi on each node.
type World struct {
	Cluster *localcluster.Cluster
	Client  client.WithWatch
	Azure   *azemu.Client

	story  *story
	config Config
	dir    string
	bin    string
	cancel context.CancelFunc

	mu         sync.Mutex
	agents     []*Agent // in the order in which they were started; guarded by mu
	nextHealth uint16   // port of the health of the agent that is started next; guarded by mu
}

// Start starts the cluster, Azure, nmi and mic, and returns when all are ready.
func Start(ctx context.Context, c Config) (*World, error) {
	if c.Out == nil {
		c.Out = io.Discard
	}
	if c.Bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		c.Bin = filepath.Dir(self)
	}
	dir, log := c.Dir, newStory(c.Out)
	if err := os.CopyFS(filepath.Join(dir, "manifests"), config.Files); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	nodes := []localcluster.NodeConfig{}
	count := 2
	if c.Bridged {
		count++
	}
	for i := range count {
		nodes = append(nodes, localcluster.NodeConfig{
			Name:       nodeName(i),
			ProviderID: fmt.Sprintf("azure://%s/virtualMachines/%d", scaleSetID(), i),
			Bridge:     c.Bridged && i == 2,
		})
	}
	cluster, err := localcluster.Start(ctx, localcluster.Config{
		Dir: filepath.Join(dir, "cluster"), Nodes: nodes, Progress: log,
		CRDs: filepath.Join(dir, "manifests", "crd"),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &World{
		Cluster: cluster, story: log, config: c, dir: dir, bin: c.Bin, nextHealth: healthPort, cancel: cancel,
		Azure: azemu.NewClient(fmt.Sprintf("http://%s:%d", localcluster.FabricAddress, adminPort)),
	}
	if err := w.startParts(ctx); err != nil {
		w.Stop()
		return nil, err
	}
	return w, nil
}

// Stop ends all of it.
func (w *World) Stop() {
	w.cancel()
	w.mu.Lock()
	agents := slices.Clone(w.agents)
	w.mu.Unlock()
	for _, a := range agents {
		a.cancel() // it may have a context of its own
	}
	for _, a := range agents {
		<-a.ended
	}
	w.Cluster.Stop()
}

// Failures is how much did not hold, programs that ended by themselves included.
func (w *World) Failures() int { return w.story.failures() }

func (w *World) startParts(ctx context.Context) error {
	var err error
	if w.Client, err = client.NewWithWatch(w.Cluster.REST(), client.Options{Scheme: scheme()}); err != nil {
		return err
	}
	if err := w.startAzure(ctx); err != nil {
		return err
	}
	if err := w.applyFS(ctx, config.Files, "rbac"); err != nil {
		return err
	}
	if err := w.startAgents(ctx); err != nil || w.config.NoMIC {
		return err
	}
	return w.startMIC(ctx)
}

// startAzure starts azemu in the fabric, seeded with the scale set, the
// identities of the quickstart and mic's own, which the operator of the cluster
// has put on the nodes.
func (w *World) startAzure(ctx context.Context) error {
	w.story.say("starting Azure (azemu): Resource Manager, Entra ID, and the metadata service of each node")
	set := azemu.ScaleSet{ID: scaleSetID(), Identity: &azemu.Assigned{Type: "UserAssigned", UserAssigned: []string{identityID("podid-mic")}}}
	for i, n := range w.Cluster.Nodes() {
		set.Instances = append(set.Instances, azemu.Instance{
			InstanceID: fmt.Sprint(i), Name: n.Name,
			// What the pods of a node send unhindered would be answered, as on AKS.
			Sources: []netip.Prefix{netip.PrefixFrom(n.Addr, n.Addr.BitLen()), n.PodRange},
		})
	}
	state, err := json.Marshal(azemu.State{
		Tenant: tenant,
		Identities: []azemu.Identity{
			{ID: identityID("vault-reader"), ClientID: vaultClient},
			{ID: identityID("blob-reader"), ClientID: blobClient},
			{ID: identityID("podid-mic"), ClientID: micClient},
		},
		ScaleSets: []azemu.ScaleSet{set},
	})
	if err != nil {
		return err
	}
	stateFile := filepath.Join(w.dir, "azure-state.json")
	if err := os.WriteFile(stateFile, state, 0o600); err != nil {
		return err
	}
	hosts := append([]string{localcluster.FabricAddress}, w.config.Hosts...)
	cmd, err := w.program(ctx, "azemu",
		"--listen", fmt.Sprintf("%s:%d", localcluster.FabricAddress, azurePort),
		"--admin-listen", fmt.Sprintf("%s:%d", localcluster.FabricAddress, adminPort),
		"--imds-listen", "169.254.169.254:80",
		"--host", strings.Join(hosts, ","), "--state", stateFile,
		"--arm-delay", w.config.ARMDelay.String(), "--ca-file", w.path("azure-ca.pem"),
	)
	if err != nil {
		return err
	}
	if _, err := w.background(ctx, "azemu", cmd, cmd.Start, cmd.Wait); err != nil {
		return err
	}
	return await(ctx, "azemu", func() error {
		_, err := w.Azure.Counters(ctx)
		return err
	})
}

// startMIC starts mic as its pod does: in the pod's network, with the rights of
// its service account. Its token for Azure comes from nmi like any pod's.
func (w *World) startMIC(ctx context.Context) error {
	w.story.say("starting mic in pod %s/%s", systemNamespace, micPod)
	if err := w.applyMICPod(ctx); err != nil {
		return err
	}
	pod, err := w.Cluster.Pod(ctx, systemNamespace, micPod)
	if err != nil {
		return err
	}
	kubeconfig := w.path("mic.kubeconfig")
	if err := w.Cluster.TokenKubeconfig(ctx, systemNamespace, "podid-mic", kubeconfig); err != nil {
		return err
	}
	if err := w.writeCloudConfig(); err != nil {
		return err
	}
	bin, err := w.binary("mic")
	if err != nil {
		return err
	}
	args := []string{
		"--kubeconfig", kubeconfig, "--namespace", systemNamespace,
		"--cloud-config", w.path("azure.json"), "--health-listen", fmt.Sprintf(":%d", healthPort),
	}
	cmd := pod.Command(ctx, bin, append(args, w.config.MICFlags...)...)
	cmd.Env = append(os.Environ(), "AZURE_ENVIRONMENT_FILEPATH="+w.path("azure-cloud.json"), "SSL_CERT_FILE="+w.path("azure-ca.pem"))
	if _, err := w.background(ctx, "mic", cmd.Cmd, cmd.Start, cmd.Wait); err != nil {
		return err
	}
	return w.awaitReady(ctx, "mic", netip.AddrPortFrom(pod.Addr, healthPort))
}

// writeCloudConfig writes azure.json and the description of the cloud, as they
// are found on a node of a cloud that the SDK does not know by name.
func (w *World) writeCloudConfig() error {
	endpoint := fmt.Sprintf("https://%s:%d/", localcluster.FabricAddress, azurePort)
	return errors.Join(
		w.writeJSON("azure.json", map[string]any{
			"cloud": "AzureStackCloud", "tenantId": tenant, "subscriptionId": subscription, "resourceGroup": group,
			"useManagedIdentityExtension": true, "userAssignedIdentityID": micClient,
		}),
		w.writeJSON("azure-cloud.json", map[string]any{ //nolint:gosec // an audience is no credential
			"name": "AzureStackCloud", "resourceManagerEndpoint": endpoint,
			"activeDirectoryEndpoint": endpoint, "tokenAudience": "https://management.azure.com/",
		}),
	)
}

func (w *World) path(name string) string { return filepath.Join(w.dir, name) }

func (w *World) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(w.path(name), b, 0o600)
}

// binary finds one of podid's programs.
func (w *World) binary(name string) (string, error) {
	path := filepath.Join(w.bin, name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the program %s is missing: run `make build`: %w", name, err)
	}
	return path, nil
}

func (w *World) program(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	path, err := w.binary(name)
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, path, args...), nil
}
