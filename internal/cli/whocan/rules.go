package whocan

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/identity"
)

// rules are those of podid in the cluster: as the flags say, and where they say
// nothing, the widest that the arguments of an nmi give.
func (o *options) rules(given *pflag.FlagSet, pods []corev1.Pod, r *reading) identity.Rules {
	rules := identity.Rules{AcrossNamespaces: o.across, ExceptionNamespaces: o.exceptionNamespaces}
	found := false
	for i := range pods {
		labels := pods[i].Labels
		if labels["app.kubernetes.io/name"] != "podid" || labels["app.kubernetes.io/component"] != "nmi" {
			continue
		}
		found = true
		across, exceptions := agentRules(&pods[i])
		if !given.Changed("allow-cross-namespace") {
			rules.AcrossNamespaces = rules.AcrossNamespaces || across
		}
		if !given.Changed("exception-namespaces") {
			for _, ns := range exceptions {
				if !slices.Contains(rules.ExceptionNamespaces, ns) {
					rules.ExceptionNamespaces = append(rules.ExceptionNamespaces, ns)
				}
			}
		}
	}
	if !found && !given.Changed("exception-namespaces") {
		rules.ExceptionNamespaces = []string{"kube-system", "podid-system"}
		r.notes = append(r.notes, "no pod of nmi is there to read its flags from: taken is what it does by default")
	}
	return rules
}

// agentRules reads what the arguments of an nmi say.
func agentRules(pod *corev1.Pod) (across bool, exceptions []string) {
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		s := pflag.NewFlagSet("nmi", pflag.ContinueOnError)
		s.SetOutput(io.Discard)
		s.Usage = func() {}
		s.ParseErrorsAllowlist.UnknownFlags = true
		s.BoolVar(&across, "allow-cross-namespace", across, "")
		forced := s.Bool("forceNamespaced", false, "")
		mode := s.String("operation-mode", "standard", "")
		compatibility := s.String("compatibility", "", "")
		s.StringSliceVar(&exceptions, "exception-namespaces", []string{"kube-system", pod.Namespace}, "")
		_ = s.Parse(slices.Concat(c.Command, c.Args)) // nmi itself says what is wrong with them
		if *compatibility == "" {
			continue
		}
		if !s.Changed("allow-cross-namespace") {
			across = across || !*forced && !strings.EqualFold(*mode, "managed")
		}
		if !s.Changed("exception-namespaces") {
			exceptions = []string{identity.EveryNamespace}
		}
	}
	return across, exceptions
}
