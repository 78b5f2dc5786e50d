package assignment

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// Reasons of the events.
const (
	reasonAssigned = "IdentityAssigned"
	reasonFailed   = "IdentityAssignFailed"
	actionAssign   = "Assign"
)

// reportAssigned tells the pod and the binding that the identity is there.
func (r *Reconciler) reportAssigned(s *state, o *v1.AzureAssignedIdentity) {
	delete(s.reported, client.ObjectKeyFromObject(o))
	r.tell(o, corev1.EventTypeNormal, reasonAssigned, "the identity is on the node", "")
}

// reportWaiting tells, once per problem, those who wait for a PATCH that failed.
func (r *Reconciler) reportWaiting(s *state, plan assign.Plan) {
	waiting := make(map[types.NamespacedName]string, len(plan.Waiting))
	for _, o := range plan.Waiting {
		key := client.ObjectKeyFromObject(o)
		waiting[key] = s.reported[key]
		if s.problem != "" && s.reported[key] != s.problem {
			waiting[key] = s.problem
			r.tell(o, corev1.EventTypeWarning, reasonFailed, "the identity cannot be brought to the node", s.problem)
		}
	}
	s.reported = waiting
}

// tell sends an event about the pod, and one about the binding that names the pod.
func (r *Reconciler) tell(o *v1.AzureAssignedIdentity, kind, reason, what, why string) {
	if why != "" {
		what += ": " + why
	}
	id, binding := o.Spec.AzureIdentityRef, o.Spec.AzureBindingRef
	pod := &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod",
		Namespace: o.Spec.PodNamespace, Name: o.Spec.Pod, UID: types.UID(o.Spec.PodUID),
	}
	bound := &corev1.ObjectReference{
		APIVersion: binding.APIVersion, Kind: binding.Kind,
		Namespace: binding.Namespace, Name: binding.Name, UID: binding.UID,
	}
	r.config.Recorder.Eventf(pod, bound, kind, reason, actionAssign, "AzureIdentity %s/%s on node %s: %s", id.Namespace, id.Name, o.Spec.NodeName, what)
	r.config.Recorder.Eventf(bound, pod, kind, reason, actionAssign, "pod %s/%s on node %s: %s", o.Spec.PodNamespace, o.Spec.Pod, o.Spec.NodeName, what)
}
