package doctor

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/explain"
)

func TestWhatIsOpenWithoutAPolicy(t *testing.T) {
	for missing, want := range map[string]string{
		"podid-authority":     "nmi refuses the same",
		"podid-define":        "OPEN: whoever may write an AzureIdentity",
		"podid-startup-taint": "OPEN: the right to change nodes",
	} {
		if got := without([]string{missing}); !strings.HasPrefix(got, want) {
			t.Errorf("without %s: %s", missing, got)
		}
	}
}

// guarded has an examination find policies and bindings.
func guarded(policies []admissionv1.ValidatingAdmissionPolicy, bindings []admissionv1.ValidatingAdmissionPolicyBinding) *examination {
	x := examined(1, corev1.ConditionTrue)
	x.Client = lister{list: func(list client.ObjectList) error {
		switch list := list.(type) {
		case *admissionv1.ValidatingAdmissionPolicyList:
			list.Items = policies
		case *admissionv1.ValidatingAdmissionPolicyBindingList:
			list.Items = bindings
		}
		return nil
	}}
	return x
}

// shippedBut are the shipped policies and bindings, each changed.
func shippedBut(t *testing.T, change func(*guard)) (policies []admissionv1.ValidatingAdmissionPolicy, bindings []admissionv1.ValidatingAdmissionPolicyBinding) {
	t.Helper()
	list, err := guards(cluster.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range list {
		change(g)
		if g.policy.Name != "" {
			policies = append(policies, g.policy)
		}
		if g.binding.Name != "" {
			bindings = append(bindings, g.binding)
		}
	}
	return policies, bindings
}

// TestWhatIsOpenByAnotherName: the policy of who may define is found by what it asks,
// whatever it is called.
func TestWhatIsOpenByAnotherName(t *testing.T) {
	for how, change := range map[string]func(*guard){
		"with a binding that only notes": func(g *guard) {
			g.binding.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Audit}
		},
		"without a binding": func(g *guard) { g.binding.Name = "" },
	} {
		t.Run(how, func(t *testing.T) {
			x := guarded(shippedBut(t, func(g *guard) {
				if g.is("-define") {
					g.policy.Name, g.binding.Name, g.binding.Spec.PolicyName = "acme-who-may", "acme-who-may", "acme-who-may"
					change(g)
				}
			}))
			x.policies(t.Context())
			if f := x.report.Findings; len(f) != 1 || f[0].State != explain.Warning || !strings.Contains(f[0].Says, "acme-who-may") || !strings.Contains(f[0].Says, "OPEN: whoever may write an AzureIdentity") {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestAPolicyThatMayBeNeeded: whether it is, the flags of mic and nmi say.
func TestAPolicyThatMayBeNeeded(t *testing.T) {
	for name, tc := range map[string]struct {
		lacks, unread string
		want          explain.State
		says          string
	}{
		"a start-up taint, and all was read":    {"-startup-taint", "", explain.OK, "are there and in force"},
		"a start-up taint, and mic was not":     {"-startup-taint", cluster.Controller, explain.Unknown, "whether podid-startup-taint is needed"},
		"a start-up taint, and nmi was not":     {"-startup-taint", cluster.Agent, explain.Unknown, "whether podid-startup-taint is needed"},
		"Secrets elsewhere, and all was read":   {"-secret-namespace", "", explain.Warning, "not there"},
		"Secrets elsewhere, and nmi was not":    {"-secret-namespace", cluster.Agent, explain.Unknown, "whether podid-secret-namespace is needed"},
		"Secrets elsewhere, and mic was not":    {"-secret-namespace", cluster.Controller, explain.Warning, "not there"},
		"nothing, and nmi was not":              {"-none", cluster.Agent, explain.OK, "are there and in force"},
		"one that is always needed, and unread": {"-define", cluster.Agent, explain.Warning, "not there"},
	} {
		t.Run(name, func(t *testing.T) {
			x := guarded(shippedBut(t, func(g *guard) {
				if g.is(tc.lacks) {
					g.policy.Name, g.binding.Name = "", ""
				}
			}))
			x.unreadable[tc.unread] = true
			x.policies(t.Context())
			if f := x.report.Findings; len(f) != 1 || f[0].State != tc.want || !strings.Contains(f[0].Says, tc.says) {
				t.Errorf("%+v, want %s with %q", f, tc.want, tc.says)
			}
		})
	}
}
