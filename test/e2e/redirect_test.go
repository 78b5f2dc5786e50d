package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/localcluster"
)

// tokenURL is what SDKs ask for.
const tokenURL = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"

// runPod creates a labelled pod on a node and returns it when it runs. Edits
// change it first.
func runPod(t *testing.T, w *demo.World, name, node, label string, edits ...func(*corev1.Pod)) *localcluster.Pod {
	t.Helper()
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{v1.LabelBinding: label}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "registry.example/c:1"}}},
	}
	for _, e := range edits {
		e(object)
	}
	if err := w.Client.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	p, err := w.Cluster.Pod(t.Context(), "default", name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// bind creates an AzureIdentity of the demo's subscription and its binding.
func bind(t *testing.T, w *demo.World, name, clientID string) {
	t.Helper()
	id := &v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: v1.AzureIdentitySpec{
		ResourceID: "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/podid-demo/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name,
		ClientID:   clientID,
	}}
	b := &v1.AzureIdentityBinding{ObjectMeta: id.ObjectMeta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: name, Selector: name}}
	if err := w.Client.Create(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := w.Client.Create(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// ask asks for a token over a new connection, and returns the client id of the
// identity that it is of. local is the address to ask from; zero leaves it to
// the kernel.
func ask(ctx context.Context, p *localcluster.Pod, local netip.Addr) (string, error) {
	dial := p.DialContext
	if local.IsValid() {
		dial = func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = p.Do(func() error {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: local.AsSlice()}}
				c, err = d.DialContext(ctx, network, addr)
				return err
			})
			return c, err
		}
	}
	tr := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	return tokenFrom(ctx, &http.Client{Transport: tr})
}

// tokenFrom asks for a token, and returns the client id of its identity.
func tokenFrom(ctx context.Context, c *http.Client) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, tokenURL, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Metadata", "true")
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	var token struct {
		ClientID string `json:"client_id"`
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answered %d: %s", resp.StatusCode, body)
	}
	return token.ClientID, json.Unmarshal(body, &token)
}

const (
	vaultClient = "22222222-2222-2222-2222-222222222222"
	blobClient  = "33333333-3333-3333-3333-333333333333"
	micClient   = "99999999-9999-9999-9999-999999999999" // on the nodes from the start
)

// TestPodsKeepToTheirOwnIdentities runs two pods on one node, each with an
// identity, and has one of them try everything to get the other's.
func TestPodsKeepToTheirOwnIdentities(t *testing.T) {
	w := startWorld(t, 0)
	bind(t, w, "vault-reader", vaultClient)
	bind(t, w, "blob-reader", blobClient)
	node := w.Cluster.Nodes()[0]
	victim := runPod(t, w, "victim", node.Name, "vault-reader")
	thief := runPod(t, w, "thief", node.Name, "blob-reader")
	for p, want := range map[*localcluster.Pod]string{victim: vaultClient, thief: blobClient} {
		if got, err := ask(t.Context(), p, netip.Addr{}); err != nil || got != want {
			t.Fatalf("pod %s gets a token of %q (%v), want %s", p.Name, got, err, want)
		}
	}
	t.Run("the neighbour's address", func(t *testing.T) {
		if err := thief.Do(func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.AddrAdd(eth0, &netlink.Addr{IPNet: netlink.NewIPNet(victim.Addr.AsSlice())})
		}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if got, err := ask(ctx, thief, victim.Addr); err == nil {
			t.Errorf("the thief got a token of %s with the victim's address", got)
		}
		if got, err := ask(t.Context(), victim, netip.Addr{}); err != nil || got != vaultClient {
			t.Errorf("the victim gets a token of %q (%v) meanwhile, want its own", got, err)
		}
	})
	t.Run("an address that goes from pod to pod", func(t *testing.T) {
		const address = "10.224.1.200"
		for i := range 10 {
			label, want := "vault-reader", vaultClient
			if i%2 == 1 {
				label, want = "blob-reader", blobClient
			}
			p := runPod(t, w, fmt.Sprintf("heir-%d", i), node.Name, label, func(o *corev1.Pod) {
				o.Annotations = map[string]string{localcluster.AddressAnnotation: address}
			})
			if p.Addr.String() != address {
				t.Fatalf("the pod has %s, want %s", p.Addr, address)
			}
			if got, err := ask(t.Context(), p, netip.Addr{}); err != nil || got != want {
				t.Errorf("heir %d gets a token of %q (%v), want %s", i, got, err, want)
			}
			now := int64(0)
			if err := w.Client.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: p.Name}},
				&client.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("rules that somebody flushed are mended within five seconds", func(t *testing.T) {
		if err := node.Do(func() error {
			conn, err := nftables.New()
			if err != nil {
				return err
			}
			conn.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "podid"})
			return conn.Flush()
		}); err != nil {
			t.Fatal(err)
		}
		if err := node.Do(awaitTable); err != nil {
			t.Fatal(err)
		}
		if got, err := ask(t.Context(), victim, netip.Addr{}); err != nil || got != vaultClient {
			t.Errorf("the victim gets a token of %q (%v), want its own", got, err)
		}
	})
}

// awaitTable waits for podid's table to be there again.
func awaitTable() error {
	deadline := time.Now().Add(time.Minute)
	for tick := time.Tick(20 * time.Millisecond); time.Now().Before(deadline); <-tick {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if table.Name == "podid" {
				return nil
			}
		}
	}
	return os.ErrDeadlineExceeded
}
