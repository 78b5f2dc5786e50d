package whocan

import (
	"slices"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/identity"
)

// rules are those of podid in the cluster: as the flags say, and where they say
// nothing, the widest that the arguments of any nmi give. In whichever namespace an
// nmi is, it counts.
func (o *options) rules(given *pflag.FlagSet, r *reading, pods []corev1.Pod) identity.Rules {
	var found identity.Rules
	for i := range pods {
		labels := pods[i].Labels
		if labels[cluster.NameLabel] != cluster.Name || labels[cluster.ComponentLabel] != cluster.Agent {
			continue
		}
		rules := cluster.FlagsOf(&pods[i]).Rules
		found.AcrossNamespaces = found.AcrossNamespaces || rules.AcrossNamespaces
		for _, ns := range rules.ExceptionNamespaces {
			if !slices.Contains(found.ExceptionNamespaces, ns) {
				found.ExceptionNamespaces = append(found.ExceptionNamespaces, ns)
			}
		}
	}
	if len(found.ExceptionNamespaces) == 0 {
		found.ExceptionNamespaces = []string{"kube-system", r.System}
		r.notes = append(r.notes, "no pod of nmi is there to read its flags from: taken is what it does by default")
	}
	if given.Changed("allow-cross-namespace") {
		found.AcrossNamespaces = o.across
	}
	if given.Changed("exception-namespaces") {
		found.ExceptionNamespaces = o.exceptionNamespaces
	}
	return found
}
