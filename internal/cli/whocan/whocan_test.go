package whocan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/whocan"
)

const (
	clientBlue = "aaaaaaaa-0000-0000-0000-00000000000b"
	clientRed  = "aaaaaaaa-0000-0000-0000-0000000000ed"
	resource   = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"
)

// place makes a scene for a test: the namespaces NAME and NAME-next, two nodes of one
// scale set and one apart, and in the first namespace a managed identity that service
// account web may use.
func place(name string) string {
	return strings.NewReplacer("NAME", name, "CLIENT", clientBlue, "RESOURCE", resource+"blue").Replace(`
{apiVersion: v1, kind: Namespace, metadata: {name: NAME, labels: {pod-security.kubernetes.io/enforce: restricted}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: NAME-next, labels: {pod-security.kubernetes.io/enforce: baseline}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: NAME}}
---
{apiVersion: v1, kind: Node, metadata: {name: NAME-0}, spec: {providerID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/NAME/virtualMachines/0"}}
---
{apiVersion: v1, kind: Node, metadata: {name: NAME-1}, spec: {providerID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/NAME/virtualMachines/1"}}
---
{apiVersion: v1, kind: Node, metadata: {name: NAME-2}, spec: {providerID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/NAME-2"}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentity, metadata: {name: blue, namespace: NAME}, spec: {ClientID: CLIENT, resourceID: RESOURCE, allowedServiceAccounts: [web]}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentityBinding, metadata: {name: blue, namespace: NAME}, spec: {azureIdentity: blue, Selector: web}}`)
}

func aPod(namespace, name, labels, spec string) string {
	return fmt.Sprintf("\n---\n{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: %s, labels: {%s}}, spec: {containers: [{name: c, image: i, securityContext: {privileged: %t}}], %s}}",
		name, namespace, labels, strings.Contains(name, "privileged"), spec)
}

