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
	w.say("taking the redirect off %d nodes", agent.Status.DesiredNumberScheduled)
	for {
		turn(agent)
		err := w.client.Update(ctx, agent)
		if err == nil {
			break
		}
		if !apierrors.IsConflict(err) {
			return fmt.Errorf("turn nmi into what takes the redirect away: %w", err)
		}
		if err := w.client.Get(ctx, client.ObjectKeyFromObject(agent), agent); err != nil {
			return fmt.Errorf("find nmi: %w", err)
		}
	}
	err := w.await(ctx, &appsv1.DaemonSetList{}, []client.ListOption{client.MatchingFields{"metadata.name": agent.Name}}, func(sets map[string]client.Object) bool {
		for _, o := range sets {
			if d, ok := o.(*appsv1.DaemonSet); ok && !rolledOut(d, agent.Generation) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("the redirect is not off every node: %w%s", err, w.unfinished(ctx, agent))
	}
	w.say("the redirect is off %d nodes", agent.Status.DesiredNumberScheduled)
	return nil
}

// turn changes the DaemonSet: an init container takes the redirect away, and the
// container stays, so that the pod is not started again and again.
func turn(agent *appsv1.DaemonSet) {
	spec := &agent.Spec.Template.Spec
	spec.Containers = spec.Containers[:1]
	stay := &spec.Containers[0]
	stay.Args = append([]string{"uninstall-redirect"}, redirectFlags(stay.Args)...)
	stay.LivenessProbe, stay.ReadinessProbe, stay.StartupProbe, stay.Lifecycle = nil, nil, nil, nil
	remove := *stay.DeepCopy()
	remove.Name = "uninstall-redirect"
	stay.Args = append(stay.Args, "--stay")
	spec.InitContainers = []corev1.Container{remove}
	agent.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{
		Type:          appsv1.RollingUpdateDaemonSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: new(intstr.FromString("100%")), MaxSurge: new(intstr.FromInt32(0))},
	}
}

// redirectFlags are those of nmi's flags that say where its redirect is.
func redirectFlags(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool {
		return !strings.HasPrefix(arg, "--listen=") && !strings.HasPrefix(arg, "--metadata=")
	})
}

// rolledOut says whether every node has a pod of the generation, which runs.
func rolledOut(d *appsv1.DaemonSet, generation int64) bool {
	s := d.Status
	return s.ObservedGeneration >= generation && s.UpdatedNumberScheduled == s.DesiredNumberScheduled && s.NumberReady == s.DesiredNumberScheduled
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
		done := p.DeletionTimestamp == nil && len(p.Status.InitContainerStatuses) == 1 && p.Status.InitContainerStatuses[0].Ready
		if !done && !slices.Contains(nodes, p.Spec.NodeName) {
			nodes = append(nodes, p.Spec.NodeName)
		}
	}
	slices.Sort(nodes)
	return fmt.Sprintf("\nlook at %s; a node that does not come back can be restarted or deleted, which takes the redirect away too", strings.Join(nodes, ", "))
}
