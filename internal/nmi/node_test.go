package nmi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/nodeview"
)

const nodeName = "node"

// nodeAddr is the address of a pod of the node.
func nodeAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)})
}

// nodeLink is the link that the pod is at the other end of.
func nodeLink(i int) int { return 10 + i }

// viewOf is the real view of a node with n pods, which a watch has fed; each is
// bound to an identity of its own, which is Assigned to it.
func viewOf(tb testing.TB, n int) *nodeview.View {
	tb.Helper()
	ctrllog.SetLogger(logr.Discard())
	api := httptest.NewServer(lists(n))
	complete := make(chan struct{})
	var once sync.Once
	view, watcher, err := nodeview.New(nodeview.Config{
		Node: nodeName, REST: &rest.Config{Host: api.URL, QPS: -1}, Log: slog.New(slog.DiscardHandler),
		LinkOf: func(a netip.Addr) int { b := a.As4(); return nodeLink(int(b[2])<<8 | int(b[3])) }, Boot: time.Now().Add(-time.Hour),
		Report: func(err error) {
			if err == nil {
				once.Do(func() { close(complete) })
			}
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		view.LinkUp(nodeLink(i), fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&0xff), time.Time{})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := watcher.Run(ctx); err != nil {
			tb.Errorf("Run() = %v", err)
		}
	})
	tb.Cleanup(func() {
		cancel()
		running.Wait()
		api.CloseClientConnections()
		api.Close()
	})
	select {
	case <-complete:
	case <-time.After(time.Minute):
		tb.Fatal("the view does not become complete")
	}
	return view
}

// lists serves what an API server tells of a node with n pods: lists, and watches
// on which nothing happens.
func lists(n int) http.Handler {
	mux := http.NewServeMux()
	serve := func(path string, o any) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			switch {
			case r.URL.Query().Get("sendInitialEvents") != "": // as servers do that cannot
				w.WriteHeader(http.StatusUnprocessableEntity)
			case r.URL.Query().Get("watch") != "":
				w.WriteHeader(http.StatusOK)
				w.(http.Flusher).Flush() //nolint:forcetypeassert // net/http's is one
				<-r.Context().Done()
			default:
				_ = json.NewEncoder(w).Encode(o) // the client says what is wrong
			}
		})
	}
	verbs := metav1.Verbs{"get", "list", "watch"}
	serve("/api", metav1.APIVersions{Versions: []string{"v1"}})
	group := metav1.GroupVersionForDiscovery{GroupVersion: v1.GroupVersion.String(), Version: v1.GroupVersion.Version}
	serve("/apis", metav1.APIGroupList{Groups: []metav1.APIGroup{{
		Name: v1.GroupVersion.Group, Versions: []metav1.GroupVersionForDiscovery{group}, PreferredVersion: group,
	}}})
	serve("/api/v1", metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{
		{Name: "pods", SingularName: "pod", Namespaced: true, Kind: "Pod", Verbs: verbs},
		{Name: "namespaces", SingularName: "namespace", Kind: "Namespace", Verbs: verbs},
	}})
	ours := metav1.APIResourceList{GroupVersion: v1.GroupVersion.String()}
	for name, kind := range map[string]string{
		"azureidentities": "AzureIdentity", "azureidentitybindings": "AzureIdentityBinding",
		"azurepodidentityexceptions": "AzurePodIdentityException", "azureassignedidentities": "AzureAssignedIdentity",
	} {
		ours.APIResources = append(ours.APIResources, metav1.APIResource{Name: name, Namespaced: true, Kind: kind, Verbs: verbs})
	}
	root := "/apis/" + v1.GroupVersion.String()
	serve(root, ours)
	pods, assigned := podsOf(n)
	identities, bindings := identitiesOf(n)
	meta := metav1.ListMeta{ResourceVersion: "1"}
	of := func(kind string) metav1.TypeMeta {
		return metav1.TypeMeta{APIVersion: v1.GroupVersion.String(), Kind: kind + "List"}
	}
	serve("/api/v1/pods", corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, ListMeta: meta, Items: pods})
	serve("/api/v1/namespaces", corev1.NamespaceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NamespaceList"}, ListMeta: meta})
	serve(root+"/azureidentities", v1.AzureIdentityList{TypeMeta: of("AzureIdentity"), ListMeta: meta, Items: identities})
	serve(root+"/azureidentitybindings", v1.AzureIdentityBindingList{TypeMeta: of("AzureIdentityBinding"), ListMeta: meta, Items: bindings})
	serve(root+"/azurepodidentityexceptions", v1.AzurePodIdentityExceptionList{TypeMeta: of("AzurePodIdentityException"), ListMeta: meta})
	serve(root+"/azureassignedidentities", v1.AzureAssignedIdentityList{TypeMeta: of("AzureAssignedIdentity"), ListMeta: meta, Items: assigned})
	return mux
}

func identitiesOf(n int) (identities []v1.AzureIdentity, bindings []v1.AzureIdentityBinding) {
	for i := range n {
		meta := metav1.ObjectMeta{Namespace: "team", Name: fmt.Sprint("id-", i), UID: types.UID(fmt.Sprint("id-", i)), ResourceVersion: "1"}
		identities = append(identities, v1.AzureIdentity{ObjectMeta: meta, Spec: identitySpec(i)})
		bindings = append(bindings, v1.AzureIdentityBinding{ObjectMeta: meta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: meta.Name, Selector: meta.Name}})
	}
	return identities, bindings
}

func identitySpec(i int) v1.AzureIdentitySpec {
	return v1.AzureIdentitySpec{
		ClientID:   fmt.Sprintf("00000000-0000-0000-0000-%012d", i),
		ResourceID: fmt.Sprint("/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-", i),
	}
}

func podsOf(n int) (pods []corev1.Pod, assigned []v1.AzureAssignedIdentity) {
	for i := range n {
		name, id := fmt.Sprint("pod-", i), fmt.Sprint("id-", i)
		meta := metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(name), ResourceVersion: "1"}
		pod := corev1.Pod{
			ObjectMeta: meta,
			Spec:       corev1.PodSpec{NodeName: nodeName, ServiceAccountName: "default"},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: nodeAddr(i).String()}},
				Conditions: []corev1.PodCondition{{
					Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
				}},
			},
		}
		pod.Labels = map[string]string{v1.LabelBinding: id}
		pods = append(pods, pod)
		a := v1.AzureAssignedIdentity{ObjectMeta: meta, Spec: v1.AzureAssignedIdentitySpec{
			Pod: name, PodNamespace: "team", PodUID: name, NodeName: nodeName,
			AzureIdentityRef: &v1.AzureIdentityRef{
				ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: id}, Spec: identitySpec(i),
			},
		}}
		a.Status.Status = v1.Assigned
		assigned = append(assigned, a)
	}
	return pods, assigned
}
