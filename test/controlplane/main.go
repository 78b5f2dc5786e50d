// Command controlplane is etcd and kube-apiserver in one binary.
//
// The first argument (or the name the binary is called by) picks the program,
// the rest are its ordinary flags:
//
//	controlplane etcd --data-dir ...
//	controlplane kube-apiserver --etcd-servers ...
//
// The local cluster of the tests and the demo runs it as a program. It lives in
// a module of its own so that k8s.io/kubernetes never enters podid's own
// dependency graph.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client metrics of kube-apiserver
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version metric
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	args := slices.Clone(os.Args)
	args[0] = filepath.Base(args[0])
	if len(args) > 1 && (args[1] == "etcd" || args[1] == "kube-apiserver") {
		args = args[1:]
	}
	os.Args = args // both programs read their flags from here
	switch args[0] {
	case "etcd":
		etcdmain.Main(args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	default:
		fmt.Fprintln(os.Stderr, "usage: controlplane etcd|kube-apiserver [flags]")
		os.Exit(2)
	}
}
