package explain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/identity"
)

// gathering reads the facts of a report.
type gathering struct {
	*cluster.Cluster

	facts *explain.Facts
	ask   cluster.Question
	// narrowed are kinds of which the namespace of the pod alone could be read.
	narrowed map[string]error
}

// readPod reads the pod. A pod that does not exist makes a report of its own.
func (g *gathering) readPod(ctx context.Context, name string) (*explain.Report, error) {
	err := g.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: name}, &g.facts.Pod)
	if apierrors.IsNotFound(err) {
		var list corev1.PodList
		var elsewhere []string
		_ = g.ListAll(ctx, &list, func() { // it is a hint: who may not list all pods gets none
			for i := range list.Items {
				elsewhere = append(elsewhere, list.Items[i].Namespace)
			}
		}, client.MatchingFields{"metadata.name": name})
		return explain.Missing(g.Namespace, name, elsewhere), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the pod: %w", err)
	}
	return nil, nil //nolint:nilnil // documented
}

// gather reads everything else. What cannot be read goes to Unread.
func (g *gathering) gather(ctx context.Context) {
	g.narrowed = map[string]error{}
	g.definitions(ctx)
	g.agents(ctx)
	g.assignments(ctx)
	g.controller(ctx)
	g.network(ctx)
	if name := g.facts.Pod.Spec.NodeName; name != "" {
		var node corev1.Node
		err := g.Get(ctx, client.ObjectKey{Name: name}, &node)
		switch {
		case err == nil:
			g.facts.Node = &node
		case !apierrors.IsNotFound(err):
			g.facts.Unread["nodes"] = err
		}
	}
	g.question(ctx)
	rules := g.facts.Agent.Rules
	if g.facts.Answer != nil {
		rules = g.facts.Answer.Rules
	}
	if rules.AcrossNamespaces { // what is in other namespaces counts, and was not read
		maps.Copy(g.facts.Unread, g.narrowed)
	}
	g.facts.Narrowed = len(g.narrowed) > 0
	g.secrets(ctx, rules)
}

// unread notes why a kind could not be read.
func (g *gathering) unread(kind string, err error) {
	if err != nil {
		g.facts.Unread[kind] = err
	}
}

// definitions reads what says who may have what.
func (g *gathering) definitions(ctx context.Context) {
	o, ns := &g.facts.Objects, g.facts.Pod.Namespace
	read := func(kind string, list client.ObjectList, each func()) {
		narrowed, err := g.NarrowOnForbidden(ctx, list, ns, each)
		g.unread(kind, err)
		if narrowed {
			g.narrowed[kind] = errors.New("only those of namespace " + ns + " may be read, and nmi matches across namespaces")
		}
	}
	var identities v1.AzureIdentityList
	read("azureidentities", &identities, func() { o.Identities = append(o.Identities, identities.Items...) })
	var bindings v1.AzureIdentityBindingList
	read("azureidentitybindings", &bindings, func() { o.Bindings = append(o.Bindings, bindings.Items...) })
	var exceptions v1.AzurePodIdentityExceptionList
	g.unread("azurepodidentityexceptions", g.ListAll(ctx, &exceptions, func() { o.Exceptions = append(o.Exceptions, exceptions.Items...) }, client.InNamespace(ns)))
	var namespace corev1.Namespace
	err := g.Get(ctx, client.ObjectKey{Name: ns}, &namespace)
	if err == nil {
		o.Namespaces = []corev1.Namespace{namespace}
	}
	g.unread("namespaces", err)
}

// agents reads nmi's pods and takes its settings from the flags of one.
func (g *gathering) agents(ctx context.Context) {
	node := g.facts.Pod.Spec.NodeName
	pods, err := g.Components(ctx, cluster.Agent, "")
	g.unread("agents", err)
	for i := range pods {
		if node != "" && pods[i].Spec.NodeName == node {
			g.facts.AgentPods = append(g.facts.AgentPods, pods[i])
		}
	}
	if node != "" && len(g.facts.AgentPods) == 0 {
		g.facts.AgentTemplates, _ = g.AgentTemplates(ctx) // that there is no nmi is told without them
	}
	for i := range pods {
		if key := cluster.FlagsOf(&pods[i]).StartupTaint; key != "" {
			g.facts.StartupTaints = append(g.facts.StartupTaints, key)
		}
	}
	switch {
	case len(g.facts.AgentPods) > 0:
		g.facts.Agent = cluster.FlagsOf(&g.facts.AgentPods[0]).Settings
	case len(pods) > 0:
		g.facts.Agent = cluster.FlagsOf(&pods[0]).Settings
	default:
		g.facts.Agent.Rules = identity.Rules{ExceptionNamespaces: []string{"kube-system", g.System}}
	}
}

// assignments reads what is assigned on the pod's node.
func (g *gathering) assignments(ctx context.Context) {
	node := g.facts.Pod.Spec.NodeName
	if node == "" || g.facts.Agent.Managed {
		return
	}
	var list v1.AzureAssignedIdentityList
	_, err := g.NarrowOnForbidden(ctx, &list, g.facts.Pod.Namespace, func() {
		g.facts.Objects.Assigned = append(g.facts.Objects.Assigned, list.Items...)
	}, client.MatchingLabels{v1.LabelNodeName: v1.NodeLabel(node)})
	g.unread("azureassignedidentities", err)
}

// controller reads who leads, and mic's pods.
func (g *gathering) controller(ctx context.Context) {
	pods, err := g.Components(ctx, cluster.Controller, "") // they are told of where nobody leads
	g.unread("mic", err)
	flags := g.ControllerFlagsOf(pods)
	g.facts.StartupTaints = append(g.facts.StartupTaints, flags.StartupTaints...)
	var lease coordinationv1.Lease
	err = g.Get(ctx, flags.Lease, &lease)
	if err == nil {
		g.facts.MIC = cluster.MICOf(&lease)
	} else if !apierrors.IsNotFound(err) {
		g.facts.Unread["leases"] = err
	}
	g.facts.MIC.Pods = pods
}

func (g *gathering) network(ctx context.Context) {
	var list networkingv1.NetworkPolicyList
	g.unread("networkpolicies", g.ListAll(ctx, &list, func() {
		g.facts.Policies = append(g.facts.Policies, list.Items...)
	}, client.InNamespace(g.facts.Pod.Namespace)))
}

// question asks the agent of the pod's node.
func (g *gathering) question(ctx context.Context) {
	if len(g.facts.AgentPods) == 0 || g.facts.DryRun {
		return
	}
	g.ask.Namespace, g.ask.Pod = g.facts.Pod.Namespace, g.facts.Pod.Name
	g.facts.Answer, g.facts.AgentErr = g.Explain(ctx, &g.facts.AgentPods[0], g.ask)
	g.facts.Now = time.Now() // it may have taken a while
}

// secrets looks whether the Secrets that the pod's identities name are there. Their
// content is not asked for.
func (g *gathering) secrets(ctx context.Context, rules identity.Rules) {
	for i := range g.facts.Objects.Identities {
		id := identity.FromAPI(&g.facts.Objects.Identities[i])
		if _, err := rules.Application(id); err != nil || id.Namespace != g.facts.Pod.Namespace && !rules.AcrossNamespaces {
			continue
		}
		name := types.NamespacedName{Namespace: id.Application.SecretNamespace, Name: id.Application.SecretName}
		o := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
		switch err := g.Get(ctx, name, o); {
		case apierrors.IsNotFound(err):
			g.facts.NoSecrets[name.String()] = true
		case err != nil:
			g.facts.UnreadSecrets[name.String()] = err
		}
	}
}
