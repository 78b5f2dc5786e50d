package explain_test

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/explain"
)

// working is a pod that gets its token, and the agent that hands it out.
func working() (*explain.Facts, *agent) {
	f := healthy()
	return f, &agent{pod: f.Pod.Namespace + "/" + f.Pod.Name, secrets: map[string]bool{"team/secret": true}}
}

// spoiling is one thing that is otherwise than it has to be, or may be.
type spoiling struct {
	name string
	want explain.State // where nothing else is spoilt
	do   func(*explain.Facts, *agent)
}

func (s spoiling) String() string { return s.name }

var spoilings = []spoiling{
	{"nothing", explain.OK, func(*explain.Facts, *agent) {}},
	{"no label", explain.Broken, func(f *explain.Facts, _ *agent) { delete(f.Pod.Labels, v1.LabelBinding) }},
	{"another label", explain.Broken, func(f *explain.Facts, _ *agent) { f.Pod.Labels[v1.LabelBinding] = "wob" }},
	{"by the namespace", explain.OK, func(f *explain.Facts, _ *agent) {
		delete(f.Pod.Labels, v1.LabelBinding)
		f.Objects.Namespaces = withAnnotation("team", "web")
	}},
	{"the node's network", explain.Broken, func(f *explain.Facts, _ *agent) { f.Pod.Spec.HostNetwork = true }},
	{"ended", explain.Broken, func(f *explain.Facts, _ *agent) { f.Pod.Status.Phase = corev1.PodFailed }},
	{"a binding elsewhere", explain.Broken, func(f *explain.Facts, _ *agent) {
		for i := range f.Objects.Bindings {
			f.Objects.Bindings[i].Namespace = "other"
		}
	}},
	{"no binding", explain.Broken, func(f *explain.Facts, _ *agent) { f.Objects.Bindings = nil }},
	{"an identity by another name", explain.Broken, func(f *explain.Facts, _ *agent) { f.Objects.Identities[0].Name = "wob" }},
	{"a list of others", explain.Broken, func(f *explain.Facts, _ *agent) { f.Objects.Identities[0].Spec.AllowedNamespaces = []string{"other"} }},
	{"a binding for others", explain.Broken, func(f *explain.Facts, _ *agent) {
		for i := range f.Objects.Bindings {
			f.Objects.Bindings[i].Spec.AllowedServiceAccounts = []string{"other"}
		}
	}},
	{"another client id is asked for", explain.Broken, func(f *explain.Facts, _ *agent) { f.Want.ClientID = "other" }},
	{"Created", explain.Waiting, func(f *explain.Facts, _ *agent) {
		for i := range f.Objects.Assigned {
			f.Objects.Assigned[i].Status.Status = v1.Created
		}
	}},
	{"nothing assigned to a young pod", explain.Waiting, func(f *explain.Facts, _ *agent) {
		f.Pod.CreationTimestamp = metav1.NewTime(f.Now.Add(-5 * time.Second))
		f.Objects.Assigned = nil
	}},
	{"nothing assigned", explain.Broken, func(f *explain.Facts, _ *agent) { f.Objects.Assigned = nil }},
	{"assigned to the pod before", explain.Broken, func(f *explain.Facts, _ *agent) {
		for i := range f.Objects.Assigned {
			f.Objects.Assigned[i].Spec.PodUID = "old"
		}
	}},
	{"managed", explain.OK, func(f *explain.Facts, _ *agent) { f.Agent.Managed = true }},
	{"an application", explain.OK, func(f *explain.Facts, _ *agent) { application(f) }},
	{"an application without its Secret", explain.Broken, func(f *explain.Facts, a *agent) {
		application(f)
		a.secrets["team/secret"] = false
	}},
	{"an unknown type", explain.Broken, func(f *explain.Facts, _ *agent) {
		kind := v1.IdentityType(9)
		f.Objects.Identities[0].Spec.Type = &kind
	}},
}
