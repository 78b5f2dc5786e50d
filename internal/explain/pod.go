package explain

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	v1 "github.com/podid-io/podid/api/v1"
)

// pod looks at the pod alone.
func (q *inquiry) pod() Step {
	p := &q.Pod
	switch {
	case q.DryRun && q.Refused != nil:
		return broken("the API server refuses the pod: %v", q.Refused)
	case p.Spec.HostNetwork && q.found.Pod.Labelled():
		return broken("pod %s is on the node's own network (hostNetwork: true): nmi does not see what it asks, and the metadata service of the node answers it with any identity of the node", q.podName()).
			mend("take hostNetwork: true out of the pod's spec, or have the client sign in by other means")
	case p.Spec.HostNetwork:
		return broken("pod %s is on the node's own network (hostNetwork: true): podid is not for it", q.podName())
	case q.DryRun:
		return q.tried()
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return broken("pod %s has ended (%s): a pod that has ended gets no token", q.podName(), p.Status.Phase).
			mend("kubectl get pods -n %s   # and explain one that runs", p.Namespace)
	case p.DeletionTimestamp != nil:
		return warning("pod %s is being deleted since %s: its address may be another's at any moment", q.podName(), since(q.Now, p.DeletionTimestamp.Time))
	case p.Spec.NodeName == "":
		return waiting("pod %s is on no node yet: %s", q.podName(), unscheduled(p)).mend("kubectl describe pod -n %s %s", p.Namespace, p.Name)
	case len(p.Status.PodIPs) == 0:
		return waiting("pod %s has no address yet (%s since %s)", q.podName(), p.Status.Phase, since(q.Now, p.CreationTimestamp.Time)).
			mend("kubectl describe pod -n %s %s", p.Namespace, p.Name)
	default:
		return q.addressed()
	}
}

// tried says what the API server had to say of a pod that does not exist yet.
func (q *inquiry) tried() Step {
	switch {
	case q.Untried != nil:
		return unknown("pod %s does not exist; whether the API server would take it, it could not be asked: %v", q.podName(), q.Untried)
	case q.Exists:
		return ok("there is a pod %s already; but for its name, the API server would take this one", q.podName())
	default:
		return ok("pod %s does not exist; the API server would take it", q.podName())
	}
}

// addressed looks at the addresses of a pod that runs.
func (q *inquiry) addressed() Step {
	p := &q.Pod
	var ips []string
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	if !slices.ContainsFunc(p.Status.PodIPs, isIPv4) {
		return broken("pod %s has no IPv4 address (%s), and the metadata address is asked by IPv4: podid cannot serve it", q.podName(), strings.Join(ips, ", ")).
			mend("have the cluster give pods IPv4 addresses, alone or beside IPv6, or have the client sign in by other means")
	}
	return ok("pod %s is %s, created %s ago, address %s", q.podName(), p.Status.Phase, since(q.Now, p.CreationTimestamp.Time), strings.Join(ips, ", "))
}

func isIPv4(ip corev1.PodIP) bool {
	a, err := netip.ParseAddr(ip.IP)
	return err == nil && a.Unmap().Is4()
}

// unscheduled is what the scheduler said.
func unscheduled(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status != corev1.ConditionTrue && c.Message != "" {
			return c.Message
		}
	}
	return "the scheduler has not said why"
}

