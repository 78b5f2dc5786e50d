package whocan

import (
	"slices"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/identity"
)

// rules are those of podid in the cluster: as the flags say, and where they say
// nothing, the widest that the arguments of any nmi give, and whether one of them runs
// in managed mode. In whichever namespace an nmi is, it counts.
func (o *options) rules(given *pflag.FlagSet, r *reading, pods []corev1.Pod) (found identity.Rules, managed bool) {
	for i := range pods {
		labels := pods[i].Labels
		if labels[cluster.NameLabel] != cluster.Name || labels[cluster.ComponentLabel] != cluster.Agent {
			continue
		}
		flags := cluster.FlagsOf(&pods[i])
		rules := flags.Rules
		managed = managed || flags.Managed
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
	return found, managed
}
