package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/localcluster"
)

// provided is what the Key Vault provider sends on behalf of a pod of namespace
// default, to the byte:
// the two headers as Go's client spells them, the resource as it is, no Metadata
// header and no api-version.
func provided(pod string) string {
	return "GET /host/token/?resource=https://vault.azure.net HTTP/1.1\r\n" +
		"Host: localhost:2579\r\nUser-Agent: Go-http-client/1.1\r\n" +
		"Podname: " + pod + "\r\nPodns: default\r\nAccept-Encoding: gzip\r\n\r\n"
}

// send writes a request and reads its answer.
func send(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), address, request string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := dial(ctx, "tcp", address)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, request); err != nil {
		return 0, nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// vaultPods makes pods with and without a volume of the Secrets Store driver.
func vaultPods(t *testing.T, w *demo.World, client string) (with, without *localcluster.Pod) {
	t.Helper()
	dir, err := filepath.Abs("testdata/crd")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Cluster.InstallCRDs(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	apply(t, w, "05-key-vault-pod-identity.yaml")
	merge(t, w, azemu.State{Identities: []azemu.Identity{{ID: identityID("podid-demo", "vault-user"), ClientID: client}}})
	bind(t, w, "vault-user", client)
	labels := map[string]string{v1.LabelBinding: "vault-user"}
	mounting := newPod(w, "default", "mounting", labels)
	mounting.Spec.Volumes = []corev1.Volume{{Name: "secrets", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: "secrets-store.csi.k8s.io", ReadOnly: new(true), VolumeAttributes: map[string]string{"secretProviderClass": "demo-secret"},
	}}}}
	return run(t, w, mounting), run(t, w, newPod(w, "default", "mountless", labels))
}

// acceptKeyVault: the unmodified provider gets the pod's token from nmi on the
// node, and nobody else does.
func acceptKeyVault(t *testing.T, w *demo.World) {
	t.Helper()
	const client = "cccccccc-0000-0000-0000-000000000005"
	with, without := vaultPods(t, w, client)
	node := w.Cluster.Nodes()[0]
	for _, address := range []string{"127.0.0.1:2579", "[::1]:2579"} {
		t.Run("root at "+address, func(t *testing.T) {
			status, body, err := send(t.Context(), node.DialContext, address, provided(with.Name))
			if err != nil || status != http.StatusOK {
				t.Fatalf("answered %d %s (%v)", status, withoutToken(string(body)), err)
			}
			wantHostToken(t, body, client)
		})
	}
	t.Run("a pod without the volume", func(t *testing.T) {
		status, body, err := send(t.Context(), node.DialContext, "127.0.0.1:2579", provided(without.Name))
		if err != nil || status == http.StatusOK || !strings.Contains(string(body), "secrets-store.csi.k8s.io") {
			t.Errorf("answered %d %s (%v), want a refusal", status, withoutToken(string(body)), err)
		}
	})
	t.Run("another user of the node", func(t *testing.T) {
		curl, err := exec.LookPath("curl")
		if err != nil {
			t.Fatal(err)
		}
		cmd := node.Command(t.Context(), curl, "--silent", "--noproxy", "*", "--max-time", "60", "--write-out", "\n%{http_code}",
			"--header", "Podname: "+with.Name, "--header", "Podns: default",
			"http://127.0.0.1:2579/host/token/?resource=https://vault.azure.net")
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 1234, Gid: 1234, NoSetGroups: true}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasSuffix(string(out), "\n403") || strings.Contains(string(out), "access_token") {
			t.Errorf("answered %s (%v), want a refusal", withoutToken(string(out)), err)
		}
	})
	t.Run("a pod", func(t *testing.T) {
		for _, address := range []string{"127.0.0.1:2579", node.Addr.String() + ":2579", "169.254.25.79:2579"} {
			if status, body, err := send(t.Context(), with.DialContext, address, provided(with.Name)); err == nil {
				t.Errorf("answered %d %s at %s, want no connection", status, withoutToken(string(body)), address)
			}
		}
		status, body, err := send(t.Context(), with.DialContext, "169.254.169.254:80", provided(with.Name))
		if err != nil || status == http.StatusOK || strings.Contains(string(body), "access_token") {
			t.Errorf("answered %d %s (%v), want a refusal", status, withoutToken(string(body)), err)
		}
	})
}

