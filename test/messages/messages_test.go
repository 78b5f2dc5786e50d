package messages

import (
	"go/ast"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	root = "../.."
	page = root + "/docs/troubleshooting.md"
)

var (
	heading = regexp.MustCompile(`^## (.*)$`)
	row     = regexp.MustCompile("^\\| `([^`]+)` \\|")
	refusal = regexp.MustCompile(`\bfail (?:\(printf )?("(?:[^"\\]|\\.)*")`)
)

// sections are the texts of the first columns of the page, by the heading that
// they are below.
func sections(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	under := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if h := heading.FindStringSubmatch(line); h != nil {
			under = h[1]
		}
		if r := row.FindStringSubmatch(line); r != nil {
			found[under] = append(found[under], strings.ReplaceAll(r[1], `\|`, "|"))
		}
	}
	return found
}

// source reads files of the clone.
func source(t *testing.T, patterns ...string) []*ast.File {
	t.Helper()
	files, err := parsed(root, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// toPods are the texts with which nmi refuses, and those within them.
func toPods(t *testing.T) []string {
	t.Helper()
	edge := source(t, "internal/imds/*.go", "internal/nmi/*.go")
	texts := slices.Concat(
		made(source(t, "internal/imds/*.go", "internal/nmi/*.go", "internal/identity/*.go", "internal/nodeview/*.go")),
		fields(edge, "Description"), returned(edge, 0, "denial"),
	)
	each(edge, func(c *ast.CallExpr) {
		switch types.ExprString(c.Fun) {
		case "Errorf", "imds.Errorf":
			texts = append(texts, said(c.Args[1], c))
		}
	})
	return texts
}

// fromAzure are nmi's words for what Azure answers, and for credentials that it
// would not take.
func fromAzure(t *testing.T) []string {
	t.Helper()
	files := source(t, "internal/entra/*.go")
	return slices.Concat(returned(files, 0, "hintFor"), made(files))
}

// fromMic are what mic says of identities and machines.
func fromMic(t *testing.T) []string {
	t.Helper()
	azure, plan := source(t, "internal/compute/*.go"), source(t, "internal/assign/*.go")
	reports := source(t, "internal/mic/assignment/*.go")
	conditions := source(t, "internal/mic/status/*.go", "internal/mic/spelling/*.go")
	return slices.Concat(
		made(azure), returned(azure, 0, "Advice"), fields(azure, "Reason"),
		made(plan), returned(plan, 1, "attachable"), set(plan, "Why"),
		made(reports), returned(reports, 0, "whyOutside"), returned(reports, 0, "about"), calls(reports, 3, "tell"),
		made(conditions), fields(conditions, "Message"), set(conditions, "Message"), calls(source(t, "internal/mic/spelling/*.go"), 1, "append"),
		made(source(t, "internal/mic/legacy/*.go")),
	)
}

// steps are what `podid explain` finds broken, on its way or in the way.
func steps(t *testing.T) []string {
	t.Helper()
	return calls(source(t, "internal/explain/*.go"), 0, "broken", "waiting", "warning")
}

// findings are what `podid doctor` finds broken, or warns of: what is said where
// it is added, or before in a variable, or as the reason of a change.
func findings(t *testing.T) []string {
	t.Helper()
	files := source(t, "internal/cli/doctor/*.go")
	texts := slices.Concat(calls(files, 1, "changed"), assigned(files, "says"))
	each(files, func(c *ast.CallExpr) {
		if called(c) != "add" || len(c.Args) != 4 {
			return
		}
		state, known := c.Args[1].(*ast.SelectorExpr)
		if !known || state.Sel.Name != "OK" && state.Sel.Name != "Unknown" {
			texts = append(texts, said(c.Args[2], c.Args[2]))
		}
	})
	return texts
}

// refusals are what the chart refuses to render.
func refusals(t *testing.T) (texts []string) {
	t.Helper()
	names, err := filepath.Glob(root + "/charts/podid/templates/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		template, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all := refusal.FindAllStringSubmatch(string(template), -1)
		if n := strings.Count(string(template), "fail "); n != len(all) {
			t.Errorf("%s has %d words fail, of which %d have a text after them", name, n, len(all))
		}
		for _, m := range all {
			texts = append(texts, format(m[1][1:len(m[1])-1]))
		}
	}
	return texts
}

// TestEveryMessageIsExplained holds each table of the page against what the sources
// say: a text that is only in one of them is a fault.
func TestEveryMessageIsExplained(t *testing.T) {
	events := slices.Concat(
		constants(source(t, "internal/nmi/*.go"), "event"),
		constants(source(t, "internal/mic/assignment/*.go"), "reason"),
		constants(source(t, "internal/mic/spelling/*.go"), "reasonNot"),
		calls(source(t, "internal/mic/status/*.go"), 3, "Eventf"),
	)
	conditions := slices.Concat(
		constants(source(t, "api/v1/*.go"), "Reason"),
		constants(source(t, "internal/mic/spelling/*.go"), "reason"),
	)
	pages := sections(t)
	for name, want := range map[string][]string{
		"What a pod is told":      toPods(t),
		"What Azure says":         fromAzure(t),
		"Reasons":                 typed(source(t, "internal/identity/*.go", "internal/nmi/*.go"), "Reason"),
		"Events":                  events,
		"Conditions":              conditions,
		"What mic says":           fromMic(t),
		"What podid explain says": steps(t),
		"What podid doctor says":  findings(t),
		"What Helm refuses":       refusals(t),
	} {
		t.Run(name, func(t *testing.T) {
			want = slices.Compact(slices.Sorted(slices.Values(want)))
			for _, other := range elsewhere[name] {
				if !slices.Contains(want, other) {
					t.Errorf("nobody says, and it is on the list of what is not for the page:\t%s", other)
				}
			}
			want = slices.DeleteFunc(want, func(s string) bool { return s == "" || slices.Contains(elsewhere[name], s) })
			got := slices.Sorted(slices.Values(pages[name]))
			if len(want) == 0 {
				t.Fatal("the sources have no such text: the test looks in the wrong place")
			}
			for _, text := range want {
				if !slices.Contains(got, text) {
					t.Errorf("the page has no row for\t%s", text)
				}
			}
			for i, text := range got {
				if !slices.Contains(want, text) || i > 0 && got[i-1] == text {
					t.Errorf("nobody says, or it is there twice:\t%s", text)
				}
			}
		})
	}
}
