package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/localcluster"
)

const (
	clientX   = "aaaaaaaa-0000-0000-0000-000000000000"
	clientY   = "bbbbbbbb-0000-0000-0000-000000000000"
	resourceX = "/subscriptions/s/resourceGroups/RG/providers/Microsoft.ManagedIdentity/userAssignedIdentities/x"
	resourceY = "/subscriptions/s/resourceGroups/RG/providers/Microsoft.ManagedIdentity/userAssignedIdentities/y"
)

// people are who the tests of the policies act as.
const people = `
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all-of-it}, rules: [
  {apiGroups: [aadpodidentity.k8s.io], resources: ["*"], verbs: ["*"]}, {apiGroups: [rbac.authorization.k8s.io], resources: ["*"], verbs: ["*"]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: editor}, rules: [
  {apiGroups: [aadpodidentity.k8s.io], resources: ["*"], verbs: [get, list, create, update, patch, delete]}, {apiGroups: [""], resources: [pods, pods/status], verbs: [get, create, update, patch, delete]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: define-x}, rules: [
  {apiGroups: [aadpodidentity.k8s.io], resources: [azureidentities], verbs: [define], resourceNames: [` + clientX + `, /subscriptions/s/resourcegroups/rg/providers/microsoft.managedidentity/userassignedidentities/x]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: admin, namespace: default}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: all-of-it}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: namespace-admin}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: define-x, namespace: default}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: define-x}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: in-one-namespace}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: editor, namespace: default}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: editor}, subjects: [
  {apiGroup: rbac.authorization.k8s.io, kind: User, name: editor}, {apiGroup: rbac.authorization.k8s.io, kind: User, name: definer}, {apiGroup: rbac.authorization.k8s.io, kind: User, name: in-one-namespace}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: define-x}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: define-x}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: definer}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: define-all}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: podid-identity-definer}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: definer-of-all}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: cluster-admin-2}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: cluster-admin}]}`

// create makes the objects of a text.
func create(t *testing.T, c client.Client, text string) {
	t.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		if err := c.Create(t.Context(), parse(t, doc)); err != nil {
			t.Fatal(err)
		}
	}
}

// as is a client that acts as somebody, of some groups.
func as(t *testing.T, cp *localcluster.ControlPlane, user string, groups ...string) client.Client {
	t.Helper()
	return asWarned(t, cp, nil, user, groups...)
}

// warnings keeps what the API server warns of until it is asked.
type warnings struct {
	mu   sync.Mutex // guards said
	said []string
}

// HandleWarningHeader is what a client calls.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, text)
}

