package redirect_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/podid-io/podid/internal/redirect"
)

// place is where a network plugin may look at what pods send.
type place struct {
	name, hook string
	needs      string // the address that a policy must allow there
}

// places are those before podid's redirect and after it.
var places = []place{
	{"before the redirect", "type filter hook prerouting priority raw", "169.254.169.254/32"},
	{"after the redirect", "type filter hook input priority filter", "169.254.25.79/32"},
}

// enforce is a table that does with the packets of one link what a policy says,
// and lets nothing else of it through. Only the rules of one CIDR are taken, ""
// for all.
func enforce(at place, link string, p *networkingv1.NetworkPolicy, only string) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "table ip plugin\ndelete table ip plugin\ntable ip plugin {\n chain c {\n  %s;\n", at.hook) // a Builder takes everything
	for _, rule := range p.Spec.Egress {
		for _, to := range rule.To {
			for _, port := range rule.Ports {
				if only != "" && to.IPBlock.CIDR != only {
					continue
				}
				ports := port.Port.String()
				if port.EndPort != nil {
					ports += fmt.Sprintf("-%d", *port.EndPort)
				}
				_, _ = fmt.Fprintf(&b, "  iifname %q ip daddr %s %s dport %s accept\n",
					link, to.IPBlock.CIDR, strings.ToLower(string(*port.Protocol)), ports)
			}
		}
	}
	_, _ = fmt.Fprintf(&b, "  iifname %q drop\n }\n}\n", link)
	return b.String()
}

// policyOf reads a policy of the examples.
func policyOf(t *testing.T, name string) *networkingv1.NetworkPolicy {
	t.Helper()
	text, err := os.ReadFile("../../examples/network-policies/" + name)
	if err != nil {
		t.Fatal(err)
	}
	p := &networkingv1.NetworkPolicy{}
	if err := yaml.UnmarshalStrict(text, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestWhatPoliciesSee holds the policies that docs/network-policies.md has people
// apply against the two places of the kernel where plugins look at a request for
// a token. The translation into rules is the test's own, no plugin's.
func TestWhatPoliciesSee(t *testing.T) {
	n := newNetwork(t)
	r, err := redirect.New(redirect.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.node.Do(r.EnsureAddress); err != nil {
		t.Fatal(err)
	}
	serve(t, redirect.DefaultListen, "nmi", n.node.Do)
	if err := n.node.Do(r.Ensure); err != nil {
		t.Fatal(err)
	}
	deny, allow := policyOf(t, "deny-egress.yaml"), policyOf(t, "allow-podid.yaml")
	for _, at := range places {
		for _, tc := range []struct {
			name   string
			policy *networkingv1.NetworkPolicy
			only   string
			want   string
		}{
			{"egress denied", deny, "", "nobody"},
			{"egress denied, podid allowed", allow, "", "nmi"},
			{"only the end that is seen there allowed", allow, at.needs, "nmi"},
			{"only the other end allowed", allow, other(at).needs, "nobody"},
		} {
			t.Run(at.name+": "+tc.name, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "policy.nft")
				if err := os.WriteFile(file, []byte(enforce(at, n.a.Interface, tc.policy, tc.only)), 0o600); err != nil {
					t.Fatal(err)
				}
				onNode(t, n.node, "nft", "-f", file)
				limit := answer
				if tc.want == "nobody" {
					limit = time.Second
				}
				if got := reachWithin(t, n.a, redirect.DefaultMetadata.String(), limit); got != tc.want {
					t.Errorf("the pod reaches %q, want %q", got, tc.want)
				}
				if got := reach(t, n.b, redirect.DefaultMetadata.String()); got != "nmi" {
					t.Errorf("a pod without a policy reaches %q, want nmi", got)
				}
				if out, err := n.node.Command(context.WithoutCancel(t.Context()), "nft", "delete", "table", "ip", "plugin").CombinedOutput(); err != nil {
					t.Fatalf("delete the rules: %v: %s", err, out)
				}
			})
		}
	}
}

// other is the place beside one.
func other(at place) place {
	if at == places[0] {
		return places[1]
	}
	return places[0]
}
