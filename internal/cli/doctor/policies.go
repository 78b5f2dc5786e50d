package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/config"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/manifest"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/policy"
)

// guard is one of podid's admission policies with its binding, as this program
// carries them.
type guard struct {
	policy  admissionv1.ValidatingAdmissionPolicy
	binding admissionv1.ValidatingAdmissionPolicyBinding
}

// is reports whether a name is that of the policy, whatever podid goes by in the
// cluster.
func (g *guard) is(name string) bool {
	return strings.HasSuffix(name, strings.TrimPrefix(g.policy.Name, cluster.Name))
}

// guards are those of podid, for service accounts with a prefix: one of the policies
// names them.
func guards(prefix string) ([]*guard, error) {
	objects, err := manifest.Folder(config.Files, "policy")
	if err != nil {
		return nil, err
	}
	var list []*guard
	for _, o := range objects {
		g := &guard{}
		if o.GetKind() == "ValidatingAdmissionPolicy" {
			if err := into(o, &g.policy); err != nil {
				return nil, err
			}
			for i := range g.policy.Spec.MatchConditions {
				rename(&g.policy.Spec.MatchConditions[i].Expression, prefix)
			}
			for i := range g.policy.Spec.Validations {
				rename(&g.policy.Spec.Validations[i].Expression, prefix)
			}
			list = append(list, g)
			continue
		}
		if err := into(o, &g.binding); err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(list, func(of *guard) bool { return of.policy.Name == g.binding.Spec.PolicyName }); i >= 0 {
			list[i].binding = g.binding
		}
	}
	return list, nil
}

// rename has an expression name the service accounts of a release by another name.
func rename(expression *string, prefix string) {
	*expression = strings.NewReplacer("podid-(mic|nmi)", prefix+"-(mic|nmi)", "':podid-nmi'", "':"+prefix+"-nmi'").Replace(*expression)
}

func into(o *unstructured.Unstructured, v any) error {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, v); err != nil {
		return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}

// policies looks whether the admission policies are there and in force as they are
// shipped. They are found by what they ask, then by name and label.
func (x *examination) policies(ctx context.Context) {
	const check = "policies"
	shipped, err := guards(x.prefix())
	if err != nil {
		x.unread(check, err)
		return
	}
	there, bindings, err := x.readPolicies(ctx, shipped)
	if err != nil {
		x.unread(check, err)
		return
	}
	before := len(x.report.Findings)
	var missing, names []string
	for _, g := range shipped {
		have := g.among(there, bindings)
		if x.needless(g) || have != nil && g.holds(have, bindings) {
			continue
		}
		if err := x.unsure(g); err != nil {
			x.unread(check, fmt.Errorf("whether %s is needed, which is not in force as this podid ships it: %w", g.policy.Name, err))
			continue
		}
		if have == nil {
			missing, names = append(missing, "ValidatingAdmissionPolicy "+g.policy.Name), append(names, g.policy.Name)
			continue
		}
		if where := policy.Difference(&g.policy, have); where != "" {
			x.changed(g, fmt.Sprintf("ValidatingAdmissionPolicy %s is not as this podid ships it: it differs at %s", have.Name, where))
		}
		if name, how := g.inForce(have.Name, bindings); name == "" {
			missing, names = append(missing, "ValidatingAdmissionPolicyBinding "+g.binding.Name+", for policy "+have.Name), append(names, g.policy.Name)
		} else if how != "" {
			x.changed(g, fmt.Sprintf("ValidatingAdmissionPolicyBinding %s does not put its policy in force as this podid does: %s", name, how))
		}
	}
	if len(missing) > 0 {
		x.report.add(check, explain.Warning, "not there: "+strings.Join(missing, ", ")+"; "+without(names), "kubectl apply --server-side -f config/policy   # or switch them on in the chart's values")
	}
	if len(x.report.Findings) == before {
		x.report.add(check, explain.OK, "podid's admission policies are there and in force, as this podid ships them", "")
	}
}

// changed tells of a policy that is there, and otherwise.
func (x *examination) changed(g *guard, says string) {
	x.report.add("policies", explain.Warning, says+"; "+without([]string{g.policy.Name}),
		"kubectl diff -f config/policy   # of the version that is installed, or use its podid; one that you changed yourselves stays a warning")
}

// prefix is what the names of podid's service accounts begin with, which one of the
// policies goes by.
func (x *examination) prefix() string {
	for _, part := range []string{cluster.Agent, cluster.Controller} {
		if prefix, ok := strings.CutSuffix(x.account(part), "-"+part); ok && prefix != "" {
			return prefix
		}
	}
	return cluster.Name
}

// needless reports whether nothing here is in need of a policy, as far as the flags
// of mic and nmi could be read.
func (x *examination) needless(g *guard) bool {
	return g.is("-startup-taint") && len(x.taintKeys) == 0 && x.unsure(g) == nil || g.is("-secret-namespace") && x.across
}

