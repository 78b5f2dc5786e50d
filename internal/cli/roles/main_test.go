package roles_test

import (
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/localcluster"
)

// plane is the API server that the tests of this package share.
var plane *localcluster.ControlPlane

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	os.Exit(localcluster.WithControlPlane(&plane, "../../../config/crd", m.Run)) //nolint:forbidigo // TestMain is the main of a test
}
