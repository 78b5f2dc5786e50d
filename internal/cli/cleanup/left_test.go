package cleanup_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"text/template"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// withoutMic is a world in which mic's Deployment was deleted.
func withoutMic(t *testing.T, namespace string) *world {
	t.Helper()
	w := newWorld(t, namespace)
	w.run(t, answers{})
	if err := w.client.DeleteAllOf(t.Context(), &appsv1.Deployment{}, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return w
}

// managed has nmi run in managed mode.
func (w *world) managed(t *testing.T) {
	t.Helper()
	var d appsv1.DaemonSet
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "podid-nmi"}, &d); err != nil {
		t.Fatal(err)
	}
	d.Spec.Template.Spec.Containers[0].Args[0] = "--operation-mode=managed"
	if err := w.client.Update(t.Context(), &d); err != nil {
		t.Fatal(err)
	}
}

// made makes what mic would have deleted, and what is not podid's. What is returned
// deletes it, as the commands do that the command names.
func (w *world) made(t *testing.T) (remove func()) {
	t.Helper()
	labels := map[string]string{"app.kubernetes.io/managed-by": "podid"}
	taints := []corev1.Taint{{Key: "podid.io/agent-not-ready", Effect: "NoSchedule"}, {Key: "startup-taint.of/others", Effect: "NoSchedule"}, {Key: "spot", Effect: "NoSchedule"}}
	all := []client.Object{
		&v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "of-podid"}},
		&v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "of-others", Finalizers: []string{assign.LegacyFinalizer}}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "podid-scope-1", Labels: labels}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "of-others"}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-1"}, Spec: corev1.NodeSpec{Taints: taints}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-2"}, Spec: corev1.NodeSpec{Taints: taints[:1]}},
	}
	w.make(t, all...)
	return func() {
		t.Helper()
		for _, o := range all {
			if len(o.GetFinalizers()) > 0 {
				o.SetFinalizers(nil)
				if err := w.client.Update(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.client.Delete(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// make makes objects.
func (w *world) make(t *testing.T, all ...client.Object) {
	t.Helper()
	for _, o := range all {
		if err := w.client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

// found is what is said of what made has made, in a namespace, below a heading.
const found = `
  AzureAssignedIdentities: 1 (keep them where another podid runs in this cluster), besides 1 of AAD Pod Identity
    kubectl get azureassignedidentities -A -o go-template='TEMPLATE' | xargs -r -L1 kubectl delete azureassignedidentity -n
  ConfigMaps podid-scope-*: 1, which alone say what podid attached to which machine (take that off first, or keep them for a podid that comes back to this namespace)
    kubectl delete configmap -n NAMESPACE -l app.kubernetes.io/managed-by=podid
  nodes with the start-up taint podid.io/agent-not-ready: 2 (and take it out of the node pools: new nodes have it else)
    kubectl taint nodes --all podid.io/agent-not-ready-
  nodes with the start-up taint startup-taint.of/others: 1; only where startupTaint was this:
    kubectl taint nodes --all startup-taint.of/others-
`

// ours finds, in a list, what is no other's.
const ours = `{{range .items}}{{$mic := false}}{{range .metadata.finalizers}}{{if eq . "azureassignedidentity.finalizers.aadpodidentity.k8s.io"}}{{$mic = true}}{{end}}{{end}}{{if not $mic}}{{.metadata.namespace}} {{.metadata.name}}{{"\n"}}{{end}}{{end}}`

// unseen is what is said by who may not look, and how what to do about it.
const (
	unseen = `mic is not there to delete what it made, or to take it off, and what may be left may not be looked for here: AzureAssignedIdentities, records of what is attached (ConfigMaps podid-scope-*), start-up taints
`
	howToLook = `  before the next uninstall, whoever may list it is told what to do by:  podid cleanup -n NAMESPACE --keep-identities
`
)

// TestWhatMicMadeIsNamedWhereMicIsGone runs it by hand: an uninstall that ends well
// leaves nothing of it, and one that does not says what ends it.
func TestWhatMicMadeIsNamedWhereMicIsGone(t *testing.T) {
	for namespace, managed := range map[string]bool{"made-in-standard-mode": false, "made-before-managed-mode": true} {
		t.Run(namespace, func(t *testing.T) {
			w := withoutMic(t, namespace)
			if managed {
				w.managed(t)
			}
			remove := w.made(t)
			w.wantOurs(t, namespace+" of-podid\n")
			found := strings.NewReplacer("NAMESPACE", namespace, "TEMPLATE", ours).Replace(found)
			out, _, status := podid(t, "-n", namespace, "--keep-identities")
			if status != 0 || !strings.HasSuffix(out, "with --yes it is done\nand this would be left, since mic is not there; not before the redirect is off:"+found) {
				t.Errorf("a look, status %d: %s", status, out)
			}
			for range 2 {
				out, errs, status := podid(t, "-n", namespace, "--yes", "--keep-identities")
				if status != 1 || !strings.Contains(out, "the redirect is off 2 nodes") || !strings.HasSuffix(errs, "mic is not there to delete what it made, or to take it off:"+found) {
					t.Errorf("status %d: %s%s", status, out, errs)
				}
			}
			remove()
			if out, errs, status := podid(t, "-n", namespace, "--yes", "--keep-identities"); status != 0 || strings.Contains(out, "kubectl") {
				t.Errorf("when it is deleted, status %d: %s%s", status, out, errs)
			}
		})
	}
}

// wantOurs has the template of the command that deletes AzureAssignedIdentities find what
// is wanted.
func (w *world) wantOurs(t *testing.T, want string) {
	t.Helper()
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(v1.GroupVersion.WithKind("AzureAssignedIdentityList"))
	if err := w.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := template.Must(template.New("").Parse(ours)).Execute(&got, list.UnstructuredContent()); err != nil || got.String() != want {
		t.Errorf("the command deletes %q (%v), want %q", got.String(), err, want)
	}
}

// TestATaintOfOthersEndsNoUninstallBadly: it is named, and podid has made nothing.
func TestATaintOfOthersEndsNoUninstallBadly(t *testing.T) {
	w := withoutMic(t, "a-taint-of-others")
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "startup-taint.of/others", Effect: "NoSchedule"}}}}
	w.make(t, n)
	t.Cleanup(func() {
		if err := w.client.Delete(context.WithoutCancel(t.Context()), n); err != nil {
			t.Error(err)
		}
	})
	out, errs, status := podid(t, "-n", w.namespace, "--yes", "--keep-identities")
	if status != 0 || !strings.Contains(out, "nodes with the start-up taint startup-taint.of/others: 1; only where startupTaint was this:\n    kubectl taint nodes --all startup-taint.of/others-\n") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}

// TestWaysOnAreSaidBesideWhatMicMade: no other run takes that away.
func TestWaysOnAreSaidBesideWhatMicMade(t *testing.T) {
	w := withoutMic(t, "ways-beside-what-is-left")
	w.make(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "podid-scope-1", Labels: map[string]string{"app.kubernetes.io/managed-by": "podid"}}})
	kubeconfig := between(t, func(_ http.ResponseWriter, r *http.Request) (answered bool) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/daemonsets/") {
			if err := w.client.DeleteAllOf(r.Context(), &appsv1.DaemonSet{}, client.InNamespace(w.namespace)); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	_, errs, status := podid(t, "--kubeconfig", kubeconfig, "-n", w.namespace, "--yes", "--keep-identities")
	if status != 1 || !strings.Contains(errs, "podid-nmi was deleted meanwhile: ") || !strings.Contains(errs, "ConfigMaps podid-scope-*: 1") || !strings.Contains(errs, "helm rollback") {
		t.Errorf("status %d: %s", status, errs)
	}
}

// TestWhatMicMadeMayBeThere runs it with the rights that the chart gives to its hook.
func TestWhatMicMadeMayBeThere(t *testing.T) {
	for namespace, managed := range map[string]bool{"unseen-in-standard-mode": false, "unseen-in-managed-mode": true} {
		t.Run(namespace, func(t *testing.T) {
			w := withoutMic(t, namespace)
			if managed {
				w.managed(t)
			}
			w.grant(t)
			kubeconfig := t.TempDir() + "/kubeconfig"
			if err := plane.TokenKubeconfig(t.Context(), namespace, "podid-cleanup", kubeconfig); err != nil {
				t.Fatal(err)
			}
			args := []string{"--kubeconfig", kubeconfig, "-n", namespace, "--yes", "--keep-identities"}
			if !managed {
				out, errs, status := podid(t, args...)
				if status != 1 || !strings.Contains(out, "the redirect is off 2 nodes") || !strings.HasSuffix(errs, unseen+strings.ReplaceAll(howToLook, "NAMESPACE", namespace)) {
					t.Errorf("status %d: %s%s", status, out, errs)
				}
			}
			out, errs, status := podid(t, args...)
			if status != 0 || errs != "" || !strings.Contains(out, unseen) {
				t.Errorf("so that an uninstall can end: status %d: %s%s", status, out, errs)
			}
		})
	}
}

// TestWhatMicMadeIsNotFound has the API server not tell: nothing is guessed.
func TestWhatMicMadeIsNotFound(t *testing.T) {
	tests := map[string]struct {
		path   string // of a list
		code   int
		status int
		says   string
	}{
		"of a kind that has just gone":  {"/azureassignedidentities", http.StatusNotFound, 0, ""},
		"of a kind that is not defined": {"/aadpodidentity.k8s.io/v1", http.StatusNotFound, 0, ""},
		"AzureAssignedIdentities fail":  {"/azureassignedidentities", http.StatusBadRequest, 1, "look for AzureAssignedIdentities: "},
		"records fail":                  {"/configmaps", http.StatusBadRequest, 1, "look for records of what is attached (ConfigMaps podid-scope-*): "},
		"nodes fail":                    {"/nodes", http.StatusBadRequest, 1, "look for start-up taints: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := withoutMic(t, "not-found-"+strings.NewReplacer(" ", "-", ",", "").Replace(strings.ToLower(name)))
			kubeconfig := between(t, func(rw http.ResponseWriter, r *http.Request) (answered bool) {
				if !strings.HasSuffix(r.URL.Path, tt.path) {
					return false
				}
				rw.WriteHeader(tt.code)
				return true
			})
			for _, args := range [][]string{{"--keep-identities"}, {"--keep-identities", "--yes"}} {
				out, errs, status := podid(t, append(args, "--kubeconfig", kubeconfig, "-n", w.namespace)...)
				if status != tt.status || !strings.Contains(errs, tt.says) || strings.Contains(out+errs, "kubectl") {
					t.Errorf("%q: status %d: %s%s", args, status, out, errs)
				}
			}
		})
	}
}
