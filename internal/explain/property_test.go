package explain_test

import (
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/nodeview"
)

// TestNeverBetterThanTheAgent has nmi's own handler and explain judge the same
// objects. Where all that only the agent knows is well, explain must not say ok
// where the pod is refused, nor broken where it gets its token.
func TestNeverBetterThanTheAgent(t *testing.T) {
	t.Run("of anything", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			f, a := draw(t)
			judge(t, f, a)
		})
	})
	t.Run("of what mostly works", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			f, a := working()
			for range rapid.IntRange(0, 2).Draw(t, "spoilings") {
				rapid.SampledFrom(spoilings).Draw(t, "spoiling").do(f, a)
			}
			judge(t, f, a)
		})
	})
}

// judge has both judge, and returns what explain says.
func judge(t fataler, f *explain.Facts, a *agent) explain.State {
	objects := f.Objects
	objects.Pods = []corev1.Pod{f.Pod}
	a.View = nodeview.Snapshot(f.Agent.Rules, f.Agent.Managed, &objects)
	a.host = f.Pod.Spec.HostNetwork
	f.NoSecrets = map[string]bool{}
	for name, there := range a.secrets {
		f.NoSecrets[name] = !there
	}
	status, body := ask(t, a.server(t, f.Agent.Rules), f.Want)
	f.Answer = fine(f)
	r := explain.Chain(f)
	if r.Verdict == explain.OK && status != http.StatusOK {
		t.Fatalf("explain says ok, nmi answers %d %s\n%s", status, body, asJSON(r))
	}
	if r.Verdict != explain.OK && status == http.StatusOK {
		t.Fatalf("explain says %s, nmi hands out a token\n%s", r.Verdict, asJSON(r))
	}
	for _, wrong := range []func(*explain.Answer){
		func(a *explain.Answer) { a.Identity = "other/wrong" },
		func(a *explain.Answer) { a.Exception = "other/wrong" },
	} {
		f.Answer = fine(f)
		excepted := f.Answer.Exception != ""
		wrong(f.Answer)
		if w := explain.Chain(f); w.Verdict == explain.OK && (!excepted || f.Answer.Exception == "other/wrong") {
			t.Fatalf("explain says ok of an agent that chose otherwise\n%s", asJSON(w))
		}
	}
	return r.Verdict
}

// TestEachStateBesideTheAgent spoils in one way at a time.
func TestEachStateBesideTheAgent(t *testing.T) {
	for _, s := range spoilings {
		t.Run(s.String(), func(t *testing.T) {
			f, a := working()
			s.do(f, a)
			if got := judge(t, f, a); got != s.want {
				t.Errorf("explain says %s, want %s", got, s.want)
			}
		})
	}
}

// draw makes objects of a few names, so that they meet.
func draw(t *rapid.T) (*explain.Facts, *agent) {
	namespace := rapid.SampledFrom([]string{"a", "b"})
	word := rapid.SampledFrom([]string{"x", "y"})
	chance := func(label string) bool { return rapid.IntRange(0, 7).Draw(t, label) == 0 }
	ns := "a"
	now := time.Now()
	f := &explain.Facts{
		Now: now, System: "podid-system", Resource: "https://vault.azure.net",
		NoSecrets: map[string]bool{}, Unread: map[string]error{},
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}},
		MIC:  explain.MIC{Holder: "mic-0", Renewed: now, Duration: 15 * time.Second},
		Pod: corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "pod", UID: "uid", Labels: map[string]string{}},
			Spec:       corev1.PodSpec{NodeName: "node", ServiceAccountName: "default", HostNetwork: chance("host")},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: podAddr.String()}}},
		},
	}
	f.Pod.CreationTimestamp = metav1.NewTime(now.Add(-rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(t, "age")))
	if chance("ended") {
		f.Pod.Status.Phase = corev1.PodSucceeded
	}
	if !chance("no label") {
		f.Pod.Labels[v1.LabelBinding] = word.Draw(t, "label")
	}
	if chance("excepted") {
		f.Pod.Labels["app"] = "add-on"
	}
	f.Agent.Managed = chance("managed")
	f.Agent.Rules.AcrossNamespaces = !f.Agent.Managed && chance("across")
	f.Agent.Rules.ExceptionNamespaces = rapid.SampledFrom([][]string{nil, {"a"}, {"*"}}).Draw(t, "exceptions")
	if chance("want") {
		f.Want.ClientID = word.Draw(t, "client")
	}
	a := &agent{pod: f.Pod.Namespace + "/" + f.Pod.Name, host: f.Pod.Spec.HostNetwork, secrets: map[string]bool{}}
	drawObjects(t, f, a, namespace, word)
	return f, a
}

