// Command node is kube-controller-manager, kube-scheduler and kubelet in one
// binary: what a control plane needs beside etcd and kube-apiserver to run
// containers.
//
// The first argument (or the name the binary is called by) picks the program,
// the rest are its ordinary flags:
//
//	node kube-scheduler --kubeconfig ...
//	node kubelet --config ...
//
// It is a program apart from the control plane, since only the tests on a node
// with containers want it, and it takes minutes to compile.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // the logging format json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics of all three
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version metric
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	args := slices.Clone(os.Args)
	args[0] = filepath.Base(args[0])
	if command(args[0]) == nil && len(args) > 1 {
		args = args[1:]
	}
	c := command(args[0])
	if c == nil {
		fmt.Fprintln(os.Stderr, "usage: node kube-controller-manager|kube-scheduler|kubelet [flags]")
		os.Exit(2)
	}
	os.Args = args // the programs read their flags from here
	os.Exit(cli.Run(c()))
}

// command makes the command of a program; nil for an unknown name.
func command(name string) func() *cobra.Command {
	switch name {
	case "kube-controller-manager":
		return controllers.NewControllerManagerCommand
	case "kube-scheduler":
		return func() *cobra.Command { return scheduler.NewSchedulerCommand() }
	case "kubelet":
		return func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }
	}
	return nil
}
