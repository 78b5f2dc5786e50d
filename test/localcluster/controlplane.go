package localcluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// ControlPlaneConfig describes a control plane.
type ControlPlaneConfig struct {
	// Dir holds its keys, data, logs and the admin's kubeconfig. It must be
	// given, must be of this control plane alone, and is left behind by Stop.
	Dir string
	// BindAddress is the API server's address. Zero means 127.0.0.1.
	BindAddress netip.Addr
	// Port is the API server's port. Zero means a free one.
	Port uint16
	// Binary is the control plane's binary. Empty means the one of [Build].
	Binary string
	// Timeout bounds the time until it is ready, without a build. Zero means
	// three minutes, of which it takes some seconds on a machine that is not busy.
	Timeout time.Duration
	// Log gets what both programs write; their log files in Dir do so too. Nil
	// means the files only.
	Log io.Writer
	// Progress is told about a build; see [Build]. Nil means nobody is.
	Progress io.Writer
}

// ControlPlane is an etcd and a kube-apiserver, with RBAC on, running as
// children of this program, and dying with it. It gives every namespace its
// default service account, without which the API server admits no pod; nothing
// else of kube-controller-manager is here: no garbage collection, and deleted
// namespaces stay in phase Terminating.
type ControlPlane struct {
	dir        string
	rest       *rest.Config
	kubeconfig string
	authority  *authority // for more clients
	children   []*process
	logs       []io.Closer
	accounts   *control
	port       port

	stop sync.Once
}

// StartControlPlane starts a control plane and returns when it is ready. It
// works without namespaces. An error holds the last lines of the program that
// did not start; then nothing is left running.
func StartControlPlane(ctx context.Context, cfg ControlPlaneConfig) (*ControlPlane, error) {
	if cfg.Dir == "" {
		return nil, errors.New("start the control plane: no directory given")
	}
	if !cfg.BindAddress.IsValid() {
		cfg.BindAddress = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 3 * time.Minute
	}
	if cfg.Binary == "" {
		binary, err := Build(ctx, cfg.Progress)
		if err != nil {
			return nil, err
		}
		cfg.Binary = binary
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	c := &ControlPlane{dir: dir}
	if err := c.start(ctx, cfg); err != nil {
		c.Stop()
		return nil, fmt.Errorf("start the control plane: %w", err)
	}
	return c, nil
}

// REST returns the admin's client configuration, a copy, without a limit on
// the client's side.
func (c *ControlPlane) REST() *rest.Config { return rest.CopyConfig(c.rest) }

// Kubeconfig returns the path of the admin's kubeconfig.
func (c *ControlPlane) Kubeconfig() string { return c.kubeconfig }

// Stop ends both programs and waits until they are gone. They are killed: the
// data is of no use to anyone afterwards.
func (c *ControlPlane) Stop() {
	c.stop.Do(func() {
		if c.accounts != nil {
			c.accounts.stop()
		}
		for _, child := range c.children {
			child.kill()
		}
		for _, log := range c.logs {
			_ = log.Close() // its writer is gone
		}
		c.port.release()
	})
}

func (c *ControlPlane) start(ctx context.Context, cfg ControlPlaneConfig) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	var err error
	if c.port, err = takePort(ctx, cfg.BindAddress, cfg.Port); err != nil {
		return err
	}
	server := "https://" + c.port.String()
	if err := c.writeKeys(cfg.BindAddress, server); err != nil {
		return err
	}
	if err := c.launch(cfg.Binary, "etcd", etcdFlags(), cfg.Log); err != nil {
		return err
	}
	if err := c.launch(cfg.Binary, "kube-apiserver", apiserverFlags(c.port, server), cfg.Log); err != nil {
		return err
	}
	if err := c.awaitReady(ctx); err != nil {
		return err
	}
	c.accounts, err = runServiceAccounts(ctx, c.REST())
	return err
}

