package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
	"github.com/podid-io/podid/internal/mic/legacy"
	"github.com/podid-io/podid/internal/taint"
	"github.com/podid-io/podid/internal/telemetry"
)

// options are the flags as they were given.
type options struct {
	getenv func(string) string
	flags  *pflag.FlagSet

	kubeconfig, cloudConfig, namespace       string
	compatibility                            string
	election                                 mic.Election
	window, keepWarm, driftInterval          time.Duration
	immutable                                []string
	exceptionNamespaces                      []string
	startupTaints                            []string
	legacyLocks                              []string
	acrossNamespaces                         bool
	metricsListen, healthListen, pprofListen string
	qps                                      float32
	burst                                    int
	userAgent                                string
	logLevel, logFormat                      string

	old oldOptions
}

func (o *options) addFlags(f *pflag.FlagSet) {
	o.flags = f
	o.addSharedFlags(f)
	f.StringVar(&o.compatibility, "compatibility", "", compatibleAPI+": the defaults of AAD Pod Identity, for the day of moving over; see docs/compatibility.md")
	f.DurationVar(&o.window, "coalesce-window", assignment.DefaultWindow, "how long the need for a change of a VM or scale set waits for others, from the last one that came, and ten times that at most; 0 means not at all")
	f.DurationVar(&o.keepWarm, "keep-warm", assignment.DefaultKeepWarm, "how long an identity stays on a VM or scale set after its last pod; 0 means not at all")
	f.DurationVar(&o.driftInterval, "drift-interval", 5*time.Minute, "shortest time between two looks whether identities that podid attached are still there; it doubles up to 30m while nothing changes; 0 means never")
	f.StringSliceVar(&o.exceptionNamespaces, "exception-namespaces", nil, "namespaces where an AzurePodIdentityException counts; * means all (default kube-system and --namespace)")
	f.BoolVar(&o.acrossNamespaces, "allow-cross-namespace", false, "let pods match bindings of other namespaces")
	f.StringVar(&o.metricsListen, "metrics-listen", ":8888", "address of /metrics; empty means none")
	f.StringVar(&o.healthListen, "health-listen", defaultHealth, "address of /healthz, /readyz and /log-level; empty means none")
	f.StringVar(&o.pprofListen, "pprof-listen", "", "loopback address of Go's profiles; empty means none")
	o.old.addFlags(f, o.getenv)
}

// defaultHealth is the default of --health-listen.
const defaultHealth = ":8080"

// lockFlag is the flag of AAD Pod Identity's lock.
const lockFlag = "legacy-lock"

// addSharedFlags adds those that every command has that works on the cluster.
func (o *options) addSharedFlags(f *pflag.FlagSet) {
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; empty means the pod's own service account")
	f.StringVar(&o.cloudConfig, "cloud-config", cloudconfig.DefaultPath, "azure.json; empty means the environment: CLOUD, TENANT_ID, CLIENT_ID, CLIENT_SECRET, USE_MSI, USER_ASSIGNED_MSI_CLIENT_ID")
	f.StringVar(&o.namespace, "namespace", o.namespace, "mic's own namespace, where it keeps its records (default $POD_NAMESPACE)")
	f.StringVar(&o.election.Namespace, "leader-election-namespace", "", "namespace of the lease; empty means --namespace (config/rbac fits podid-system only)")
	f.StringVar(&o.election.Name, "leader-election-name", mic.DefaultLease, "name of the lease (config/rbac fits "+mic.DefaultLease+" only)")
	f.DurationVar(&o.election.LeaseDuration, "leader-election-lease-duration", 15*time.Second, "how long a lease counts that is not renewed")
	f.DurationVar(&o.election.RenewDeadline, "leader-election-renew-deadline", 0, "how long the leader tries to renew its lease; 0 means two thirds of --leader-election-lease-duration")
	f.DurationVar(&o.election.RetryPeriod, "leader-election-retry-period", 0, "time between tries to get or renew the lease; 0 means a tenth of --leader-election-renew-deadline")
	f.StringSliceVar(&o.immutable, "immutable-user-msis", nil, "client ids of managed identities that are never taken off a machine, beside the one that azure.json names")
	f.StringSliceVar(&o.startupTaints, "startup-taint", nil, "keys of taints that mic takes off a node when its nmi is ready, such as "+taint.DefaultKey+" (config/policy and config/rbac, startup-taint.yaml)")
	f.StringSliceVar(&o.legacyLocks, lockFlag, nil, "NAMESPACE/NAME of Endpoints by which MIC of AAD Pod Identity says that it leads, while which mic does not; empty means none (default default/"+legacy.LockName+" and the same in --namespace)")
	f.Float32Var(&o.qps, "kube-api-qps", 500, "requests per second to the API server, those for the lease and for events apart")
	f.IntVar(&o.burst, "kube-api-burst", 1000, "how many requests may exceed --kube-api-qps at once")
	f.StringVar(&o.userAgent, "custom-user-agent", "", "added to the user agent towards the API server and Azure Resource Manager")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error; mic log-level sets it at run time")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
}

// check takes up old flags and finds what is wrong with the flags by themselves.
// Its errors name them.
func (o *options) check() error {
	_, err := o.locks()
	errs := []error{o.apply(), err}
	if o.namespace == "" {
		errs = append(errs, errors.New("--namespace is missing: write mic's own namespace, or set POD_NAMESPACE"))
	}
	for name, d := range map[string]time.Duration{
		"--coalesce-window": o.window, "--keep-warm": o.keepWarm, "--drift-interval": o.driftInterval,
	} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("%s %s is negative", name, d))
		}
	}
	if o.qps <= 0 || o.burst <= 0 {
		errs = append(errs, errors.New("--kube-api-qps and --kube-api-burst must be greater than 0"))
	}
	if err := telemetry.CheckLoopback(o.pprofListen); err != nil {
		errs = append(errs, fmt.Errorf("--pprof-listen %w", err))
	}
	return errors.Join(errs...)
}

// locks are the locks of AAD Pod Identity's MIC.
func (o *options) locks() ([]types.NamespacedName, error) {
	if !o.flags.Changed(lockFlag) {
		return slices.Compact([]types.NamespacedName{
			{Namespace: "default", Name: legacy.LockName},
			{Namespace: o.namespace, Name: legacy.LockName},
		}), nil
	}
	var locks []types.NamespacedName
	for _, l := range o.legacyLocks {
		namespace, name, ok := strings.Cut(l, "/")
		if !ok || namespace == "" || name == "" {
			return nil, fmt.Errorf("--%s %q: write NAMESPACE/NAME", lockFlag, l)
		}
		locks = append(locks, types.NamespacedName{Namespace: namespace, Name: name})
	}
	return locks, nil
}

// orNone is a duration as configurations have it: there 0 would be the default.
func orNone(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

func (o *options) rest() (*rest.Config, error) {
	c, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the API server (--kubeconfig %q): %w", o.kubeconfig, err)
	}
	c.QPS, c.Burst = o.qps, o.burst
	c.DisableCompression = true // a fifth of what an event costs, here and in the API server
	c.UserAgent = strings.TrimSpace("podid-mic/" + telemetry.Version() + " " + o.userAgent)
	return c, nil
}
