package main

import (
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/redirect"
)

// options are the flags as they were given; parse turns them into values.
type options struct {
	stdout io.Writer
	flags  *pflag.FlagSet

	node, kubeconfig             string
	operationMode, compatibility string
	listen, metadata             string
	imdsEndpoint                 string
	redirect                     string
	redirectInterval, hold       time.Duration
	removeOnExit, acceptBridges  bool
	runDir                       string

	acrossNamespaces, headerRequired bool
	passThrough, exceptionNamespaces []string
	podRate                          float64
	hostToken                        bool
	hostTokenPort                    uint16

	cloud, caFile                string
	authorityHosts               []string
	micServiceAccount, micClient string
	armResources                 []string

	audit, auditFile                         string
	healthListen, metricsListen, pprofListen string
	logLevel, logFormat                      string
	startupTaint                             string
	userAgent                                string

	old oldOptions
}

// Values of flags.
const (
	// defaultHealth is in the container's own filesystem: on the node's network two
	// agents, one of which replaces the other, cannot have one port.
	defaultHealth = "unix:/run/podid-nmi/health.sock"
	modeStandard  = "standard"
	modeManaged   = "managed"
	compatibleAPI = "aad-pod-identity"
	// systemAssigned is the value of --mic-client-id for the VM's own identity.
	systemAssigned = "system-assigned"
)

func (o *options) addFlags(f *pflag.FlagSet) {
	o.flags = f
	o.addRedirectFlags(f)
	f.StringVar(&o.node, "node", o.node, "name of the node (default $NODE_NAME)")
	f.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig file; empty means the pod's own service account")
	f.StringVar(&o.operationMode, "operation-mode", modeStandard, "standard: mic puts identities on the nodes; managed: somebody else has")
	f.StringVar(&o.compatibility, "compatibility", "", compatibleAPI+": the defaults of AAD Pod Identity, for the day of moving over; see docs/compatibility.md")
	f.StringVar(&o.imdsEndpoint, "imds-endpoint", "http://169.254.169.254", "the real metadata service of the node")
	f.StringVar(&o.redirect, "redirect", "nftables", "nftables: redirect the metadata address to nmi; none: something else does")
	f.DurationVar(&o.redirectInterval, "redirect-interval", 5*time.Second, "how often the redirect is checked, apart from netlink events")
	f.BoolVar(&o.removeOnExit, "remove-redirect-on-exit", false, "take the redirect away when nmi ends: pods then reach the node's identities")
	f.BoolVar(&o.acceptBridges, "accept-bridged-pods", false, "serve pods behind a bridge, where one can take the address of another")
	f.StringVar(&o.runDir, "run-dir", runDir(), "folder that a reboot empties, to remember across restarts which pod is on which link; empty means none (default "+defaultRunDir+", where it exists)")
	f.DurationVar(&o.hold, "hold", nmi.DefaultHold, "how long a request waits for an identity on its way, at most "+nmi.MaxHold.String())
	f.BoolVar(&o.acrossNamespaces, "allow-cross-namespace", false, "let pods match bindings of other namespaces")
	f.BoolVar(&o.headerRequired, "metadata-header-required", true, "refuse requests for tokens without the header Metadata: true")
	f.StringSliceVar(&o.passThrough, "pass-through", nil, "what else of the metadata service pods may read: instance, userdata, attested, scheduledevents, loadbalancer, versions")
	f.StringSliceVar(&o.exceptionNamespaces, "exception-namespaces", exceptionNamespaces(), "namespaces whose AzurePodIdentityExceptions count; * means all")
	f.Float64Var(&o.podRate, "pod-rate", nmi.DefaultPodRate, "requests a second that one pod is served; more wait for their turn")
	f.BoolVar(&o.hostToken, "host-token", false, "serve /host/token on loopback, for the Key Vault CSI provider")
	f.Uint16Var(&o.hostTokenPort, "host-token-port", 2579, "port of /host/token; the provider knows no other")
	o.addAzureFlags(f)
	f.StringVar(&o.audit, "audit", string(nmi.AuditBuffered), "audit log of tokens: buffered (counts what it drops), sync (loses none) or off")
	f.StringVar(&o.auditFile, "audit-file", "-", "file that the audit log is appended to; - means standard output")
	f.StringVar(&o.healthListen, "health-listen", defaultHealth, "address of /healthz, /readyz and /log-level, host:port or unix:PATH; a port of the node's can be that of the agent which this one replaces; empty means none")
	f.StringVar(&o.metricsListen, "metrics-listen", ":9090", "address of /metrics; empty means none")
	f.StringVar(&o.pprofListen, "pprof-listen", "", "loopback address of Go's profiles; empty means none")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error; nmi log-level sets it at run time")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
	f.StringVar(&o.startupTaint, "startup-taint", "", "taint that nmi takes off its own node when it is ready, in managed mode alone (in standard mode mic does); config/policy/startup-taint.yaml says which keys it may be; empty means none")
	f.StringVar(&o.userAgent, "custom-user-agent", "", "added to the user agent towards the API server")
	o.old.addFlags(f)
}

// addAzureFlags adds what concerns Entra ID and mic's identity.
func (o *options) addAzureFlags(f *pflag.FlagSet) {
	f.StringVar(&o.cloud, "cloud", "AzurePublicCloud", "the Azure cloud: AzurePublicCloud, AzureChinaCloud or AzureUSGovernmentCloud; hosts of others go to --authority-hosts")
	f.StringSliceVar(&o.authorityHosts, "authority-hosts", nil, "hosts that spec.adEndpoint may name beside those of the known clouds")
	f.StringVar(&o.caFile, "ca-file", "", "certificates (PEM) that Entra ID is trusted by, beside the system's")
	f.StringVar(&o.micServiceAccount, "mic-service-account", "", "NAMESPACE/NAME of mic's service account, whose pods get mic's identity for Azure Resource Manager; empty means none")
	f.StringVar(&o.micClient, "mic-client-id", "", "client id of mic's managed identity, or "+systemAssigned+" for the identity of the VM; needed with --mic-service-account")
	f.StringSliceVar(&o.armResources, "arm-resource", nil, "what mic may ask a token for (default Azure Resource Manager of --cloud)")
}

func (o *options) addRedirectFlags(f *pflag.FlagSet) {
	f.StringVar(&o.listen, "listen", redirect.DefaultListen.String(), "address of nmi's own, link-local, that pods are redirected to")
	f.StringVar(&o.metadata, "metadata", redirect.DefaultMetadata.String(), "address that pods ask")
}

// exceptionNamespaces are kube-system and the namespace that nmi runs in.
func exceptionNamespaces() []string {
	list := []string{"kube-system"}
	if own := os.Getenv("POD_NAMESPACE"); own != "" {
		list = append(list, own)
	}
	return list
}

// defaultRunDir is the default of --run-dir: mount it from the node.
const defaultRunDir = "/run/podid"

func runDir() string {
	if info, err := os.Stat(defaultRunDir); err != nil || !info.IsDir() {
		return ""
	}
	return defaultRunDir
}
