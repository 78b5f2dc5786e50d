package messages

import (
	"go/ast"
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

// unseen are texts in those files that reach no pod: a mark within nmi, and what
// keeps it from starting.
var unseen = []string{"not served", "make a client for secrets: …"}

// toPods are the texts with which nmi refuses, and those within them.
func toPods(t *testing.T) []string {
	t.Helper()
	edge := source(t, "internal/imds/*.go", "internal/nmi/*.go")
	within := source(t, "internal/nmi/request.go", "internal/nmi/credential.go", "internal/identity/application.go", "internal/nodeview/view.go", "internal/nodeview/secrets.go")
	texts := slices.Concat(
		calls(source(t, "internal/imds/*.go"), 1, "Errorf"), fields(edge, "Description"), returned(edge, "denial"),
		slices.DeleteFunc(calls(within, 0, "Errorf", "New"), func(s string) bool { return slices.Contains(unseen, s) }),
	)
	each(source(t, "internal/nmi/*.go"), func(c *ast.CallExpr) {
		if s, ok := c.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Errorf" && len(c.Args) > 1 {
			if of, ok := s.X.(*ast.Ident); ok && of.Name == "imds" {
				texts = append(texts, text(c.Args[1]))
			}
		}
	})
	return texts
}

// fromAzure are nmi's words for what Azure answers, and for credentials that it
// would not take.
func fromAzure(t *testing.T) []string {
	t.Helper()
	certificate := source(t, "internal/entra/certificate.go")
	return slices.Concat(
		returned(source(t, "internal/entra/refusal.go"), "hintFor"), calls(certificate, 0, "Errorf", "New"),
		calls(source(t, "internal/entra/refusal.go"), 0, "Errorf"),
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
			texts = append(texts, text(c.Args[2]))
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
		for _, m := range refusal.FindAllStringSubmatch(string(template), -1) {
			texts = append(texts, format(m[1][1:len(m[1])-1]))
		}
	}
	return texts
}

// TestEveryMessageIsExplained holds each table of the page against what the sources
// say: a text that is only in one of them is a fault.
func TestEveryMessageIsExplained(t *testing.T) {
	events := slices.Concat(
		constants(source(t, "internal/nmi/tell.go"), "event"),
		constants(source(t, "internal/mic/assignment/report.go"), "reason"),
		constants(source(t, "internal/mic/spelling/spelling.go"), "reasonNot"),
		calls(source(t, "internal/mic/status/*.go"), 3, "Eventf"),
	)
	conditions := slices.Concat(
		constants(source(t, "api/v1/*.go"), "Reason"),
		constants(source(t, "internal/mic/spelling/spelling.go"), "reason"),
	)
	pages := sections(t)
	for name, want := range map[string][]string{
		"What a pod is told": toPods(t),
		"What Azure says":    fromAzure(t),
		"Reasons":            slices.Concat(typed(source(t, "internal/identity/select.go", "internal/nmi/metrics.go"), "Reason")),
		"Events":             events,
		"What mic says": slices.Concat(
			returned(source(t, "internal/compute/error.go"), "Advice"),
			calls(source(t, "internal/assign/scope.go"), 0, "Errorf", "New"),
			calls(source(t, "internal/mic/legacy/legacy.go"), 0, "Errorf"),
		),
		"Conditions":              conditions,
		"What podid explain says": steps(t),
		"What podid doctor says":  findings(t),
		"What Helm refuses":       refusals(t),
	} {
		t.Run(name, func(t *testing.T) {
			want = slices.DeleteFunc(want, func(s string) bool { return !says(s) })
			slices.Sort(want)
			want = slices.Compact(want)
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
