package doctor

import (
	"context"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/explain"
)

// reviewer is an API server that says who may what, and lists AzureIdentities.
type reviewer struct {
	client.Client

	allows     func(*authorizationv1.ResourceAttributes) bool
	identities []v1.AzureIdentity
}

func (r reviewer) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	review := o.(*authorizationv1.SubjectAccessReview) //nolint:forcetypeassert // nothing else is made
	review.Status.Allowed = r.allows(review.Spec.ResourceAttributes)
	return nil
}

func (r reviewer) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if list, ok := list.(*v1.AzureIdentityList); ok {
		list.Items = r.identities
	}
	return nil
}

// TestSecretsOfANamespace: where nmi may not read them, it is given those alone.
func TestSecretsOfANamespace(t *testing.T) {
	for name, tc := range map[string]struct {
		namespaces []string
		allows     func(*authorizationv1.ResourceAttributes) bool
		states     []explain.State
		fixes      []string
	}{
		"that it may read": {
			[]string{"team"},
			func(*authorizationv1.ResourceAttributes) bool { return true },
			[]explain.State{explain.OK},
			[]string{""},
		},
		"that it may not": {
			[]string{"team", "apps"},
			func(a *authorizationv1.ResourceAttributes) bool { return a.Resource != "secrets" },
			[]explain.State{explain.Broken, explain.Broken},
			[]string{
				"'rbac.secretNamespaces={team,apps}' of the chart, or (delete it again before you uninstall): kubectl create rolebinding acme-nmi-secrets-by-hand -n apps --clusterrole=acme-nmi-secrets --serviceaccount=podid-system:acme-nmi",
				"'rbac.secretNamespaces={team,apps}' of the chart, or (delete it again before you uninstall): kubectl create rolebinding acme-nmi-secrets-by-hand -n team --clusterrole=acme-nmi-secrets --serviceaccount=podid-system:acme-nmi",
			},
		},
		"that it may not, nor anything else": {
			[]string{"team"},
			func(*authorizationv1.ResourceAttributes) bool { return false },
			[]explain.State{explain.Broken, explain.Broken},
			[]string{"'rbac.secretNamespaces={team}' of the chart, or (delete it again before you uninstall): kubectl create rolebinding ", "kubectl apply -f config/rbac/nmi.yaml"},
		},
		"that is a command": {
			[]string{"a\n$(reboot)"},
			func(a *authorizationv1.ResourceAttributes) bool { return a.Resource != "secrets" },
			[]explain.State{explain.Broken},
			[]string{"'rbac.secretNamespaces={a$(reboot)}' of the chart, or (delete it again before you uninstall): kubectl create rolebinding acme-nmi-secrets-by-hand -n 'a$(reboot)' --clusterrole"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := examined(1, corev1.ConditionTrue)
			x.Client = reviewer{allows: tc.allows}
			x.components[cluster.Agent][0].Spec.ServiceAccountName = "acme-nmi"
			x.secretNamespaces = tc.namespaces
			x.rights(t.Context())
			f := x.report.Findings
			if len(f) != len(tc.states) {
				t.Fatalf("%+v", f)
			}
			for i := range f {
				if f[i].State != tc.states[i] || !strings.HasPrefix(f[i].Fix, tc.fixes[i]) || strings.Contains(f[i].Fix, "\n") {
					t.Errorf("%+v, want %s with %q", f[i], tc.states[i], tc.fixes[i])
				}
			}
		})
	}
}

// TestSecretsThatNobodyReads: an author who names a Secret of another namespace has
// nobody give nmi the right to it, where nmi takes no Secret from there.
func TestSecretsThatNobodyReads(t *testing.T) {
	kind := v1.ServicePrincipal
	id := v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app"}, Spec: v1.AzureIdentitySpec{
		Type: &kind, ClientID: "c", TenantID: "t.example", ClientPassword: &v1.SecretReference{Name: "s", Namespace: "kube-system"},
	}}
	for _, across := range []string{"false", "true"} {
		x := examined(1, corev1.ConditionTrue)
		agents := x.components[cluster.Agent]
		agents[0].Spec.Containers[0].Args = []string{"--allow-cross-namespace=" + across}
		x.Client = partsOf{reviewer: reviewer{identities: []v1.AzureIdentity{id}}, agents: agents}
		x.parts(t.Context())
		if got := len(x.secretNamespaces) > 0; got != (across == "true") {
			t.Errorf("--allow-cross-namespace=%s: %q", across, x.secretNamespaces)
		}
	}
}

// partsOf has agents beside.
type partsOf struct {
	reviewer

	agents []corev1.Pod
}

func (p partsOf) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	if list, ok := list.(*corev1.PodList); ok {
		list.Items = p.agents
		return nil
	}
	return p.reviewer.List(ctx, list, options...)
}