func TestPodsThatHaveItAndThatCanTakeIt(t *testing.T) {
	c := admin(t)
	const kube = "kube-system"
	apply(t, c, place("pods")+
		"\n---\n{apiVersion: aadpodidentity.k8s.io/v1, kind: AzurePodIdentityException, metadata: {name: x, namespace: kube-system}, spec: {podLabels: {app: excepted}}}"+
		aPod(kube, "host", "a: b", "nodeName: pods-1, hostNetwork: true")+
		aPod(kube, "privileged", "a: b", "nodeName: pods-0")+
		aPod(kube, "elsewhere", "a: b", "nodeName: pods-2, hostNetwork: true")+
		aPod(kube, "excepted", "app: excepted", "nodeName: pods-0")+
		aPod(kube, "harmless", "a: b", "nodeName: pods-0"))
	open := client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}}`))
	if err := c.Patch(t.Context(), parsed(t, "{apiVersion: v1, kind: Namespace, metadata: {name: pods}}"), open); err != nil {
		t.Fatal(err)
	}
	apply(t, c, strings.TrimPrefix(
		aPod("pods", "web", "aadpodidbinding: web", "nodeName: pods-0, serviceAccountName: web")+
			aPod("pods", "waits", "aadpodidbinding: web", "serviceAccountName: web")+
			aPod("pods", "thief", "aadpodidbinding: web", "nodeName: pods-0")+
			aPod("pods", "other", "aadpodidbinding: db", "nodeName: pods-0, serviceAccountName: web"), "\n---\n"))
	var web corev1.Pod
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "pods", Name: "web"}, &web); err != nil {
		t.Fatal(err)
	}
	assigned := &v1.AzureAssignedIdentity{
		Spec: v1.AzureAssignedIdentitySpec{
			Pod: "web", PodNamespace: "pods", PodUID: string(web.UID), NodeName: "pods-0",
			AzureIdentityRef: &v1.AzureIdentityRef{APIVersion: "aadpodidentity.k8s.io/v1", Kind: "AzureIdentity", Spec: v1.AzureIdentitySpec{ClientID: clientBlue}},
		},
		Status: v1.AzureAssignedIdentityStatus{Status: v1.Assigned},
	}
	assigned.Namespace, assigned.Name = "pods", "web-pods-blue"
	assigned.Spec.AzureIdentityRef.Namespace, assigned.Spec.AzureIdentityRef.Name = "pods", "blue"
	keep(t, c, assigned)

	for _, by := range []string{"blue", "pods/blue", clientBlue, strings.ToUpper(clientBlue), resource + "BLUE"} {
		got := ask(t, by, "-n", "pods")
		want := []whocan.Pod{
			{Namespace: "pods", Name: "waits", ServiceAccount: "web", Binding: "pods/blue", Default: true, Served: true},
			{Namespace: "pods", Name: "web", ServiceAccount: "web", Node: "pods-0", Binding: "pods/blue", Default: true, Assigned: true, Served: true},
		}
		if diff := cmp.Diff(want, got.Pods); diff != "" {
			t.Errorf("%s: pods (-want +got):\n%s", by, diff)
		}
		takers := []whocan.Taker{
			{Namespace: kube, Name: "excepted", Node: "pods-0", Why: "exception"},
			{Namespace: kube, Name: "host", Node: "pods-1", Why: "hostNetwork"},
			{Namespace: kube, Name: "privileged", Node: "pods-0", Why: "privileged"},
		}
		if diff := cmp.Diff(takers, got.Takers); diff != "" {
			t.Errorf("%s: takers (-want +got):\n%s", by, diff)
		}
		if got.Machines != 2 || got.MachinePods != 7 {
			t.Errorf("%s: %d pods on %d nodes, want 7 on 2", by, got.MachinePods, got.Machines)
		}
	}
	out, _, _ := run(t, "blue", "-n", "pods")
	for _, line := range []string{
		`client id ` + clientBlue, `AzureIdentity pods/blue`, `Pods that have it now: 2`,
		`pods       web    web              pods-0  pods/blue  by default  assigned`,
		`Pods on its machines that can take it past nmi: 3 of 7 on 2 nodes`,
		`the API server does not ask for the verb define`,
	} {
		if !strings.Contains(out, line) {
			t.Errorf("the table does not say %q:\n%s", line, out)
		}
	}
}

// TestEveryWayIsListedAlone gives each way to somebody of his own, who has no other
// right.
func TestEveryWayIsListedAlone(t *testing.T) {
	c := admin(t)
	apply(t, c, place("ways")+"\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: ways-open}}")
	type way struct {
		namespace, rule, could string // could is empty for what is no way
	}
	const pod, workload = "run a pod bound to it", `{apiGroups: [apps], resources: [%s], verbs: [%s]}`
	ways := []way{
		{"ways", `{apiGroups: [""], resources: [pods], verbs: [create]}`, pod},
		{"", `{apiGroups: [""], resources: [pods], verbs: [create]}`, pod},
		{"ways", `{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}`, pod},
		{"ways", fmt.Sprintf(workload, "deployments", "create"), pod},
		{"ways", fmt.Sprintf(workload, "daemonsets", "patch"), pod},
		{"ways", fmt.Sprintf(workload, "statefulsets", "update"), pod},
		{"ways", fmt.Sprintf(workload, "replicasets", "update"), pod},
		{"ways", `{apiGroups: [apps], resources: [deployments], verbs: [patch], resourceNames: [web]}`, pod},
		{"ways", `{apiGroups: [batch], resources: [jobs], verbs: [create]}`, pod},
		{"ways", `{apiGroups: [batch], resources: [cronjobs], verbs: [patch]}`, pod},
		{"ways", `{apiGroups: [""], resources: [replicationcontrollers], verbs: [create]}`, pod},
		{"ways", `{apiGroups: [""], resources: [pods], verbs: [patch]}`, "label a pod for it"},
		{"ways", `{apiGroups: [""], resources: [pods/status], verbs: [patch]}`, "label a pod for it"},
		{"ways", `{apiGroups: [""], resources: ["*/status"], verbs: [update]}`, "label a pod for it"},
		{"ways", `{apiGroups: [""], resources: [pods/exec], verbs: [create]}`, "enter a pod that may have it"},
		{"ways", `{apiGroups: [""], resources: ["*/exec"], verbs: [get]}`, "enter a pod that may have it"},
		{"ways", `{apiGroups: [""], resources: [pods/attach], verbs: [create]}`, "enter a pod that may have it"},
		{"ways", `{apiGroups: [""], resources: [pods/ephemeralcontainers], verbs: [patch], resourceNames: [web]}`, "enter a pod that may have it"},
		{"ways", `{apiGroups: [aadpodidentity.k8s.io], resources: [azureidentitybindings], verbs: [create]}`, "bind pods to it"},
		{"ways", `{apiGroups: [aadpodidentity.k8s.io], resources: [azureassignedidentities], verbs: [update]}`, "say that it is attached, which alone gives nothing"},
		{"ways", `{apiGroups: [aadpodidentity.k8s.io], resources: [azureidentities], verbs: [patch]}`, "define what it is used for"},
		{"ways-open", `{apiGroups: [aadpodidentity.k8s.io], resources: [azureidentities], verbs: [create]}`, "define what it is used for"},
		{"kube-system", `{apiGroups: [aadpodidentity.k8s.io], resources: [azurepodidentityexceptions], verbs: [create]}`, "except pods from nmi"},
		{"", `{apiGroups: [""], resources: [namespaces], verbs: [patch]}`, "bind its whole namespace"},
		{"ways", `{apiGroups: [""], resources: [namespaces], verbs: [update], resourceNames: [ways]}`, "bind its whole namespace"},
		{"ways", `{apiGroups: [""], resources: [namespaces/status], verbs: [patch]}`, "bind its whole namespace"},
		{"", `{apiGroups: [""], resources: [namespaces/finalize], verbs: [update]}`, "bind its whole namespace"},
		{"", `{apiGroups: [""], resources: [namespaces], verbs: [patch], resourceNames: [ways-next]}`, "let pods of a namespace into the network of its machines"},
		{"ways-next", `{apiGroups: [""], resources: [namespaces/finalize], verbs: [update]}`, "let pods of a namespace into the network of its machines"},
		{"ways-open", `{apiGroups: [""], resources: [pods], verbs: [create]}`, "run a pod in the network of its machines"},
		{"", `{apiGroups: [""], resources: [nodes/proxy], verbs: [create]}`, "enter any pod, by its node"},
		{"", `{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind], resourceNames: [edit]}`, "grant such rights"},
		{"ways", `{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind]}`, "grant such rights"},
		{"ways", `{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [escalate]}`, "grant such rights"},
		{"ways-next", `{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind]}`, "grant such rights"},
		{"ways-open", `{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [escalate]}`, "grant such rights"},
		{"", `{apiGroups: [""], resources: [users], verbs: [impersonate], resourceNames: [root]}`, "act as others"},
		{"ways-next", `{apiGroups: [""], resources: [serviceaccounts], verbs: [impersonate]}`, "act as others"},
		{"", `{apiGroups: [certificates.k8s.io], resources: [signers], verbs: [approve]}`, "have a certificate of others signed"},
		{"", `{apiGroups: [admissionregistration.k8s.io], resources: [mutatingwebhookconfigurations], verbs: [patch]}`, "change what the API server lets in"},
		{"", `{apiGroups: [admissionregistration.k8s.io], resources: [mutatingadmissionpolicies], verbs: [create]}`, "change what the API server lets in"},
		{"", `{apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [update]}`, "change what the API server lets in"},
		{"kube-system", `{apiGroups: [""], resources: [serviceaccounts/token], verbs: [create], resourceNames: [job-controller]}`, "act as a service account that could"},

		{"ways", `{apiGroups: [""], resources: [pods, pods/log, services, azureidentities], verbs: [get, list, watch, delete]}`, ""},
		{"ways-next", `{apiGroups: [""], resources: [pods, pods/exec], verbs: ["*"]}`, ""}, // baseline lets no pod there have the host's network
		{"ways-next", `{apiGroups: [aadpodidentity.k8s.io], resources: [azureidentitybindings, azurepodidentityexceptions], verbs: ["*"]}`, ""},
		{"ways", `{apiGroups: [other], resources: [pods], verbs: ["*"]}`, ""},
		{"ways", `{apiGroups: [""], resources: [users, nodes/proxy], verbs: ["*"]}`, ""},
		{"", `{apiGroups: [""], resources: [namespaces], verbs: [patch], resourceNames: [ways-open]}`, ""}, // open as it is
		{"", `{nonResourceURLs: ["*"], verbs: ["*"]}`, ""},
	}
	var text []string
	for i, w := range ways {
		kind, where := "ClusterRoleBinding", ""
		if w.namespace != "" {
			kind, where = "RoleBinding", ", namespace: "+w.namespace
		}
		text = append(text,
			fmt.Sprintf("{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: way-%d}, rules: [%s]}", i, w.rule),
			fmt.Sprintf("{apiVersion: rbac.authorization.k8s.io/v1, kind: %s, metadata: {name: way-%d%s}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: way-%d}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: user-%d}]}", kind, i, where, i, i))
	}
	apply(t, c, strings.Join(text, "\n---\n"))
	listed := ask(t, "blue", "-n", "ways").Ways
	for i, w := range ways {
		var could []string
		for _, l := range listed {
			if l.Subject == (whocan.Subject{Kind: "User", Name: fmt.Sprintf("user-%d", i)}) && !slices.Contains(could, l.Could) {
				could = append(could, l.Could)
			}
		}
		if w.could == "" && could != nil || w.could != "" && !slices.Contains(could, w.could) {
			t.Errorf("%s in %q: could %q, want %q", w.rule, w.namespace, could, w.could)
		}
	}
}

// TestWhoActsAsAnother goes from a right to a service account, and on to another.
func TestWhoActsAsAnother(t *testing.T) {
	c := admin(t)
	role := func(name, rules string) string {
		return "\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: as-" + name + "}, rules: [" + rules + "]}"
	}
	bind := func(namespace, role, subject string) string {
		return "\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: as-" + role + ", namespace: " + namespace + "}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: as-" + role + "}, subjects: [" + subject + "]}"
	}
	apply(t, c, place("as")+
		role("binder", `{apiGroups: [aadpodidentity.k8s.io], resources: [azureidentitybindings], verbs: [create]}`)+
		bind("as", "binder", "{kind: ServiceAccount, name: deployer, namespace: as-next}")+
		role("runner", `{apiGroups: [""], resources: [pods], verbs: [create]}`)+
		bind("as-next", "runner", "{kind: ServiceAccount, name: ci, namespace: kube-public}")+
		role("tokens", `{apiGroups: [""], resources: [serviceaccounts/token], verbs: [create], resourceNames: [ci]}`)+
		bind("kube-public", "tokens", "{apiGroup: rbac.authorization.k8s.io, kind: User, name: carol}")+
		role("others", `{apiGroups: [""], resources: [serviceaccounts/token], verbs: [create], resourceNames: [other]}`)+
		bind("kube-public", "others", "{apiGroup: rbac.authorization.k8s.io, kind: User, name: dave}"))
	got := map[string]string{}
	for _, w := range ask(t, "blue", "-n", "as").Ways {
		if strings.HasPrefix(w.Role, "ClusterRole as-") {
			got[w.Subject.Namespace+"/"+w.Subject.Name] = w.Could + " " + w.As
		}
	}
	want := map[string]string{
		"as-next/deployer": "bind pods to it ",
		"kube-public/ci":   "act as a service account that could as-next/deployer",
		"/carol":           "act as a service account that could kube-public/ci",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ways (-want +got):\n%s", diff)
	}
}

// TestWhoMayDefineIsAskedOfThePolicyAsShipped takes the policy for what it is.
func TestWhoMayDefineIsAskedOfThePolicyAsShipped(t *testing.T) {
	c := admin(t)
	role := func(name, rules, subject string) string {
		return "\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: " + name + "}, rules: [" + rules + "]}" +
			"\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: " + name + "}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: " + name + "}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: " + subject + "}]}"
	}
	apply(t, c, place("define")+
		role("define-blue", `{apiGroups: [aadpodidentity.k8s.io], resources: [azureidentities], verbs: [define], resourceNames: [`+clientBlue+`]}`, "blues")+
		role("define-red", `{apiGroups: [aadpodidentity.k8s.io], resources: [azureidentities], verbs: [define], resourceNames: [`+clientRed+`]}`, "reds")+
		role("define-none", `{apiGroups: [aadpodidentity.k8s.io], resources: [azureidentities], verbs: [create, update, patch]}`, "writers"))
	definers := func(identity string) (list []string) {
		for _, w := range ask(t, identity, "-n", "define").Ways {
			if w.Could == "define what it is used for" && strings.HasPrefix(w.Role, "ClusterRole define-") {
				list = append(list, w.Subject.Name)
			}
		}
		return list
	}
	step := func(what string, want ...string) {
		t.Helper()
		if got := definers("blue"); !slices.Equal(got, want) {
			t.Errorf("%s: %q may define, want %q", what, got, want)
		}
	}
	step("without the policy", "writers")
	policy, binding, _ := strings.Cut(file(t, "config/policy/define.yaml"), "\n---\n")
	apply(t, c, policy)
	step("with the policy alone", "writers")
	apply(t, c, binding)
	step("with the policy", "blues")
	if got := definers(clientRed); !slices.Equal(got, []string{"reds"}) {
		t.Errorf("of an identity that is not in the cluster: %q may define, want reds", got)
	}
	change := func(kind, patch string) {
		t.Helper()
		o := parsed(t, "{apiVersion: admissionregistration.k8s.io/v1, kind: "+kind+", metadata: {name: podid-define}}")
		if err := c.Patch(t.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	change("ValidatingAdmissionPolicyBinding", `{"spec": {"validationActions": ["Audit"]}}`)
	step("with a binding that only audits", "writers")
	change("ValidatingAdmissionPolicyBinding", `{"spec": {"validationActions": ["Deny"], "matchResources": {"namespaceSelector": {"matchLabels": {"a": "b"}}}}}`)
	step("with a binding for some namespaces", "writers")
	change("ValidatingAdmissionPolicyBinding", `{"spec": {"matchResources": null}}`)
	step("with the binding again", "blues")
	change("ValidatingAdmissionPolicy", `{"spec": {"validations": [{"expression": "true"}]}}`)
	step("with a policy that lets all pass", "writers")
}

// TestRulesAreThoseOfTheAgents has an nmi that lets pods match across namespaces.
func TestRulesAreThoseOfTheAgents(t *testing.T) {
	c := admin(t)
	const runner = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: rules}, rules: [{apiGroups: [\"\"], resources: [pods], verbs: [create]}, {apiGroups: [aadpodidentity.k8s.io], resources: [azurepodidentityexceptions], verbs: [create]}]}" +
		"\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: rules, namespace: rules-next}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: rules}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: erin}]}"
	apply(t, c, strings.Replace(place("rules"), ", allowedServiceAccounts: [web]", "", 1)+"\n---\n"+runner)
	could := func(args ...string) (list []string) {
		for _, w := range ask(t, append([]string{"blue", "-n", "rules"}, args...)...).Ways {
			if w.Subject.Name == "erin" {
				list = append(list, w.Could)
			}
		}
		return list
	}
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: could %q, want %q", what, got, want)
		}
	}
	check("by default", could())
	check("as told", could("--allow-cross-namespace", "--exception-namespaces", "rules-next"), "except pods from nmi", "run a pod bound to it")
	apply(t, c, "{apiVersion: v1, kind: Pod, metadata: {name: nmi, namespace: kube-system, labels: {app.kubernetes.io/name: podid, app.kubernetes.io/component: nmi}}, spec: {containers: [{name: nmi, image: i, args: [--node-name=n, --compatibility=aad-pod-identity]}]}}")
	check("with the old defaults", could(), "except pods from nmi", "run a pod bound to it")
	check("with the old defaults, as told", could("--allow-cross-namespace=false", "--exception-namespaces", "kube-system"))
	const note = "in managed mode others put identities on nodes"
	if out, _, _ := run(t, "blue", "-n", "rules"); strings.Contains(out, note) {
		t.Errorf("it takes podid to run in managed mode:\n%s", out)
	}
	apply(t, c, "{apiVersion: v1, kind: Pod, metadata: {name: managed, namespace: kube-system, labels: {app.kubernetes.io/name: podid, app.kubernetes.io/component: nmi}}, spec: {containers: [{name: nmi, image: i, args: [--node-name=n, --operation-mode=managed]}]}}")
	if out, _, _ := run(t, "blue", "-n", "rules"); !strings.Contains(out, note) {
		t.Errorf("it does not know managed mode:\n%s", out)
	}
}

func TestStatus(t *testing.T) {
	c := admin(t)
	apply(t, c, place("status")+
		"\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: half}, rules: [{apiGroups: [aadpodidentity.k8s.io], resources: [\"*\"], verbs: [list]}]}"+
		"\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: half}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: half}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: half}]}"+
		"\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: evil, namespace: status}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: \"eve\\e[2K\\nfake\"}]}"+
		"\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: editor}, rules: [{apiGroups: [\"\"], resources: [pods], verbs: [create]}]}"+
		"\n---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: eve, namespace: status}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: editor}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: \"eve\\e[2K\\nfake\"}]}")
	for name, tc := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"an identity that is there":         {[]string{"blue", "-n", "status"}, 0, "AzureIdentity status/blue"},
		"one that no object has on a node":  {[]string{"blue", "-n", "status"}, 0, "No object of podid says that it is on a machine"},
		"one that is not":                   {[]string{"green", "-n", "status"}, 1, "there is no AzureIdentity green in namespace status"},
		"a client id that nobody names":     {[]string{"ffffffff-0000-0000-0000-000000000000"}, 0, "no AzureIdentity names it"},
		"no identity":                       {nil, 2, "write one identity"},
		"two":                               {[]string{"a", "b"}, 2, "write one identity"},
		"an output that there is not":       {[]string{"blue", "-o", "yaml"}, 2, "write table or json"},
		"a flag that there is not":          {[]string{"blue", "--x"}, 2, "unknown flag"},
		"an API server that is not there":   {[]string{"blue", "--server", "https://127.0.0.1:1"}, 2, "podid who-can:"},
		"a reader who may not read it all":  {[]string{"blue", "-n", "status", "--as", "half"}, 2, "left out: clusterroles.rbac.authorization.k8s.io is forbidden"},
		"an identity that he did not find":  {[]string{"green", "-n", "status", "--as", "nobody"}, 2, "there is no AzureIdentity green"},
		"a name that would steer a display": {[]string{"blue", "-n", "status"}, 0, "User eve"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := run(t, tc.args...)
			if status != tc.status || !strings.Contains(stdout+stderr, tc.says) {
				t.Errorf("status %d, want %d and %q:\n%s%s", status, tc.status, tc.says, stdout, stderr)
			}
			if strings.Contains(stdout, "\x1b") || strings.Contains(stdout, "\nfake") {
				t.Errorf("a name steers the display: %q", stdout)
			}
		})
	}
}
