package chart_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestMetricsAreDocumented finds metrics in alerts and dashboard that are not, or
// not any more, in docs/metrics.md.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(root + "/docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, match := range regexp.MustCompile("(?m)^\\| (`[a-z_`, ]+`) \\|").FindAllStringSubmatch(string(text), -1) {
		for name := range strings.SplitSeq(match[1], ",") {
			documented = append(documented, strings.Trim(name, "` "))
		}
	}
	metric := regexp.MustCompile(`\b(podid_[a-z_]+|leader_election_[a-z_]+|workqueue_[a-z_]+|controller_runtime_[a-z_]+|rest_client_[a-z_]+)`)
	for _, file := range []string{"files/alerts.yaml", "files/dashboard.json"} {
		text, err := os.ReadFile(chart + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := metric.FindAllString(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s has no metric", file)
		}
		for _, name := range found {
			base := name
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				base = strings.TrimSuffix(base, suffix)
			}
			if !slices.Contains(documented, name) && !slices.Contains(documented, base) {
				t.Errorf("%s: docs/metrics.md does not know %s", file, name)
			}
		}
	}
}
