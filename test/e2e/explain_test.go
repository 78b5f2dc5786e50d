package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/telemetry"
)

// explained has podid explain pods by the real agent of their node, and holds each
// verdict against the answer that the pod gets.
func explained(t *testing.T, w *demo.World) {
	t.Helper()
	const (
		webClient   = "eeeeeeee-0000-0000-0000-000000000001"
		otherClient = "eeeeeeee-0000-0000-0000-000000000002"
		appClient   = "eeeeeeee-0000-0000-0000-000000000003"
	)
	socket := agentWithSocket(t, w)
	merge(t, w, azemu.State{
		Identities: []azemu.Identity{{ID: identityID("podid-demo", "explained"), ClientID: webClient}, {ID: identityID("podid-demo", "unknown"), ClientID: "eeeeeeee-0000-0000-0000-00000000000f"}},
		Apps:       []azemu.App{{ClientID: appClient, Secrets: []string{"the right one"}}},
	})
	bind(t, w, "explained", webClient)
	bind(t, w, "unknown", otherClient)
	bindApplication(t, w, "application", appClient, "the wrong one")
	if err := w.Client.Create(t.Context(), &v1.AzureIdentityBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "dangling"}, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: "nowhere", Selector: "dangling"},
	}); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		label string
		edit  func(*corev1.Pod)
		step  string // that is the first to look at; empty for none
		says  string
		fix   string
	}{
		"all is well":                       {label: "explained"},
		"a selector that is nobody's":       {label: "explainedx", step: explain.BindingStep, says: `there is "explained"`, fix: "aadpodidbinding=explained"},
		"no label":                          {step: explain.LabelStep, says: "no label aadpodidbinding", fix: "kubectl label pod -n default"},
		"an identity that there is not":     {label: "dangling", step: explain.IdentityStep, says: `names AzureIdentity "nowhere"`},
		"a client id that nobody knows":     {label: "unknown", step: explain.TokenStep, says: "client id " + otherClient, fix: "az identity show --ids"},
		"a secret that is wrong":            {label: "application", step: explain.TokenStep, says: "AADSTS7000215", fix: "kubectl create secret generic -n default application"},
		"a pod on the node's own network":   {label: "explained", edit: func(p *corev1.Pod) { p.Spec.HostNetwork = true }, step: explain.PodStep, says: "hostNetwork: true"},
		"a client that asks for a stranger": {label: "explained", step: explain.IdentityStep, says: "is bound to default/explained"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			object := newPod(w, "default", "explain-"+strings.ReplaceAll(strings.NewReplacer("'", "", " ", "-").Replace(name), "--", "-"), map[string]string{})
			if tc.label != "" {
				object.Labels[v1.LabelBinding] = tc.label
			}
			if tc.edit != nil {
				tc.edit(object)
			}
			p := run(t, w, object)
			more, args := "", []string(nil)
			if strings.Contains(name, "stranger") {
				more, args = "&client_id="+otherClient, []string{"--client-id", otherClient}
			}
			eventually(t, time.Minute, func() error { // mic has a moment for its part: this agent waits for little
				var whose bearer
				var got error
				if !object.Spec.HostNetwork {
					whose, got = owner(t, p, more)
				}
				r := explainPod(t, w, socket, object.Name, args...)
				if tc.step == "" {
					return wellOf(t, r, whose, got, webClient)
				}
				if got == nil && !object.Spec.HostNetwork {
					t.Fatal("the pod gets a token")
				}
				first := slices.IndexFunc(r.Steps, func(s explain.Step) bool { return s.First })
				if first < 0 || r.Steps[first].Name != tc.step || !strings.Contains(r.Steps[first].Evidence, tc.says) || !strings.Contains(r.Steps[first].Fix, tc.fix) {
					return fmt.Errorf("want step %s first, with %q and %q, got\n%s", tc.step, tc.says, tc.fix, indented(r))
				}
				return nil
			})
		})
	}
	t.Run("an agent that is down", func(t *testing.T) {
		w.Agent(w.Cluster.Nodes()[0]).Kill()
		r := explainPod(t, w, socket, "explain-all-is-well")
		if s := r.Step(explain.AgentStep); r.Verdict == explain.OK || s.State != explain.Unknown || !strings.Contains(s.Evidence, "connection refused") {
			t.Errorf("explain says\n%s", indented(r))
		}
	})
	awaitAgent(t, w, startAgent(t, w, w.Cluster.Nodes()[0], "after-explain")) // for the parts that follow
}

