package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/podid-io/podid/build/reference/command"
)

const root = "../.."

// TestPagesAreOfToday makes the pages again that need no programs; make check does
// so with all.
func TestPagesAreOfToday(t *testing.T) {
	for name, write := range map[string]func(context.Context, string) (*page, error){
		"values.md": valuesPage, "metrics.md": metricsPage, "crds.md": crdsPage,
	} {
		t.Run(name, func(t *testing.T) {
			p, err := write(t.Context(), root)
			if err != nil {
				t.Fatal(err)
			}
			was, err := os.ReadFile(filepath.Join(root, "docs/reference", name))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(was), p.text.String()); diff != "" {
				t.Errorf("run make generate (-docs/reference/%s +now):\n%s", name, diff)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	var text string
	program := &cobra.Command{Use: "agent", Short: "Do it", Run: func(*cobra.Command, []string) {}}
	f := program.Flags()
	f.StringVar(&text, "zone", "", "where (default that of the `MACHINE`'s)")
	f.StringSlice("also", []string{"b", "a"}, "more")
	f.StringToString("at", nil, "places")
	f.Duration("wait", 0, "how long")
	f.String("secret", "", "hidden")
	f.String("place", "", "")
	for name, err := range map[string]error{
		"hide": f.MarkHidden("secret"), "deprecate": f.MarkDeprecated("place", "use --zone or --also"),
	} {
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	sub := &cobra.Command{Use: "ask NAME", Short: "Ask", Run: func(*cobra.Command, []string) {}}
	sub.Flags().BoolP("quiet", "q", true, "say nothing")
	program.AddCommand(sub, &cobra.Command{Use: "inner", Hidden: true, Run: func(*cobra.Command, []string) {}})
	want := []command.Command{
		{
			Name: "agent", Usage: "agent", Short: "Do it",
			Flags: []command.Flag{
				{Name: "also", Type: "list", Default: "b,a", Text: "more"},
				{Name: "at", Type: "NAME=VALUE", Text: "places"},
				{Name: "wait", Type: "duration", Default: "0s", Text: "how long"},
				{Name: "zone", Type: "MACHINE", Default: "that of the MACHINE's", Text: "where"},
			},
			Old: []command.Flag{{Name: "place", Text: "use --zone or --also"}},
		},
		{Name: "agent ask", Usage: "agent ask NAME", Short: "Ask", Flags: []command.Flag{{Name: "quiet", Short: "q", Type: "bool", Default: "true", Text: "say nothing"}}},
	}
	got := command.Of(program)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Of() (-want +got):\n%s", diff)
	}
	former := map[string][]string{"zone": {"`--place`"}, "also": {"`--place`"}}
	if diff := cmp.Diff(former, formerNames(got[0].Old)); diff != "" {
		t.Errorf("formerNames() (-want +got):\n%s", diff)
	}
}

func TestDurations(t *testing.T) {
	for in, want := range map[string]string{"0s": "0", "5s": "5s", "5m0s": "5m", "10m0s": "10m", "1h0m0s": "1h", "1h30m0s": "1h30m", "16m40s": "16m40s"} {
		if got := duration(in); got != want {
			t.Errorf("duration(%s) = %s, want %s", in, got, want)
		}
	}
}

// TestTables sees that what a text says stays text.
func TestTables(t *testing.T) {
	p := newPage("Page")
	p.table([]string{"a", "b", "c"}, [][]string{{code("x|y"), "", plain("<b> *not*,\n see docs/who.md")}})
	want := "| a | c |\n| --- | --- |\n| `x\\|y` | &lt;b> \\*not\\*, see [docs/who.md](../who.md) |\n"
	if _, got, _ := strings.Cut(p.text.String(), "# Page\n\n"); got != want {
		t.Errorf("table:\n%s\nwant\n%s", got, want)
	}
}

// TestOrigins sees where values are said to come from.
func TestOrigins(t *testing.T) {
	got, err := origins("# a comment\nkept\nold new\nolder new\nboth other\nother\n")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"kept": "the same", "old": "the same, now `new`", "older": "the same, now `new`", "new": "`old`, `older`",
		"both": "the same, now `other`", "other": "the same",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("origins() (-want +got):\n%s", diff)
	}
}
