package command

import (
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	v1 "github.com/podid-io/podid/api/v1"
)

// completer is how cobra asks for words.
type completer = func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective)

// CompletePods offers pods for the one argument of a command.
func (o *Options) CompletePods(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return one(func() []string { return o.Cluster.Names(c.Context(), &corev1.PodList{}, "pod/") })(c, args, word)
}

// CompleteIdentities offers AzureIdentities for the one argument of a command.
func (o *Options) CompleteIdentities(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return one(func() []string { return o.Cluster.Names(c.Context(), &v1.AzureIdentityList{}, "") })(c, args, word)
}

// one offers words for the first argument, and none for others.
func one(words func() []string) completer {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words(), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlags offers namespaces and contexts for the flags that take them.
func (o *Options) completeFlags(c *cobra.Command) {
	namespaces := func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return o.Cluster.Names(c.Context(), &corev1.NamespaceList{}, ""), cobra.ShellCompDirectiveNoFileComp
	}
	contexts := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return o.Cluster.Contexts(), cobra.ShellCompDirectiveNoFileComp
	}
	for flag, words := range map[string]completer{"namespace": namespaces, "podid-namespace": namespaces, "context": contexts} {
		_ = c.RegisterFlagCompletionFunc(flag, words) // the flag is there
	}
}
