package chart_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/cleanup"
)

// TestAnUninstallThatWasGivenUpLeavesNothing has nmi's DaemonSet turned into what
// takes the redirect away, gives up, and goes back.
func TestAnUninstallThatWasGivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	c := apiServer(t)
	if err := appsv1.AddToScheme(c.client.Scheme()); err != nil {
		t.Fatal(err)
	}
	const values = "operationMode=managed" // no mic, whose Job no node runs here
	c.on(t, "install", "podid", chart, "-n", "podid-system", "--create-namespace", "--set", values)
	want := c.agent(t)
	back := map[string][]string{
		"by an upgrade":  {"upgrade", "podid", chart, "-n", "podid-system", "--set", values},
		"by a roll-back": {"rollback", "podid", "1", "-n", "podid-system"},
	}
	for name, args := range back {
		t.Run(name, func(t *testing.T) {
			c.turn(t)
			if got := c.agent(t).Spec.Template.Spec.Containers[0].Args; got[0] != "uninstall-redirect" {
				t.Fatalf("nmi still runs with %q", got)
			}
			c.on(t, args...)
			if diff := cmp.Diff(want.Spec, c.agent(t).Spec); diff != "" {
				t.Errorf("DaemonSet (-installed +after):\n%s", diff)
			}
		})
	}
	t.Run("and a roll-back takes up a release that Helm failed to uninstall", func(t *testing.T) {
		args := []string{"podid", "-n", "podid-system", "--kubeconfig", c.Kubeconfig()}
		if _, err := helmAt(t, c.home, append([]string{"uninstall", "--timeout=1s"}, args...)...); err == nil {
			t.Fatal("the hook ended, and no node runs it")
		}
		if _, err := helmAt(t, c.home, append([]string{"upgrade", "podid", chart}, args[1:]...)...); err == nil {
			t.Error("an upgrade does what docs/install.md says it does not")
		}
		if err := c.client.Delete(t.Context(), c.agent(t)); err != nil { // which goes back too
			t.Fatal(err)
		}
		c.on(t, "rollback", "podid", "1", "-n", "podid-system")
		if diff := cmp.Diff(want.Spec, c.agent(t).Spec); diff != "" {
			t.Errorf("DaemonSet (-installed +after):\n%s", diff)
		}
		if status := c.on(t, "status", "podid", "-n", "podid-system"); !strings.Contains(status, "STATUS: deployed") {
			t.Errorf("status:\n%s", status)
		}
		c.on(t, "uninstall", "podid", "-n", "podid-system", "--no-hooks")
	})
}

// agent is nmi's DaemonSet.
func (c cluster) agent(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	var d appsv1.DaemonSet
	if err := c.client.Get(t.Context(), client.ObjectKey{Namespace: "podid-system", Name: "podid-nmi"}, &d); err != nil {
		t.Fatal(err)
	}
	return &d
}

// turn runs podid cleanup until it has changed the DaemonSet: no node is here to
// follow.
func (c cluster) turn(t *testing.T) {
	t.Helper()
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	before := c.agent(t).Generation
	events, err := c.client.Watch(ctx, &appsv1.DaemonSetList{}, client.InNamespace("podid-system"))
	if err != nil {
		t.Fatal(err)
	}
	defer events.Stop()
	var out bytes.Buffer
	ended := make(chan error, 1)
	go func() { // ends with ctx
		command := cleanup.New() //nolint:contextcheck // it is executed with one
		command.SilenceErrors, command.SilenceUsage = true, true
		command.SetArgs([]string{"--kubeconfig", c.Kubeconfig(), "-n", "podid-system", "--yes"})
		command.SetOut(&out)
		command.SetErr(&out)
		ended <- command.ExecuteContext(ctx)
	}()
	for {
		select {
		case event := <-events.ResultChan():
			if d, ok := event.Object.(*appsv1.DaemonSet); !ok || d.Generation == before {
				continue
			}
			giveUp()
			if err := <-ended; err == nil {
				t.Error("podid cleanup ended well, and nothing had followed")
			}
			return
		case err := <-ended:
			t.Fatalf("podid cleanup has ended: %v\n%s", err, out.String())
		}
	}
}

// TestTheHook is there where it can do something.
func TestTheHook(t *testing.T) {
	for set, want := range map[string]bool{"": true, "uninstall.hook=false": false, "rbac.enabled=false": false} {
		found := slices.ContainsFunc(rendered(t, "--set", set), func(o *unstructured.Unstructured) bool {
			return o.GetName() == "podid-cleanup"
		})
		if found != want {
			t.Errorf("%q: the hook is there: %t, want %t", set, found, want)
		}
	}
}