// of is the answer to a request that is taken: what was warned of, as judge wants it.
func (w *warnings) of(t *testing.T, err error) error {
	t.Helper()
	if err != nil {
		t.Errorf("refused: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	said := strings.Join(w.said, "\n")
	w.said = nil
	if said == "" {
		return nil
	}
	return warning(said)
}

// warning is what the API server warned of.
type warning string

func (w warning) Error() string { return string(w) }

// asWarned is as, for who keeps warnings.
func asWarned(t *testing.T, cp *localcluster.ControlPlane, w *warnings, user string, groups ...string) client.Client {
	t.Helper()
	config := cp.REST()
	if w != nil {
		config.WarningHandler = w
	}
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	scheme := newScheme(t)
	if err := rbacv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// await asks until the answer is as wanted, of which the API server tells nobody:
// taken where want is empty, else a refusal that says it. A refusal alone does not
// do: until a role is in force, RBAC refuses too.
func await(t *testing.T, want string, ask func() error) {
	t.Helper()
	timeout := time.After(3 * time.Minute)
	for err := ask(); !answers(err, want); err = ask() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-timeout:
			t.Fatalf("after 30 s it is still %v, want %q", err, want)
		}
	}
}

// peopleAndPolicies is an API server with the policies in force, and with people.
func peopleAndPolicies(t *testing.T) (*localcluster.ControlPlane, client.Client) {
	t.Helper()
	cp, c := apiServer(t)
	installPolicies(t, c)
	definer, err := os.ReadFile("../../config/rbac/definer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	create(t, c, string(definer)+"\n---\n"+people)
	asking := func(who string) func() error {
		person := as(t, cp, who)
		return func() error {
			return person.Create(t.Context(), azureIdentity(t, "asking", "{clientID: "+clientX+"}"), client.DryRunAll)
		}
	}
	await(t, "may not define", asking("editor"))
	// A watch tells in order: with the last role and the last of each kind of binding,
	// all are in force.
	await(t, "", asking("definer"))
	await(t, "", asking("cluster-admin"))
	return cp, c
}

// answers reports whether an answer is as wanted; see await.
func answers(err error, want string) bool {
	if want == "" {
		return err == nil
	}
	_, warned := err.(warning) //nolint:errorlint // nobody wraps it
	return (warned || apierrors.IsForbidden(err)) && strings.Contains(err.Error(), want)
}

// judge says whether an answer is as wanted: taken where want is empty, else a
// refusal, or a warning, that says it.
func judge(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case answers(err, want):
	case want == "":
		t.Errorf("refused: %v", err)
	default:
		t.Errorf("got %v, want one that says %q", err, want)
	}
}

func TestWhoMayDefine(t *testing.T) {
	cp, c := peopleAndPolicies(t)
	const needsX = "may not define what the client id " + clientX + " is used for"
	const needsY = "may not define what the client id " + clientY + " is used for"
	needs := func(resource string) string {
		return "may not define what the identity " + strings.ToLower(resource) + " is used for"
	}
	application := func(client, more string) string {
		return "{type: 1, clientID: " + client + ", tenantID: contoso.com, clientPassword: {name: s}" + more + "}"
	}
	tests := map[string]struct {
		who, spec string
		want      string // in the refusal; empty: taken
	}{
		"an admin of the cluster":                                {"cluster-admin", "{clientID: " + clientX + "}", ""},
		"an admin of the namespace with every verb":              {"namespace-admin", "{clientID: " + clientX + "}", needsX},
		"somebody who may create":                                {"editor", "{clientID: " + clientX + "}", needsX},
		"somebody with the verb in the namespace alone":          {"in-one-namespace", "{clientID: " + clientX + "}", needsX},
		"a definer, of all":                                      {"definer-of-all", "{clientID: " + clientY + ", resourceID: " + resourceX + "}", ""},
		"a definer, of his own":                                  {"definer", "{clientID: " + clientX + "}", ""},
		"the same in upper case":                                 {"definer", "{clientID: " + strings.ToUpper(clientX) + "}", ""},
		"the same in the old spelling":                           {"definer", "{ClientID: " + clientX + "}", ""},
		"a definer, of another's":                                {"definer", "{clientID: " + clientY + "}", needsY},
		"the same in the old spelling, too":                      {"definer", "{ClientID: " + clientY + "}", needsY},
		"another's behind an empty one":                          {"definer", "{clientID: '', ClientID: " + clientY + "}", "differ"},
		"both of his own":                                        {"definer", "{clientID: " + clientX + ", resourceID: " + resourceX + "}", ""},
		"his client id with another's resource id":               {"definer", "{clientID: " + clientX + ", resourceID: " + resourceY + "}", needs(resourceY)},
		"the same in the old spelling, of the other":             {"definer", "{clientID: " + clientX + ", ResourceID: " + resourceY + "}", needs(resourceY)},
		"his resource id with another's client id":               {"definer", "{clientID: " + clientY + ", resourceID: " + resourceX + "}", needsY},
		"his resource id alone":                                  {"definer", "{resourceID: " + resourceX + "}", ""},
		"another's resource id alone":                            {"definer", "{resourceID: " + resourceY + "}", needs(resourceY)},
		"a client id with something behind it":                   {"definer", "{clientID: '" + clientX + " '}", "may not define"},
		"a client id in braces":                                  {"definer", "{clientID: '{" + clientX + "}'}", "may not define"},
		"a client id without its dashes":                         {"definer", "{clientID: " + strings.ReplaceAll(clientX, "-", "") + "}", "may not define"},
		"a list of clients that is none":                         {"definer", "{clientID: '" + clientX + "," + clientY + "'}", "may not define"},
		"an application of his own":                              {"definer", application(clientX, ""), ""},
		"an application of another's":                            {"definer", application(clientY, ""), needsY},
		"an application of his own with another's resource id":   {"definer", application(clientX, ", resourceID: "+resourceY), needs(resourceY)},
		"an application of another's in the old spelling, typed": {"definer", "{Type: 2, ClientID: " + clientY + ", TenantID: contoso.com, ClientPassword: {Name: s}}", needsY},
	}
	i := 0
	for name, tc := range tests {
		i++
		o := azureIdentity(t, fmt.Sprintf("case-%d", i), tc.spec)
		t.Run(name, func(t *testing.T) {
			err := as(t, cp, tc.who).Create(t.Context(), o)
			if tc.want == "differ" && apierrors.IsInvalid(err) {
				return // the schema has it before any policy
			}
			judge(t, err, tc.want)
		})
	}
	t.Run("changes", func(t *testing.T) { changes(t, cp, c) })
}

// TestTheExamplesOfTheDocumentWork applies what docs/who.md shows: the role by an
// admin, then the identity by one of the group that it is bound to.
func TestTheExamplesOfTheDocumentWork(t *testing.T) {
	cp, c := peopleAndPolicies(t)
	text, err := os.ReadFile("../../docs/who.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		examples = append(examples, strings.TrimSpace(example))
	}
	if len(examples) != 2 {
		t.Fatalf("%d examples, want the role and the identity", len(examples))
	}
	id := parse(t, examples[1])
	editor := as(t, cp, "editor")
	judge(t, editor.Create(t.Context(), id.DeepCopy()), "may not define")
	create(t, c, examples[0])
	member := as(t, cp, "editor", "team-blob")
	await(t, "", func() error { return member.Create(t.Context(), id.DeepCopy()) })
}

// changes are of objects that the cluster's admin defined.
func changes(t *testing.T, cp *localcluster.ControlPlane, c client.Client) {
	t.Helper()
	const y = "{clientID: " + clientY + ", resourceID: " + resourceY + "}"
	const old = "{ClientID: " + clientY + ", ResourceID: " + resourceY + "}"
	const application = "{type: 1, clientID: " + clientX + ", tenantID: contoso.com, clientPassword: {name: s}}"
	const no = "may not define"
	tests := map[string]struct {
		who, before, patch string
		want               string
	}{
		"a label":                                  {"editor", y, `{"metadata": {"labels": {"a": "b"}}}`, ""},
		"what nobody reads":                        {"editor", y, `{"spec": {"replicas": 2, "adResourceID": "x"}}`, ""},
		"nothing":                                  {"editor", y, `{"spec": {"clientID": "` + clientY + `"}}`, ""},
		"the case of an id":                        {"editor", y, `{"spec": {"clientID": "` + strings.ToUpper(clientY) + `"}}`, ""},
		"old spellings to today's":                 {"editor", old, `{"spec": {"ClientID": null, "clientID": "` + clientY + `", "ResourceID": null, "resourceID": "` + resourceY + `"}}`, ""},
		"the client id":                            {"definer", y, `{"spec": {"clientID": "` + clientX + `"}}`, no},
		"the client id, by its old spelling":       {"editor", old, `{"spec": {"ClientID": "` + clientX + `"}}`, no},
		"the client id, to none":                   {"editor", y, `{"spec": {"clientID": null}}`, no},
		"the resource id":                          {"definer", "{clientID: " + clientX + "}", `{"spec": {"resourceID": "` + resourceY + `"}}`, no},
		"the resource id, to his own":              {"definer", "{clientID: " + clientX + "}", `{"spec": {"resourceID": "` + resourceX + `"}}`, ""},
		"the type":                                 {"editor", "{clientID: " + clientX + ", tenantID: contoso.com, clientPassword: {name: s}}", `{"spec": {"type": 1}}`, no},
		"the type, by its old spelling":            {"editor", "{clientID: " + clientX + ", tenantID: contoso.com, clientPassword: {name: s}}", `{"spec": {"Type": 1}}`, no},
		"the object id":                            {"editor", y, `{"spec": {"objectID": "x"}}`, no},
		"the tenant":                               {"editor", application, `{"spec": {"tenantID": "fabrikam.com"}}`, no},
		"a further tenant":                         {"editor", application, `{"spec": {"auxiliaryTenantIDs": ["fabrikam.com"]}}`, no},
		"a further tenant, by the old spelling":    {"editor", application, `{"spec": {"AuxiliaryTenantIDs": ["fabrikam.com"]}}`, no},
		"the authority":                            {"editor", application, `{"spec": {"adEndpoint": "https://login.microsoftonline.us"}}`, no},
		"the secret":                               {"editor", application, `{"spec": {"clientPassword": {"name": "other"}}}`, no},
		"the secret, said in another way":          {"editor", application, `{"spec": {"clientPassword": {"name": null, "Name": "s", "namespace": "default"}}}`, ""},
		"the secret, by the old spelling":          {"editor", application, `{"spec": {"clientPassword": null, "ClientPassword": {"Name": "other"}}}`, no},
		"a list of who may use it, that goes":      {"editor", "{clientID: " + clientX + ", allowedServiceAccounts: [web]}", `{"spec": {"allowedServiceAccounts": null}}`, no},
		"a list that names one more":               {"editor", "{clientID: " + clientX + ", allowedServiceAccounts: [web]}", `{"spec": {"allowedServiceAccounts": ["web", "default"]}}`, no},
		"a list of namespaces":                     {"editor", "{clientID: " + clientX + ", allowedNamespaces: [default]}", `{"spec": {"allowedNamespaces": ["default", "other"]}}`, no},
		"the list, by the definer":                 {"definer", "{clientID: " + clientX + ", allowedServiceAccounts: [web]}", `{"spec": {"allowedServiceAccounts": ["web", "default"]}}`, ""},
		"another annotation":                       {"editor", y, `{"metadata": {"annotations": {"a": "b"}}}`, ""},
		"the annotation that keeps it here, set":   {"editor", y, `{"metadata": {"annotations": {"aadpodidentity.k8s.io/Behavior": "namespaced"}}}`, no},
		"the status, by who may write the objects": {"cluster-admin", y, `{"status": {"matchedPods": 3}}`, ""},
	}
	i := 0
	for name, tc := range tests {
		i++
		o := azureIdentity(t, fmt.Sprintf("changed-%d", i), tc.before)
		t.Run(name, func(t *testing.T) {
			if err := c.Create(t.Context(), o.DeepCopyObject().(client.Object)); err != nil {
				t.Fatal(err)
			}
			judge(t, as(t, cp, tc.who).Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(tc.patch))), tc.want)
		})
	}
}

