package doctor

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/taint"
)

// stuck is how long a start-up taint may stay on a node whose nmi is ready.
const stuck = 2 * time.Minute

// taints looks for start-up taints that nobody takes off.
func (x *examination) taints(context.Context) {
	readySince := map[string]time.Time{}
	for _, p := range x.components[cluster.Agent] {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
				readySince[p.Spec.NodeName] = c.LastTransitionTime.Time
			}
		}
	}
	for i := range x.nodes {
		n := &x.nodes[i]
		for _, t := range n.Spec.Taints {
			since, ready := readySince[n.Name]
			if t.Key != taint.DefaultKey && !slices.Contains(x.taintKeys, t.Key) || !ready || x.now().Sub(since) < stuck {
				continue
			}
			x.report.add("taint", explain.Broken, fmt.Sprintf("node %s has the start-up taint %s still, and its nmi is ready since %s", n.Name, t.Key, since.UTC().Format(time.RFC3339)),
				fmt.Sprintf("mic --startup-taint=%s takes it off (in managed mode, nmi), with config/rbac and config/policy, startup-taint.yaml\nkubectl taint node %s %s-   # by hand", t.Key, n.Name, t.Key))
		}
	}
}

// incumbent are images of AAD Pod Identity.
var incumbent = regexp.MustCompile(`(?i)aad-?pod-?identity[a-z0-9./_-]*/(nmi|mic)([:@]|$)`)

// rivals looks for others that want the same requests.
func (x *examination) rivals(ctx context.Context) {
	const check = "rivals"
	before := len(x.report.Findings)
	tell := func(kind, namespace, name string, spec *corev1.PodSpec) {
		for _, c := range spec.Containers {
			if incumbent.MatchString(c.Image) {
				x.report.add(check, explain.Broken, fmt.Sprintf("%s %s/%s is AAD Pod Identity's (%s): two agents want the same requests, and two controllers the same objects", kind, namespace, name, c.Image),
					fmt.Sprintf("kubectl delete %s -n %s %s   # its CRDs and objects stay; docs/replacing.md has the order", strings.ToLower(kind), namespace, name))
			}
		}
	}
	var sets appsv1.DaemonSetList
	err := x.ListAll(ctx, &sets, func() {
		for i := range sets.Items {
			tell("DaemonSet", sets.Items[i].Namespace, sets.Items[i].Name, &sets.Items[i].Spec.Template.Spec)
		}
	})
	if err != nil {
		x.unread(check, err)
		return
	}
	var deployments appsv1.DeploymentList
	err = x.ListAll(ctx, &deployments, func() {
		for i := range deployments.Items {
			tell("Deployment", deployments.Items[i].Namespace, deployments.Items[i].Name, &deployments.Items[i].Spec.Template.Spec)
		}
	})
	if err != nil {
		x.unread(check, err)
		return
	}
	x.workloadIdentity(ctx)
	if len(x.report.Findings) == before {
		x.report.add(check, explain.OK, "no other agent wants the same requests", "")
	}
}

// workloadIdentity looks for pods that both systems are for: a client takes the
// first that it finds, which is the webhook's.
func (x *examination) workloadIdentity(ctx context.Context) {
	var hook admissionv1.MutatingWebhookConfiguration
	if x.Get(ctx, client.ObjectKey{Name: "azure-wi-webhook-mutating-webhook-configuration"}, &hook) != nil {
		return // there is none, or it may not be read, and is no harm by itself
	}
	var pods corev1.PodList
	var both []string
	err := x.ListAll(ctx, &pods, func() {
		for i := range pods.Items {
			both = append(both, pods.Items[i].Namespace+"/"+pods.Items[i].Name)
		}
	}, client.MatchingLabels{"azure.workload.identity/use": "true"}, client.HasLabels{v1.LabelBinding})
	if err == nil && len(both) > 0 {
		x.report.add("rivals", explain.Warning, fmt.Sprintf("%d pods have the label of podid and that of azure-workload-identity, whose variables SDKs look at first: %s", len(both), few(both)), "take one of the two labels off")
	}
}

