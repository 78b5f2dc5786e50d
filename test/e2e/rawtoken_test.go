package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/test/localcluster"
)

// rawTokens has podid print the token of a pod, by the real curl and the real wget,
// each of which is told of a proxy wherever it looks for one.
func rawTokens(t *testing.T, w *demo.World) {
	t.Helper()
	const client = "eeeeeeee-0000-0000-0000-000000000011"
	merge(t, w, azemu.State{Identities: []azemu.Identity{{ID: identityID("podid-demo", "raw"), ClientID: client}}})
	bind(t, w, "raw", client)
	p := run(t, w, newPod(w, "default", "raw", map[string]string{v1.LabelBinding: "raw"}))
	for _, program := range []string{"curl", "wget"} {
		t.Run(program, func(t *testing.T) {
			ask := inPod(t, p, program)
			status, token, said := rawToken(t, w, ask)
			if c := explain.ClaimsOf(strings.TrimSuffix(token, "\n"), time.Time{}); status != 0 || said != "" || c.AppID != client || c.Audience != "https://vault.azure.net" {
				t.Errorf("ended with %d and a token of %+v: %s", status, c, said)
			}
			eventually(t, time.Minute, func() error { // until the pod is too old for a binding that may come
				status, token, said := rawToken(t, w, ask, "--client-id", micClient)
				if status != 1 || token != "" || !strings.Contains(said, map[string]string{"curl": "is not bound to the identity that it asks for", "wget": "400"}[program]) {
					return fmt.Errorf("a stranger's: ended with %d, %d bytes of a token: %s", status, len(token), said)
				}
				return nil
			})
		})
	}
}

// inPod runs one program in a pod as exec does, and has it find no other.
func inPod(t *testing.T, p *localcluster.Pod, program string) func(context.Context, *rest.Config, *corev1.Pod, string, []string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	for name, text := range map[string]string{".curlrc": "proxy = http://127.0.0.1:1\n", ".wgetrc": "use_proxy = on\nhttp_proxy = http://127.0.0.1:1\n"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(ctx context.Context, _ *rest.Config, pod *corev1.Pod, _ string, argv []string) (string, error) {
		if pod.Name != "raw" {
			t.Errorf("asked in pod %s", pod.Name)
		}
		if argv[0] != program {
			return "", fmt.Errorf("exec: %q: executable file not found in $PATH: unknown", argv[0])
		}
		var out, complaint bytes.Buffer
		cmd := p.Command(ctx, path, argv[1:]...)
		cmd.Env = append(os.Environ(), "HOME="+home, "http_proxy=http://127.0.0.1:1", "ALL_PROXY=http://127.0.0.1:1")
		cmd.Stdout, cmd.Stderr = &out, &complaint
		if err := cmd.Run(); err != nil {
			return "", errors.Join(errors.New(strings.TrimSpace(complaint.String())), err)
		}
		return out.String(), nil
	}
}

// rawToken runs podid token --raw, and returns its status and what it prints.
func rawToken(t *testing.T, w *demo.World, ask func(context.Context, *rest.Config, *corev1.Pod, string, []string) (string, error), args ...string) (status int, out, said string) {
	t.Helper()
	root := cli.New(cli.Config{Name: "podid", Getenv: func(string) string { return "" }, Ask: ask})
	var printed, complaints bytes.Buffer
	root.SetOut(&printed)
	root.SetErr(&complaints)
	root.SetArgs(append([]string{"token", "pod/raw", "--raw", "-n", "default", "--kubeconfig", w.Cluster.Kubeconfig(), "--resource", "https://vault.azure.net"}, args...))
	err := root.ExecuteContext(t.Context())
	exit, ok := errors.AsType[cli.ExitError](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	return int(exit), printed.String(), complaints.String()
}