// TestWhoMayUseALabel has every pod made: whoever makes one that a binding keeps out
// is warned, and it is nmi that refuses.
func TestWhoMayUseALabel(t *testing.T) {
	cp, c := peopleAndPolicies(t)
	create(t, c, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: default}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: other, namespace: default}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentityBinding, metadata: {name: away, namespace: default}, spec: {azureIdentity: x, selector: away, allowedNamespaces: [elsewhere]}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentityBinding, metadata: {name: full, namespace: default}, spec: {azureIdentity: x, selector: full, allowedNamespaces: [default], allowedServiceAccounts: [default/web]}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentityBinding, metadata: {name: open, namespace: default}, spec: {azureIdentity: x, selector: open}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentityBinding, metadata: {name: both-1, namespace: default}, spec: {azureIdentity: x, selector: both, allowedServiceAccounts: [web]}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentityBinding, metadata: {name: both-2, namespace: default}, spec: {azureIdentity: x, selector: both, allowedServiceAccounts: [other]}}
---
{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentityBinding, metadata: {name: web, namespace: default}, spec: {azureIdentity: x, Selector: web, allowedServiceAccounts: [web]}}`)
	w := &warnings{}
	editor := asWarned(t, cp, w, "editor")
	no := func(binding, account string) string {
		return "AzureIdentityBinding " + binding + " gives service account " + account + " of namespace default nothing for the label aadpodidbinding: "
	}
	await(t, no("web", "other")+"web", func() error { // the last one: all are known then
		return w.of(t, editor.Create(t.Context(), labelledPod(t, "asking", "other", "aadpodidbinding: web"), client.DryRunAll))
	})
	tests := map[string]struct{ account, labels, want string }{
		"the one that is named":                    {"web", "aadpodidbinding: web", ""},
		"another":                                  {"other", "aadpodidbinding: web", no("web", "other") + "web"},
		"a namespace that is not named":            {"other", "aadpodidbinding: away", no("away", "other") + "away"},
		"both are named":                           {"web", "aadpodidbinding: full", ""},
		"the namespace is named and not the other": {"other", "aadpodidbinding: full", no("full", "other") + "full"},
		"one of two bindings of a selector":        {"web", "aadpodidbinding: both", no("both-2", "web") + "both"},
		"the other of the two":                     {"other", "aadpodidbinding: both", no("both-1", "other") + "both"},
		"a binding without a list":                 {"other", "aadpodidbinding: open", ""},
		"a label that nothing selects":             {"other", "aadpodidbinding: nothing", ""},
		"an empty label":                           {"other", "aadpodidbinding: ''", ""},
		"no label":                                 {"other", "a: b", ""},
	}
	i := 0
	for name, tc := range tests {
		i++
		o := labelledPod(t, fmt.Sprintf("pod-%d", i), tc.account, tc.labels)
		t.Run(name, func(t *testing.T) { judge(t, w.of(t, editor.Create(t.Context(), o)), tc.want) })
	}
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"labels": {"`+v1.LabelBinding+`": "web"}}}`))
	for by, send := range map[string]func(client.Object) error{
		"itself": func(o client.Object) error { return editor.Patch(t.Context(), o, patch) },
		"status": func(o client.Object) error { return editor.Status().Patch(t.Context(), o, patch) },
	} {
		t.Run("a label that comes later, by "+by, func(t *testing.T) {
			o := labelledPod(t, "later-"+by, "other", "a: b")
			judge(t, w.of(t, editor.Create(t.Context(), o)), "")
			judge(t, w.of(t, send(o)), no("web", "other")+"web")
		})
	}
	t.Run("a pod that has the label from before the list", func(t *testing.T) {
		o := labelledPod(t, "before", "other", "aadpodidbinding: open")
		judge(t, w.of(t, editor.Create(t.Context(), o)), "")
		b := parse(t, "{apiVersion: aadpodidentity.k8s.io/v1, kind: AzureIdentityBinding, metadata: {name: open, namespace: default}}")
		if err := c.Patch(t.Context(), b, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"allowedServiceAccounts": ["web"]}}`))); err != nil {
			t.Fatal(err)
		}
		await(t, no("open", "other")+"open", func() error {
			return w.of(t, editor.Create(t.Context(), labelledPod(t, "asking", "other", "aadpodidbinding: open"), client.DryRunAll))
		})
		judge(t, w.of(t, editor.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"labels": {"a": "b"}}}`)))), "")
	})
}

func labelledPod(t *testing.T, name, account, labels string) client.Object {
	t.Helper()
	return parse(t, fmt.Sprintf("{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: default, labels: {%s}}, spec: {serviceAccountName: %s, containers: [{name: c, image: i}]}}", name, labels, account))
}
