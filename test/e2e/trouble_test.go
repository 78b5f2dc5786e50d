package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/internal/telemetry"
	"github.com/podid-io/podid/test/localcluster"
)

// TestBadFlagsGiveOneClearError runs each program with what it cannot work with.
func TestBadFlagsGiveOneClearError(t *testing.T) {
	dir := bin(t)
	tests := map[string]struct {
		argv []string
		want string
	}{
		"nmi, an unknown flag":        {[]string{"nmi", "--nonsense"}, "unknown flag: --nonsense"},
		"nmi, no node":                {[]string{"nmi"}, "--node is missing: write the name of the node"},
		"nmi, a redirect of no kind":  {[]string{"nmi", "--node=n", "--redirect=iptables"}, `--redirect "iptables" is unknown: write nftables or none`},
		"nmi, an address that is not": {[]string{"nmi", "--node=n", "--listen=here"}, `--listen "here"`},
		"nmi, mic without identity":   {[]string{"nmi", "--node=n", "--mic-service-account=a/b"}, "--mic-client-id is missing"},
		"nmi, too long a hold":        {[]string{"nmi", "--node=n", "--kubeconfig=KUBECONFIG", "--hold=2m"}, "write a duration up to 55s"},
		"nmi, no such kubeconfig":     {[]string{"nmi", "--node=n", "--kubeconfig=/nonexistent"}, `--kubeconfig "/nonexistent"`},
		"nmi, an audit of no kind":    {[]string{"nmi", "--node=n", "--kubeconfig=KUBECONFIG", "--audit=maybe"}, `audit mode "maybe" is unknown: use buffered, sync or off`},
		"nmi, IMDS over TLS":          {[]string{"nmi", "--node=n", "--kubeconfig=KUBECONFIG", "--imds-endpoint=https://x"}, "write http://HOST"},
		"nmi, a health address":       {[]string{"nmi", "--node=n", "--kubeconfig=KUBECONFIG", "--redirect=none", "--listen=127.0.0.1:0", "--metrics-listen=", "--health-listen=here", "--log-level=error"}, `serve health on "here"`},
		"mic, an unknown flag":        {[]string{"mic", "--nonsense"}, "unknown flag: --nonsense"},
		"mic, no such cloud config":   {[]string{"mic", "--kubeconfig=KUBECONFIG", "--namespace=x", "--cloud-config=/nonexistent"}, "/nonexistent"},
		"azemu, an unknown flag":      {[]string{"azemu", "--nonsense"}, "unknown flag: --nonsense"},
		"podid, an unknown command":   {[]string{"podid", "nonsense"}, `unknown command "nonsense"`},
		"podid, exec without cluster": {[]string{"podid", "demo", "exec", "--dir=/nonexistent", "a/b", "--", "true"}, "start one with `make up`"},
	}
	kubeconfig := writeKubeconfig(t, "https://127.0.0.1:1")
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for i, a := range tc.argv {
				tc.argv[i] = strings.ReplaceAll(a, "KUBECONFIG", kubeconfig)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(dir, tc.argv[0]), tc.argv[1:]...)
			cmd.Env = append(os.Environ(), "NODE_NAME=", "KUBECONFIG=")
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
				t.Fatalf("ended with %v, want a status that says so\n%s", err, out)
			}
			said := strings.TrimSpace(string(out))
			if !strings.Contains(said, tc.want) || strings.Count(said, "\n") > 1 || strings.Contains(said, "goroutine") {
				t.Errorf("said:\n%s\nwant one error with %q", said, tc.want)
			}
		})
	}
}

// writeKubeconfig writes a kubeconfig for an API server without credentials.
func writeKubeconfig(t *testing.T, server string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"a","clusters":[{"name":"a","cluster":{"server":%q}}],"users":[{"name":"a","user":{}}],"contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}]}`, server)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// program is one of podid's programs that runs.
type program struct {
	health  string
	ended   chan error
	log     *os.File
	process *os.Process
	killed  bool // by the test
}

// said is what the program has logged.
func (p *program) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// start runs a program until the test ends.
func start(t *testing.T, name string, env []string, args ...string) *program {
	t.Helper()
	dir, err := os.MkdirTemp("", "podid") //nolint:usetesting // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	health := "unix:" + filepath.Join(dir, "health.sock") // no port that was free is another's by then
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(worldBin(t), name), append(args, "--health-listen", health, "--metrics-listen", "")...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{health: health, ended: make(chan error, 1), log: log, process: cmd.Process}
	go func() { p.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		defer func() { _ = log.Close() }()      // only read by then
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case err := <-p.ended:
			if err != nil && !p.killed {
				t.Errorf("%s ended with %v when told to", name, err)
			}
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			t.Errorf("%s does not end when told to", name)
		}
	})
	return p
}

