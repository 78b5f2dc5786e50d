package assign

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
)

// LegacyFinalizer is on the objects of AAD Pod Identity. podid's have none, so
// that nothing ever waits for mic; it is taken off what podid takes over.
const LegacyFinalizer = "azureassignedidentity.finalizers.aadpodidentity.k8s.io"

// AttachedByMIC reports whether an object says that AAD Pod Identity's MIC attached
// a managed identity to the machine of a pod, and has not taken it off.
func AttachedByMIC(o *v1.AzureAssignedIdentity) bool {
	if !slices.Contains(o.Finalizers, LegacyFinalizer) || o.Spec.AzureIdentityRef == nil {
		return false
	}
	spec := o.Spec.AzureIdentityRef.Spec.Canonical()
	managed := spec.Type == nil || *spec.Type == v1.UserAssignedMSI
	return managed && resourceID.MatchString(spec.ResourceID) && usable(o)
}

// usable reports whether an object says that its identity can be used. Those of AAD
// Pod Identity say so without a state too.
func usable(o *v1.AzureAssignedIdentity) bool {
	return o.Status.Status == v1.Assigned || o.Status.Status == "" && o.Spec.PodUID == ""
}

type objectName struct{ namespace, name string }

func nameOf(o metav1.Object) objectName { return objectName{o.GetNamespace(), o.GetName()} }

// pair is a pod and an identity by their names.
type pair struct{ pod, identity objectName }

func pairOf(o *v1.AzureAssignedIdentity) pair {
	p := pair{pod: objectName{o.Spec.PodNamespace, o.Spec.Pod}}
	if o.Spec.AzureIdentityRef != nil {
		p.identity = nameOf(&o.Spec.AzureIdentityRef.ObjectMeta)
	}
	return p
}

// scopeAnnotation is on every object for a pod on a machine of Azure: the ARM id
// of the Scope. It is what is known of a pod whose Node object is gone.
const scopeAnnotation = "podid.io/scope"

// ScopeOf is the scope that an object was made for, false when it says none.
func ScopeOf(o *v1.AzureAssignedIdentity) (Scope, bool) {
	s, err := ParseID(o.Annotations[scopeAnnotation])
	return s, err == nil
}

// object is the AzureAssignedIdentity of the pair, in the given state.
func (w want) object(scope Scope, state v1.AssignedState) *v1.AzureAssignedIdentity {
	gv := v1.GroupVersion.String()
	idSpec, bindingSpec := w.identity.Spec.Canonical(), w.binding.Spec.Canonical()
	idSpec.Metadata, bindingSpec.Metadata = nil, nil
	// Who may use it is no part of what is attached: a list that changes lets pods
	// out and in, and leaves the objects of the others alone.
	idSpec.AllowedServiceAccounts, idSpec.AllowedNamespaces = nil, nil
	bindingSpec.AllowedServiceAccounts, bindingSpec.AllowedNamespaces = nil, nil
	idSpec, bindingSpec = *idSpec.DeepCopy(), *bindingSpec.DeepCopy() // an answer is read into the object
	o := &v1.AzureAssignedIdentity{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.pod.Namespace,
			Name:      w.name(),
			Labels:    map[string]string{v1.LabelNodeName: v1.NodeLabel(w.pod.Node)},
		},
		Spec: v1.AzureAssignedIdentitySpec{
			AzureIdentityRef: &v1.AzureIdentityRef{
				APIVersion: gv, Kind: "AzureIdentity", ObjectMeta: reference(w.identity), Spec: idSpec,
			},
			AzureBindingRef: &v1.AzureBindingRef{
				APIVersion: gv, Kind: "AzureIdentityBinding", ObjectMeta: reference(w.binding), Spec: bindingSpec,
			},
			Pod: w.pod.Name, PodNamespace: w.pod.Namespace, PodUID: w.pod.UID, NodeName: w.pod.Node,
		},
		Status: v1.AzureAssignedIdentityStatus{Status: state, AvailableReplicas: 1},
	}
	if id := scope.ID(); id != "" {
		o.Annotations = map[string]string{scopeAnnotation: id}
	}
	return o
}

