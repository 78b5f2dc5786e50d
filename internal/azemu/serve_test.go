package azemu_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid-io/podid/internal/azemu"
)

func TestServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, in := io.Pipe()
	c := azemu.ServeConfig{
		Config:       azemu.Config{Seed: withIdentities("", "one"), Hosts: []string{"login.example.com"}},
		Listen:       "127.0.0.1:0",
		AdminListen:  "127.0.0.1:0",
		IMDSListen:   "127.0.0.1:0",
		IMDSMachines: map[string]string{"pool000000": "127.0.0.1:0"},
		CAFile:       filepath.Join(dir, "ca.pem"),
		ReadyFile:    filepath.Join(dir, "ready.json"),
		Out:          in,
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { // ends after cancel
		err := azemu.Serve(ctx, c)
		_ = in.CloseWithError(io.EOF)
		done <- err
	}()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no line: %v, %v", err, <-done)
	}
	var ready azemu.Ready
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	file, err := os.ReadFile(c.ReadyFile)
	if diff := cmp.Diff(string(line), string(file)); err != nil || diff != "" {
		t.Errorf("ready file: %v (-line +file):\n%s", err, diff)
	}
	info, err := os.Stat(c.CAFile)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("CA file: %v, mode %v, want 0644", err, info.Mode())
	}
	checkServed(t, ready)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve() error = %v after its context ended, want none", err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 2 {
		t.Errorf("files left: %v", names)
	}
}

func checkServed(t *testing.T, ready azemu.Ready) {
	t.Helper()
	ca, err := os.ReadFile(ready.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "login.example.com", MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	tests := map[string]struct {
		url    string
		status int
		text   string
	}{
		"Azure, by a name that was asked for":   {ready.Azure + "/" + tenant + "/v2.0/.well-known/openid-configuration", 200, ready.Azure + "/" + tenant + "/v2.0"},
		"the admin API":                         {ready.Admin + "/state", 200, tenant},
		"IMDS, which does not know this caller": {ready.IMDS + "/metadata/versions", 404, "no machine"},
		"IMDS of one machine":                   {ready.Machines["pool000000"] + "/metadata/instance/compute/name?api-version=2021-02-01&format=text", 200, "pool_0"},
	}
	for name, tt := range tests {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tt.url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Metadata", "true")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.text) {
			t.Errorf("%s: %d %s, want %d with %q", name, resp.StatusCode, body, tt.status, tt.text)
		}
	}
}

func TestServeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config azemu.ServeConfig
		want   string
	}{
		"an address that is none": {azemu.ServeConfig{Listen: "nowhere", AdminListen: "127.0.0.1:0"}, "serve Resource Manager and Entra ID: "},
		"a bad seed":              {azemu.ServeConfig{Config: azemu.Config{Seed: azemu.State{VMs: []azemu.VM{{ID: "x"}}}}}, `seed: virtual machine "x"`},
		"a file that cannot be":   {azemu.ServeConfig{Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", CAFile: "/nonexistent/ca.pem"}, "write /nonexistent/ca.pem"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := azemu.Serve(t.Context(), tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Serve() error = %v, want %q", err, tt.want)
			}
		})
	}
}