// wellOf is nil when a pod gets a token and explain tells of it. That there is none yet
// may be; a token of somebody else, or for something else, never.
func wellOf(t *testing.T, r *explain.Report, whose bearer, got error, client string) error {
	t.Helper()
	const vault = "https://vault.azure.net"
	if got == nil && (whose.ClientID != client || whose.Audience != vault) {
		t.Fatalf("the pod gets a token of %+v, want one of %s for %s", whose, client, vault)
	}
	if r.Claims != nil && (r.Claims.AppID != client || r.Claims.Audience != vault) {
		t.Fatalf("explain tells of a token of %+v, want one of %s for %s\n%s", r.Claims, client, vault, indented(r))
	}
	if got != nil {
		return fmt.Errorf("the pod gets no token: %w\n%s", got, indented(r))
	}
	if r.Verdict != explain.OK || r.Claims == nil {
		return fmt.Errorf("explain says %s of %+v\n%s", r.Verdict, r.Claims, indented(r))
	}
	return nil
}

func indented(r *explain.Report) string {
	b, _ := json.MarshalIndent(r, "", "  ")
	return string(b)
}

// agentWithSocket replaces the agent of the first node by one that explains itself,
// and makes the pod that it would run in.
func agentWithSocket(t *testing.T, w *demo.World) string {
	t.Helper()
	socket := "unix:" + filepath.Join(t.TempDir(), "health.sock")
	node := w.Cluster.Nodes()[0]
	old := w.Agent(node)
	startAgent(t, w, node, "explained", "--health-listen", socket, "--hold", "3s")
	eventually(t, time.Minute, func() error {
		status, answer, err := telemetry.Ask(t.Context(), socket, http.MethodGet, "/readyz", "")
		if err == nil && status != http.StatusOK {
			err = errors.New(answer)
		}
		return err
	})
	old.Stop()
	agent := newPod(w, "podid-system", "podid-nmi-explained", map[string]string{"app.kubernetes.io/name": "podid", "app.kubernetes.io/component": "nmi"})
	agent.Spec.HostNetwork = true
	agent.Spec.Containers = []corev1.Container{{
		Name: "nmi", Image: "registry.example/podid/nmi:1", Args: []string{"--node=" + node.Name, "--mic-service-account=podid-system/podid-mic"},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"nmi", "ready", "--health-listen=" + socket}}}},
	}}
	run(t, w, agent)
	return socket
}

// bindApplication makes an application with a secret, and its binding.
func bindApplication(t *testing.T, w *demo.World, name, clientID, secret string) {
	t.Helper()
	kind := v1.ServicePrincipal
	meta := metav1.ObjectMeta{Namespace: "default", Name: name}
	if err := errors.Join(
		w.Client.Create(t.Context(), &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"clientSecret": secret}}),
		w.Client.Create(t.Context(), &v1.AzureIdentity{ObjectMeta: meta, Spec: v1.AzureIdentitySpec{
			Type: &kind, ClientID: clientID, TenantID: homeTenant, ClientPassword: &v1.SecretReference{Name: name},
		}}),
		w.Client.Create(t.Context(), &v1.AzureIdentityBinding{ObjectMeta: meta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: name, Selector: name}}),
	); err != nil {
		t.Fatal(err)
	}
}

// explainPod runs podid explain. In place of kubelet it runs the agent's own program
// here, which reaches the agent by its socket as one in the same pod does.
func explainPod(t *testing.T, w *demo.World, socket, pod string, args ...string) *explain.Report {
	t.Helper()
	root := cli.New(cli.Config{Name: "podid", Getenv: func(string) string { return "" }, Ask: func(ctx context.Context, _ *rest.Config, agent *corev1.Pod, container string, argv []string) (string, error) {
		if agent.Name != "podid-nmi-explained" || container != "nmi" || !slices.Contains(argv, "--health-listen="+socket) {
			t.Errorf("asked %s/%s %v", agent.Name, container, argv)
		}
		var complaint bytes.Buffer
		cmd := exec.CommandContext(ctx, filepath.Join(worldBin(t), argv[0]), argv[1:]...)
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		if err != nil {
			return "", errors.New(strings.TrimSpace(complaint.String()))
		}
		return string(out), nil
	}})
	var out, complaints bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&complaints)
	root.SetArgs(append([]string{"explain", "pod/" + pod, "-n", "default", "--kubeconfig", w.Cluster.Kubeconfig(), "--resource", "https://vault.azure.net", "-o", "json"}, args...))
	err := root.ExecuteContext(t.Context())
	if exit, ok := errors.AsType[cli.ExitError](err); err != nil && !ok || complaints.Len() > 0 {
		t.Fatalf("ended with %v (%d): %s", err, exit, complaints.String())
	}
	if strings.Contains(out.String(), "eyJ") {
		t.Errorf("there may be a token in %s", out.String())
	}
	var r explain.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return &r
}
