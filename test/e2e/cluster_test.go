package e2e_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/localcluster"
)

const (
	entraHost    = "login.microsoftonline.com"
	proxyAddress = localcluster.FabricAddress + ":3128"
	azureAddress = localcluster.FabricAddress + ":8443"
)

// TestOneCluster runs, one after the other, what can share a cluster: to start
// one takes longer than most of what is asked of it.
func TestOneCluster(t *testing.T) {
	w := startWorld(t, 0, func(c *demo.Config) {
		c.Hosts = []string{entraHost}
		c.AgentFlags = []string{"--host-token", "--ca-file", filepath.Join(c.Dir, "azure-ca.pem"), "--audit=sync"} // for wantRequests
		// IMDS is never asked by the proxy, which would not let it through.
		c.AgentEnv = []string{
			"HTTPS_PROXY=http://" + proxyAddress, "HTTP_PROXY=http://" + proxyAddress,
			"NO_PROXY=" + localcluster.FabricAddress,
		}
		// Agents must refuse what mic has put on their node for a copied label.
		c.MICFlags = []string{"--allow-cross-namespace"}
	})
	serveProxy(t)
	for _, part := range []struct {
		name string
		test func(*testing.T, *demo.World)
	}{
		{"manifests in the old spelling", acceptOldSpelling},
		{"manifests of all types of identities", acceptTypes},
		{"a namespace's annotation", acceptNamespaceAnnotation},
		{"an exception for add-ons", acceptException},
		{"the Key Vault provider", acceptKeyVault},
		{"a secret that is rotated", rotateSecret},
		{"podid explain", explained},
		{"podid token --raw", rawTokens},
		{"unmodified clients", referees},
		{"upgrades and outages of the agent", upgrade},
		{"who is calling", callers},
		{"a metadata service that is away", metadataAway},
		{"an API server that is away", apiServerAway},
		{"AAD Pod Identity's defaults", oldDefaults},
	} {
		if !t.Run(part.name, func(t *testing.T) { part.test(t, w) }) && t.Context().Err() != nil {
			return
		}
	}
}

// serveProxy lets agents reach Entra ID by its real name: it passes what goes
// there on to the emulator, as it is, and refuses all else.
func serveProxy(t *testing.T) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", proxyAddress)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != entraHost+":443" {
			t.Errorf("the proxy was asked for %s %s", r.Method, r.Host)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		tunnel(w, r)
	})}
	go func() { _ = s.Serve(l) }() // ends with Close
	t.Cleanup(func() { _ = s.Close() })
}

// tunnel joins the caller and the emulator until either closes.
func tunnel(w http.ResponseWriter, r *http.Request) {
	var d net.Dialer
	there, err := d.DialContext(r.Context(), "tcp", azureAddress)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = there.Close() }()
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = here.Close() }()
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(there, here); _ = there.Close() }() // ends with here, which the other way closes
	_, _ = io.Copy(here, there)
}

// apply creates what a manifest holds, unchanged, in namespace default where it
// names none, and returns the pods that its Deployments make.
func apply(t *testing.T, w *demo.World, name string) []*corev1.Pod {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "acceptance", name))
	if err != nil {
		t.Fatal(err)
	}
	var pods []*corev1.Pod
	d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		if err := d.Decode(o); errors.Is(err, io.EOF) {
			return pods
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if o.GetNamespace() == "" && o.GetKind() != "Namespace" {
			o.SetNamespace("default")
		}
		eventually(t, time.Minute, func() error { // a new kind is not found at once
			err := w.Client.Create(t.Context(), o)
			if err != nil && !meta.IsNoMatchError(err) {
				t.Fatalf("%s: %v", name, err)
			}
			return err
		})
		if o.GetKind() == "Deployment" { // no controller makes its pods here
			pods = append(pods, podOf(t, o))
		}
	}
}

