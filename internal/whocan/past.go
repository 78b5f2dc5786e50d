package whocan

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/identity"
)

// past is what lets a pod past nmi; "" for nothing.
func (q *query) past(p *corev1.Pod) string {
	_, excepted := identity.Excepted(q.read(p), q.exceptions, q.Rules)
	contexts := securityContexts(&p.Spec)
	switch {
	case p.Spec.HostNetwork:
		return "hostNetwork"
	case slices.ContainsFunc(contexts, privileged):
		return "privileged"
	case p.Spec.HostPID:
		return "hostPID"
	case slices.ContainsFunc(p.Spec.Volumes, toTheNode):
		return "hostPath"
	case excepted:
		return "exception"
	}
	for _, c := range contexts {
		if name := strong(c); name != "" {
			return name
		}
	}
	return ""
}

// securityContexts are those of all containers that have one.
func securityContexts(s *corev1.PodSpec) []*corev1.SecurityContext {
	var list []*corev1.SecurityContext
	for i := range s.InitContainers {
		list = append(list, s.InitContainers[i].SecurityContext)
	}
	for i := range s.Containers {
		list = append(list, s.Containers[i].SecurityContext)
	}
	for i := range s.EphemeralContainers {
		list = append(list, s.EphemeralContainers[i].SecurityContext)
	}
	return slices.DeleteFunc(list, func(c *corev1.SecurityContext) bool { return c == nil })
}

func privileged(c *corev1.SecurityContext) bool { return c.Privileged != nil && *c.Privileged }

// strong is a capability that is worth the node; "" for none.
func strong(c *corev1.SecurityContext) string {
	if c.Capabilities == nil {
		return ""
	}
	for _, added := range c.Capabilities.Add {
		switch name := strings.TrimPrefix(strings.ToUpper(string(added)), "CAP_"); name {
		case "ALL", "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "DAC_READ_SEARCH":
			return name
		}
	}
	return ""
}

// toTheNode reports whether a volume is a path of the node by which its pod can have
// the node: one with a socket of the container runtime in it, as / is. That it is
// mounted to read only helps nothing, since sockets are connected to all the same.
func toTheNode(v corev1.Volume) bool {
	if v.HostPath == nil {
		return false
	}
	given := path.Clean("/" + v.HostPath.Path)
	if below, ok := strings.CutPrefix(given, "/var/run"); ok && (below == "" || below[0] == '/') { // a link on every node
		given = "/run" + below
	}
	within := func(inner, outer string) bool {
		return inner == outer || strings.HasPrefix(inner, strings.TrimSuffix(outer, "/")+"/")
	}
	return given == "/var" || slices.ContainsFunc([]string{
		"/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/docker.sock", "/run/cri-dockerd.sock",
	}, func(socket string) bool { return within(socket, given) })
}
