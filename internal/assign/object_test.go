package assign_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/identity"
)

func TestTakingOverKeepsWhatOthersPutThere(t *testing.T) {
	s := world()
	o := made(s)[0]
	o.Labels["of"] = "others"
	o.Finalizers = []string{assign.LegacyFinalizer, "others/finalizer"}
	o.ResourceVersion = "42"
	s.Assigned = []*v1.AzureAssignedIdentity{o}
	got := s.Plan().Update[0].ObjectMeta
	want := *o.ObjectMeta.DeepCopy()
	want.Finalizers = []string{"others/finalizer"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if len(o.Finalizers) != 2 {
		t.Error("Plan changed the snapshot")
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("x", 250)
	for sentence, test := range map[string]struct {
		namespace, pod, uid, identity string
		want                          string
	}{
		"plain":                           {"ns", "web", "1", "reader", "web-ns-reader"},
		"the namespace in the pod's name": {"a", "x-a", "1", "y", "x-a-a-y-34ec821b64"},
		"the same, split elsewhere":       {"a", "x", "2", "a-y", "x-a-a-y-219104f589"},
		"what looks like a hash":          {"ns", "web", "1", "reader-0123456789", "web-ns-reader-0123456789-d31fdd4bd6"},
		"too long":                        {"ns", long, "1", "reader", long[:242] + "-" + "f1ac031cde"},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := assign.Snapshot{
				Pods:       []identity.Pod{pod(test.namespace, test.pod, test.uid)},
				Bindings:   []*v1.AzureIdentityBinding{binding(test.namespace, "b", test.identity, "app")},
				Identities: []*v1.AzureIdentity{azureIdentity(test.namespace, test.identity)},
			}
			if got := s.Plan().Create[0].Name; got != test.want || len(got) > 253 {
				t.Errorf("name %s, want %s", got, test.want)
			}
		})
	}
}

func TestAnObjectSaysItsScope(t *testing.T) {
	s := world()
	if _, ok := assign.ScopeOf(made(s)[0]); ok {
		t.Error("an object outside Azure says a scope")
	}
	s.Scope = assign.Scope{Kind: assign.VMSS, Subscription: "s", ResourceGroup: "g", Name: "pool"}
	if got, ok := assign.ScopeOf(made(s)[0]); !ok || got != s.Scope {
		t.Errorf("ScopeOf() = %v, %v, want %v", got, ok, s.Scope)
	}
}