// unsure is why it is not known whether a policy is needed; nil where it is.
func (x *examination) unsure(g *guard) error {
	for _, part := range []string{cluster.Controller, cluster.Agent} {
		decides := g.is("-startup-taint") && len(x.taintKeys) == 0 || g.is("-secret-namespace") && part == cluster.Agent
		if decides && x.unreadable[part] {
			return fmt.Errorf("the flags of %s are not known, whose pods cannot be read", part)
		}
	}
	return nil
}

// readPolicies lists the policies and bindings of the cluster. Where they may not be
// listed, those with podid's own names are read.
func (x *examination) readPolicies(ctx context.Context, shipped []*guard) (there []admissionv1.ValidatingAdmissionPolicy, bindings []admissionv1.ValidatingAdmissionPolicyBinding, err error) {
	var policies admissionv1.ValidatingAdmissionPolicyList
	err = x.ListAll(ctx, &policies, func() { there = append(there, policies.Items...) })
	if err == nil {
		var list admissionv1.ValidatingAdmissionPolicyBindingList
		err = x.ListAll(ctx, &list, func() { bindings = append(bindings, list.Items...) })
	}
	if !apierrors.IsForbidden(err) {
		return there, bindings, err
	}
	there, bindings = nil, nil
	for _, g := range shipped {
		var p admissionv1.ValidatingAdmissionPolicy
		switch err := x.Get(ctx, client.ObjectKeyFromObject(&g.policy), &p); {
		case err == nil:
			there = append(there, p)
		case !apierrors.IsNotFound(err):
			return nil, nil, err
		}
		var b admissionv1.ValidatingAdmissionPolicyBinding
		switch err := x.Get(ctx, client.ObjectKeyFromObject(&g.binding), &b); {
		case err == nil:
			bindings = append(bindings, b)
		case !apierrors.IsNotFound(err):
			return nil, nil, err
		}
	}
	return there, bindings, nil
}

// among finds the policy in a cluster: one that asks the same, in force before one
// that is not, or else the one with its name, or else one of podid's with the end of
// its name. nil means none.
func (g *guard) among(there []admissionv1.ValidatingAdmissionPolicy, bindings []admissionv1.ValidatingAdmissionPolicyBinding) *admissionv1.ValidatingAdmissionPolicy {
	for _, fits := range []func(*admissionv1.ValidatingAdmissionPolicy) bool{
		func(p *admissionv1.ValidatingAdmissionPolicy) bool { return g.holds(p, bindings) },
		func(p *admissionv1.ValidatingAdmissionPolicy) bool { return policy.Difference(&g.policy, p) == "" },
		func(p *admissionv1.ValidatingAdmissionPolicy) bool { return p.Name == g.policy.Name },
		func(p *admissionv1.ValidatingAdmissionPolicy) bool {
			return p.Labels[cluster.NameLabel] == cluster.Name && g.is(p.Name)
		},
	} {
		if i := slices.IndexFunc(there, func(p admissionv1.ValidatingAdmissionPolicy) bool { return fits(&p) }); i >= 0 {
			return &there[i]
		}
	}
	return nil
}

// holds reports whether a policy asks the same, and is in force.
func (g *guard) holds(p *admissionv1.ValidatingAdmissionPolicy, bindings []admissionv1.ValidatingAdmissionPolicyBinding) bool {
	name, how := g.inForce(p.Name, bindings)
	return name != "" && how == "" && policy.Difference(&g.policy, p) == ""
}

// inForce finds the binding of a policy, the one that does most, and how that is
// otherwise than the shipped one. No name means that there is none.
func (g *guard) inForce(of string, bindings []admissionv1.ValidatingAdmissionPolicyBinding) (name, how string) {
	for i := range bindings {
		b := &bindings[i]
		if b.Spec.PolicyName != of {
			continue
		}
		differs := policy.BindingDifference(&g.binding, b)
		if differs == "" {
			return b.Name, ""
		}
		name, how = b.Name, cmp.Or(how, differs)
	}
	return name, how
}

// without says what it means that policies are not there, or not in force, by the
// names that they are shipped with. Two of them nobody but the
// API server holds; the others nmi holds too.
func without(names []string) string {
	var open []string
	lacks := func(end string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(name, end) })
	}
	if lacks("-define") {
		open = append(open, "OPEN: whoever may write an AzureIdentity may name any identity of Azure in it, and nothing else asks whether they may: podid who-can lists who could define an identity")
	}
	if lacks("-startup-taint") {
		open = append(open, "OPEN: the right to change nodes, by which start-up taints are taken off, is not limited to these taints")
	}
	if len(open) == 0 {
		return "nmi refuses the same, but the API server does not say so to authors"
	}
	return strings.Join(open, "; ")
}
