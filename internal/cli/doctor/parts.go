package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/identity"
)

// asked is how many agents that are not ready are asked why: of more the first say
// enough.
const asked = 20

// examination is the checks, and what several of them look at.
type examination struct {
	*cluster.Cluster

	report     *report
	now        time.Time // by the API server's clock
	components map[string][]corev1.Pod
	nodes      []corev1.Node
	managed    bool
	taintKeys  []string           // of start-up taints that mic or nmi takes off
	refused    []v1.AzureIdentity // that Azure does not take
	// secretNamespaces are those of Secrets that AzureIdentities name.
	secretNamespaces []string
}

func (x *examination) unread(check string, err error) { x.report.unread(check, err) }

// parts reads what several checks look at.
func (x *examination) parts(ctx context.Context) {
	x.components = map[string][]corev1.Pod{}
	for _, part := range []string{cluster.Controller, cluster.Agent} {
		pods, err := x.Components(ctx, part, "")
		if err != nil {
			x.unread(part, err)
		}
		x.components[part] = pods
	}
	if pods := x.components[cluster.Agent]; len(pods) > 0 {
		x.managed = cluster.FlagsOf(&pods[0]).Managed
	}
	x.taintKeys = x.ControllerFlagsOf(x.components[cluster.Controller]).StartupTaints
	for i := range x.components[cluster.Agent] {
		if key := cluster.FlagsOf(&x.components[cluster.Agent][i]).StartupTaint; key != "" && !slices.Contains(x.taintKeys, key) {
			x.taintKeys = append(x.taintKeys, key)
		}
	}
	var nodes corev1.NodeList
	if err := x.ListAll(ctx, &nodes, func() { x.nodes = append(x.nodes, nodes.Items...) }); err != nil {
		x.unread("nodes", err)
	}
	var list v1.AzureIdentityList
	err := x.ListAll(ctx, &list, func() {
		for i := range list.Items {
			id := identity.FromAPI(&list.Items[i])
			if ns := id.Application.SecretNamespace; ns != "" && id.Type != v1.UserAssignedMSI && !slices.Contains(x.secretNamespaces, ns) {
				x.secretNamespaces = append(x.secretNamespaces, ns)
			}
			if refusal(&list.Items[i]) != nil {
				x.refused = append(x.refused, list.Items[i])
			}
		}
	})
	if err != nil && !apierrors.IsNotFound(err) { // without CRDs there are none
		x.unread("identities", err)
	}
}

// controller looks at mic.
func (x *examination) controller(ctx context.Context) {
	const check = "mic"
	pods := x.components[cluster.Controller]
	logs := fmt.Sprintf("kubectl logs -n %s -l %s=%s,%s=%s --tail=50", x.System, cluster.NameLabel, cluster.Name, cluster.ComponentLabel, cluster.Controller)
	switch {
	case len(pods) == 0 && x.managed:
		x.report.add(check, explain.OK, "there is none, and none is needed: nmi runs in managed mode", "")
		return
	case len(pods) == 0:
		x.report.add(check, explain.Broken, "no pod of mic in namespace "+x.System+", and nmi does not run in managed mode: nothing puts identities on machines", "helm upgrade --install podid charts/podid -n "+x.System+"   # or name the namespace by --podid-namespace")
		return
	}
	for i := range pods {
		if ready, why := explain.Readiness(&pods[i], x.now); !ready {
			x.report.add(check, explain.Broken, fmt.Sprintf("pod %s is not ready: %s", pods[i].Name, why), fmt.Sprintf("kubectl exec -n %s %s -- /mic ready\n%s", x.System, pods[i].Name, logs))
		}
	}
	var lease coordinationv1.Lease
	name := x.ControllerFlagsOf(pods).Lease
	err := x.Get(ctx, name, &lease)
	m := cluster.MICOf(&lease)
	switch {
	case apierrors.IsNotFound(err):
		x.report.add(check, explain.Broken, "there is no Lease "+name.String()+": no mic has ever led", logs)
	case err != nil:
		x.unread(check, err)
	case !m.Leads(x.now):
		x.report.add(check, explain.Broken, fmt.Sprintf("nobody leads: %s has renewed the Lease last at %s", cmp.Or(m.Holder, "nobody"), m.Renewed.UTC().Format(time.RFC3339)), logs)
	default:
		x.report.add(check, explain.OK, fmt.Sprintf("%s leads, of %d", m.Holder, len(pods)), "")
	}
}

