package controller_test

import (
	"os"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2" //nolint:depguard // to quiet it
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/localcluster"
)

// planes are API servers that nobody uses at the moment. A world has one to itself.
var planes = make(chan *localcluster.ControlPlane, parallel)

// parallel is how many worlds live at a time: most of what one does is to wait.
const parallel = 4

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	code := localcluster.WithControlPlanes(parallel, "../../config/crd", func(started []*localcluster.ControlPlane) int {
		for _, plane := range started {
			planes <- plane
		}
		return m.Run()
	})
	os.Exit(code) //nolint:forbidigo // TestMain is the main of a test
}
