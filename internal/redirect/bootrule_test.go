package redirect_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/test/localcluster"
)

// nodeImage holds what docs/security.md has people put into their images.
const nodeImage = "../../examples/node-image/"

// onNode runs a program on the node.
func onNode(t *testing.T, n *localcluster.Node, name string, args ...string) {
	t.Helper()
	if out, err := n.Command(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s (install the package nftables)", name, args, err, out)
	}
}

// fromNode says who answers a connection that the node itself makes.
func fromNode(t *testing.T, n *localcluster.Node, addr string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), answer)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = c.Close() }()
	b, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	word, _, _ := strings.Cut(string(b), ",")
	return word
}

// TestBootRule loads the rule that node images may have, with the command of its
// unit, on a node that nmi comes to late.
func TestBootRule(t *testing.T) {
	const metadata, imds = "169.254.169.254:80", "the metadata service of the node"
	n := newNetwork(t)
	unit, err := os.ReadFile(nodeImage + "podid-boot.service")
	if err != nil {
		t.Fatal(err)
	}
	start := regexp.MustCompile(`(?m)^ExecStart=(\S+) -f /etc/podid/(\S+)$`).FindSubmatch(unit)
	if start == nil {
		t.Fatal("podid-boot.service starts something else than nft with one file of /etc/podid")
	}
	load := func() { onNode(t, n.node, string(start[1]), "-f", nodeImage+string(start[2])) }
	want := func(t *testing.T, pod string) {
		t.Helper()
		limit := time.Second
		if pod != "nobody" {
			limit = answer
		}
		if got := reachWithin(t, n.a, metadata, limit); got != pod {
			t.Errorf("the pod reaches %q, want %q", got, pod)
		}
		if got := fromNode(t, n.node, metadata); got != imds {
			t.Errorf("the node itself reaches %q, want %q", got, imds)
		}
	}
	want(t, imds)
	load()
	t.Run("before nmi, pods reach nobody", func(t *testing.T) { want(t, "nobody") })
	load()
	t.Run("it can be loaded again", func(t *testing.T) { want(t, "nobody") })

	r, err := redirect.New(redirect.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.node.Do(r.EnsureAddress); err != nil {
		t.Fatal(err)
	}
	serve(t, redirect.DefaultListen, "nmi", n.node.Do)
	if err := n.node.Do(r.Ensure); err != nil {
		t.Fatal(err)
	}
	t.Run("with nmi, pods reach it", func(t *testing.T) { want(t, "nmi") })
	if err := n.node.Do(r.Remove); err != nil {
		t.Fatal(err)
	}
	t.Run("without nmi's redirect, pods reach nobody again", func(t *testing.T) { want(t, "nobody") })
}
