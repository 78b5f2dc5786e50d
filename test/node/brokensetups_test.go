package node_test

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/localcluster"
)

// refusedIdentity is one that mic may not assign at first.
const refusedIdentity = "no-permission"

// brokenSetups are found by `podid explain` or `podid doctor`. The last ones
// break what others need, too.
func brokenSetups() []brokenSetup {
	return append(brokenObjects(), brokenNodes()...)
}

// brokenObjects are those of an application team.
func brokenObjects() []brokenSetup {
	return []brokenSetup{
		{
			name:   "a wrong selector",
			breaks: func(s *setup) { s.pod.Labels[label] = "wbe" },
			words:  []string{`> BROKEN   binding`, `no AzureIdentityBinding of namespace \S+ has the selector "wbe"; there is "web"`},
			mend:   func(s *setup) { s.patch(s.pod, `{"metadata":{"labels":{"aadpodidbinding":"web"}}}`) },
		},
		{
			name: "a wrong namespace",
			breaks: func(s *setup) {
				s.w.create(s.t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace + "-other"}})
				s.binding.Namespace, s.identity.Namespace = s.namespace+"-other", s.namespace+"-other"
			},
			words: []string{`> BROKEN   binding`, `but in another namespace`},
			mend: func(s *setup) {
				s.w.create(s.t, copyOf(s.identity, s.namespace), copyOf(s.binding, s.namespace))
			},
		},
		{
			name:   "a missing identity",
			breaks: func(s *setup) { s.binding.Spec.AzureIdentity = "wep" },
			words:  []string{`> BROKEN   identity`, `names AzureIdentity "wep", and namespace \S+ has none of that name`},
			mend:   func(s *setup) { s.patch(s.binding, `{"spec":{"azureIdentity":"web"}}`) },
		},
		{
			name: "a missing role",
			breaks: func(s *setup) {
				s.azure(azemu.Identity{ID: identityID(refusedIdentity), ClientID: clientOf(200), NoPermission: true})
				s.identity.Spec.ResourceID, s.identity.Spec.ClientID = identityID(refusedIdentity), clientOf(200)
			},
			words: []string{
				`> BROKEN   assignment`, `RefusedByAzure`, `give mic's identity the role Managed Identity Operator on \S+` + refusedIdentity,
				`az role assignment create .*--role 'Managed Identity Operator' --scope \S+` + refusedIdentity,
			},
			mend: func(s *setup) { // mic tries again by itself
				s.azure(azemu.Identity{ID: identityID(refusedIdentity), ClientID: clientOf(200)})
			},
		},
		{
			name:   "an unknown client id",
			breaks: func(s *setup) { s.identity.Spec.ClientID = clientOf(201) },
			words:  []string{`> (BROKEN |waiting) +token`, `client id ` + clientOf(201), `az identity show --ids \S+vault-reader`},
			status: anyStatus,
			mend:   func(s *setup) { s.patch(s.identity, `{"spec":{"clientID":"`+vaultClient+`"}}`) },
		},
		{
			name: "an expired secret",
			breaks: func(s *setup) {
				s.application()
				fault := azemu.Fault{Status: 401, Code: "invalid_client", Message: "AADSTS7000222: The provided client secret keys for app '" + clientOf(202) + "' are expired."}
				if err := s.w.azure.SetFault(s.t.Context(), azemu.EndpointEntraToken, fault); err != nil {
					s.t.Fatal(err)
				}
			},
			words: []string{`> BROKEN   token`, `secret .*has expired`, `az ad app credential reset --id ` + clientOf(202)},
			mend: func(s *setup) {
				if err := s.w.azure.ClearFault(s.t.Context(), azemu.EndpointEntraToken); err != nil {
					s.t.Fatal(err)
				}
				s.patch(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web"}}, `{"stringData":{"clientSecret":"new"}}`)
			},
		},
		{
			name: "a network policy",
			afterwards: func(s *setup) {
				s.w.create(s.t, &networkingv1.NetworkPolicy{
					ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "deny"},
					Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}},
				})
			},
			words: []string{`> WARNING  network`, `NetworkPolicy deny forbids the pod to connect to 169\.254\.169\.254:80`, `"cidr":"169\.254\.25\.79/32"`},
			mend: func(s *setup) {
				s.remove(&networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "deny"}})
			},
		},
	}
}