// reference keeps of an object's metadata what says which object it was. The
// annotation is part of what is granted.
func reference(o metav1.Object) metav1.ObjectMeta {
	ref := metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}
	if a, ok := o.GetAnnotations()[v1.AnnotationBehavior]; ok {
		ref.Annotations = map[string]string{v1.AnnotationBehavior: a}
	}
	return ref
}

// longest is how long the name of an object may be.
const longest = 253

// hashed is how a name ends that has a hash.
var hashed = regexp.MustCompile("-[0-9a-f]{10}$")

// name is POD-NAMESPACE-IDENTITY, as with AAD Pod Identity. Where that is too
// long, or another pair of the same namespace could have it too, it ends in a
// hash over the pair; so it does where it looks as if it had one.
func (w want) name() string {
	id := w.grant.Identity
	joint := "-" + w.pod.Namespace + "-"
	plain := w.pod.Name + joint + id.Name
	if len(plain) <= longest && id.Namespace == w.pod.Namespace && occurs(plain, joint) == 1 && !hashed.MatchString(plain) {
		return plain
	}
	sum := sha256.Sum256([]byte(w.pod.UID + "\x00" + id.Namespace + "\x00" + id.Name))
	hash := hex.EncodeToString(sum[:5])
	short := plain[:min(len(plain), longest-len(hash)-1)]
	return strings.TrimRight(short, "-.") + "-" + hash
}

// occurs counts where sub begins in s, also inside another occurrence.
func occurs(s, sub string) int {
	n := 0
	for i := range s {
		if strings.HasPrefix(s[i:], sub) {
			n++
		}
	}
	return n
}

// Same reports whether old grants what o grants: everything but the state.
func Same(o, old *v1.AzureAssignedIdentity) bool {
	return o.Spec.PodUID == old.Spec.PodUID &&
		o.Spec.Pod == old.Spec.Pod && o.Spec.PodNamespace == old.Spec.PodNamespace &&
		o.Spec.NodeName == old.Spec.NodeName &&
		old.Labels[v1.LabelNodeName] == o.Labels[v1.LabelNodeName] &&
		old.Annotations[scopeAnnotation] == o.Annotations[scopeAnnotation] &&
		!slices.Contains(old.Finalizers, LegacyFinalizer) &&
		sameIdentity(o.Spec.AzureIdentityRef, old.Spec.AzureIdentityRef) &&
		sameBinding(o.Spec.AzureBindingRef, old.Spec.AzureBindingRef)
}

func sameIdentity(x, y *v1.AzureIdentityRef) bool {
	return x == y || x != nil && y != nil && sameReference(x.ObjectMeta, y.ObjectMeta) && equality.Semantic.DeepEqual(x.Spec, y.Spec)
}

func sameBinding(x, y *v1.AzureBindingRef) bool {
	return x == y || x != nil && y != nil && sameReference(x.ObjectMeta, y.ObjectMeta) && equality.Semantic.DeepEqual(x.Spec, y.Spec)
}

func sameReference(x, y metav1.ObjectMeta) bool {
	return x.Namespace == y.Namespace && x.Name == y.Name && x.UID == y.UID &&
		x.Annotations[v1.AnnotationBehavior] == y.Annotations[v1.AnnotationBehavior]
}

// Replacing is o with what the API server wants to see to replace old by it.
// Labels, annotations and finalizers of others stay.
func Replacing(old, o *v1.AzureAssignedIdentity) *v1.AzureAssignedIdentity {
	scope, ok := o.Annotations[scopeAnnotation]
	o.ObjectMeta = *old.ObjectMeta.DeepCopy()
	o.Finalizers = slices.DeleteFunc(o.Finalizers, func(f string) bool { return f == LegacyFinalizer })
	if o.Labels == nil {
		o.Labels = make(map[string]string, 1)
	}
	o.Labels[v1.LabelNodeName] = v1.NodeLabel(o.Spec.NodeName)
	delete(o.Annotations, scopeAnnotation)
	if ok {
		metav1.SetMetaDataAnnotation(&o.ObjectMeta, scopeAnnotation, scope)
	}
	return o
}
