package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

// operation is how long Azure takes for a change.
const operation = 8 * time.Second

const handoverScope = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/MC_group/providers/Microsoft.Compute/virtualMachineScaleSets/pool"

// replicas is a cluster with an Azure and two processes of mic.
type replicas struct {
	t     *testing.T
	api   client.Client
	azure *azemu.Emulator
	mics  []*program
}

func newReplicas(t *testing.T) *replicas {
	t.Helper()
	cp, api := apiServer(t)
	r := &replicas{t: t, api: api}
	seed := azemu.State{
		Apps:      []azemu.App{{ClientID: "mic", Secrets: []string{"mic's secret"}}},
		ScaleSets: []azemu.ScaleSet{{ID: handoverScope, Instances: []azemu.Instance{{InstanceID: "0", Name: "pool000000"}}}},
	}
	objects := []client.Object{&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-0"}, Spec: corev1.NodeSpec{ProviderID: "azure://" + handoverScope + "/virtualMachines/0"},
	}}
	for _, name := range []string{"reader", "writer"} {
		id := strings.Replace(handoverScope, "Microsoft.Compute/virtualMachineScaleSets/pool", "Microsoft.ManagedIdentity/userAssignedIdentities/"+name, 1)
		seed.Identities = append(seed.Identities, azemu.Identity{ID: id})
		meta := metav1.ObjectMeta{Namespace: "default", Name: name}
		objects = append(objects,
			&v1.AzureIdentity{ObjectMeta: meta, Spec: v1.AzureIdentitySpec{Type: new(v1.UserAssignedMSI), ResourceID: id, ClientID: "client-" + name}},
			&v1.AzureIdentityBinding{ObjectMeta: meta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: name, Selector: name}},
			&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-" + name, Labels: map[string]string{v1.LabelBinding: name}},
				Spec:       corev1.PodSpec{NodeName: "node-0", Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
			})
	}
	var err error
	if r.azure, err = azemu.New(azemu.Config{Seed: seed, ARMDelay: operation}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(r.azure.Azure())
	server.TLS = r.azure.TLS()
	server.StartTLS()
	t.Cleanup(func() { r.azure.Close(); server.Close() })
	dir := t.TempDir()
	for name, content := range map[string]string{
		"ca.pem":     string(r.azure.CA()),
		"cloud.json": `{"resourceManagerEndpoint": "` + server.URL + `/", "activeDirectoryEndpoint": "` + server.URL + `/", "tokenAudience": "https://management.azure.com/"}`,
		"azure.json": `{"cloud": "AzureStackCloud", "tenantId": "` + azemu.DefaultTenant + `", "aadClientId": "mic", "aadClientSecret": "mic's secret"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		p := start(t, "mic", []string{"SSL_CERT_FILE=" + dir + "/ca.pem", "AZURE_ENVIRONMENT_FILEPATH=" + dir + "/cloud.json"},
			"--kubeconfig", cp.Kubeconfig(), "--namespace", "default", "--cloud-config", dir+"/azure.json")
		p.await(t, http.StatusOK, "[+] lease")
		r.mics = append(r.mics, p)
	}
	for _, o := range objects {
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// leader is the process that leads, of those that live.
func (r *replicas) leader() (leads, stands *program, err error) {
	for i, p := range r.mics {
		if strings.Contains(p.said(r.t), "msg=leading\n") {
			return p, r.mics[1-i], nil
		}
	}
	return nil, nil, errors.New("nobody leads")
}

func (r *replicas) states() (map[string]v1.AssignedState, error) {
	var l v1.AzureAssignedIdentityList
	if err := r.api.List(r.t.Context(), &l); err != nil {
		return nil, err
	}
	states := make(map[string]v1.AssignedState)
	for i := range l.Items {
		states[l.Items[i].Name] = l.Items[i].Status.Status
	}
	return states, nil
}

// TestAnotherMicTakesOverInTheMiddleOfAChange ends the leader while Azure carries
// out what it asked for.
func TestAnotherMicTakesOverInTheMiddleOfAChange(t *testing.T) {
	for name, signal := range map[string]os.Signal{"told to end": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			r := newReplicas(t)
			var leads, stands *program
			eventually(t, time.Minute, func() error { // until the operation runs
				if n := r.azure.Counters()[azemu.EndpointVMSSPatch].Calls; n == 0 {
					return errors.New("no PATCH yet")
				}
				var err error
				leads, stands, err = r.leader()
				return err
			})
			if strings.Contains(stands.said(t), "msg=leading\n") {
				t.Fatal("both lead")
			}
			leads.killed = signal == syscall.SIGKILL
			killed := time.Now()
			if err := leads.process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			eventually(t, time.Minute, func() error {
				if !strings.Contains(stands.said(t), "msg=leading\n") {
					return errors.New("nobody else leads")
				}
				return nil
			})
			took := time.Since(killed)
			want := map[string]v1.AssignedState{"web-reader-default-reader": v1.Assigned, "web-writer-default-writer": v1.Assigned}
			eventually(t, operation+2*time.Minute, func() error {
				if got, err := r.states(); err != nil || !maps.Equal(got, want) {
					return fmt.Errorf("there is %v, %w", got, err)
				}
				return nil
			})
			t.Logf("another led after %s; all was assigned %s after the signal", took.Round(100*time.Millisecond), time.Since(killed).Round(100*time.Millisecond))
			r.check()
		})
	}
}

// check looks whether nothing was lost and nothing doubled.
func (r *replicas) check() {
	r.t.Helper()
	var attached []string
	for _, s := range r.azure.State().ScaleSets {
		for _, id := range s.Visible {
			attached = append(attached, id[strings.LastIndex(id, "/")+1:])
		}
	}
	if slices.Sort(attached); !slices.Equal(attached, []string{"reader", "writer"}) {
		r.t.Errorf("the scale set has %v", attached)
	}
	if n := r.azure.Counters()[azemu.EndpointVMSSPatch].Calls; n > 3 {
		r.t.Errorf("%d PATCHes, want 3 at most", n)
	}
	var records corev1.ConfigMapList
	if err := r.api.List(r.t.Context(), &records, client.InNamespace("default"), client.MatchingLabels{"app.kubernetes.io/managed-by": "podid"}); err != nil {
		r.t.Fatal(err)
	}
	if len(records.Items) != 1 {
		r.t.Fatalf("%d records, want one", len(records.Items))
	}
	var record map[string]string
	if err := json.Unmarshal([]byte(records.Items[0].Data["identities"]), &record); err != nil {
		r.t.Fatal(err)
	}
	for id, whose := range record {
		if whose != "Attached" {
			r.t.Errorf("%s is on record as %s, want Attached: podid did it", id, whose)
		}
	}
	if len(record) != 2 {
		r.t.Errorf("the record has %v", record)
	}
}
