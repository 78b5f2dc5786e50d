package nodeview

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// Objects are objects of the API server, read once.
type Objects struct {
	Pods       []corev1.Pod
	Namespaces []corev1.Namespace
	Identities []v1.AzureIdentity
	Bindings   []v1.AzureIdentityBinding
	Exceptions []v1.AzurePodIdentityException
	Assigned   []v1.AzureAssignedIdentity
}

// Snapshot is a view of objects that were read once, for whoever wants to know
// what the agent of a node would find with them. It is fed as a watched one is,
// and so finds the same. It knows no links: ask it ByName and All, not ByIP.
func Snapshot(rules identity.Rules, managed bool, o *Objects) *View {
	v := newView(Config{Rules: rules, Managed: managed, Boot: time.Now(), LinkOf: func(netip.Addr) int { return 0 }})
	v.age = func() time.Duration { return 0 }
	for i := range o.Namespaces {
		v.applyNamespace(&o.Namespaces[i])
	}
	for i := range o.Identities {
		v.setIdentity(identity.FromAPI(&o.Identities[i]))
	}
	for i := range o.Bindings {
		v.setBinding(identity.BindingFromAPI(&o.Bindings[i]))
	}
	for i := range o.Exceptions {
		v.setException(identity.ExceptionFromAPI(&o.Exceptions[i]))
	}
	for i := range o.Assigned {
		if !managed {
			v.setAssigned(nameOf(&o.Assigned[i]), assignmentFromAPI(&o.Assigned[i]))
		}
	}
	for i := range o.Pods {
		v.applyPod(&o.Pods[i])
	}
	v.setSynced()
	return v
}

// applyNamespace records what a namespace says of its pods.
func (v *View) applyNamespace(o *corev1.Namespace) {
	v.setNamespace(o.Name, o.Annotations[v1.AnnotationNamespaceBinding])
}
