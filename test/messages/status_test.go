package messages

import (
	"go/ast"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/podid-io/podid/internal/imds"
)

// kinds are those of imds, by their names in the sources.
var kinds = map[string]imds.Kind{
	"Internal": imds.Internal, "BadRequest": imds.BadRequest, "Denied": imds.Denied, "NotReady": imds.NotReady, "NoSuchPath": imds.NoSuchPath,
	"Forbidden": imds.Forbidden, "MethodNotAllowed": imds.MethodNotAllowed, "Overloaded": imds.Overloaded, "Unavailable": imds.Unavailable,
}

// kindOf is the kind that an expression names.
func kindOf(t *testing.T, e ast.Expr) (imds.Kind, bool) {
	t.Helper()
	name := ""
	switch e := e.(type) {
	case *ast.Ident:
		name = e.Name
	case *ast.SelectorExpr:
		name = e.Sel.Name
	}
	k, known := kinds[name]
	return k, known
}

// statuses are those that nmi sends with its messages.
func statuses(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	add := func(kind, message ast.Expr) {
		if k, known := kindOf(t, kind); known && says(text(message)) {
			all[text(message)] = append(all[text(message)], strconv.Itoa(imds.Status(imds.Errorf(k, ""))))
		}
	}
	files := source(t, "internal/imds/*.go", "internal/nmi/*.go")
	each(files, func(c *ast.CallExpr) {
		if called(c) == "Errorf" && len(c.Args) > 1 {
			add(c.Args[0], c.Args[1])
		}
	})
	each(files, func(l *ast.CompositeLit) {
		var kind, message ast.Expr
		for _, e := range l.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				switch key, _ := kv.Key.(*ast.Ident); {
				case key == nil:
				case key.Name == "Kind":
					kind = kv.Value
				case key.Name == "Description":
					message = kv.Value
				}
			}
		}
		if kind != nil && message != nil {
			add(kind, message)
		}
	})
	return all
}

// TestStatusesAreThoseOfTheSources holds the status beside each message of the page
// against the kind that the sources give it.
func TestStatusesAreThoseOfTheSources(t *testing.T) {
	page, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		if _, twice := told[m[1]]; !twice {
			told[m[1]] = m[2]
		}
	}
	all := statuses(t)
	if len(all) < 40 {
		t.Fatalf("the sources have %d messages: the test looks in the wrong place", len(all))
	}
	number := regexp.MustCompile(`\b[45]\d\d\b`)
	for message, want := range all {
		got := number.FindAllString(told[message], -1)
		slices.Sort(want)
		slices.Sort(got)
		if want = slices.Compact(want); !slices.Equal(want, slices.Compact(got)) {
			t.Errorf("%s: the sources say %s, the page %q", message, strings.Join(want, ", "), told[message])
		}
	}
}