// podOf is the pod that a Deployment's template makes.
func podOf(t *testing.T, deployment *unstructured.Unstructured) *corev1.Pod {
	t.Helper()
	template, _, err := unstructured.NestedMap(deployment.Object, "spec", "template")
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(template, pod); err != nil {
		t.Fatal(err)
	}
	pod.Namespace, pod.Name = deployment.GetNamespace(), deployment.GetName()+"-0"
	return pod
}

// run creates a pod and returns it when it runs.
func run(t *testing.T, w *demo.World, object *corev1.Pod) *localcluster.Pod {
	t.Helper()
	if len(object.Spec.Containers) == 0 {
		object.Spec.Containers = []corev1.Container{{Name: "c", Image: "registry.example/c:1"}}
	}
	if err := w.Client.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	p, err := w.Cluster.Pod(t.Context(), object.Namespace, object.Name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newPod is a pod with labels, on the first node.
func newPod(w *demo.World, namespace, name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: w.Cluster.Nodes()[0].Name},
	}
}

// needNamespace makes a namespace unless it is there.
func needNamespace(t *testing.T, w *demo.World, name string) {
	t.Helper()
	err := w.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// merge adds to what exists in Azure.
func merge(t *testing.T, w *demo.World, s azemu.State) {
	t.Helper()
	if err := w.Azure.MergeState(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// fetch asks the metadata service for something, over a new connection.
func fetch(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), url string) (int, string, error) {
	tr := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Metadata", "true")
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// bearer is whose an access token is.
type bearer struct {
	ClientID string `json:"appid"`
	Tenant   string `json:"tid"`
	Audience string `json:"aud"`
}

// owner asks for a token as a pod, with more of a query, and returns whose it is.
func owner(t *testing.T, p *localcluster.Pod, more string) (bearer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	status, body, err := fetch(ctx, p.DialContext, tokenURL+more)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("answered %d: %s", status, body)
	}
	if err != nil {
		return bearer{}, err
	}
	return read(body)
}

// read reads whose the token in an answer is.
func read(answer string) (b bearer, err error) {
	var token struct {
		Value string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(answer), &token); err != nil {
		return b, err
	}
	parts := strings.Split(token.Value, ".")
	if len(parts) != 3 {
		return b, fmt.Errorf("no JWT in %d bytes of an answer", len(answer))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return b, err
	}
	return b, json.Unmarshal(payload, &b)
}

// wantOwner checks whose token a pod gets.
func wantOwner(t *testing.T, p *localcluster.Pod, more, clientID string) {
	t.Helper()
	if got, err := owner(t, p, more); err != nil || got.ClientID != clientID {
		t.Errorf("pod %s/%s gets a token of %q (%v), want %s", p.Namespace, p.Name, got.ClientID, err, clientID)
	}
}

// ownedBy is nil when the pod gets a token of the client id.
func ownedBy(t *testing.T, p *localcluster.Pod, more, clientID string) error {
	t.Helper()
	got, err := owner(t, p, more)
	if err == nil && got.ClientID != clientID {
		err = fmt.Errorf("got a token of %s", got.ClientID)
	}
	return err
}

// awaitOwner waits until a pod gets a token. The first one counts: that there is none
// yet may be, a token of somebody else never.
func awaitOwner(t *testing.T, p *localcluster.Pod, more, clientID string) {
	t.Helper()
	var got bearer
	eventually(t, time.Minute, func() (err error) {
		got, err = owner(t, p, more)
		return err
	})
	if got.ClientID != clientID {
		t.Errorf("pod %s/%s gets a token of %q, want %s", p.Namespace, p.Name, got.ClientID, clientID)
	}
}

// errNotYet says that it will come.
var errNotYet = errors.New("not yet")

// eventually asks again until the answer is good: for what nobody tells of.
func eventually(t *testing.T, limit time.Duration, ok func() error) {
	t.Helper()
	err := ok()
	deadline := time.Now().Add(limit)
	for tick := time.Tick(100 * time.Millisecond); err != nil && time.Now().Before(deadline); <-tick {
		err = ok()
	}
	if err != nil {
		t.Fatalf("after %s: %v", limit, err)
	}
}
