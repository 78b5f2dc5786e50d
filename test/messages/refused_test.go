package messages

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// byAPIServer are what the API server says of podid's objects, by the definitions of
// the kinds and the policies: each message of them, and what an expression makes.
func byAPIServer(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(root + "/config/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for key, e := range v {
				s, is := e.(string)
				switch {
				case is && (key == "message" || key == "deprecationWarning"):
					found[oneLine(s)] = true
				case is && key == "messageExpression":
					found[evaluated(s)] = true
				default:
					walk(e)
				}
			}
		}
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects(t, string(text)) {
			walk(o)
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// evaluated is what an expression of CEL says that joins texts, with an ellipsis for
// what is different each time.
func evaluated(expression string) string {
	parts := strings.Split(expression, "'")
	for i := 0; i < len(parts); i += 2 { // between texts
		if parts[i] = strings.Trim(parts[i], " \n+"); parts[i] != "" {
			parts[i] = open
		}
	}
	return oneLine(strings.Join(parts, ""))
}

// TestEveryRefusalOfTheAPIServerIsExplained holds what the API server says against
// the rows of the page, each of which may stand for several messages: every one has
// a row, and every row one at least.
func TestEveryRefusalOfTheAPIServerIsExplained(t *testing.T) {
	rows := sections(t)["What the API server refuses"]
	said := byAPIServer(t)
	if len(said) < 40 {
		t.Fatalf("the API server says %d things: the test looks in the wrong place", len(said))
	}
	of := map[string][]string{}
	for _, row := range rows {
		like := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(row), open, ".+") + "$")
		for _, s := range said {
			if like.MatchString(s) {
				of[s] = append(of[s], row)
			}
		}
		if !slices.ContainsFunc(said, like.MatchString) {
			t.Errorf("nobody says\t%s", row)
		}
	}
	for _, s := range said {
		if len(of[s]) != 1 {
			t.Errorf("%d rows are for\t%s: %q", len(of[s]), s, of[s])
		}
	}
}
