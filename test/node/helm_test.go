package node_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/test/localcluster"
)

// chart is the chart's folder.
const chart = "../../charts/podid"

// settings makes what the operator of a cluster in a cloud of its own has: the
// namespace, azure.json in a Secret, and the values of the chart.
func (w *world) settings(t *testing.T) (values string) {
	t.Helper()
	endpoint := "https://" + localcluster.FabricAddress + ":8443/"
	w.create(t,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}},
		&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: "azure"},
			Data: map[string][]byte{
				"azure.json": marshal(t, map[string]any{
					"cloud": "AzureStackCloud", "tenantId": tenant, "subscriptionId": strings.Split(group, "/")[2],
					"resourceGroup": "podid-demo", "useManagedIdentityExtension": true, "userAssignedIdentityID": micClient,
				}),
				"cloud.json": marshal(t, map[string]any{
					"name": "AzureStackCloud", "resourceManagerEndpoint": endpoint,
					"activeDirectoryEndpoint": endpoint, "tokenAudience": "https://management.azure.com/",
				}),
			},
		},
	)
	ca, err := w.azure.CA(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	values = filepath.Join(w.dir, "values.json")
	content := marshal(t, map[string]any{
		"azure": map[string]any{"cloud": "AzureStackCloud"}, "caBundle": string(ca),
		"nmi":      map[string]any{"authorityHosts": []string{localcluster.FabricAddress + ":8443"}},
		"rbac":     map[string]any{"secretNamespaces": []string{"default"}},
		"policies": map[string]any{"authority": false}, // it knows the public clouds alone
		"mic": map[string]any{
			"cloudConfigSecret": "azure", "managedIdentity": map[string]any{"clientID": micClient},
			"customCloud": map[string]any{"enabled": true, "configPath": "cloud.json"},
		},
	})
	if err := os.WriteFile(values, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return values
}

// helm runs helm, of the version in go.tools.mod.
func (w *world) helm(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), prepared("helm"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.full.Kubeconfig())
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("helm %s: %v\n%s%s", strings.Join(args, " "), err, &out, &complaint)
	}
}

// awaitRollout waits until all of mic and nmi are of the newest revision and
// ready.
func (w *world) awaitRollout(t *testing.T, limit time.Duration) {
	t.Helper()
	start := time.Now()
	labels := client.MatchingLabels{"app.kubernetes.io/name": "podid"}
	until(t, w, limit, "the rollout of nmi", &appsv1.DaemonSetList{}, func(_ watch.EventType, d *appsv1.DaemonSet) bool {
		s := d.Status
		return s.ObservedGeneration == d.Generation && s.DesiredNumberScheduled > 0 &&
			s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberAvailable == s.DesiredNumberScheduled && s.NumberUnavailable == 0
	}, client.InNamespace(systemNamespace), labels)
	until(t, w, limit, "the rollout of mic", &appsv1.DeploymentList{}, func(_ watch.EventType, d *appsv1.Deployment) bool {
		s := d.Status
		return s.ObservedGeneration == d.Generation && s.UpdatedReplicas == *d.Spec.Replicas &&
			s.AvailableReplicas == *d.Spec.Replicas && s.Replicas == *d.Spec.Replicas
	}, client.InNamespace(systemNamespace), labels)
	t.Logf("mic and nmi were rolled out within %s", round(time.Since(start)))
}

// awaitVersion waits until no pod of another version is left.
func (w *world) awaitVersion(t *testing.T, version string) {
	t.Helper()
	eventually(t, 2*time.Minute, func() error {
		var pods corev1.PodList
		err := w.client.List(t.Context(), &pods, client.InNamespace(systemNamespace), client.MatchingLabels{"app.kubernetes.io/name": "podid"})
		if err != nil {
			return err
		}
		for _, p := range pods.Items {
			if p.Status.Phase == corev1.PodSucceeded { // that of helm test
				continue
			}
			if image := p.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+version) {
				return fmt.Errorf("pod %s is still there with the image %s", p.Name, image)
			}
		}
		return nil
	})
}

// agents is nmi's DaemonSet.
func (w *world) agents(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	var list appsv1.DaemonSetList
	err := w.client.List(t.Context(), &list, client.InNamespace(systemNamespace), client.MatchingLabels{"app.kubernetes.io/component": "nmi"})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d DaemonSets of nmi: %v", len(list.Items), err)
	}
	return &list.Items[0]
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
