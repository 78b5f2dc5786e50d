package chart_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asked is a metric that an alert or a panel of the dashboard asks for, and by
// which labels.
type asked struct {
	By     string   `json:"by"`
	Metric string   `json:"metric"`
	Labels []string `json:"labels"`
}

// prometheus has Prometheus, its operator and Grafana look at manifests, as far as
// test/prometheus knows them; err is what they complain of.
func prometheus(t *testing.T, manifest string) (list []asked, err error) {
	t.Helper()
	program, err := prometheusPath()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Stdin = strings.NewReader(manifest)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, &complaint{stderr.String()}
	}
	return list, json.Unmarshal(out, &list)
}

// complaint is what somebody says of a manifest.
type complaint struct{ text string }

func (c *complaint) Error() string { return c.text }

// measured are the metrics that nmi and mic have, with their labels: those of
// docs/reference/metrics.md, which is made from their registries.
func measured(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(root + "/docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	word := regexp.MustCompile("`([a-z_]+)`")
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+)[^|]* \\| ([^|]*) \\|").FindAllStringSubmatch(string(text), -1) {
		labels := []string{"instance"} // Prometheus's own
		for _, label := range word.FindAllStringSubmatch(row[3], -1) {
			labels = append(labels, label[1])
		}
		found[row[1]] = labels
		if row[2] == "histogram" {
			delete(found, row[1])
			found[row[1]+"_count"], found[row[1]+"_sum"], found[row[1]+"_bucket"] = labels, labels, append(slices.Clone(labels), "le")
		}
	}
	return found
}

// TestPrometheusTakesWhatIsRendered has each monitor, alert and query looked at by
// those whom they are for, and finds metrics and labels that there are not.
func TestPrometheusTakesWhatIsRendered(t *testing.T) {
	t.Parallel()
	const everything = "metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true,"
	known := measured(t)
	for name, set := range map[string]string{
		"with ServiceMonitors": everything + "metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=prometheus",
		"with PodMonitors":     everything + "metrics.podMonitor.enabled=true,metrics.podMonitor.interval=1m",
		"in managed mode":      everything + "metrics.podMonitor.enabled=true,operationMode=managed",
		"without a redirect":   everything + "metrics.serviceMonitor.enabled=true,nmi.redirect=none,mic.leaderElection.name=other",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			manifest, err := render(t, "--set", set)
			if err != nil {
				t.Fatal(err)
			}
			list, err := prometheus(t, manifest)
			if err != nil {
				t.Fatal(err)
			}
			if len(list) < 20 {
				t.Errorf("%d metrics are asked for: some alerts or panels have not been read", len(list))
			}
			complain(t, known, list)
		})
	}
}

// TestThePageOfPrometheus reads the queries of docs/how-to/prometheus.md, and
// compares its table of alerts with those that there are.
func TestThePageOfPrometheus(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/docs/how-to/prometheus.md")
	if err != nil {
		t.Fatal(err)
	}
	known, queries := measured(t), 0
	for _, block := range regexp.MustCompile("(?s)\n```text\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(block[1], "podid_") {
			continue
		}
		queries++
		board, err := json.Marshal(map[string]any{"panels": []any{map[string]any{"title": "page", "targets": []any{map[string]string{"expr": block[1]}}}}})
		if err != nil {
			t.Fatal(err)
		}
		document, err := json.Marshal(map[string]any{"kind": "ConfigMap", "data": map[string]string{"page.json": string(board)}})
		if err != nil {
			t.Fatal(err)
		}
		list, err := prometheus(t, string(document))
		if err != nil {
			t.Error(err)
		}
		complain(t, known, list)
	}
	if queries == 0 {
		t.Error("the page has no queries")
	}
	var told []string
	for _, row := range regexp.MustCompile("(?m)^\\| `(Podid[A-Za-z]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		told = append(told, row[1])
	}
	slices.Sort(told)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(alerts(t, ""))), told); diff != "" {
		t.Errorf("alerts (-chart +docs/how-to/prometheus.md):\n%s", diff)
	}
}

// complain finds metrics, and labels of them, that there are not.
func complain(t *testing.T, known map[string][]string, list []asked) {
	t.Helper()
	for _, a := range list {
		labels, ok := known[a.Metric]
		if !ok {
			t.Errorf("%s asks for %s, which neither nmi nor mic has", a.By, a.Metric)
		}
		for _, label := range a.Labels {
			if ok && !slices.Contains(labels, label) {
				t.Errorf("%s asks for %s of %s, which has %v", a.By, label, a.Metric, labels)
			}
		}
	}
}

// TestPrometheusFindsWhatIsWrong sees that the look is a close one.
func TestPrometheusFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	rule := func(expr, summary string) string {
		return "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: a}\nspec:\n  groups:\n  - name: g\n    rules:\n" +
			"    - {alert: A, expr: '" + expr + "', annotations: {summary: '" + summary + "'}}\n"
	}
	for name, tc := range map[string]struct{ manifest, want string }{
		"a field that a ServiceMonitor has not": {"kind: ServiceMonitor\nmetadata: {name: a}\nspec: {selector: {}, endpoint: []}", `unknown field "endpoint"`},
		"a field that a PodMonitor has not":     {"kind: PodMonitor\nmetadata: {name: a}\nspec: {selector: {}, podMetricsEndpoints: [{ports: a}]}", `unknown field "ports"`},
		"a query that is none":                  {rule("sum by (le", "a"), "could not parse expression"},
		"a function that there is not":          {rule("rated(podid_denials_total[5m])", "a"), "unknown function"},
		"a template that is none":               {rule("podid_cached_tokens", "{{ $labels.instance"), "summary"},
		"a variable that there is not":          {rule("podid_cached_tokens", "{{ $label.instance }}"), "$label"},
		"a query of a panel that is none":       {"kind: ConfigMap\nmetadata: {name: a}\ndata: {a.json: '{\"panels\":[{\"title\":\"Panel\",\"targets\":[{\"expr\":\"sum(\"}]}]}'}", "Panel: sum("},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := prometheus(t, tc.manifest); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %s", err, tc.want)
			}
		})
	}
	list, err := prometheus(t, rule(`sum by (outcome) (rate(podid_token_request_duration_seconds_count{door="pod"}[5m]))`, "{{ $value }}"))
	want := []asked{{By: "A", Metric: "podid_token_request_duration_seconds_count", Labels: []string{"door", "outcome"}}}
	if diff := cmp.Diff(want, list); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
