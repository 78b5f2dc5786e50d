package cleanup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/cluster"
)

func (w *work) agents(ctx context.Context) ([]appsv1.DaemonSet, error) {
	var list appsv1.DaemonSetList
	if err := w.client.List(ctx, &list, client.InNamespace(w.namespace), labels("nmi")); err != nil {
		return nil, fmt.Errorf("find nmi: %w", err)
	}
	return list.Items, nil
}

// removeRedirects has the pods of nmi's DaemonSet replaced by ones that take the
// redirect away and stay. The old agent of a node has ended before: two would
// undo each other's work, and an agent that ends leaves a redirect on purpose.
func (w *work) removeRedirects(ctx context.Context, agent *appsv1.DaemonSet) error {
	w.say("taking the redirect off %d nodes, for about a minute: an agent that ends answers first what it holds", agent.Status.DesiredNumberScheduled)
	for {
		turn(agent)
		err := w.client.Update(ctx, agent)
		if err == nil {
			break
		}
		if apierrors.IsConflict(err) {
			if err = w.client.Get(ctx, client.ObjectKeyFromObject(agent), agent); err == nil {
				continue
			}
		}
		if apierrors.IsNotFound(err) {
			return w.deleted(agent)
		}
		return fmt.Errorf("turn nmi into what takes the redirect away: %w", err)
	}
	var now *appsv1.DaemonSet // nil: it is gone
	err := w.await(ctx, &appsv1.DaemonSetList{}, []client.ListOption{client.MatchingFields{"metadata.name": agent.Name}}, func(sets map[string]client.Object) bool {
		now = nil
		for _, o := range sets {
			d, ok := o.(*appsv1.DaemonSet)
			if ok && !rolledOut(d, agent.Generation) {
				return false
			}
			now = d
		}
		return true
	})
	if err == nil && now == nil {
		return w.deleted(agent)
	}
	if err != nil {
		return fmt.Errorf("the redirect is not off every node: %w%s", err, w.unfinished(ctx, agent))
	}
	if now.Status.DesiredNumberScheduled == 0 {
		return gone{fmt.Errorf("nmi's DaemonSet %s/%s selects no node: %s", w.namespace, agent.Name, redirectsStay), true}
	}
	w.say("the redirect is off %d nodes", now.Status.DesiredNumberScheduled)
	return nil
}

// guards says whether a redirect is what keeps identities of podid's own from pods: in
// standard mode, and unless an earlier run has come as far as to take it off.
func guards(agents []appsv1.DaemonSet) bool {
	return slices.ContainsFunc(agents, func(d appsv1.DaemonSet) bool {
		pod := &corev1.Pod{Spec: d.Spec.Template.Spec}
		return !turned(pod) && !cluster.FlagsOf(pod).Managed
	})
}

func (w *work) deleted(agent *appsv1.DaemonSet) error {
	return gone{error: fmt.Errorf("nmi's DaemonSet %s/%s was deleted meanwhile: %s", w.namespace, agent.Name, redirectsStay)}
}

// turn changes the DaemonSet: its container takes the redirect away, stays, so that
// it is not started again and again, and is ready from then on. Only what the chart
// renders is changed: anything else would outlast a helm rollback or upgrade, and
// go on taking the redirect away.
func turn(agent *appsv1.DaemonSet) {
	spec := &agent.Spec.Template.Spec
	spec.Containers = spec.Containers[:1]
	c := &spec.Containers[0]
	c.Args = append([]string{"uninstall-redirect"}, append(redirectFlags(c.Args), "--stay")...)
	c.LivenessProbe, c.StartupProbe, c.Lifecycle = nil, nil, nil
	if c.ReadinessProbe == nil {
		c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/nmi", "ready"}}}}
	}
	agent.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{
		Type:          appsv1.RollingUpdateDaemonSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: new(intstr.FromString("100%")), MaxSurge: new(intstr.FromInt32(0))},
	}
}

// redirectFlags are those of nmi's flags that say where its redirect is, and where
// its readiness is asked.
func redirectFlags(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		return !slices.Contains([]string{"--listen", "--metadata", "--health-listen"}, name)
	})
}

// rolledOut says whether every node has a pod of the generation, which runs.
func rolledOut(d *appsv1.DaemonSet, generation int64) bool {
	s := d.Status
	return s.ObservedGeneration >= generation && s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberReady == s.DesiredNumberScheduled
}

// turned says whether a pod is of the DaemonSet as turn has left it, or had before.
func turned(p *corev1.Pod) bool {
	args := p.Spec.Containers[0].Args
	return len(args) > 0 && args[0] == "uninstall-redirect"
}

// unfinished names the nodes that the redirect may still be on.
func (w *work) unfinished(ctx context.Context, agent *appsv1.DaemonSet) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords) // the time is up
	defer cancel()
	var pods corev1.PodList
	options := append(podsOf(agent.Spec.Selector), client.InNamespace(w.namespace))
	if err := w.client.List(ctx, &pods, options...); err != nil {
		return ""
	}
	var nodes []string
	for i := range pods.Items {
		p := &pods.Items[i]
		done := p.DeletionTimestamp == nil && turned(p) && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready
		if !done && !slices.Contains(nodes, p.Spec.NodeName) {
			nodes = append(nodes, p.Spec.NodeName)
		}
	}
	if len(nodes) == 0 {
		return ""
	}
	slices.Sort(nodes)
	return fmt.Sprintf("\nlook at %s; a node that does not come back can be restarted or deleted, which takes the redirect away too", strings.Join(nodes, ", "))
}