// await waits until /readyz answers the status with the text, while the program
// lives.
func (p *program) await(t *testing.T, status int, text string) {
	t.Helper()
	last := "nothing"
	deadline := time.Now().Add(3 * time.Minute)
	for tick := time.Tick(50 * time.Millisecond); time.Now().Before(deadline); <-tick {
		select {
		case err := <-p.ended:
			p.ended <- err
			said, _ := os.ReadFile(p.log.Name())
			t.Fatalf("the program ended: %v\n%s", err, said)
		default:
		}
		got, body, err := telemetry.Ask(t.Context(), p.health, http.MethodGet, "/readyz", "")
		if err != nil {
			last = err.Error()
			continue
		}
		last = fmt.Sprintf("%d %s", got, body)
		if got == status && strings.Contains(body, text) {
			return
		}
	}
	t.Fatalf("readiness says %s; want %d and %q", last, status, text)
}

// micEnv is enough of a cloud configuration for mic to start.
func micEnv() []string {
	return []string{"CLOUD=AzurePublicCloud", "TENANT_ID=t", "CLIENT_ID=c", "CLIENT_SECRET=s", "SUBSCRIPTION_ID=s", "RESOURCE_GROUP=g"}
}

// TestMissingPartsTurnReadinessRed starts nmi and mic before what they need is
// there, and then brings it.
func TestMissingPartsTurnReadinessRed(t *testing.T) {
	programs := map[string]func(t *testing.T, kubeconfig string) *program{
		"nmi": func(t *testing.T, kubeconfig string) *program {
			t.Helper()
			return start(t, "nmi", nil, "--node", "n", "--kubeconfig", kubeconfig, "--redirect", "none", "--listen", "127.0.0.1:0")
		},
		"mic": func(t *testing.T, kubeconfig string) *program {
			t.Helper()
			return start(t, "mic", micEnv(), "--kubeconfig", kubeconfig, "--namespace", "default", "--cloud-config", "")
		},
	}
	for name, run := range programs {
		t.Run(name+" without an API server", func(t *testing.T) {
			run(t, writeKubeconfig(t, "https://127.0.0.1:1")).await(t, http.StatusServiceUnavailable, "connection refused")
		})
		t.Run(name+" without CRDs", func(t *testing.T) {
			cp, err := localcluster.StartControlPlane(t.Context(), localcluster.ControlPlaneConfig{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cp.Stop)
			p := run(t, cp.Kubeconfig())
			p.await(t, http.StatusServiceUnavailable, "aadpodidentity.k8s.io")
			if err := cp.InstallCRDs(t.Context(), crds(t)); err != nil {
				t.Fatal(err)
			}
			p.await(t, http.StatusOK, "")
		})
	}
}

// metadataAway has a pod ask an agent whose metadata service is away.
func metadataAway(t *testing.T, w *demo.World) {
	t.Helper()
	node := w.Cluster.Nodes()[0]
	p := run(t, w, newPod(w, "default", "patient", map[string]string{v1.LabelBinding: "late"}))
	wantOwner(t, p, "", lateClient)
	replaceAgent(t, w, node, "alone", "--imds-endpoint", "http://127.0.0.1:1", "--hold", "5s")
	status, body, err := fetch(t.Context(), p.DialContext, tokenURL)
	if err != nil {
		t.Fatal(err)
	}
	var said map[string]string
	if err := json.Unmarshal([]byte(body), &said); err != nil {
		t.Fatal(err)
	}
	if status != http.StatusNotFound || !strings.Contains(said["error_description"], "metadata service of the node does not answer") {
		t.Errorf("answered %d %v, want 404 and words", status, said)
	}
	replaceAgent(t, w, node, "not-alone")
	wantOwner(t, p, "", lateClient)
}
