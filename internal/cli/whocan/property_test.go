package whocan_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/whocan"
)

// scene has an identity in red, that pods of red have, and an application in blue.
const scene = `{apiVersion: v1, kind: Namespace, metadata: {name: red}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: blue, labels: {pod-security.kubernetes.io/enforce: restricted}}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentity, metadata: {name: app, namespace: red}, spec: {type: 1, clientID: client-x, tenantID: contoso.com, clientPassword: {name: key}}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentityBinding, metadata: {name: app, namespace: red}, spec: {azureIdentity: app, selector: web}}`

// inQuestion are rights that lead to the identity of the scene, written down apart
// from those that the command knows.
func inQuestion() []authorizationv1.ResourceAttributes {
	var list []authorizationv1.ResourceAttributes
	add := func(group, resource, namespace, name string, verbs ...string) {
		resource, sub, _ := strings.Cut(resource, "/")
		for _, v := range verbs {
			list = append(list, authorizationv1.ResourceAttributes{Group: group, Resource: resource, Subresource: sub, Namespace: namespace, Name: name, Verb: v})
		}
	}
	add("", "pods", "red", "", "create")
	add("", "pods", "red", "web", "update", "patch")
	add("", "pods/status", "red", "web", "update", "patch")
	add("", "pods/exec", "red", "web", "create", "get")
	add("", "pods/attach", "red", "web", "create")
	add("", "pods/ephemeralcontainers", "red", "web", "update", "patch")
	for _, r := range []string{"deployments", "daemonsets", "statefulsets", "replicasets"} {
		add("apps", r, "red", "web", "update", "patch")
		add("apps", r, "red", "", "create")
	}
	add("batch", "jobs", "red", "", "create")
	add("batch", "cronjobs", "red", "web", "patch")
	add("", "replicationcontrollers", "red", "", "create")
	add("aadpodidentity.k8s.io", "azureidentities", "red", "app", "update", "patch")
	add("aadpodidentity.k8s.io", "azureidentities", "red", "", "create")
	add("aadpodidentity.k8s.io", "azureidentitybindings", "red", "other", "update", "patch")
	add("aadpodidentity.k8s.io", "azureidentitybindings", "red", "", "create")
	add("aadpodidentity.k8s.io", "azureassignedidentities", "red", "", "create")
	add("", "namespaces", "red", "red", "update", "patch")
	add("", "namespaces/status", "red", "red", "update", "patch")
	add("", "namespaces/finalize", "red", "red", "update")
	add("", "secrets", "red", "key", "get", "list", "watch")
	add("", "secrets", "red", "", "list")
	add("", "nodes/proxy", "", "node-0", "create", "get")
	add("rbac.authorization.k8s.io", "clusterroles", "", "web", "bind", "escalate")
	add("rbac.authorization.k8s.io", "roles", "red", "web", "bind", "escalate")
	add("rbac.authorization.k8s.io", "clusterroles", "blue", "web", "bind")
	add("rbac.authorization.k8s.io", "roles", "blue", "web", "bind", "escalate")
	add("", "users", "", "web", "impersonate")
	add("", "serviceaccounts", "blue", "web", "impersonate")
	add("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "", "", "create")
	return list
}

// subjectsOf are those that the drawn bindings have, as the API server sees them.
var subjectsOf = []struct {
	rbacv1.Subject

	user   string
	groups []string
}{
	{rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "ann"}, "ann", nil},
	{rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "bob"}, "bob", nil},
	{rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "system:serviceaccount:blue:web"}, "system:serviceaccount:blue:web", []string{"system:serviceaccounts", "system:serviceaccounts:blue"}},
	{rbacv1.Subject{Kind: "ServiceAccount", Namespace: "red", Name: "db"}, "system:serviceaccount:red:db", []string{"system:serviceaccounts", "system:serviceaccounts:red"}},
	{rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "devs"}, "one of devs", []string{"devs"}},
	{rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts:blue"}, "system:serviceaccount:blue:other", []string{"system:serviceaccounts:blue"}},
}

// rule draws one rule from what matters and what does not.
func rule(r *rand.Rand) rbacv1.PolicyRule {
	pick := func(from ...string) []string {
		n := 1 + r.IntN(2)
		var list []string
		for range n {
			list = append(list, from[r.IntN(len(from))])
		}
		return list
	}
	p := rbacv1.PolicyRule{
		Verbs:     pick("create", "get", "list", "watch", "update", "patch", "delete", "bind", "escalate", "impersonate", "define", "*"),
		APIGroups: pick("", "", "apps", "batch", "aadpodidentity.k8s.io", "rbac.authorization.k8s.io", "admissionregistration.k8s.io", "*"),
		Resources: pick("pods", "pods/exec", "pods/attach", "pods/ephemeralcontainers", "pods/log", "pods/status", "*/status", "deployments", "jobs", "replicationcontrollers", "azureidentities",
			"azureidentitybindings", "azureassignedidentities", "namespaces", "namespaces/status", "secrets", "configmaps", "nodes", "nodes/proxy", "clusterroles", "roles", "users",
			"serviceaccounts", "serviceaccounts/token", "mutatingwebhookconfigurations", "*/exec", "pods/*", "*"),
	}
	if r.IntN(3) == 0 {
		p.ResourceNames = pick("web", "key", "red", "other", "client-x")
	}
	return p
}