// wantHostToken checks an answer as strictly as the provider decodes it.
func wantHostToken(t *testing.T, body []byte, client string) {
	t.Helper()
	var answer struct {
		Token struct {
			AccessToken string      `json:"access_token"`
			ExpiresIn   json.Number `json:"expires_in"` // an empty string fails
			ExpiresOn   json.Number `json:"expires_on"`
			NotBefore   json.Number `json:"not_before"`
			Resource    string      `json:"resource"`
			Type        string      `json:"token_type"`
		} `json:"token"`
		ClientID string `json:"clientid"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	whose, err := read(`{"access_token":"` + answer.Token.AccessToken + `"}`)
	if err != nil || whose.ClientID != client || answer.ClientID != client || whose.Audience != "https://vault.azure.net" {
		t.Errorf("got a token of %+v for client id %s (%v), want %s", whose, answer.ClientID, err, client)
	}
	if answer.Token.Type != "Bearer" || answer.Token.Resource != "https://vault.azure.net" || answer.Token.ExpiresOn == "" {
		t.Errorf("the answer says type %q, resource %q, expiry %q", answer.Token.Type, answer.Token.Resource, answer.Token.ExpiresOn)
	}
}

// rotateSecret: a secret that was rotated counts within five seconds, without a
// restart, and one that was withdrawn does not count any more.
func rotateSecret(t *testing.T, w *demo.World) {
	t.Helper()
	const client = "cccccccc-0000-0000-0000-000000000006"
	meta := metav1.ObjectMeta{Namespace: "default", Name: "rotated"}
	inAzure := func(secret string) {
		t.Helper()
		merge(t, w, azemu.State{Apps: []azemu.App{{ClientID: client, Secrets: []string{secret}, Tenants: []string{homeTenant}}}})
	}
	inAzure("first")
	secret := &corev1.Secret{ObjectMeta: meta, StringData: map[string]string{"clientSecret": "first"}}
	if err := errors.Join(
		w.Client.Create(t.Context(), secret),
		w.Client.Create(t.Context(), &v1.AzureIdentity{ObjectMeta: meta, Spec: v1.AzureIdentitySpec{
			Type: new(v1.ServicePrincipal), ClientID: client, TenantID: homeTenant, ClientPassword: &v1.SecretReference{Name: meta.Name},
		}}),
		w.Client.Create(t.Context(), &v1.AzureIdentityBinding{ObjectMeta: meta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: meta.Name, Selector: meta.Name}}),
	); err != nil {
		t.Fatal(err)
	}
	p := run(t, w, newPod(w, "default", "rotated", map[string]string{v1.LabelBinding: "rotated"}))
	wantOwner(t, p, "", client)
	inAzure("second")
	if got, err := owner(t, p, "/new"); err == nil {
		t.Errorf("a withdrawn secret gets a token of %s", got.ClientID)
	}
	put := func(value string) {
		t.Helper()
		if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: meta.Namespace, Name: meta.Name}, secret); err != nil {
			t.Fatal(err)
		}
		secret.Data = map[string][]byte{"clientSecret": []byte(value)}
		if err := w.Client.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	put("second")
	awaitOwner(t, p, "/new", client)
	wantOwner(t, p, "", client)
	put("wrong")
	eventually(t, time.Minute, func() error {
		if got, err := owner(t, p, ""); err == nil {
			return fmt.Errorf("a wrong secret gets a token of %s", got.ClientID)
		}
		return nil
	})
	put("second")
	awaitOwner(t, p, "", client)
}
