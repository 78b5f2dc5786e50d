package churn_test

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/churn/model"
)

// nodeName is the one node.
const nodeName = "node-1"

// kind is one of the kinds that the agent watches.
type kind int

const (
	pods kind = iota
	identities
	bindings
	assigned
	exceptions
	namespaces
	kinds // how many there are
)

// resource is how a kind is called in paths, with its group and version, its
// name and that of its lists.
type resource struct{ plural, version, name string }

func (k kind) resource() resource {
	group := v1.GroupVersion.String()
	return [kinds]resource{
		pods:       {"pods", "v1", "Pod"},
		identities: {"azureidentities", group, "AzureIdentity"},
		bindings:   {"azureidentitybindings", group, "AzureIdentityBinding"},
		assigned:   {"azureassignedidentities", group, "AzureAssignedIdentity"},
		exceptions: {"azurepodidentityexceptions", group, "AzurePodIdentityException"},
		namespaces: {"namespaces", "v1", "Namespace"},
	}[k]
}

// encode writes an object of the model as the API server does.
func encode(object any, version int) json.RawMessage {
	meta := func(k model.Key) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name, UID: types.UID(k.Namespace + "." + k.Name), ResourceVersion: fmt.Sprint(version)}
	}
	typed := func(k kind) metav1.TypeMeta {
		return metav1.TypeMeta{APIVersion: k.resource().version, Kind: k.resource().name}
	}
	var o any
	switch m := object.(type) {
	case model.Pod:
		p := encodePod(&m)
		p.TypeMeta, p.ResourceVersion = typed(pods), fmt.Sprint(version)
		o = p
	case model.Identity:
		o = &v1.AzureIdentity{TypeMeta: typed(identities), ObjectMeta: meta(m.Key), Spec: v1.AzureIdentitySpec{ClientID: m.ClientID, ResourceID: m.ResourceID}}
	case model.Binding:
		o = &v1.AzureIdentityBinding{TypeMeta: typed(bindings), ObjectMeta: meta(m.Key), Spec: v1.AzureIdentityBindingSpec{AzureIdentity: m.Identity, Selector: m.Selector, Weight: m.Weight}}
	case model.Exception:
		o = &v1.AzurePodIdentityException{TypeMeta: typed(exceptions), ObjectMeta: meta(m.Key), Spec: v1.AzurePodIdentityExceptionSpec{PodLabels: map[string]v1.LabelValue{"app": v1.LabelValue(m.App)}}}
	case model.Assigned:
		o = encodeAssigned(&m, typed(assigned), meta(m.Key))
	case model.Namespace:
		n := &corev1.Namespace{TypeMeta: typed(namespaces), ObjectMeta: meta(model.Key{Name: m.Name})}
		if m.Binding != "" {
			n.Annotations = map[string]string{v1.AnnotationNamespaceBinding: m.Binding}
		}
		o = n
	}
	text, err := json.Marshal(o)
	if err != nil {
		panic(err) // these types can be written
	}
	return text
}

func encodeAssigned(m *model.Assigned, typed metav1.TypeMeta, meta metav1.ObjectMeta) *v1.AzureAssignedIdentity {
	meta.Labels = map[string]string{v1.LabelNodeName: v1.NodeLabel(nodeName)}
	a := &v1.AzureAssignedIdentity{TypeMeta: typed, ObjectMeta: meta}
	a.Spec = v1.AzureAssignedIdentitySpec{
		Pod: m.PodName, PodNamespace: m.Namespace, PodUID: m.PodUID, NodeName: nodeName,
		AzureIdentityRef: &v1.AzureIdentityRef{
			ObjectMeta: metav1.ObjectMeta{Namespace: m.Identity.Namespace, Name: m.Identity.Name},
			Spec:       v1.AzureIdentitySpec{ClientID: m.ClientID, ResourceID: m.ResourceID},
		},
	}
	if a.Status.Status = v1.Created; m.Usable {
		a.Status.Status = v1.Assigned
	}
	return a
}

func encodePod(m *model.Pod) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: m.Namespace, Name: m.Name, UID: types.UID(m.UID),
			CreationTimestamp: metav1.NewTime(m.Created), Labels: map[string]string{},
		},
		Spec: corev1.PodSpec{NodeName: nodeName, HostNetwork: m.HostNetwork},
	}
	if m.HasSelector {
		p.Labels[v1.LabelBinding] = m.Selector
	}
	if m.App != "" {
		p.Labels["app"] = m.App
	}
	if m.Ending {
		p.DeletionTimestamp = &metav1.Time{Time: m.Created.Add(time.Hour)}
	}
	p.Status.Phase = corev1.PodRunning
	switch {
	case m.Ended:
		p.Status.Phase = corev1.PodSucceeded
	case m.Pending:
		p.Status.Phase = corev1.PodPending
	}
	if m.Addr.IsValid() {
		p.Status.PodIP = m.Addr.String()
		p.Status.PodIPs = []corev1.PodIP{{IP: m.Addr.String()}}
	}
	if m.Second.IsValid() {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: m.Second.String()})
	}
	if m.Ready != 0 {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Unix(m.Ready, 0)}}
	}
	if m.Started != 0 {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Unix(m.Started, 0)}}}}
	}
	return p
}
