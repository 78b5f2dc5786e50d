package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func TestRun(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state.json")
	const id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
	if err := os.WriteFile(state, []byte(`{"tenant":"t","identities":[{"id":"`+id+`","clientId":"c"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { // ends after cancel
		err := run(ctx, []string{"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--state", state, "--log-level", "error"}, in)
		_ = in.Close()
		done <- err
	}()
	var ready azemu.Ready
	if err := json.NewDecoder(out).Decode(&ready); err != nil {
		t.Fatalf("no URLs: %v, %v", err, <-done)
	}
	client := azemu.NewClient(ready.Admin)
	defer client.CloseIdleConnections()
	got, err := client.State(t.Context())
	if err != nil || got.Tenant != "t" || len(got.Identities) != 1 || got.Identities[0].ClientID != "c" {
		t.Errorf("State() = %v, %v", got, err)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run() error = %v", err)
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"vms":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args []string
		want string
	}{
		"an unknown flag":             {[]string{"--colour"}, "unknown flag: --colour"},
		"an argument":                 {[]string{"now"}, `"now"`},
		"no address":                  {[]string{"--listen", ""}, "--listen and --admin-listen need an address"},
		"a negative duration":         {[]string{"--arm-delay", "-1s"}, "--arm-delay is negative"},
		"a level that is none":        {[]string{"--log-level", "loud"}, `log level "loud" is unknown`},
		"a state file that is absent": {[]string{"--state", bad + "x"}, "--state: open "},
		"a state file with a typo":    {[]string{"--state", bad}, `unknown field "vms"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := run(t.Context(), tt.args, io.Discard); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("run(%q) error = %v, want %q", tt.args, err, tt.want)
			}
		})
	}
}