// draw makes roles and bindings of a seed, and returns those that are there.
func draw(t *testing.T, c client.Client, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	rules := func() (list []rbacv1.PolicyRule) {
		for range 1 + r.IntN(2) {
			list = append(list, rule(r))
		}
		return list
	}
	for i := range 10 {
		name := fmt.Sprintf("drawn-%d", i)
		meta, local := metav1.ObjectMeta{Name: name}, metav1.ObjectMeta{Name: name, Namespace: []string{"red", "red", "blue"}[r.IntN(3)]}
		subjects := []rbacv1.Subject{subjectsOf[r.IntN(len(subjectsOf))].Subject}
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}
		switch r.IntN(4) {
		case 0:
			keep(t, c, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules()})
			keep(t, c, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects})
		case 1:
			keep(t, c, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules()})
			keep(t, c, &rbacv1.RoleBinding{ObjectMeta: local, RoleRef: ref, Subjects: subjects})
		case 2:
			ref.Kind = "Role"
			keep(t, c, &rbacv1.Role{ObjectMeta: local, Rules: rules()})
			keep(t, c, &rbacv1.RoleBinding{ObjectMeta: local, RoleRef: ref, Subjects: subjects})
		default: // a role that nobody made
			keep(t, c, &rbacv1.RoleBinding{ObjectMeta: local, RoleRef: ref, Subjects: subjects})
		}
	}
}

// TestWhoIsNotListedIsRefused draws rights: whoever is not listed is refused by the
// API server, whatever of it he asks for.
func TestWhoIsNotListedIsRefused(t *testing.T) {
	c := admin(t)
	apply(t, c, scene)
	refused, granted := 0, 0
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			draw(t, c, seed)
			inForce(t, c, fmt.Sprintf("sentinel-%d", seed))
			listed := ask(t, "app", "-n", "red").Ways
			for _, s := range subjectsOf {
				if is(listed, s.user, s.groups) {
					granted++
					continue
				}
				for _, a := range inQuestion() {
					refused++
					if allowed(t, c, s.user, s.groups, a) {
						t.Errorf("%s %v may %s %s/%s %s in %s and is not listed", s.user, s.groups, a.Verb, a.Resource, a.Subresource, a.Name, a.Namespace)
					}
				}
			}
		})
	}
	t.Logf("%d listed, %d questions of those who were not", granted, refused)
	if refused < 500 || granted < 10 {
		t.Errorf("%d listed, and %d questions of others: the drawn rights try nothing", granted, refused)
	}
}

// inForce returns when the API server has heard of all roles and bindings that were
// made before.
func inForce(t *testing.T, c client.Client, name string) {
	t.Helper()
	meta := metav1.ObjectMeta{Name: name, Namespace: "blue"}
	subjects := []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}}
	// One of each kind, since each is told of apart.
	cluster := metav1.ObjectMeta{Name: name}
	for i, ask := range []struct {
		role, binding client.Object
	}{
		{
			&rbacv1.ClusterRole{ObjectMeta: cluster, Rules: []rbacv1.PolicyRule{{Verbs: []string{"a"}, APIGroups: []string{""}, Resources: []string{"sentinels"}}}},
			&rbacv1.ClusterRoleBinding{ObjectMeta: cluster, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}},
		},
		{
			&rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{Verbs: []string{"b"}, APIGroups: []string{""}, Resources: []string{"sentinels"}}}},
			&rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}},
		},
	} {
		keep(t, c, ask.role)
		keep(t, c, ask.binding)
		await(t, "the drawn rights", func() bool {
			return allowed(t, c, name, nil, authorizationv1.ResourceAttributes{Verb: []string{"a", "b"}[i], Resource: "sentinels", Namespace: "blue"})
		})
	}
}

// is reports whether a user, or one of his groups, is listed.
func is(listed []whocan.Way, user string, groups []string) bool {
	return slices.ContainsFunc(listed, func(w whocan.Way) bool {
		switch w.Subject.Kind {
		case "Group":
			return slices.Contains(groups, w.Subject.Name)
		case "ServiceAccount":
			return user == "system:serviceaccount:"+w.Subject.Namespace+":"+w.Subject.Name
		default:
			return user == w.Subject.Name
		}
	})
}
