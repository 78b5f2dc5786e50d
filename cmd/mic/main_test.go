package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestBadFlagsAreOneClearError(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	for sentence, test := range map[string]struct {
		args  []string
		want  string
		usage bool // exit status 2
	}{
		"an unknown flag":       {[]string{"--bogus"}, "unknown flag: --bogus", true},
		"an argument":           {[]string{"now"}, `unknown command "now" for "mic"`, true},
		"no namespace":          {nil, "--namespace is missing: write mic's own namespace, or set POD_NAMESPACE", true},
		"a negative window":     {[]string{"--namespace=x", "--coalesce-window=-1s"}, "--coalesce-window -1s is negative", true},
		"no duration":           {[]string{"--coalesce-window=soon"}, `invalid argument "soon" for "--coalesce-window" flag`, true},
		"an unknown log level":  {[]string{"--namespace=x", "--log-level=loud"}, `log level "loud" is unknown`, true},
		"no kubeconfig there":   {[]string{"--namespace=x", "--kubeconfig=/nowhere"}, `find the API server (--kubeconfig "/nowhere")`, false},
		"a lock that is none":   {[]string{"--namespace=x", "--legacy-lock=mic"}, `--legacy-lock "mic": write NAMESPACE/NAME`, true},
		"cleanup, an argument":  {[]string{"cleanup", "now"}, `unknown command "now" for "mic cleanup"`, true},
		"cleanup, both":         {[]string{"cleanup", "--keep-identities", "--legacy"}, "--keep-identities and --legacy contradict each other", true},
		"cleanup, no namespace": {[]string{"cleanup"}, "--namespace is missing", true},
		"no API calls possible": {[]string{"--namespace=x", "--kube-api-qps=0"}, "--kube-api-qps and --kube-api-burst must be greater than 0", true},
	} {
		t.Run(sentence, func(t *testing.T) {
			err := run(t.Context(), test.args, t.Output())
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want %q in one line", err, test.want)
			}
			if _, usage := errors.AsType[usageError](err); usage != test.usage {
				t.Errorf("error of usage: %v, want %v", usage, test.usage)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"--version"}, &out); err != nil || !strings.HasPrefix(out.String(), "mic version ") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestALongerLeaseNeedsNoOtherFlag(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	base := append(nowhere(t), "--health-listen=", "--metrics-listen=")
	ended, cancel := context.WithCancel(t.Context())
	cancel() // it is to start, and no more
	for _, flag := range []string{"--leader-election-lease-duration=5s", "--leader-election-lease-duration=60s"} {
		if err := run(ended, append(base, flag), t.Output()); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// Where Azure cannot be reached, what says how may be missing too, or be wrong.
func TestCleanupThatKeepsIdentitiesAsksForNoAzure(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	for sentence, test := range map[string]struct {
		config string
		keep   bool
		want   string
	}{
		"no azure.json":                             {"/nowhere/azure.json", true, "read the lease x/podid-mic: "},
		"one without a credential":                  {write(t, t.TempDir(), "azure.json", `{"cloud": "AzureCloud", "tenantId": "t"}`), true, "read the lease x/podid-mic: "},
		"no azure.json, and what is there is to go": {"/nowhere/azure.json", false, "/nowhere/azure.json: no such file"},
	} {
		t.Run(sentence, func(t *testing.T) {
			args := append(append([]string{"cleanup"}, nowhere(t)...), "--cloud-config="+test.config)
			if test.keep {
				args = append(args, "--keep-identities")
			}
			if err := run(t.Context(), args, t.Output()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// nowhere is flags by which mic finds an API server and an Azure that do not answer.
func nowhere(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	return []string{
		"--namespace=x",
		"--kubeconfig=" + write(t, dir, "kubeconfig", `{"apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
			"clusters": [{"name": "x", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [{"name": "x"}]}`),
		"--cloud-config=" + write(t, dir, "azure.json", `{"cloud": "AzureCloud", "tenantId": "t", "aadClientId": "c", "aadClientSecret": "s"}`),
	}
}

func TestCleanupTakesTheFlagsOfMic(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	ended, cancel := context.WithCancel(t.Context())
	cancel() // it is to start, and no more
	for _, flags := range []string{
		"--legacy --keep-warm=1m --drift-interval=1m --coalesce-window=1s --metrics-listen=:1 --health-listen=:2",
		"-legacy -keep-warm=1m -timeout=1m",
		"--legacy --compatibility=aad-pod-identity --exception-namespaces=a",
		"-legacy -clientQps=8 -prometheus-port=1 -logtostderr -v=5 -identity-assignment-reconcile-interval=3m",
	} {
		err := run(ended, slices.Concat([]string{"cleanup"}, nowhere(t), strings.Fields(flags)), t.Output())
		if err == nil || !strings.Contains(err.Error(), "no time was left") {
			t.Errorf("%s: %v", flags, err)
		}
	}
}
