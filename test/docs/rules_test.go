package docs_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/test/docs"
)

const root = "../.."

// pages are those of this clone.
func pages(t *testing.T) []docs.Page {
	t.Helper()
	pages, err := docs.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

func TestPagesAreAsTheyMustBe(t *testing.T) {
	for _, f := range docs.Faults(root, pages(t)) {
		t.Error(f)
	}
}

func TestFaultsAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"a fence without a word":             {"```\nls\n```\n", []string{`1: a block ""`}},
		"a word that nobody knows":           {"```sh later\nls\n```\n", []string{`1: a block "sh later"`}},
		"a block without an end":             {"\n```sh\nls\n", []string{"2: the block has no end"}},
		"an indented block":                  {"Do:\n\n    kubectl get pods\n", []string{"3: an indented block"}},
		"a list in a list":                   {"- a\n\n    - b\n", nil},
		"a command in text":                  {"```text\nsaid\n  kubectl get pods\n```\n", []string{"3: a command in a block of text"}},
		"a prompt in text":                   {"```text\n$ ls\n```\n", []string{"2: a command in a block of text"}},
		"a prompt in commands":               {"```sh\n$ ls\n```\n", []string{"2: a prompt in front of a command"}},
		"the reader's own":                   {"```sh yours\nREGISTRY=a/b   # where images are\nNAME='a b'\n```\n", nil},
		"a command among the reader's own":   {"```sh yours\nA=$(ls -l)\nls\n```\n", []string{"2: not NAME=value", "3: not NAME=value"}},
		"a status":                           {"```sh status=2\nfalse\n```\n", nil},
		"a status of nothing":                {"```text status=2\nfalse\n```\n", []string{"1: status=2"}},
		"a status that is well":              {"```sh status=0\ntrue\n```\n", []string{"1: status=0"}},
		"values":                             {"```yaml\n# values.yaml\na: b\n```\n", nil},
		"no JSON":                            {"```json\n{\n```\n", []string{"2: no JSON"}},
		"a longer fence, with one within":    {"````text\n```\n````\n", nil},
		"a fence in a list":                  {"- a\n\n  ```text\n  b\n  ```\n", nil},
		"a link to a file that is not there": {"[a](none.md)\n", []string{"1: the link none.md leads to no file"}},
		"a link to a heading of the page":    {"# A `b`, c\n\n[a](#a-b-c)\n", nil},
		"a link to no heading":               {"# A\n\n[a](#b)\n", []string{"3: the link #b leads to no heading"}},
		"a link to a heading of a file":      {"[a](../go.mod#b)\n", []string{"1: the link ../go.mod#b leads to no heading"}},
		"a link out of the repository":       {"[a](../../b)\n[b](https://example.com/#c)\n", []string{"1: the link ../../b leads out"}},
		"a link in code":                     {"`[a](none.md)`\n", nil},
		"the second heading of a name":       {"# A\n# A\n[a](#a-1)\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			first := docs.Parse("README.md", "[page](docs/page.md)\n")
			for _, f := range docs.Faults(root, []docs.Page{first, docs.Parse("docs/page.md", test.text)}) {
				got = append(got, fmt.Sprintf("%d: %s", f.Line, f.What))
			}
			same := slices.EqualFunc(test.want, got, func(want, got string) bool { return strings.HasPrefix(got, want) })
			if !same {
				t.Errorf("Faults (-want +got):\n%s", cmp.Diff(test.want, got))
			}
		})
	}
}

func TestPagesThatNobodyLinksToAreFound(t *testing.T) {
	var got []string
	for _, f := range docs.Faults(root, []docs.Page{
		docs.Parse("README.md", "[a](docs/who.md#who-may-use)\n[b](examples/quickstart)\n[c](https://example.com/docs/roles.md)\n"),
		docs.Parse("docs/who.md", "# Who may use\n"),
		docs.Parse("docs/roles.md", "# A\n\n[itself](roles.md)\n[and so](#a)\n"),
		docs.Parse("examples/quickstart/README.md", ""),
	}) {
		got = append(got, f.String())
	}
	if diff := cmp.Diff([]string{"docs/roles.md:1: no other page links to it"}, got); diff != "" {
		t.Errorf("Faults (-want +got):\n%s", diff)
	}
}
