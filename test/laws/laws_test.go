// Package laws holds podid's three laws of imports, as tests over the build's
// own list of dependencies. designs/0001-walls.md has the reasons.
package laws_test

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/podid-io/podid"

// list runs go list and returns the lines of its answer.
func list(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", strings.Join(args, " "), err)
	}
	return strings.Fields(string(out))
}

// under reports whether pkg is root or lies under it.
func under(pkg, root string) bool {
	return pkg == root || strings.HasPrefix(pkg, root+"/")
}

func TestPureRoomsImportNoClientLibrary(t *testing.T) {
	forbidden := map[string]string{
		"k8s.io/client-go":                    "a pure room does not talk to the API server",
		"sigs.k8s.io/controller-runtime":      "a pure room does not talk to the API server",
		"github.com/Azure":                    "a pure room does not talk to Azure",
		"github.com/vishvananda/netlink":      "a pure room does not talk to the kernel",
		"github.com/google/nftables":          "a pure room does not talk to the kernel",
		"github.com/AzureAD":                  "a pure room does not talk to Entra ID",
		"k8s.io/apiextensions-apiserver":      "a pure room needs the types of the API alone",
		"github.com/prometheus/client_golang": "a pure room counts nothing",
	}
	for _, room := range []string{"identity", "assign", "imds", "token"} {
		for _, dep := range list(t, "-deps", module+"/internal/"+room+"/...") {
			for root, why := range forbidden {
				if under(dep, root) {
					t.Errorf("internal/%s depends on %s: %s", room, dep, why)
				}
			}
		}
	}
}

func TestRoomsWithHandsNeverMeet(t *testing.T) {
	rooms := []string{"entra", "compute", "redirect", "nodeview"}
	for _, room := range rooms {
		for _, dep := range list(t, "-deps", module+"/internal/"+room+"/...") {
			for _, other := range rooms {
				if other != room && under(dep, module+"/internal/"+other) {
					t.Errorf("internal/%s depends on internal/%s: they meet in cmd/ only", room, other)
				}
			}
		}
	}
}

func TestTheEmulatorStaysOutOfTheProduct(t *testing.T) {
	// Imports outside of tests: cmd/azemu, the demo and what stands under test/.
	allowed := []string{module + "/cmd/azemu", module + "/internal/azemu", module + "/internal/cli/demo", module + "/test"}
	for _, line := range list(t, "-f", "{{.ImportPath}}={{join .Imports \",\"}}", "./...") {
		pkg, imports, _ := strings.Cut(line, "=")
		if slices.ContainsFunc(allowed, func(root string) bool { return under(pkg, root) }) {
			continue
		}
		if slices.Contains(strings.Split(imports, ","), module+"/internal/azemu") {
			t.Errorf("%s imports internal/azemu: it is for tests, cmd/azemu and the demo", pkg)
		}
	}
	for _, binary := range []string{"mic", "nmi"} {
		for _, dep := range list(t, "-deps", module+"/cmd/"+binary) {
			if under(dep, module+"/internal/azemu") || under(dep, module+"/test") || under(dep, "k8s.io/kubernetes") {
				t.Errorf("cmd/%s depends on %s", binary, path.Base(dep))
			}
		}
	}
}
