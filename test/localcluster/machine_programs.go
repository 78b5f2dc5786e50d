package localcluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	// PauseImage is the image of the containers that hold the networks of pods:
	// one of the images of a machine must have this name.
	PauseImage = "podid.test/pause:1"
)

// StopPrograms kills containerd and kubelet; the containers go on.
func (m *Machine) StopPrograms() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.programs {
		_ = c.Process.Kill() // an error means that it has ended
		_ = c.Wait()         // killed
	}
	clear(m.programs)
}

// StartPrograms starts containerd and kubelet again.
func (m *Machine) StartPrograms(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.space == nil {
		return fmt.Errorf("%s is switched off", m.Name)
	}
	if err := m.startContainerd(ctx); err != nil {
		return err
	}
	return m.startKubelet(ctx)
}

// start starts a program that runs until the machine is switched off, and not
// only until ctx is done, with its output added to a log file.
func (m *Machine) start(ctx context.Context, name, binary string, args ...string) error {
	log, err := os.OpenFile(m.logFile(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the program has its own
	c := m.command(context.WithoutCancel(ctx), binary, args...)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	m.programs[name] = c
	return nil
}

func (m *Machine) logFile(name string) string {
	return filepath.Join(m.dir, name+".log")
}

func (m *Machine) config(name string) string { return filepath.Join(m.dir, name) }

// startContainerd starts containerd, waits until it answers, and gives it the
// images when it has none. It tells nobody when it listens, hence the ticker.
func (m *Machine) startContainerd(ctx context.Context) error {
	if err := m.start(ctx, "containerd", "containerd", "--config", m.config("containerd.toml")); err != nil {
		return err
	}
	if err := m.awaitContainerd(ctx); err != nil {
		return err
	}
	return m.importImages(ctx)
}

func (m *Machine) awaitContainerd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	socket := filepath.Join("/proc", strconv.Itoa(m.first.cmd.Process.Pid), "root", containerdSocket)
	for !answers(ctx, socket) {
		select {
		case <-tick.C:
		case <-m.programs["containerd"].process.done:
			return fmt.Errorf("containerd ended: %w\n%s", m.programs["containerd"].process.err, lastLinesOf(m.logFile("containerd")))
		case <-ctx.Done():
			return fmt.Errorf("containerd does not answer: %w\n%s", ctx.Err(), lastLinesOf(m.logFile("containerd")))
		}
	}
	return nil
}

func answers(ctx context.Context, socket string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said
	return true
}

// importImages puts the images on the machine's disk, once.
func (m *Machine) importImages(ctx context.Context) error {
	for ; len(m.images) > 0; m.images = m.images[1:] {
		if err := m.importImage(ctx, m.images[0]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) importImage(ctx context.Context, file string) error {
	out, err := m.command(ctx, "ctr", "--namespace", "k8s.io", "images", "import", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import %s: %w\n%s", file, err, out)
	}
	return nil
}

// Import puts one more image, a file that `ctr images import` takes, on the
// machine's disk.
func (m *Machine) Import(ctx context.Context, file string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.space == nil {
		return fmt.Errorf("%s is switched off", m.Name)
	}
	return m.importImage(ctx, file)
}

func (m *Machine) startKubelet(ctx context.Context) error {
	return m.start(ctx, "kubelet", m.full.nodeBinary, "kubelet",
		"--config", m.config("kubelet.yaml"), "--kubeconfig", m.config("kubelet.kubeconfig"),
		"--root-dir", filepath.Join(diskOf(m.dir), "kubelet"), "--cert-dir", filepath.Join(diskOf(m.dir), "kubelet-pki"),
		"--hostname-override", m.Name, "--node-ip", m.Addr.String(), "--node-labels", "agentpool=nodepool1",
	)
}

// writeConfiguration writes the configuration of all programs anew.
func (m *Machine) writeConfiguration() error {
	credentials, err := m.full.authority.client("system:node:"+m.Name, "system:nodes")
	if err != nil {
		return err
	}
	admin := m.full.REST()
	errs := []error{
		os.MkdirAll(m.config("cni"), 0o700),
		writeKubeconfig(m.config("kubelet.kubeconfig"), &rest.Config{
			Host: admin.Host,
			TLSClientConfig: rest.TLSClientConfig{
				CAData: admin.CAData, CertData: credentials.certificate, KeyData: credentials.key,
			},
		}),
	}
	for name, content := range map[string]string{
		"containerd.toml": m.containerdConfig(), "kubelet.yaml": m.kubeletConfig(), "cni/10-pods.conflist": m.networkConfig(),
	} {
		errs = append(errs, os.WriteFile(m.config(name), []byte(content), 0o600))
	}
	return errors.Join(errs...)
}

// containerdConfig: without restrict_oom_score_adj, a machine without
// CAP_SYS_RESOURCE starts no pod. Profiles of AppArmor would be the computer's.
func (m *Machine) containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd"
[grpc]
  address = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %q
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = %q
[plugins."io.containerd.internal.v1.opt"]
  path = %q
`, filepath.Join(diskOf(m.dir), "containerd"), containerdSocket, PauseImage,
		m.full.plugins, m.config("cni"), filepath.Join(diskOf(m.dir), "opt"))
}

// kubeletConfig: both versions of control groups, no eviction of anything, and
// no limits that only a machine of its own could keep. It writes nothing that is
// the whole computer's: the kernel has what it wants (see shieldKernel), and its
// folders are on the machine's disk. Nobody answers at the address of the name
// service.
func (m *Machine) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %q}}
authorization: {mode: Webhook}
clusterDNS: [10.96.0.10]
cgroupDriver: cgroupfs
cgroupRoot: %q
containerRuntimeEndpoint: "unix://%s"
enforceNodeAllocatable: []
evictionHard: {memory.available: 1Mi}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
protectKernelDefaults: true
providerID: %q
readOnlyPort: 0
resolvConf: ""
volumePluginDir: %q
`, filepath.Join(m.full.dir, "ca.crt"), m.full.cgroups.path(m.Name), containerdSocket, m.ProviderID,
		filepath.Join(diskOf(m.dir), "volume-plugins"))
}

// networkConfig: no address translation, as everywhere in the fabric.
func (m *Machine) networkConfig() string {
	plugin := `"type": "ptp"`
	if m.bridge {
		plugin = `"type": "bridge", "bridge": "cbr0", "isGateway": true, "hairpinMode": true`
	}
	return fmt.Sprintf(`{"cniVersion": "0.4.0", "name": "pods", "plugins": [{%s, "ipMasq": false, "ipam": {
  "type": "host-local", "dataDir": "/run/cni", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
`, plugin, m.PodRange)
}
