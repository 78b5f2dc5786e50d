// Package node holds the test on a node where containers run: the chart
// installed by Helm, mic and nmi as pods, and clients in containers.
package node_test

import (
	"flag"
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/localcluster"
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(localcluster.MachineMain(limited{m}, prepare)) //nolint:forbidigo // TestMain is the main of a test
}

// longest is how long the tests may take. What comes before, compiling and waiting
// for others that run machines, takes as long as it takes: `make e2e` gives the go
// command no limit.
const longest = "30m"

// limited is a run of the tests that has a limit of its own where the go command
// has none.
type limited struct{ *testing.M }

// Run runs the tests.
func (l limited) Run() int {
	flag.Parse()
	if f := flag.Lookup("test.timeout"); f.Value.String() == "0s" {
		if err := f.Value.Set(longest); err != nil {
			panic(err) // it is no duration
		}
	}
	return l.M.Run()
}
