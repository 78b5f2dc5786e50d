package chart_test

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// alerts are the expressions of the alerts, by name.
func alerts(t *testing.T, set string) map[string]string {
	t.Helper()
	rule := find(t, rendered(t, "--set", "metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true,"+set), "PrometheusRule", "podid")
	groups, _, err := unstructured.NestedSlice(rule.Object, "spec", "groups")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, g := range groups {
		group, _ := g.(map[string]any)
		rules, _ := group["rules"].([]any)
		for _, r := range rules {
			one, _ := r.(map[string]any)
			name, _ := one["alert"].(string)
			found[name], _ = one["expr"].(string)
		}
	}
	return found
}

func TestAlertsHearSilence(t *testing.T) {
	tests := map[string]struct {
		set  string
		want map[string]string // empty: none
	}{
		"of mic and nmi": {"", map[string]string{
			"PodidNobodyLeads": `(sum(leader_election_master_status{name="podid-mic"}) or vector(0)) == 0`,
			"PodidNoAgents":    "absent(podid_view_age_seconds)", "PodidRedirectDown": "podid_redirect_up == 0",
		}},
		"of a mic by another name": {"mic.leaderElection.name=other", map[string]string{
			"PodidNobodyLeads": `(sum(leader_election_master_status{name="other"}) or vector(0)) == 0`,
		}},
		"not of a mic that is not there":        {"operationMode=managed", map[string]string{"PodidNobodyLeads": "", "PodidNoAgents": "absent(podid_view_age_seconds)"}},
		"not of a redirect that is not podid's": {"nmi.redirect=none", map[string]string{"PodidNoAgents": "absent(podid_view_age_seconds)", "PodidRedirectDown": "", "PodidCanaryDown": "", "PodidViewStale": "podid_view_age_seconds > 300"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := alerts(t, tc.set)
			for alert, want := range tc.want {
				if got[alert] != want {
					t.Errorf("%s asks %q, want %q", alert, got[alert], want)
				}
			}
		})
	}
}

func TestTheDashboardAsksForTheLeaseThatThereIs(t *testing.T) {
	board := find(t, rendered(t, "--set", "metrics.dashboard.enabled=true,mic.leaderElection.name=other"), "ConfigMap", "podid-dashboard")
	text, _, err := unstructured.NestedString(board.Object, "data", "podid.json")
	if err != nil || !json.Valid([]byte(text)) || !strings.Contains(text, `name=\"other\"`) || strings.Contains(text, `name=\"podid-mic\"`) {
		t.Errorf("%v in\n%s", err, text)
	}
}
