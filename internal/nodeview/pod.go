package nodeview

import (
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

const (
	// SecretsStoreDriver is the CSI driver of the secrets store.
	SecretsStoreDriver = "secrets-store.csi.k8s.io"
	// MaxPrefetch is how many resources a pod's annotation may name; more are
	// passed over, and so is one longer than MaxPrefetchLength bytes.
	MaxPrefetch = 8
	// MaxPrefetchLength is how long the name of a resource may be there.
	MaxPrefetchLength = 1024
)

// seen is a pod as the API server tells of it.
type seen struct {
	pod          identity.Pod
	addrs        []netip.Addr // none for a pod in the node's own network
	evidence     time.Time    // see LinkUp
	ending       bool         // it is on its way out
	ended        bool
	labelled     bool // it has the label, maybe an empty one
	secretsStore bool
	prefetch     []string
}

// podFromAPI reads a pod.
func podFromAPI(p *corev1.Pod) seen {
	selector, labelled := p.Labels[v1.LabelBinding]
	s := seen{
		pod: identity.Pod{
			Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
			ServiceAccount: p.Spec.ServiceAccountName,
			Node:           p.Spec.NodeName,
			Selector:       selector,
			Labels:         p.Labels,
			Created:        p.CreationTimestamp.Time,
		},
		evidence:     evidence(&p.Status),
		ending:       p.DeletionTimestamp != nil,
		ended:        p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		labelled:     labelled,
		secretsStore: slices.ContainsFunc(p.Spec.Volumes, ofSecretsStore),
		prefetch:     prefetch(p.Annotations[v1.AnnotationPrefetch]),
	}
	running := p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodPending
	if p.Spec.HostNetwork || !running {
		return s
	}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil && !slices.Contains(s.addrs, a.Unmap()) {
			s.addrs = append(s.addrs, a.Unmap())
		}
	}
	return s
}

// evidence is the newest sign in a status that the pod has the network of which
// the status tells: the start of a container that runs, or the moment when the
// network was ready. All are times of the node's own clock, written by its
// kubelet. The condition Ready is not, since the control plane sets it too.
func evidence(status *corev1.PodStatus) time.Time {
	var newest time.Time
	for _, c := range status.Conditions {
		if c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue {
			newest = later(newest, c.LastTransitionTime.Time)
		}
	}
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for _, c := range list {
			if r := c.State.Running; r != nil {
				newest = later(newest, r.StartedAt.Time)
			}
		}
	}
	return newest
}

func ofSecretsStore(v corev1.Volume) bool { return v.CSI != nil && v.CSI.Driver == SecretsStoreDriver }

// prefetch reads the annotation: resources with commas or white space between
// them.
func prefetch(text string) []string {
	var list []string
	for r := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ',' || unicode.IsSpace(c) }) {
		if len(r) > MaxPrefetchLength || slices.Contains(list, r) {
			continue
		}
		if list = append(list, r); len(list) == MaxPrefetch {
			break
		}
	}
	return list
}

// stripPod keeps of a pod what podFromAPI reads.
func stripPod(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	stripped := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID,
			ResourceVersion:   p.ResourceVersion,
			CreationTimestamp: p.CreationTimestamp,
			DeletionTimestamp: p.DeletionTimestamp,
			Labels:            p.Labels,
		},
		Spec: corev1.PodSpec{
			NodeName:           p.Spec.NodeName,
			ServiceAccountName: p.Spec.ServiceAccountName,
			HostNetwork:        p.Spec.HostNetwork,
		},
		Status: corev1.PodStatus{
			Phase: p.Status.Phase, PodIPs: p.Status.PodIPs,
			InitContainerStatuses:      stripContainers(p.Status.InitContainerStatuses),
			ContainerStatuses:          stripContainers(p.Status.ContainerStatuses),
			EphemeralContainerStatuses: stripContainers(p.Status.EphemeralContainerStatuses),
		},
	}
	if a, ok := p.Annotations[v1.AnnotationPrefetch]; ok {
		stripped.Annotations = map[string]string{v1.AnnotationPrefetch: a}
	}
	if slices.ContainsFunc(p.Spec.Volumes, ofSecretsStore) {
		driver := &corev1.CSIVolumeSource{Driver: SecretsStoreDriver}
		stripped.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{CSI: driver}}}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReadyToStartContainers {
			stripped.Status.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status, LastTransitionTime: c.LastTransitionTime}}
		}
	}
	return stripped, nil
}

func stripContainers(list []corev1.ContainerStatus) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for _, c := range list {
		if c.State.Running != nil {
			out = append(out, corev1.ContainerStatus{State: corev1.ContainerState{Running: c.State.Running}})
		}
	}
	return out
}

// applyPod records a pod.
func (v *View) applyPod(p *corev1.Pod) { v.setPod(podFromAPI(p)) }
