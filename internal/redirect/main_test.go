package redirect_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/podid-io/podid/test/localcluster"
)

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	code, isHelper := helper()
	switch {
	case isHelper:
	case slices.ContainsFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "-test.fuzz") }):
		code = m.Run() // the processes of a fuzzer find each other by open files, which a sandbox does not pass on
	default:
		code = localcluster.Main(m)
	}
	os.Exit(code) //nolint:forbidigo // TestMain is the main of a test
}