// pods looks for pods with the label that podid cannot serve.
func (x *examination) pods(context.Context) {
	const check = "pods"
	var onHost []string
	for i := range x.labelled {
		if p := &x.labelled[i]; p.Spec.HostNetwork {
			onHost = append(onHost, p.Namespace+"/"+p.Name)
		}
	}
	switch {
	case x.unreadable["pods"]: // it is told already
	case len(onHost) > 0:
		x.report.add(check, explain.Warning, fmt.Sprintf("%d pods with the label %s are on the node's own network, where nmi does not see them and every identity of the node answers: %s", len(onHost), v1.LabelBinding, few(onHost)), "take hostNetwork: true out of their specs")
	default:
		x.report.add(check, explain.OK, fmt.Sprintf("%d have the label %s, none of them on the node's own network", len(x.labelled), v1.LabelBinding), "")
	}
}

// networkPolicies looks for pods with the label that a policy keeps from asking.
func (x *examination) networkPolicies(ctx context.Context) {
	const check = "network"
	policies := map[string][]networkingv1.NetworkPolicy{}
	var list networkingv1.NetworkPolicyList
	err := x.ListAll(ctx, &list, func() {
		for i := range list.Items {
			policies[list.Items[i].Namespace] = append(policies[list.Items[i].Namespace], list.Items[i])
		}
	})
	if err != nil {
		x.unread(check, err)
		return
	}
	kept := map[string][]string{} // by namespace
	of := map[string][]map[string]string{}
	for i := range x.labelled {
		p := &x.labelled[i]
		if _, missing := explain.Egress(policies[p.Namespace], p.Labels); missing != "" {
			kept[p.Namespace] = append(kept[p.Namespace], p.Name)
			of[p.Namespace] = append(of[p.Namespace], p.Labels)
		}
	}
	for ns, names := range kept {
		x.report.add(check, explain.Warning, fmt.Sprintf("a NetworkPolicy of namespace %s keeps %d pods with the label from asking, where the network plugin enforces it: %s", ns, len(names), few(names)), explain.AllowEgress(policies[ns], of[ns]...))
	}
	if len(kept) == 0 && !x.unreadable["pods"] {
		x.report.add(check, explain.OK, "no NetworkPolicy keeps a pod with the label from asking", "")
	}
}

// refusal is the condition of an identity that Azure does not take, else nil.
func refusal(o *v1.AzureIdentity) *metav1.Condition {
	c := meta.FindStatusCondition(o.Status.Conditions, v1.ConditionAttached)
	if c == nil || c.Status != metav1.ConditionFalse || c.Reason == v1.ReasonAttaching {
		return nil
	}
	return c
}

// identities tells of those that cannot be attached.
func (x *examination) identities(context.Context) {
	for i := range x.refused {
		o := &x.refused[i]
		c := refusal(o)
		x.report.add("identities", explain.Broken, fmt.Sprintf("AzureIdentity %s/%s is not attached where pods need it (%s): %s", o.Namespace, o.Name, c.Reason, c.Message), "podid roles   # what mic may not do yet")
	}
}

// open tells what flags leave open, on any node.
func (x *examination) open() {
	pods := x.components[cluster.Agent]
	seen := map[string]bool{}
	for i := range pods {
		f := cluster.FlagsOf(&pods[i])
		by := ""
		if f.Compatibility != "" {
			by = ", set by --compatibility=" + f.Compatibility
		}
		for _, o := range f.Opened {
			if seen[o.Flag] {
				continue
			}
			seen[o.Flag] = true
			x.report.add("open", explain.Warning, fmt.Sprintf("nmi %s%s: %s", o.Flag, by, o.Why), "take it away when nothing needs it any more; docs/compatibility.md")
		}
	}
	if len(pods) > 0 && len(seen) == 0 {
		x.report.add("open", explain.OK, "nmi's flags leave nothing open that is shut by default", "")
	}
}