// writeKeys makes the certificates and keys, the admin's kubeconfig and c.rest.
func (c *ControlPlane) writeKeys(address netip.Addr, server string) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	ca, err := newAuthority()
	if err != nil {
		return fmt.Errorf("make a certificate authority: %w", err)
	}
	serving, err := ca.server(address)
	if err != nil {
		return err
	}
	admin, err := ca.client("admin", "system:masters")
	if err != nil {
		return err
	}
	kubelets, err := ca.client("kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	private, public, err := newTokenKey()
	if err != nil {
		return fmt.Errorf("make the key for service account tokens: %w", err)
	}
	for name, content := range map[string][]byte{
		"ca.crt": ca.pem, "apiserver.crt": serving.certificate, "apiserver.key": serving.key,
		"kubelet-client.crt": kubelets.certificate, "kubelet-client.key": kubelets.key,
		"sa.key": private, "sa.pub": public,
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	c.authority = ca
	c.rest = &rest.Config{
		Host:            server,
		QPS:             -1, // no limit
		TLSClientConfig: rest.TLSClientConfig{CAData: ca.pem, CertData: admin.certificate, KeyData: admin.key},
	}
	c.kubeconfig = filepath.Join(c.dir, "kubeconfig")
	return writeKubeconfig(c.kubeconfig, c.rest)
}

// launch starts one program of a binary, with Dir as its working directory. What
// it writes goes to its log file, and to also unless that is nil.
func (c *ControlPlane) launch(binary, name string, flags []string, also io.Writer) error {
	log, err := os.OpenFile(c.logFile(name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	c.logs = append(c.logs, log)
	cmd := exec.Command(binary, append([]string{name}, flags...)...) //nolint:noctx,gosec // Stop ends it, not the caller's context; the binary is the one we built
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = log, log
	if also != nil {
		both := io.MultiWriter(log, also)
		cmd.Stdout, cmd.Stderr = both, both
	}
	child, err := startProcess(cmd, (*namespace)(nil))
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.children = append(c.children, child)
	return nil
}

func (c *ControlPlane) logFile(name string) string { return filepath.Join(c.dir, name+".log") }

// awaitReady asks /readyz, which also waits for the API server's own roles,
// until it says yes, a program ends, or ctx is done. There is nothing to watch
// before the API server is ready, hence the ticker.
func (c *ControlPlane) awaitReady(ctx context.Context) error {
	transport, err := rest.TransportFor(c.rest)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ready(ctx, client, c.rest.Host+"/readyz") {
		select {
		case <-tick.C:
		case <-c.children[0].done:
			return fmt.Errorf("etcd ended: %w\n%s", c.children[0].err, c.lastLines("etcd"))
		case <-c.children[1].done:
			return fmt.Errorf("kube-apiserver ended: %w\n%s", c.children[1].err, c.lastLines("kube-apiserver"))
		case <-ctx.Done():
			return fmt.Errorf("not ready in time: %w\n%s", ctx.Err(), c.lastLines("kube-apiserver"))
		}
	}
	return nil
}

func ready(ctx context.Context, client *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close() // only the status counts
	return response.StatusCode == http.StatusOK
}

// lastLines is the end of a program's log.
func (c *ControlPlane) lastLines(name string) string {
	return lastLinesOf(c.logFile(name))
}

func lastLinesOf(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// etcdFlags: etcd listens on sockets in its working directory (it takes no
// path), where nobody else can reach it, and forgets about safety on disk.
func etcdFlags() []string {
	return []string{
		"--data-dir=etcd",
		"--listen-client-urls=unix://client.sock", "--advertise-client-urls=unix://client.sock",
		"--listen-peer-urls=unix://peer.sock", "--initial-advertise-peer-urls=unix://peer.sock",
		"--initial-cluster=default=unix://peer.sock",
		"--unsafe-no-fsync", "--log-level=warn",
	}
}

// apiserverFlags: RBAC on; no limit that a burst of some hundred pods meets; an
// issuer and a jwks_uri that can be reached (by default the latter names the
// machine's outer address). The advertised address is a documentation address:
// a loopback one is refused, no one uses it without endpoints, and without it
// the server looks for a default route, which a sandbox does not have.
func apiserverFlags(p port, server string) []string {
	return []string{
		"--etcd-servers=unix://client.sock",
		"--bind-address=" + p.Addr().String(), "--secure-port=" + strconv.Itoa(int(p.Port())),
		"--permit-port-sharing=" + strconv.FormatBool(p.held != nil),
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
		"--tls-cert-file=apiserver.crt", "--tls-private-key-file=apiserver.key", "--client-ca-file=ca.crt",
		"--service-cluster-ip-range=" + serviceRange,
		"--service-account-issuer=" + server, "--service-account-jwks-uri=" + server + "/openid/v1/jwks",
		"--service-account-signing-key-file=sa.key", "--service-account-key-file=sa.pub",
		"--kubelet-client-certificate=kubelet-client.crt", "--kubelet-client-key=kubelet-client.key",
		"--kubelet-preferred-address-types=InternalIP", // no names are resolved here
		"--authorization-mode=Node,RBAC", "--allow-privileged",
		"--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000", "--enable-priority-and-fairness=false",
	}
}