// brokenNodes are those of the operator of the cluster.
func brokenNodes() []brokenSetup {
	return []brokenSetup{
		{
			name: "two pods with one address",
			afterwards: func(s *setup) {
				s.w.create(s.t, s.twin())
			},
			again: func(s *setup) { // the node's kubelet takes it back each time
				if address := s.address(); address != "" {
					s.claim(s.twin(), address)
				}
			},
			words: []string{`> BROKEN   agent`, `is not the pod's alone`, `twin`},
			mend:  func(s *setup) { s.remove(s.twin()) },
		},
		{
			name: "a redirect that is flushed, again and again", // nmi puts it back at once
			afterwards: func(s *setup) {
				for range 4 { // one alone is hardly ever seen
					s.beginOnMachine("sh", "-c", "while nft flush ruleset; do :; done")
				}
			},
			words: []string{`> BROKEN   agent`, `is not ready: redirect`},
			mend:  func(s *setup) { s.end() },
		},
		{
			name: "a firewall in the way of the redirect",
			afterwards: func(s *setup) {
				s.onMachine("nft", "add table ip rogue { chain in { type filter hook input priority 0; tcp dport 2579-2599 drop; }; }")
			},
			words: []string{`> BROKEN   agent`, `is not ready: canary`},
			mend:  func(s *setup) { s.onMachine("nft", "delete table ip rogue") },
		},
		{
			name: "an agent that is down",
			afterwards: func(s *setup) {
				s.agents(`{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":"true"}}}}}`)
			},
			words: []string{`> BROKEN   agent`, `no nmi runs on node ` + machineName(0)},
			mend: func(s *setup) {
				s.agents(`{"spec":{"template":{"spec":{"nodeSelector":{"nowhere":null}}}}}`)
			},
		},
	}
}

// azure adds an identity to what exists in Azure.
func (s *setup) azure(id azemu.Identity) {
	s.t.Helper()
	if err := s.w.azure.MergeState(s.t.Context(), azemu.State{Identities: []azemu.Identity{id}}); err != nil {
		s.t.Fatal(err)
	}
}

// application makes the identity an application with a secret.
func (s *setup) application() {
	s.t.Helper()
	err := s.w.azure.MergeState(s.t.Context(), azemu.State{Apps: []azemu.App{{ClientID: clientOf(202), Secrets: []string{"old", "new"}}}})
	if err != nil {
		s.t.Fatal(err)
	}
	kind := v1.ServicePrincipal
	s.identity.Spec = v1.AzureIdentitySpec{
		Type: &kind, ClientID: clientOf(202), TenantID: tenant, ADEndpoint: "https://" + localcluster.FabricAddress + ":8443/",
		ClientPassword: &v1.SecretReference{Name: "web", Namespace: s.namespace},
	}
	s.more = append(s.more, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web"}, StringData: map[string]string{"clientSecret": "old"},
	}, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "podid-nmi-secrets"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "podid-nmi-secrets"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: systemNamespace, Name: "podid-nmi"}},
	})
}

// twin is another pod on the same node.
func (s *setup) twin() *corev1.Pod {
	p := s.pod.DeepCopy()
	p.ObjectMeta = metav1.ObjectMeta{Namespace: s.namespace, Name: "twin"}
	return p
}

// address is that of the setup's pod.
func (s *setup) address() string {
	s.t.Helper()
	var p corev1.Pod
	if err := s.w.client.Get(s.t.Context(), client.ObjectKeyFromObject(s.pod), &p); err != nil {
		s.t.Fatal(err)
	}
	return p.Status.PodIP
}

// claim has the API server say that a pod has an address.
func (s *setup) claim(p *corev1.Pod, address string) {
	s.t.Helper()
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"podIP":"`+address+`","podIPs":[{"ip":"`+address+`"}]}}`))
	if err := s.w.client.Status().Patch(s.t.Context(), p, patch); err != nil {
		s.t.Fatal(err)
	}
}

// onMachine runs a command on the node of the setup's pod.
func (s *setup) onMachine(name string, args ...string) {
	s.t.Helper()
	cmd, err := s.w.full.Machines()[0].Command(s.t.Context(), name, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// beginOnMachine starts a command there, which s.end ends.
func (s *setup) beginOnMachine(name string, args ...string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	cmd, err := s.w.full.Machines()[0].Command(ctx, name, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	before := s.end
	s.end = func() {
		before()
		cancel()
		_ = cmd.Wait() // killed
	}
	s.t.Cleanup(cancel)
}

// agents patches nmi's DaemonSet.
func (s *setup) agents(patch string) {
	s.t.Helper()
	s.patch(s.w.agents(s.t), patch)
}

// remove deletes an object.
func (s *setup) remove(o client.Object) {
	s.t.Helper()
	if err := s.w.client.Delete(s.t.Context(), o, client.GracePeriodSeconds(0)); err != nil {
		s.t.Fatal(err)
	}
}