func drawObjects(t *rapid.T, f *explain.Facts, a *agent, namespace, word *rapid.Generator[string]) {
	o := &f.Objects
	n := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	if rapid.Bool().Draw(t, "annotated") {
		n.Annotations = map[string]string{v1.AnnotationNamespaceBinding: word.Draw(t, "annotation")}
	}
	o.Namespaces = []corev1.Namespace{n}
	for _, s := range []string{"a/s", "b/s"} {
		a.secrets[s] = rapid.Bool().Draw(t, "secret "+s)
		f.NoSecrets[s] = !a.secrets[s]
	}
	for range rapid.IntRange(1, 6).Draw(t, "bindings") {
		b := v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Draw(t, "of"), Name: word.Draw(t, "name")}}
		b.Spec.Selector, b.Spec.AzureIdentity = word.Draw(t, "selector"), word.Draw(t, "identity")
		if rapid.IntRange(0, 4).Draw(t, "narrowed") == 0 {
			b.Spec.AllowedServiceAccounts = []string{rapid.SampledFrom([]string{"default", "other"}).Draw(t, "account")}
		}
		o.Bindings = replaced(o.Bindings, b, func(b v1.AzureIdentityBinding) string { return b.Namespace + b.Name })
	}
	for range rapid.IntRange(1, 6).Draw(t, "identities") {
		o.Identities = replaced(o.Identities, drawIdentity(t, namespace, word), func(i v1.AzureIdentity) string { return i.Namespace + i.Name })
	}
	if rapid.Bool().Draw(t, "exception") {
		o.Exceptions = []v1.AzurePodIdentityException{{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Draw(t, "of"), Name: "e"},
			Spec:       v1.AzurePodIdentityExceptionSpec{PodLabels: map[string]v1.LabelValue{"app": "add-on"}},
		}}
	}
	for i := range o.Identities {
		if id := &o.Identities[i]; rapid.IntRange(0, 2).Draw(t, "assigned") > 0 {
			o.Assigned = append(o.Assigned, v1.AzureAssignedIdentity{
				ObjectMeta: metav1.ObjectMeta{Namespace: id.Namespace, Name: id.Name, CreationTimestamp: f.Pod.CreationTimestamp},
				Spec: v1.AzureAssignedIdentitySpec{
					Pod: "pod", PodNamespace: "a", PodUID: rapid.SampledFrom([]string{"uid", "uid", "uid", "", "other"}).Draw(t, "uid"),
					AzureIdentityRef: &v1.AzureIdentityRef{ObjectMeta: metav1.ObjectMeta{Namespace: id.Namespace, Name: id.Name}, Spec: id.Spec},
				},
				Status: v1.AzureAssignedIdentityStatus{Status: rapid.SampledFrom([]v1.AssignedState{v1.Assigned, v1.Assigned, v1.Created, ""}).Draw(t, "state")},
			})
			if rapid.IntRange(0, 4).Draw(t, "edited") == 0 {
				id.Spec.ClientID = "edited"
			}
		}
	}
}

func drawIdentity(t *rapid.T, namespace, word *rapid.Generator[string]) v1.AzureIdentity {
	id := v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Draw(t, "of"), Name: word.Draw(t, "name"), UID: types.UID(word.Draw(t, "uid"))}}
	if rapid.IntRange(0, 4).Draw(t, "namespaced") == 0 {
		id.Annotations = map[string]string{v1.AnnotationBehavior: v1.BehaviorNamespaced}
	}
	kind := rapid.SampledFrom([]v1.IdentityType{v1.UserAssignedMSI, v1.UserAssignedMSI, v1.ServicePrincipal, v1.ServicePrincipalCertificate, 9}).Draw(t, "type")
	id.Spec = v1.AzureIdentitySpec{Type: &kind}
	if rapid.IntRange(0, 4).Draw(t, "listed") == 0 {
		id.Spec.AllowedServiceAccounts = []string{rapid.SampledFrom([]string{"default", "a/default", "other"}).Draw(t, "account")}
	}
	if rapid.IntRange(0, 4).Draw(t, "listed namespace") == 0 {
		id.Spec.AllowedNamespaces = []string{namespace.Draw(t, "allowed")}
	}
	id.Spec.ClientID = rapid.SampledFrom([]string{"", "x", "x", "y"}).Draw(t, "client")
	if kind == v1.UserAssignedMSI {
		id.Spec.ResourceID = rapid.SampledFrom([]string{"", "/r"}).Draw(t, "resource")
		return id
	}
	id.Spec.TenantID = rapid.SampledFrom([]string{"t.example", "t.example", "common"}).Draw(t, "tenant")
	id.Spec.ClientPassword = &v1.SecretReference{Name: "s", Namespace: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "secret of")}
	id.Spec.ADEndpoint = rapid.SampledFrom([]string{"", "", "https://evil.example"}).Draw(t, "endpoint")
	return id
}

// replaced adds an element in place of the one with the same key.
func replaced[T any](list []T, x T, key func(T) string) []T {
	for i := range list {
		if key(list[i]) == key(x) {
			list[i] = x
			return list
		}
	}
	return append(list, x)
}
