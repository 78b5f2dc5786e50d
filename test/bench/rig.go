package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	subscription = "11111111-1111-1111-1111-111111111111"
	tenant       = "44444444-4444-4444-4444-444444444444"
	micApp       = "99999999-9999-9999-9999-999999999999"
	micSecret    = "bench" // of the emulator
	namespace    = "default"
	machine      = "bench-vmss000000"
	setName      = "bench-vmss"
	armDelay     = 3 * time.Second
	identities   = 20
)

func groupID() string { return "/subscriptions/" + subscription + "/resourceGroups/bench" }
func identityID(i int) string {
	return fmt.Sprintf("%s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-%d", groupID(), i)
}
func clientID(i int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", i) }
func scaleSetID(name string) string {
	return groupID() + "/providers/Microsoft.Compute/virtualMachineScaleSets/" + name
}

// rig is what every measurement runs on: an API server and an emulated Azure.
type rig struct {
	dir     string
	bin     string
	control *localcluster.ControlPlane
	client  client.WithWatch
	azure   *azemu.Client
	ready   azemu.Ready
	procs   []*exec.Cmd
}

func newRig(ctx context.Context) (*rig, error) {
	dir, err := os.MkdirTemp("", "podid-bench-")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &rig{dir: dir, bin: filepath.Dir(self)}
	if err := r.start(ctx); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rig) start(ctx context.Context) error {
	var err error
	r.control, err = localcluster.StartControlPlane(ctx, localcluster.ControlPlaneConfig{Dir: filepath.Join(r.dir, "control"), Progress: os.Stderr})
	if err != nil {
		return err
	}
	if err := r.control.InstallCRDs(ctx, filepath.Join(r.bin, "..", "config", "crd")); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return err
	}
	config := r.control.REST()
	config.QPS, config.Burst = 1000, 1000
	if r.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	return errors.Join(r.startAzure(ctx), r.seed(ctx))
}

// startAzure starts azemu with one machine that has all identities and one
// scale set that has none.
func (r *rig) startAzure(ctx context.Context) error {
	state := azemu.State{Tenant: tenant, Apps: []azemu.App{{ClientID: micApp, Secrets: []string{micSecret}}}}
	var all []string
	for i := range identities {
		state.Identities = append(state.Identities, azemu.Identity{ID: identityID(i), ClientID: clientID(i)})
		all = append(all, identityID(i))
	}
	state.ScaleSets = []azemu.ScaleSet{
		{ID: scaleSetID(setName), Identity: &azemu.Assigned{UserAssigned: all}, Instances: []azemu.Instance{{InstanceID: "0", Name: machine}}},
		{ID: scaleSetID("empty"), Instances: []azemu.Instance{{InstanceID: "0", Name: "empty000000"}}},
	}
	b, err := json.Marshal(state)
	if err != nil {
		return err
	}
	stateFile, readyFile := filepath.Join(r.dir, "state.json"), filepath.Join(r.dir, "azemu.json")
	if err := os.WriteFile(stateFile, b, 0o600); err != nil {
		return err
	}
	if _, err := r.run("azemu", nil, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--imds-machine", machine+"=127.0.0.1:0",
		"--state", stateFile, "--arm-delay", armDelay.String(), "--ca-file", filepath.Join(r.dir, "ca.pem"), "--ready-file", readyFile); err != nil {
		return err
	}
	if err := await(ctx, 10*time.Second, func() error {
		b, err := os.ReadFile(readyFile)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &r.ready)
	}); err != nil {
		return fmt.Errorf("azemu: %w", err)
	}
	r.azure = azemu.NewClient(r.ready.Admin)
	return nil
}

// run starts one of podid's programs with its output in a log.
func (r *rig) run(name string, env []string, args ...string) (*exec.Cmd, error) {
	path := name
	if !strings.Contains(name, "/") {
		path = filepath.Join(r.bin, name)
	}
	log, err := os.OpenFile(filepath.Join(r.dir, filepath.Base(name)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the program has its own
	cmd := exec.Command(path, args...) //nolint:noctx // ended by close, in order
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s (make build): %w", name, err)
	}
	r.procs = append(r.procs, cmd)
	return cmd, nil
}

// end ends a program that run started.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // how it ended does not matter
}

func (r *rig) close() {
	for _, cmd := range r.procs {
		if cmd.ProcessState == nil {
			end(cmd)
		}
	}
	if r.control != nil {
		r.control.Stop()
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

// freePort is a port of loopback that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // closed at once
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}
