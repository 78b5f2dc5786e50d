package controller_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

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
	code, err := withControlPlanes(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // TestMain is the main of a test
}

func withControlPlanes(run func() int) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "podid-controller-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a folder of ours
	for i := range parallel {
		plane, err := localcluster.StartControlPlane(ctx, localcluster.ControlPlaneConfig{Dir: filepath.Join(dir, strconv.Itoa(i)), Progress: os.Stderr})
		if err != nil {
			return 0, err
		}
		defer plane.Stop()
		if err := plane.InstallCRDs(ctx, "../../config/crd"); err != nil {
			return 0, err
		}
		planes <- plane
	}
	return run(), nil
}
