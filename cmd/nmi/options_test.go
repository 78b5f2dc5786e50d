package main

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/podid-io/podid/internal/entra"
)

// parseFlags parses a command line of nmi for a node.
func parseFlags(t *testing.T, args ...string) (*options, parsed, error) {
	t.Helper()
	t.Setenv("POD_NAMESPACE", "podid-system")
	kubeconfig := t.TempDir() + "/kubeconfig"
	if err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{"c": {Server: "https://127.0.0.1:1"}},
		Contexts: map[string]*clientcmdapi.Context{"c": {Cluster: "c"}}, CurrentContext: "c",
	}, kubeconfig); err != nil {
		t.Fatal(err)
	}
	o := &options{}
	f := pflag.NewFlagSet("nmi", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	o.addFlags(f)
	if err := f.Parse(append([]string{"--node=n", "--kubeconfig=" + kubeconfig}, args...)); err != nil {
		return o, parsed{}, err
	}
	p, err := o.parse()
	return o, p, err
}

func TestOldFlagsSetTheNewOnes(t *testing.T) {
	type values struct {
		Listen, Metadata, Health, Metrics, Profiles string
		Interval, Hold                              time.Duration
		HostPort                                    uint16
		Across, Bridges, HostToken, Remove          bool
		Families, Exceptions                        string
	}
	defaults := func(edits ...func(*values)) values {
		v := values{
			Listen: "169.254.25.79:2579", Metadata: "169.254.169.254:80", Health: "unix:/run/podid-nmi/health.sock", Metrics: ":9090",
			Interval: 5 * time.Second, Hold: 50 * time.Second, HostPort: 2579, Exceptions: "kube-system,podid-system",
		}
		for _, e := range edits {
			e(&v)
		}
		return v
	}
	const families = "instance,userdata,attested,scheduledevents,loadbalancer,versions"
	tests := map[string]struct {
		args string
		want values
	}{
		"none":                          {"", defaults()},
		"the port of the listener":      {"--nmi-port=2600", defaults(func(v *values) { v.Listen, v.HostPort = "169.254.25.79:2600", 2600 })},
		"the old default address":       {"--nmi-listen-address=127.0.0.1", defaults()},
		"another link-local address":    {"--nmi-listen-address=169.254.9.9", defaults(func(v *values) { v.Listen = "169.254.9.9:2579" })},
		"the metadata address":          {"--metadata-ip=169.254.169.253 --metadata-port=8080", defaults(func(v *values) { v.Metadata = "169.254.169.253:8080" })},
		"the interval, in seconds":      {"--ipt-update-interval-sec=60", defaults(func(v *values) { v.Interval = time.Minute })},
		"the new flag counts more":      {"--ipt-update-interval-sec=60 --redirect-interval=7s", defaults(func(v *values) { v.Interval = 7 * time.Second })},
		"ports":                         {"--http-probe-port=8086 --prometheus-port=9091", defaults(func(v *values) { v.Health, v.Metrics = ":8086", ":9091" })},
		"attempts":                      {"--retry-attempts-for-created=3 --retry-attempts-for-assigned=2 --find-identity-retry-interval=4", defaults(func(v *values) { v.Hold = 20 * time.Second })},
		"more attempts than may be":     {"--retry-attempts-for-created=100", defaults(func(v *values) { v.Hold = 55 * time.Second })},
		"profiles":                      {"--enableProfile", defaults(func(v *values) { v.Profiles = "localhost:6060" })},
		"kubenet":                       {"--allow-network-plugin-kubenet=true", defaults(func(v *values) { v.Bridges = true })},
		"without effect any more":       {"--MICNamespace=default --kubelet-config=/x --set-retry-after-header --enable-conntrack-deletion=false --enableScaleFeatures=true --v=3 --logtostderr --stderrthreshold=0", defaults()},
		"klog's, as one may write them": {"-v 5 --stderrthreshold FATAL --log_dir /tmp -v=3", defaults()},
		"forced into namespaces":        {"--forceNamespaced", defaults()},
		"instance metadata, blocked":    {"--pass-through=instance,versions --block-instance-metadata", defaults(func(v *values) { v.Families = "versions" })},
		"everything as it was": {"--compatibility=aad-pod-identity", defaults(func(v *values) {
			v.Across, v.HostToken, v.Remove, v.Families, v.Exceptions = true, true, true, families, "*"
		})},
		"as it was, but": {"--compatibility=aad-pod-identity --host-token=false --forceNamespaced --block-instance-metadata", defaults(func(v *values) {
			v.Remove, v.Families, v.Exceptions = true, "attested,scheduledevents,loadbalancer,versions", "*"
		})},
		"as it was, in managed mode": {"--compatibility=aad-pod-identity --operation-mode=Managed", defaults(func(v *values) {
			v.HostToken, v.Remove, v.Families, v.Exceptions = true, true, families, "*"
		})},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o, p, err := parseFlags(t, strings.Fields(tc.args)...)
			if err != nil {
				t.Fatal(err)
			}
			got := values{
				p.listen.String(), p.metadata.String(), o.healthListen, o.metricsListen, o.pprofListen,
				o.redirectInterval, o.hold, o.hostTokenPort, o.acrossNamespaces, o.acceptBridges, o.hostToken, o.removeOnExit,
				strings.Join(o.passThrough, ","), strings.Join(o.exceptionNamespaces, ","),
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlagsThatCannotWork(t *testing.T) {
	tests := map[string]struct{ args, want string }{
		"an unknown mode":                {"--operation-mode=auto", "write standard or managed"},
		"managed across namespaces":      {"--operation-mode=managed --allow-cross-namespace", "--allow-cross-namespace does not go with"},
		"a contradiction":                {"--forceNamespaced --allow-cross-namespace", "contradict each other"},
		"an unknown family":              {"--pass-through=identity", `--pass-through "identity" is unknown`},
		"profiles for everybody":         {"--pprof-listen=:6060", "write a loopback address"},
		"profiles on the node's address": {"--pprof-listen=10.0.0.4:6060", "write a loopback address"},
		"an address that is none":        {"--nmi-listen-address=here", `--nmi-listen-address "here"`},
		"metadata by IPv6":               {"--metadata=[fe80::1]:80", "write an IPv4 address"},
		"compatibility with nobody":      {"--compatibility=kiam", "write aad-pod-identity"},
		"a taint that is mic's":          {"--startup-taint=podid.io/agent-not-ready", "in standard mode mic takes the taint off"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if _, _, err := parseFlags(t, strings.Fields(tc.args)...); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("parse() = %v, want %q", err, tc.want)
			}
		})
	}
}

func TestResourceManagerOfTheCloud(t *testing.T) {
	for name, want := range map[string]string{
		"AzurePublicCloud": "https://management.core.windows.net",
		"AzureChinaCloud":  "https://management.core.chinacloudapi.cn",
	} {
		o := &options{}
		c, err := entra.Cloud(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.resourceManager(c); !slices.Contains(got, want) {
			t.Errorf("in %s mic may ask for %v, want %s among them", name, got, want)
		}
	}
}
