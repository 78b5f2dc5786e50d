// Command build compiles the control plane of the local cluster into the cache,
// so that a run of the tests does not start with minutes of silence.
//
//	build             what every test with an API server needs
//	build kubectl     kubectl as well, for the tests of the documentation
//	build node        kubelet, scheduler and controller manager as well, for `make e2e`
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/podid-io/podid/test/localcluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	_, err := localcluster.Build(ctx, os.Stderr)
	for _, more := range os.Args[1:] {
		if err == nil && more == "kubectl" {
			_, err = localcluster.BuildKubectl(ctx, os.Stderr)
		}
		if err == nil && more == "node" {
			_, err = localcluster.BuildNode(ctx, os.Stderr)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1) //nolint:gocritic // the deferred stop only lets go of signals
	}
}