// label looks for what the pod is bound by.
func (q *inquiry) label() Step {
	if why := q.special(); why != "" {
		return ok("none is needed: %s", why)
	}
	count := q.settings.Rules.ExceptionsCount(q.Pod.Namespace) || q.Unread["agents"] != nil
	if err := q.Unread["azurepodidentityexceptions"]; err != nil && count && (q.Answer == nil || q.Answer.PodUID != string(q.Pod.UID)) {
		return unknown("whether the pod falls under an AzurePodIdentityException, and needs none, could not be read: %v", err)
	}
	p := &q.found.Pod
	switch _, labelled := q.Pod.Labels[v1.LabelBinding]; {
	case p.Selector != "":
		return ok("label %s=%s", v1.LabelBinding, p.Selector)
	case p.NamespaceBinding != "":
		return ok("no label; the annotation %s of namespace %s names AzureIdentityBinding %s", v1.AnnotationNamespaceBinding, p.Namespace, p.NamespaceBinding)
	case labelled:
		return q.mendLabel(broken("the label %s is empty", v1.LabelBinding))
	case q.Unread["namespaces"] != nil:
		return unknown("no label %s; whether the namespace has the annotation %s instead, could not be read: %v", v1.LabelBinding, v1.AnnotationNamespaceBinding, q.Unread["namespaces"])
	}
	for _, k := range slices.Sorted(maps.Keys(q.Pod.Labels)) {
		if strings.EqualFold(k, v1.LabelBinding) {
			return q.mendLabel(broken("no label %s; it has %s, and keys of labels are compared with case", v1.LabelBinding, k))
		}
	}
	if _, ok := q.Pod.Annotations[v1.LabelBinding]; ok {
		return q.mendLabel(broken("no label %s; it has an annotation of that name, which is for labels", v1.LabelBinding))
	}
	return q.mendLabel(broken("no label %s, and the namespace has no annotation %s", v1.LabelBinding, v1.AnnotationNamespaceBinding))
}

// mendLabel names the command that sets the label, by the selectors that there are.
func (q *inquiry) mendLabel(s Step) Step {
	selectors := q.selectors(q.Pod.Namespace)
	if len(selectors) == 0 {
		s.Evidence += "; namespace " + q.Pod.Namespace + " has no AzureIdentityBinding either"
		return s.mend("%s", q.setLabel("SELECTOR"))
	}
	s.Evidence += "; selectors of namespace " + q.Pod.Namespace + ": " + few(selectors)
	return s.mend("%s", q.setLabel(selectors[0]))
}

// selectors are those of the bindings of a namespace.
func (q *inquiry) selectors(namespace string) []string {
	var list []string
	for i := range q.Objects.Bindings {
		b := &q.Objects.Bindings[i]
		if s := b.Spec.Canonical().Selector; b.Namespace == namespace && s != "" && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

// setLabel is the command that gives the pod the label: on what makes the pod,
// where something does.
func (q *inquiry) setLabel(value string) command {
	if q.DryRun {
		return script("write the label %s: %s into the pod's metadata (of a template, into that of the template)", v1.LabelBinding, value)
	}
	kind, name := owner(&q.Pod)
	if kind == "" {
		return script("kubectl label pod -n %s %s --overwrite %s", q.Pod.Namespace, q.Pod.Name, v1.LabelBinding+"="+value)
	}
	switch kind {
	case "deployment", "statefulset", "daemonset", "replicaset":
	case "job":
		return script("write the label %s: %s into the template of the pod's Job, or of the CronJob that made it; the template of a Job does not change: make the Job anew (kubectl get job -n %s %s -o yaml)", v1.LabelBinding, value, q.Pod.Namespace, name)
	case "node":
		return script("write the label %s: %s into the manifest of the pod on node %s: kubelet makes it of a file there", v1.LabelBinding, value, name)
	default:
		return script("write the label %s: %s into what makes the pod, %s %s", v1.LabelBinding, value, kind, name)
	}
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"labels":{%q:%q}}}}}`, v1.LabelBinding, value)
	return script("kubectl patch %s -n %s %s --type merge -p %s", kind, q.Pod.Namespace, name, patch)
}

// owner is what has the template that the pod is made of; empty for a pod that
// nothing makes. A Deployment is known by the name that its ReplicaSets get.
func owner(p *corev1.Pod) (kind, name string) {
	for _, o := range p.OwnerReferences {
		if o.Controller == nil || !*o.Controller {
			continue
		}
		if hash := p.Labels["pod-template-hash"]; o.Kind == "ReplicaSet" && hash != "" && strings.HasSuffix(o.Name, "-"+hash) {
			return "deployment", strings.TrimSuffix(o.Name, "-"+hash)
		}
		return strings.ToLower(o.Kind), o.Name
	}
	return "", ""
}

// few is the beginning of a list.
func few(list []string) string {
	const most = 5
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}
