package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/localcluster"
)

const (
	subscription  = "11111111-1111-1111-1111-111111111111"
	tenant        = "44444444-4444-4444-4444-444444444444"
	micApp        = "99999999-9999-9999-9999-999999999999"
	micSecret     = "bench" // of the emulator
	namespace     = "default"
	machine       = "bench-vmss000000"
	setName       = "bench-vmss"
	armDelay      = 3 * time.Second
	identities    = 20 // that pods share
	ownFrom       = 20 // the first of those that one pod each has
	allIdentities = ownFrom + rssPods
)

func groupID() string { return "/subscriptions/" + subscription + "/resourceGroups/bench" }
func identityID(i int) string {
	return fmt.Sprintf("%s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-%d", groupID(), i)
}
func clientID(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", i) }
func scaleSetID(name string) string {
	return groupID() + "/providers/Microsoft.Compute/virtualMachineScaleSets/" + name
}

// Addresses of the node and of its pods, which are all behind one bridge.
//
//nolint:gochecknoglobals // constants that Go cannot spell as such
var (
	podRange     = netip.MustParsePrefix("10.64.0.0/10")
	nodeAddr     = netip.MustParseAddr("10.63.0.1") // as its pods see it
	metadataAddr = netip.MustParseAddr("10.63.0.2") // that they ask where nmi redirects
	loopbackAddr = netip.MustParseAddr(loopback)
)

// rig is what every measurement runs on: an API server, a node with an emulated
// Azure, and a bridge of the node that pods are behind. The measuring program
// stands at the pods' end of it; podid's programs run on the node.
type rig struct {
	dir     string
	bin     string
	cluster *localcluster.Cluster
	node    *localcluster.Node
	client  client.WithWatch
	azure   *azemu.Client
	ready   azemu.Ready
	procs   []*localcluster.Command
	port    atomic.Uint32 // the last one given away
}

func newRig() (*rig, error) {
	dir, err := os.MkdirTemp("", "podid-bench-")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, bin: filepath.Dir(self)}
	r.port.Store(20000)
	return r, nil
}

// start starts the cluster and Azure, once.
func (r *rig) start(ctx context.Context) error {
	if r.cluster != nil {
		return nil
	}
	var err error
	r.cluster, err = localcluster.Start(ctx, localcluster.Config{
		Dir: filepath.Join(r.dir, "control"), Nodes: []localcluster.NodeConfig{{Name: "bench"}},
		CRDs: filepath.Join(r.bin, "..", "config", "crd"), Progress: os.Stderr,
	})
	if err != nil {
		return err
	}
	r.node = r.cluster.Node("bench")
	if err := r.cluster.AddCrowd(r.node, podRange, nodeAddr, metadataAddr); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return err
	}
	config := r.cluster.REST()
	config.QPS, config.Burst = 1000, 1000
	if r.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	return errors.Join(r.startAzure(ctx), seedIdentities(ctx, r.client, allIdentities))
}

// startAzure starts azemu with one machine that has all identities and one
// scale set that has none.
func (r *rig) startAzure(ctx context.Context) error {
	state := azemu.State{Tenant: tenant}
	var all []string
	for i := range allIdentities {
		state.Identities = append(state.Identities, azemu.Identity{ID: identityID(i), ClientID: clientID(i)})
		all = append(all, identityID(i))
	}
	state.ScaleSets = []azemu.ScaleSet{
		{ID: scaleSetID(setName), Identity: &azemu.Assigned{UserAssigned: all}, Instances: []azemu.Instance{{InstanceID: "0", Name: machine}}},
	}
	var err error
	own := r.node.Addr.String()
	r.ready, err = r.startAzemu(ctx, r.run, own, r.dir, state, "--imds-machine", machine+"="+own+":0", "--arm-delay", armDelay.String())
	r.azure = azemu.NewClient(r.ready.Admin)
	return err
}

// runner starts one of podid's programs, with its output in a log.
type runner func(ctx context.Context, name string, env []string, args ...string) (*localcluster.Command, error)

// startAzemu starts azemu on an address, with its files in dir, and returns when
// it is ready.
func (r *rig) startAzemu(ctx context.Context, run runner, own, dir string, state azemu.State, flags ...string) (ready azemu.Ready, err error) {
	b, err := json.Marshal(state)
	if err != nil {
		return ready, err
	}
	stateFile, readyFile := filepath.Join(dir, "state.json"), filepath.Join(dir, "azemu.json")
	if err := os.WriteFile(stateFile, b, 0o600); err != nil {
		return ready, err
	}
	if _, err := run(ctx, "azemu", nil, append([]string{
		"--listen", own + ":0", "--admin-listen", own + ":0", "--host", own,
		"--state", stateFile, "--ca-file", filepath.Join(dir, "ca.pem"), "--ready-file", readyFile,
	}, flags...)...); err != nil {
		return ready, err
	}
	if err := await(ctx, 10*time.Second, func() error {
		b, err := os.ReadFile(readyFile)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &ready)
	}); err != nil {
		return ready, fmt.Errorf("azemu: %w", err)
	}
	return ready, nil
}

// run starts one of podid's programs on the node, with its output in a log.
func (r *rig) run(ctx context.Context, name string, env []string, args ...string) (*localcluster.Command, error) {
	return r.begin(ctx, r.dir, r.node.Command, name, env, args...)
}

// begin starts one of podid's programs where prepare says, with its output in a
// log in dir.
func (r *rig) begin(
	ctx context.Context, dir string, prepare func(context.Context, string, ...string) *localcluster.Command,
	name string, env []string, args ...string,
) (*localcluster.Command, error) {
	path := name
	if !strings.Contains(name, "/") {
		path = filepath.Join(r.bin, name)
	}
	log, err := os.OpenFile(filepath.Join(dir, filepath.Base(name)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()                        // the program has its own
	cmd := prepare(context.WithoutCancel(ctx), path, args...) // ended by close, in order
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (make build): %w", name, err)
	}
	r.procs = append(r.procs, cmd)
	return cmd, nil
}

// end ends a program that run started.
func (r *rig) end(cmd *localcluster.Command) {
	r.procs = slices.DeleteFunc(r.procs, func(c *localcluster.Command) bool { return c == cmd })
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // how it ended does not matter
}

func (r *rig) close() {
	for len(r.procs) > 0 {
		r.end(r.procs[len(r.procs)-1])
	}
	if r.cluster != nil {
		r.cluster.Stop()
	}
	_ = os.RemoveAll(r.dir) // a folder of ours under the temporary one
}

// await asks until the answer is good.
func await(ctx context.Context, limit time.Duration, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", limit, err)
		}
	}
}

// freePort is a port of the node, or of the sandbox, that nobody listens on:
// nothing runs in either but what we start.
func (r *rig) freePort(on netip.Addr) string {
	return netip.AddrPortFrom(on, uint16(r.port.Add(1))).String() //nolint:gosec // far from the end
}
