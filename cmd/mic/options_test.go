package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
	"github.com/podid-io/podid/internal/telemetry"
)

// parseFlags parses a command line of mic, and returns what was said of it.
func parseFlags(args string, env map[string]string) (o *options, said string, err error) {
	o = &options{namespace: "podid-system", getenv: func(name string) string { return env[name] }}
	f := pflag.NewFlagSet("mic", pflag.ContinueOnError)
	var out bytes.Buffer
	f.SetOutput(&out)
	o.addFlags(f)
	if err := f.Parse(telemetry.DoubleDashes(f, strings.Fields(args))); err != nil {
		return o, out.String(), err
	}
	return o, out.String(), o.check()
}

func TestOldFlagsSetTheNewOnes(t *testing.T) {
	type values struct {
		Cloud, Health, Metrics, Profiles string
		Lease, Drift, KeepWarm           time.Duration
		QPS                              float32
		Burst                            int
		Across                           bool
		Exceptions, Immutable            string
	}
	defaults := func(edits ...func(*values)) values {
		v := values{
			Cloud: cloudconfig.DefaultPath, Health: ":8080", Metrics: ":8888",
			Lease: 15 * time.Second, Drift: 5 * time.Minute, KeepWarm: assignment.DefaultKeepWarm, QPS: 500, Burst: 1000,
		}
		for _, e := range edits {
			e(&v)
		}
		return v
	}
	for sentence, test := range map[string]struct {
		args string
		env  map[string]string
		want values
		says string // of a flag that is old; empty means nothing
	}{
		"none":                     {want: defaults()},
		"azure.json":               {args: "--cloudconfig=/etc/x.json", want: defaults(func(v *values) { v.Cloud = "/etc/x.json" }), says: "use --cloud-config"},
		"the environment":          {args: "--cloudconfig=", want: defaults(func(v *values) { v.Cloud = "" }), says: "use --cloud-config"},
		"the new flag counts more": {args: "--cloudconfig=/x --cloud-config=/y", want: defaults(func(v *values) { v.Cloud = "/y" }), says: "use --cloud-config"},
		"one dash, as Go's package flag takes them": {
			args: "-cloudconfig=/x -logtostderr -v=5 -clientQps 8 -enableProfile -immutable-user-msis=a,b -v 3",
			want: defaults(func(v *values) {
				v.Cloud, v.QPS, v.Burst, v.Profiles, v.Immutable = "/x", 8, 8, "localhost:6060", "a,b"
			}),
			says: "use --kube-api-qps and --kube-api-burst",
		},
		"ports":              {args: "--http-probe-port=8086 --prometheus-port=9091", want: defaults(func(v *values) { v.Health, v.Metrics = ":8086", ":9091" }), says: "use --health-listen"},
		"a longer lease":     {args: "--leader-election-duration=60s", want: defaults(func(v *values) { v.Lease = time.Minute }), says: "use --leader-election-lease-duration"},
		"the drift interval": {args: "--identity-assignment-reconcile-interval=3m", want: defaults(func(v *values) { v.Drift = 3 * time.Minute }), says: "use --drift-interval"},
		"no keep-warm":       {args: "--keep-warm=0", want: defaults(func(v *values) { v.KeepWarm = 0 })},
		"without effect any more": {
			args: "--syncRetryDuration=60s --leader-election-instance=x --createDeleteBatch=20 --update-user-msi-max-retry=2 --update-user-msi-retry-interval=1s --config-map-name=x --type-upgrade-status-key=y --enable-type-upgrade=false --enableScaleFeatures --stderrthreshold=0",
			want: defaults(), says: "it has no effect",
		},
		"forced into namespaces": {args: "-forceNamespaced=true", want: defaults(), says: "--allow-cross-namespace"},
		"everything as it was": {
			args: "--compatibility=aad-pod-identity",
			want: defaults(func(v *values) { v.Cloud, v.Across, v.Exceptions = "", true, "*" }),
		},
		"as it was, but": {
			args: "--compatibility=aad-pod-identity --cloudconfig=/x --exception-namespaces=a", env: map[string]string{"FORCENAMESPACED": "True"},
			want: defaults(func(v *values) { v.Cloud, v.Exceptions = "/x", "a" }), says: "use --cloud-config",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			o, said, err := parseFlags(test.args, test.env)
			if err != nil {
				t.Fatal(err)
			}
			got := values{
				o.cloudConfig, o.healthListen, o.metricsListen, o.pprofListen, o.election.LeaseDuration, o.driftInterval, o.keepWarm, o.qps, o.burst,
				o.acrossNamespaces, strings.Join(o.exceptionNamespaces, ","), strings.Join(o.immutable, ","),
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
			if test.says == "" && said != "" || !strings.Contains(said, test.says) {
				t.Errorf("said %q, want %q in it", said, test.says)
			}
		})
	}
}

func TestFlagsThatCannotWork(t *testing.T) {
	for sentence, test := range map[string]struct{ args, want string }{
		"profiles for everybody":  {"--pprof-listen=:6060", `--pprof-listen ":6060": write a loopback address`},
		"compatibility with kiam": {"--compatibility=kiam", "write aad-pod-identity"},
		"a contradiction":         {"--forceNamespaced --allow-cross-namespace", "contradict each other"},
		"a negative keep-warm":    {"--keep-warm=-1s", "--keep-warm -1s is negative"},
		"an unknown one-dash":     {"-nonsense=1", "unknown shorthand flag"},
	} {
		t.Run(sentence, func(t *testing.T) {
			if _, _, err := parseFlags(test.args, nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestLocksOfTheOtherController(t *testing.T) {
	for sentence, test := range map[string]struct {
		args, namespace, want string
	}{
		"by default":             {"", "podid-system", "[default/aad-pod-identity-mic podid-system/aad-pod-identity-mic]"},
		"mic runs where it runs": {"", "default", "[default/aad-pod-identity-mic]"},
		"others":                 {"--legacy-lock=a/b,c/d", "podid-system", "[a/b c/d]"},
		"none":                   {"--legacy-lock=", "podid-system", "[]"},
	} {
		t.Run(sentence, func(t *testing.T) {
			o, _, err := parseFlags(test.args, nil)
			if err != nil {
				t.Fatal(err)
			}
			o.namespace = test.namespace
			if locks, err := o.locks(); err != nil || fmt.Sprint(locks) != test.want {
				t.Errorf("locks() = %v, %v, want %s", locks, err, test.want)
			}
		})
	}
}
