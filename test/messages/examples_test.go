package messages

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/podid-io/podid/test/docs"
)

// objects are the documents of a text, strictly read.
func objects(t *testing.T, text string) (list []map[string]any) {
	t.Helper()
	for d := range strings.SplitSeq("\n"+text, "\n---\n") {
		var o map[string]any
		if err := yaml.UnmarshalStrict([]byte(d), &o); err != nil {
			t.Fatalf("%v:\n%s", err, d)
		}
		list = append(list, o)
	}
	return list
}

// TestExamplesAreInTheirPages holds examples against the pages that show them: the
// same objects, comments apart.
func TestExamplesAreInTheirPages(t *testing.T) {
	pages, err := docs.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	for example, path := range map[string]string{
		"network-policies/allow-podid.yaml": "docs/network-policies.md",
		"cilium/local-redirect.yaml":        "docs/how-to/cilium.md",
		"openshift/scc.yaml":                "docs/how-to/openshift.md",
	} {
		t.Run(example, func(t *testing.T) {
			text, err := os.ReadFile(root + "/examples/" + example)
			if err != nil {
				t.Fatal(err)
			}
			var shown []map[string]any
			for _, p := range pages {
				for _, b := range p.Blocks {
					if p.Path == path && (slices.Equal(b.Words, []string{"yaml"}) || slices.Equal(b.Words, []string{"yaml", "foreign"})) {
						shown = append(shown, objects(t, b.Text)...)
					}
				}
			}
			for _, want := range objects(t, string(text)) {
				if !slices.ContainsFunc(shown, func(got map[string]any) bool { return cmp.Equal(want, got) }) {
					t.Errorf("%s does not show this object of examples/%s: %v", path, example, want)
				}
			}
		})
	}
}

// TestTheBootRuleIsInItsPage holds the rule for node images against docs/security.md.
func TestTheBootRuleIsInItsPage(t *testing.T) {
	rule, err := os.ReadFile(root + "/examples/node-image/podid-boot.nft")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(root + "/docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(rule), "delete table ip podid-boot\n\n")
	if !found || !strings.Contains(string(text), "```text\n"+table+"```\n") {
		t.Errorf("docs/security.md does not show\n%s", table)
	}
}
