package cleanup_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/localcluster"
)

// plane is the API server that the tests of this package share.
var plane *localcluster.ControlPlane

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	code, err := withControlPlane(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code) //nolint:forbidigo // TestMain is the main of a test
}

func withControlPlane(run func() int) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "podid-cleanup-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if plane, err = localcluster.StartControlPlane(ctx, localcluster.ControlPlaneConfig{Dir: dir, Progress: os.Stderr}); err != nil {
		return 0, err
	}
	defer plane.Stop()
	return run(), nil
}
