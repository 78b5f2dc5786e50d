package cluster

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
)

// Opened is what a flag of podid's opens that is shut by default.
type Opened struct {
	Flag string `json:"flag"`
	Why  string `json:"why"`
}

// AgentFlags are the flags of an nmi as its pod shows them.
type AgentFlags struct {
	explain.Settings

	// Compatibility is the value of --compatibility.
	Compatibility string
	// Redirect is the value of --redirect.
	Redirect string
	// StartupTaint is the value of --startup-taint.
	StartupTaint string
	// Opened are those that leave more open than the defaults.
	Opened []Opened
}

// FlagsOf reads the flags of the nmi in a pod. Flags that it does not know it
// passes over.
func FlagsOf(pod *corev1.Pod) AgentFlags {
	c, _ := nmiOf(pod)
	if c == nil {
		return AgentFlags{}
	}
	env := environment(pod, c)
	var f agentFlags
	s := f.set(pod.Namespace)
	s.ParseErrorsAllowlist.UnknownFlags = true
	_ = s.Parse(expand(slices.Concat(c.Command, c.Args), env)) // nmi itself says what is wrong with them
	if strings.EqualFold(env["FORCENAMESPACED"], "true") {
		f.forceNamespaced = true
	}
	return f.read(s)
}

// agentFlags are the flags that decide who gets what, under their new and old names.
type agentFlags struct {
	mode, compatibility, mic, redirect, taint string
	across, forceNamespaced, header, host     bool
	remove, bridges, kubenet, block           bool
	exceptions, hosts, passThrough            []string
}

func (f *agentFlags) set(namespace string) *pflag.FlagSet {
	s := pflag.NewFlagSet(Agent, pflag.ContinueOnError)
	s.SetOutput(io.Discard)
	s.Usage = func() {}
	s.StringVar(&f.mode, "operation-mode", "standard", "")
	s.StringVar(&f.compatibility, "compatibility", "", "")
	s.StringVar(&f.mic, "mic-service-account", "", "")
	s.StringVar(&f.redirect, "redirect", "nftables", "")
	s.StringVar(&f.taint, "startup-taint", "", "")
	s.BoolVar(&f.across, "allow-cross-namespace", false, "")
	s.BoolVar(&f.forceNamespaced, "forceNamespaced", false, "")
	s.BoolVar(&f.header, "metadata-header-required", true, "")
	s.BoolVar(&f.host, "host-token", false, "")
	s.BoolVar(&f.remove, "remove-redirect-on-exit", false, "")
	s.BoolVar(&f.bridges, "accept-bridged-pods", false, "")
	s.BoolVar(&f.kubenet, "allow-network-plugin-kubenet", false, "")
	s.StringSliceVar(&f.exceptions, "exception-namespaces", []string{"kube-system", namespace}, "")
	s.StringSliceVar(&f.hosts, "authority-hosts", nil, "")
	s.StringSliceVar(&f.passThrough, "pass-through", nil, "")
	s.BoolVar(&f.block, "block-instance-metadata", false, "")
	return s
}

// read makes of the flags what nmi makes of them.
func (f *agentFlags) read(s *pflag.FlagSet) AgentFlags {
	managed := strings.EqualFold(f.mode, "managed")
	if f.compatibility != "" {
		if !s.Changed("allow-cross-namespace") {
			f.across = !f.forceNamespaced && !managed
		}
		if !s.Changed("exception-namespaces") {
			f.exceptions = []string{identity.EveryNamespace}
		}
		f.host = f.host || !s.Changed("host-token")
		f.remove = f.remove || !s.Changed("remove-redirect-on-exit")
		if !s.Changed("pass-through") {
			for _, family := range imds.Families() {
				f.passThrough = append(f.passThrough, string(family))
			}
		}
	}
	if f.block {
		f.passThrough = slices.DeleteFunc(f.passThrough, func(family string) bool {
			return family == string(imds.Instance) || family == string(imds.UserData)
		})
	}
	out := AgentFlags{Compatibility: f.compatibility, Redirect: f.redirect, StartupTaint: f.taint, Opened: f.opened()}
	out.Managed = managed
	out.Rules = identity.Rules{AcrossNamespaces: f.across, ExceptionNamespaces: f.exceptions, AuthorityHosts: f.hosts}
	out.MICNamespace, out.MICAccount, _ = strings.Cut(f.mic, "/")
	return out
}

// opened tells what is open that is shut by default.
func (f *agentFlags) opened() []Opened {
	var list []Opened
	for _, o := range []struct {
		open bool
		Opened
	}{
		{f.across, Opened{"--allow-cross-namespace", "a pod of any namespace gets an identity of another by copying a label"}},
		{slices.Contains(f.exceptions, identity.EveryNamespace), Opened{"--exception-namespaces=*", "an AzurePodIdentityException in any namespace lets its pods at every identity of the node"}},
		{!f.header, Opened{"--metadata-header-required=false", "a server-side request forgery in a pod is enough to get its token"}},
		{f.host, Opened{"--host-token", "root of a node gets the token of a pod there that mounts a volume of the Secrets Store"}},
		{len(f.passThrough) > 0, Opened{"--pass-through=" + strings.Join(f.passThrough, ","), "pods read these families of the node's instance metadata"}},
		{f.remove, Opened{"--remove-redirect-on-exit", "while nmi is down, pods reach every identity of the node"}},
		{f.bridges || f.kubenet, Opened{"--accept-bridged-pods", "behind a bridge, a pod with NET_RAW can take the identity of another"}},
		{f.redirect == "none", Opened{"--redirect=none", "while nmi is down, nothing of podid's keeps pods from the node's metadata service"}},
	} {
		if o.open {
			list = append(list, o.Opened)
		}
	}
	return list
}

// environment is what is known of the variables of a container.
func environment(pod *corev1.Pod, c *corev1.Container) map[string]string {
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
		if f := e.ValueFrom; f != nil && f.FieldRef != nil && f.FieldRef.FieldPath == "metadata.namespace" {
			env[e.Name] = pod.Namespace
		}
	}
	return env
}

// expand replaces $(NAME) in arguments as kubelet does.
func expand(args []string, env map[string]string) []string {
	out := make([]string, 0, len(args))
	for _, a := range args {
		for name, value := range env {
			a = strings.ReplaceAll(a, "$("+name+")", value)
		}
		out = append(out, a)
	}
	return out
}
