package mic_test

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
)

// TestMetricsAreThoseOfTheTable has mic do its work, and compares what it tells
// with docs/reference/metrics.md.
func TestMetricsAreThoseOfTheTable(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	waits := mic.NewWaits()
	waits.Observe("vmss.update.resource", 15*time.Second)
	w.edit = func(c *mic.Config) {
		c.MetricsListen, c.Waits = anyPort, waits
	}
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	metrics := w.serving("metrics")
	health, _ := w.start()
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	readiness(t, health, "[+] lease")

	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + metrics() + "/metrics")
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	var told []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(string(text), -1) {
		told = append(told, m[1])
	}
	docs, err := os.ReadFile("../../docs/reference/metrics.md")
	must(t, err)
	_, section, _ := strings.Cut(string(docs), "\n## mic\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var said []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]*)` \\|").FindAllStringSubmatch(section, -1) {
		said = append(said, row[1])
	}
	for _, name := range said {
		if !slices.Contains(told, name) {
			t.Errorf("docs/reference/metrics.md has %s, mic has not", name)
		}
	}
	for _, name := range told {
		if strings.HasPrefix(name, "podid_") && !slices.Contains(said, name) {
			t.Errorf("mic has %s, docs/reference/metrics.md has not", name)
		}
	}
	for _, line := range []string{`podid_mic_ready{check="lease"} 1`, `podid_mic_azure_call_duration_seconds_count{outcome="ok",verb="update"} 1`, `leader_election_master_status{name="podid-mic"} 1`, `podid_mic_azure_wait_seconds_count{bucket="vmss.update.resource"} 1`} {
		if !strings.Contains(string(text), line) {
			t.Errorf("mic does not tell %s", line)
		}
	}
}

// TestListsAreMeasured has mic look for what others change.
func TestListsAreMeasured(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.edit = func(c *mic.Config) {
		c.MetricsListen, c.DriftInterval = anyPort, 100*time.Millisecond
	}
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	serving := w.serving("metrics")
	w.run()
	address := serving()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	want := regexp.MustCompile(`podid_mic_azure_call_duration_seconds_count\{outcome="ok",verb="list"\} [1-9]`)
	deadline := time.After(patience)
	for tick := time.Tick(50 * time.Millisecond); ; {
		if answer, err := client.Get("http://" + address + "/metrics"); err == nil {
			text, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if want.Match(text) {
				return
			}
		}
		select {
		case <-deadline:
			t.Fatalf("mic never told of a list: want %s", want)
		case <-tick:
		}
	}
}
