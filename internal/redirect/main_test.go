package redirect_test

import (
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/localcluster"
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	code, isHelper := helper()
	if !isHelper {
		code = localcluster.Main(m)
	}
	os.Exit(code) //nolint:forbidigo // TestMain is the main of a test
}
