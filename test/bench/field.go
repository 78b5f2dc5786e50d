package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/localcluster"
)

const (
	loopback = "127.0.0.1"
	system   = "podid-system" // mic's own namespace
)

// plan says how large a field is.
type plan struct {
	operation               time.Duration // how long Azure takes for a change
	sets, nodes, identities int
	missing                 int // how many of the identities, the last, Azure does not have
}

// field is what mic is measured on: an API server and an emulated Azure of its
// own, with nodes on scale sets by turns, and identities each with a binding. No
// program runs in its pods.
type field struct {
	plan

	rig    *rig
	dir    string
	cp     *localcluster.ControlPlane
	client client.WithWatch
	azure  *azemu.Client
	ready  azemu.Ready
	procs  int // that the rig had before
}

// onField runs f on a field, and takes the field away.
func onField(ctx context.Context, r *rig, p plan, f func(*field) error) error {
	dir, err := os.MkdirTemp(r.dir, "field-")
	if err != nil {
		return err
	}
	field := &field{plan: p, rig: r, dir: dir, procs: len(r.procs)}
	defer field.close()
	if err := field.start(ctx); err != nil {
		return err
	}
	return f(field)
}

func (f *field) start(ctx context.Context) error {
	var err error
	if f.cp, err = localcluster.StartControlPlane(ctx, localcluster.ControlPlaneConfig{Dir: filepath.Join(f.dir, "control"), Progress: os.Stderr}); err != nil {
		return err
	}
	if err := f.cp.InstallCRDs(ctx, filepath.Join(f.rig.bin, "..", "config", "crd")); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), coordinationv1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return err
	}
	if f.client, err = client.NewWithWatch(f.cp.REST(), client.Options{Scheme: scheme}); err != nil {
		return err
	}
	return errors.Join(f.startAzure(ctx), f.seed(ctx))
}

func (f *field) startAzure(ctx context.Context) error {
	state := azemu.State{Tenant: tenant, Apps: []azemu.App{{ClientID: micApp, Secrets: []string{micSecret}}}}
	for i := range f.identities - f.missing {
		state.Identities = append(state.Identities, azemu.Identity{ID: identityID(i), ClientID: clientID(i)})
	}
	for i := range f.sets {
		state.ScaleSets = append(state.ScaleSets, azemu.ScaleSet{
			ID: scaleSetID(setOf(i)), Instances: []azemu.Instance{{InstanceID: "0", Name: setOf(i) + "000000"}},
		})
	}
	var err error
	f.ready, err = f.rig.startAzemu(ctx, f.run, loopback, f.dir, state, "--arm-delay", f.operation.String())
	f.azure = azemu.NewClient(f.ready.Admin)
	return err
}

func setOf(i int) string { return fmt.Sprint("set-", i) }

func nodeOf(i int) string { return fmt.Sprint("node-", i) }

// seed creates the nodes, the identities and their bindings.
func (f *field) seed(ctx context.Context) error {
	if err := f.client.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}); err != nil {
		return err
	}
	if err := parallel(f.nodes, func(i int) error {
		return f.client.Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: nodeOf(i)},
			Spec:       corev1.NodeSpec{ProviderID: fmt.Sprintf("azure://%s/virtualMachines/%d", scaleSetID(setOf(i%f.sets)), i)},
		})
	}); err != nil {
		return err
	}
	return seedIdentities(ctx, f.client, f.identities)
}

// run starts one of podid's programs.
func (f *field) run(ctx context.Context, name string, env []string, args ...string) (*localcluster.Command, error) {
	return f.rig.begin(ctx, f.dir, localcluster.NewCommand, name, env, args...)
}

func (f *field) close() {
	for len(f.rig.procs) > f.procs {
		f.rig.end(f.rig.procs[len(f.rig.procs)-1])
	}
	if f.cp != nil {
		f.cp.Stop()
	}
}

// controller is a mic under measurement.
type controller struct {
	cmd     *localcluster.Command
	metrics string
	health  string
}

// startMIC starts mic, which signs in to Azure with a secret, and returns at once.
func (f *field) startMIC(ctx context.Context, flags ...string) (*controller, error) {
	cloud, err := json.Marshal(map[string]string{ //nolint:gosec // an audience is no credential
		"name": "AzureStackCloud", "resourceManagerEndpoint": f.ready.Azure + "/",
		"activeDirectoryEndpoint": f.ready.Azure + "/", "tokenAudience": "https://management.azure.com/",
	})
	if err != nil {
		return nil, err
	}
	cloudFile := filepath.Join(f.dir, "cloud.json")
	if err := os.WriteFile(cloudFile, cloud, 0o600); err != nil {
		return nil, err
	}
	metrics, health := f.rig.freePort(loopbackAddr), f.rig.freePort(loopbackAddr)
	cmd, err := f.run(ctx, "mic", []string{
		"CLOUD=AzureStackCloud", "AZURE_ENVIRONMENT_FILEPATH=" + cloudFile, "SSL_CERT_FILE=" + filepath.Join(f.dir, "ca.pem"),
		"TENANT_ID=" + tenant, "CLIENT_ID=" + micApp, "CLIENT_SECRET=" + micSecret, "SUBSCRIPTION_ID=" + subscription, "RESOURCE_GROUP=bench",
	}, append([]string{
		"--kubeconfig", f.cp.Kubeconfig(), "--namespace", system, "--cloud-config", "",
		"--health-listen", health, "--metrics-listen", metrics,
	}, flags...)...)
	if err != nil {
		return nil, err
	}
	return &controller{cmd: cmd, metrics: "http://" + metrics + "/metrics", health: "http://" + health + "/readyz"}, nil
}

// lead starts mic and returns when it leads.
func (f *field) lead(ctx context.Context) (*controller, error) {
	c, err := f.startMIC(ctx)
	if err != nil {
		return nil, err
	}
	return c, f.awaitLead(ctx, c)
}

// awaitLead returns when mic is ready and somebody leads.
func (f *field) awaitLead(ctx context.Context, c *controller) error {
	return await(ctx, time.Minute, func() error {
		if _, err := fetch(ctx, c.health); err != nil {
			return err
		}
		holder, err := f.holder(ctx)
		if err == nil && holder == "" {
			err = errors.New("nobody leads")
		}
		return err
	})
}

// holder is who leads, empty for nobody.
func (f *field) holder(ctx context.Context) (string, error) {
	var l coordinationv1.Lease
	if err := f.client.Get(ctx, client.ObjectKey{Namespace: system, Name: "podid-mic"}, &l); client.IgnoreNotFound(err) != nil {
		return "", err
	}
	if l.Spec.HolderIdentity == nil {
		return "", nil
	}
	return *l.Spec.HolderIdentity, nil
}

// bind creates a pod that is bound to a node and to an identity.
func (f *field) bind(ctx context.Context, name string, node, identity int) error {
	p := newPod(nodeOf(node), 0, identity)
	p.Name = name
	return f.client.Create(ctx, p)
}

// addPods creates pods, by turns on nodes and with identities, and returns their
// names.
func (f *field) addPods(ctx context.Context, n int) ([]string, error) {
	names := make([]string, n)
	for i := range n {
		names[i] = fmt.Sprint("pod-", i)
	}
	return names, parallel(n, func(i int) error { return f.bind(ctx, names[i], i%f.nodes, i%f.identities) })
}