// agents looks for a ready nmi on every Linux node, and asks those that are not
// ready why: their redirect and the network of their pods are among their checks.
func (x *examination) agents(ctx context.Context) {
	const check = "nmi"
	on := map[string]*corev1.Pod{} // the one to go by on each node, as Components has it first
	pods := x.components[cluster.Agent]
	for i := range pods {
		if on[pods[i].Spec.NodeName] == nil {
			on[pods[i].Spec.NodeName] = &pods[i]
		}
	}
	linux, ready, told := 0, 0, 0
	var without []string
	for i := range x.nodes {
		name := x.nodes[i].Name
		if isWindows(&x.nodes[i]) {
			continue
		}
		linux++
		p := on[name]
		if p == nil {
			without = append(without, name)
			continue
		}
		is, why := explain.Readiness(p, x.now)
		if is {
			ready++
			continue
		}
		if told++; told <= asked {
			x.notReady(ctx, p, why)
		}
	}
	if told > asked {
		x.report.add(check, explain.Broken, fmt.Sprintf("%d more are not ready", told-asked), "")
	}
	if len(without) > 0 {
		x.report.add(check, explain.Broken, fmt.Sprintf("no nmi on %d of %d Linux nodes: %s", len(without), linux, few(without)),
			fmt.Sprintf("kubectl describe daemonset -n %s -l %s=%s   # nodeSelector, tolerations, and Events", x.System, cluster.ComponentLabel, cluster.Agent))
	}
	if ready == linux && linux > 0 {
		x.report.add(check, explain.OK, fmt.Sprintf("ready on all %d Linux nodes, %s%s", linux, redirects(pods), versions(pods)), "")
	} else if linux == 0 {
		x.report.add(check, explain.Warning, "no Linux node could be seen", "")
	}
}

// notReady asks an agent for the checks that are red.
func (x *examination) notReady(ctx context.Context, p *corev1.Pod, why string) {
	logs := fmt.Sprintf("kubectl exec -n %s %s -- /nmi ready\nkubectl logs -n %s %s --tail=50", p.Namespace, p.Name, p.Namespace, p.Name)
	a, err := x.Explain(ctx, p, cluster.Question{Namespace: p.Namespace, Pod: p.Name})
	if err == nil {
		var red []string
		for _, line := range a.Checks {
			if c, ok := strings.CutPrefix(line, "[-] "); ok {
				red = append(red, c)
			}
		}
		why = cmp.Or(strings.Join(red, "; "), why)
	}
	x.report.add("nmi", explain.Broken, fmt.Sprintf("nmi on node %s is not ready: %s", p.Spec.NodeName, why), logs)
}

// redirects says whether readiness, of which the redirect is a part, includes it.
func redirects(pods []corev1.Pod) string {
	without := 0
	for i := range pods {
		if cluster.FlagsOf(&pods[i]).Redirect == "none" {
			without++
		}
	}
	if without > 0 {
		return fmt.Sprintf("%d of them without a redirect of podid's (--redirect=none)", without)
	}
	return "redirect included"
}

// versions says when there are several.
func versions(pods []corev1.Pod) string {
	var list []string
	for i := range pods {
		if v := pods[i].Labels[cluster.VersionLabel]; v != "" && !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	if len(list) < 2 {
		return ""
	}
	slices.Sort(list)
	return "; of versions " + strings.Join(list, ", ")
}

func isWindows(n *corev1.Node) bool {
	return n.Labels[corev1.LabelOSStable] == "windows" || n.Status.NodeInfo.OperatingSystem == "windows"
}

// few is the beginning of a list.
func few(list []string) string {
	const most = 5
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}
