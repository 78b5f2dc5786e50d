package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
)

const (
	burstPods  = 200
	burstNodes = 10
	burstNode  = "burst-" // and a number
)

// patches has one client create 200 pods with 20 identities on ten nodes of one
// scale set, and counts what mic asks of Azure until all are Assigned.
func patches(ctx context.Context, r *rig, out *report) error {
	stop, err := r.startMIC(ctx)
	if err != nil {
		return err
	}
	defer stop()
	watch, err := r.client.Watch(ctx, &v1.AzureAssignedIdentityList{})
	if err != nil {
		return err
	}
	defer watch.Stop()
	if err := r.azure.ResetCounters(ctx); err != nil {
		return err
	}
	start := time.Now()
	for i := range burstPods {
		if err := r.client.Create(ctx, newPod(fmt.Sprint(burstNode, i%burstNodes), i, i%identities)); err != nil {
			return err
		}
	}
	created := time.Since(start)
	if err := awaitAssigned(ctx, watch.ResultChan()); err != nil {
		return err
	}
	counters, err := r.azure.Counters(ctx)
	if err != nil {
		return err
	}
	out.add("patches_200_pods", float64(counters[azemu.EndpointVMSSPatch].Calls), atMost(3))
	out.add("patches_200_pods_created_s", created.Seconds(), atMost(2))
	out.add("patches_200_pods_assigned_s", time.Since(start).Seconds(), goal{})
	return nil
}

// awaitAssigned waits until every pod of the burst is Assigned.
func awaitAssigned(ctx context.Context, events <-chan apiwatch.Event) error {
	assigned := map[string]bool{}
	deadline := time.After(2 * time.Minute)
	for len(assigned) < burstPods {
		select {
		case e := <-events:
			a, ok := e.Object.(*v1.AzureAssignedIdentity)
			if ok && a.Status.Status == v1.Assigned && strings.HasPrefix(a.Spec.NodeName, burstNode) {
				assigned[a.Spec.PodUID] = true
			}
		case <-deadline:
			return fmt.Errorf("%d of %d pods were Assigned in two minutes", len(assigned), burstPods)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// startMIC makes the nodes and starts mic, which signs in to Azure with a secret, and returns when
// it leads.
func (r *rig) startMIC(ctx context.Context) (stop func(), err error) {
	for i := range burstNodes {
		if err := r.client.Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(burstNode, i)},
			Spec:       corev1.NodeSpec{ProviderID: fmt.Sprintf("azure://%s/virtualMachines/%d", scaleSetID("empty"), i)},
		}); err != nil {
			return nil, err
		}
	}
	health := r.freePort(r.node.Addr)
	cloud, err := json.Marshal(map[string]string{ //nolint:gosec // an audience is no credential
		"name": "AzureStackCloud", "resourceManagerEndpoint": r.ready.Azure + "/",
		"activeDirectoryEndpoint": r.ready.Azure + "/", "tokenAudience": "https://management.azure.com/",
	})
	if err != nil {
		return nil, err
	}
	cloudFile := filepath.Join(r.dir, "cloud.json")
	if err := os.WriteFile(cloudFile, cloud, 0o600); err != nil {
		return nil, err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "podid-system"}}
	if err := client.IgnoreAlreadyExists(r.client.Create(ctx, ns)); err != nil {
		return nil, err
	}
	cmd, err := r.run(ctx, "mic", []string{
		"CLOUD=AzureStackCloud", "AZURE_ENVIRONMENT_FILEPATH=" + cloudFile, "SSL_CERT_FILE=" + filepath.Join(r.dir, "ca.pem"),
		"TENANT_ID=" + tenant, "CLIENT_ID=" + micApp, "CLIENT_SECRET=" + micSecret, "SUBSCRIPTION_ID=" + subscription, "RESOURCE_GROUP=bench",
	}, "--kubeconfig", r.cluster.Kubeconfig(), "--namespace", "podid-system", "--cloud-config", "",
		"--health-listen", health, "--metrics-listen", "")
	if err != nil {
		return nil, err
	}
	if err := await(ctx, 30*time.Second, func() error { _, err := fetch(ctx, "http://"+health+"/readyz"); return err }); err != nil {
		r.end(cmd)
		return nil, fmt.Errorf("mic: %w", err)
	}
	return func() { r.end(cmd) }, nil
}
