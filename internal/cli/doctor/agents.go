package doctor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/explain"
)

// asked is how many agents that are not ready are asked why: of more the first say
// enough. So many are asked at once, and all of them within askTime.
const (
	asked       = 20
	askedAtOnce = 5
	askTime     = time.Minute
)

// agents looks for a ready nmi on every Linux node that it is for, and asks those
// that are not ready why: their redirect and the network of their pods are among
// their checks.
func (x *examination) agents(ctx context.Context) {
	const check = "nmi"
	pods := x.components[cluster.Agent]
	if x.unreadable[check] || x.unreadable["nodes"] {
		return // it is told already
	}
	on := map[string]*corev1.Pod{} // the one to go by on each node, as Components has it first
	for i := range pods {
		if on[pods[i].Spec.NodeName] == nil {
			on[pods[i].Spec.NodeName] = &pods[i]
		}
	}
	places, err := x.AgentTemplates(ctx)
	absent := explain.Broken
	if err != nil {
		x.unread(check, fmt.Errorf("which nodes nmi is for: %w", err))
		absent = explain.Unknown
	}
	linux, ready := 0, 0
	var without []string
	var red []*corev1.Pod
	leftOut := map[string][]string{} // nodes, by why
	for i := range x.nodes {
		n := &x.nodes[i]
		p := on[n.Name]
		why := explain.LeftOut(places, n)
		switch {
		case isWindows(n):
			continue
		case p == nil && why != "":
			leftOut[why] = append(leftOut[why], n.Name)
			continue
		case p == nil:
			without = append(without, n.Name)
		case x.isReady(p):
			ready++
		default:
			red = append(red, p)
		}
		linux++
	}
	x.notReady(ctx, red)
	x.leftOut(leftOut)
	if linux == 0 {
		x.nowhere(leftOut)
		return
	}
	switch {
	case len(without) > 0:
		x.report.add(check, absent, fmt.Sprintf("no nmi on %d of %d Linux nodes: %s", len(without), linux, few(without)),
			fmt.Sprintf("kubectl describe daemonset -n %s -l %s=%s   # nodeSelector, tolerations, and Events", x.System, cluster.ComponentLabel, cluster.Agent))
	case ready == linux:
		x.report.add(check, explain.OK, fmt.Sprintf("ready on all %d Linux nodes, %s%s", linux, redirects(pods), versions(pods)), "")
	}
}

func (x *examination) isReady(p *corev1.Pod) bool {
	ready, _ := explain.Readiness(p, x.now())
	return ready
}

// nowhere tells that there is no node that nmi is for, which is well in a cluster that
// has no Linux nodes yet.
func (x *examination) nowhere(leftOut map[string][]string) {
	if len(leftOut) > 0 {
		x.report.add("nmi", explain.Broken, "nmi is for none of the Linux nodes, and runs nowhere", haveItRun)
		return
	}
	x.report.add("nmi", explain.Warning, "no Linux node could be seen that nmi is for", "")
}

// haveItRun mends that nmi is not for a node.
const haveItRun = "have nmi run there (nmi.nodeSelector, nmi.affinity and nmi.tolerations of the chart), or keep pods that need it from these nodes"

// leftOut tells of nodes that nmi is not for, which is broken where pods there need it.
func (x *examination) leftOut(nodes map[string][]string) {
	for _, why := range slices.Sorted(maps.Keys(nodes)) {
		names := nodes[why]
		state := explain.Warning
		var there []string
		for i := range x.labelled {
			if p := &x.labelled[i]; slices.Contains(names, p.Spec.NodeName) && needsAgent(p) {
				there = append(there, p.Namespace+"/"+p.Name)
			}
		}
		says := fmt.Sprintf("left out by nmi's %s: %s; pods there get no token by podid, and any identity of the machine by its metadata service", why, few(names))
		if len(there) > 0 {
			state = explain.Broken
			says += fmt.Sprintf("; %d of them have the label of a binding: %s", len(there), few(there))
		}
		x.report.add("nmi", state, says, haveItRun)
	}
}

// needsAgent reports whether a pod with the label of a binding may ask nmi yet: one
// that has ended does not, and one on the node's own network never reaches it.
func needsAgent(p *corev1.Pod) bool {
	return !p.Spec.HostNetwork && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
}

// notReady asks agents for the checks that are red, a few at once, so that one that
// hangs keeps nobody waiting for the others.
func (x *examination) notReady(ctx context.Context, pods []*corev1.Pod) {
	const check = "nmi"
	limited, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	whys := make([]string, min(len(pods), asked))
	var g errgroup.Group
	g.SetLimit(askedAtOnce)
	for i := range whys {
		g.Go(func() error { // ends with the answer, or with askTime
			whys[i] = x.whyNotReady(limited, pods[i])
			return nil
		})
	}
	_ = g.Wait() // none of them fails
	for i, why := range whys {
		p := pods[i]
		x.report.add(check, explain.Broken, fmt.Sprintf("nmi on node %s is not ready: %s", p.Spec.NodeName, why),
			fmt.Sprintf("kubectl exec -n %s %s -- /nmi ready\nkubectl logs -n %s %s --tail=50", p.Namespace, p.Name, p.Namespace, p.Name))
	}
	if more := len(pods) - len(whys); more > 0 {
		x.report.add(check, explain.Broken, fmt.Sprintf("%d more are not ready", more), "")
	}
}

// whyNotReady is what an agent says of itself, or else what its pod shows.
func (x *examination) whyNotReady(ctx context.Context, p *corev1.Pod) string {
	_, why := explain.Readiness(p, x.now())
	a, err := x.Explain(ctx, p, cluster.Question{Namespace: p.Namespace, Pod: p.Name})
	if err != nil {
		return why
	}
	var red []string
	for _, line := range a.Checks {
		if c, ok := strings.CutPrefix(line, "[-] "); ok {
			red = append(red, c)
		}
	}
	return cmp.Or(strings.Join(red, "; "), why)
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
