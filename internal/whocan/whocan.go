// Package whocan finds out who has an identity of Azure in a cluster, and who could
// have it: the pods that it is for, the pods on its machines, and everybody whom RBAC
// gives a way to it. It takes what the API server holds as values and asks nobody.
//
// It rather lists one too many than one too few: a right counts whatever names it is
// limited to, unless the name is known, and a right that needs another beside it counts
// alone. Groups are listed as groups, since no cluster knows who is in them.
package whocan

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// Cluster is what the API server holds.
type Cluster struct {
	Identities []v1.AzureIdentity
	Bindings   []v1.AzureIdentityBinding
	Exceptions []v1.AzurePodIdentityException
	Assigned   []v1.AzureAssignedIdentity
	Namespaces []corev1.Namespace
	Pods       []corev1.Pod
	Nodes      []corev1.Node

	ClusterRoles        []rbacv1.ClusterRole
	ClusterRoleBindings []rbacv1.ClusterRoleBinding
	Roles               []rbacv1.Role
	RoleBindings        []rbacv1.RoleBinding

	// DefineAsked says that the API server asks for the verb define: see Asked.
	DefineAsked bool
	// Rules are those of podid in this cluster.
	Rules identity.Rules
	// Managed says that an nmi runs in managed mode: others put identities on nodes.
	Managed bool
}

// Report is the answer.
type Report struct {
	// ClientIDs and ResourceIDs are what the identity is known by.
	ClientIDs   []string `json:"clientIDs,omitempty"`
	ResourceIDs []string `json:"resourceIDs,omitempty"`
	// Identities are the AzureIdentities that name it, as namespace/name.
	Identities []string `json:"azureIdentities"`
	// DefineAsked is Cluster.DefineAsked.
	DefineAsked bool `json:"defineAsked"`
	// Pods have it now.
	Pods []Pod `json:"pods"`
	// Machines is on how many nodes it is, and MachinePods how many pods run there.
	Machines    int `json:"machines"`
	MachinePods int `json:"podsOnMachines"`
	// Takers are those of them that can take it past nmi.
	Takers []Taker `json:"takers"`
	// Ways are those of every subject to it.
	Ways []Way `json:"ways"`
	// Incomplete says that something could not be read, of which Notes tell.
	Incomplete bool     `json:"incomplete"`
	Notes      []string `json:"notes,omitempty"`
}

// Find answers for a target.
func Find(c *Cluster, t Target, now time.Time) *Report {
	q := newQuery(c, t)
	r := &Report{
		ClientIDs: t.ClientIDs, ResourceIDs: t.ResourceIDs,
		Identities: []string{}, DefineAsked: c.DefineAsked,
	}
	for _, id := range t.Identities {
		r.Identities = append(r.Identities, id.Namespace+"/"+id.Name)
	}
	r.Pods = q.pods(now)
	machines := q.machines(r.Pods)
	r.Machines = len(machines)
	r.Takers, r.MachinePods = q.takers(machines)
	r.Ways = q.ways(r.Takers)
	if c.Managed && q.onMachines() {
		r.Notes = append(r.Notes, "in managed mode others put identities on nodes: counted are the machines of its pods alone, since of others the cluster does not know")
	}
	return r
}

type name struct{ namespace, name string }

// query is a question that is being answered.
type query struct {
	*Cluster

	target     Target
	identities []identity.Identity
	byName     map[name]identity.Identity
	bindings   []identity.Binding
	exceptions []identity.Exception
	byPod      map[name][]*v1.AzureAssignedIdentity
	annotated  map[string]string // by namespace, the binding of its pods without a label
}

func newQuery(c *Cluster, t Target) *query {
	q := &query{
		Cluster: c, target: t,
		byName: map[name]identity.Identity{}, byPod: map[name][]*v1.AzureAssignedIdentity{}, annotated: map[string]string{},
	}
	for i := range c.Identities {
		id := identity.FromAPI(&c.Identities[i])
		q.identities = append(q.identities, id)
		q.byName[name{id.Namespace, id.Name}] = id
	}
	for i := range c.Bindings {
		q.bindings = append(q.bindings, identity.BindingFromAPI(&c.Bindings[i]))
	}
	for i := range c.Exceptions {
		q.exceptions = append(q.exceptions, identity.ExceptionFromAPI(&c.Exceptions[i]))
	}
	for i := range c.Assigned {
		pod := name{c.Assigned[i].Spec.PodNamespace, c.Assigned[i].Spec.Pod}
		q.byPod[pod] = append(q.byPod[pod], &c.Assigned[i])
	}
	for i := range c.Namespaces {
		if b := c.Namespaces[i].Annotations[v1.AnnotationNamespaceBinding]; b != "" {
			q.annotated[c.Namespaces[i].Name] = b
		}
	}
	return q
}

// lookup finds an AzureIdentity.
func (q *query) lookup(namespace, n string) (identity.Identity, bool) {
	id, ok := q.byName[name{namespace, n}]
	return id, ok
}

// onMachines reports whether the identity is one that machines have, and not an
// application.
func (q *query) onMachines() bool {
	managed := func(id identity.Identity) bool { return id.Type == v1.UserAssignedMSI }
	return len(q.target.Identities) == 0 || slices.ContainsFunc(q.target.Identities, managed)
}
