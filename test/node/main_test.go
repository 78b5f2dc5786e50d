// Package node holds the test on a node where containers run: the chart
// installed by Helm, mic and nmi as pods, and clients in containers.
package node_test

import (
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/localcluster"
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(localcluster.MachineMain(m, prepare)) //nolint:forbidigo // TestMain is the main of a test
}
