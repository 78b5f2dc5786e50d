package localcluster_test

import (
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/localcluster"
)

func TestMain(m *testing.M) {
	if runHelper() {
		return
	}
	ctrllog.SetLogger(logr.Discard())
	os.Exit(localcluster.Main(m)) //nolint:forbidigo // TestMain is the main of a test
}
