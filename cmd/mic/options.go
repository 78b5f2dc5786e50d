package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/mic"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
	"github.com/podid-io/podid/internal/taint"
	"github.com/podid-io/podid/internal/telemetry"
)

// options are the flags as they were given.
type options struct {
	getenv func(string) string

	kubeconfig, cloudConfig, namespace string
	election                           mic.Election
	window                             time.Duration
	exceptionNamespaces                []string
	startupTaints                      []string
	acrossNamespaces                   bool
	metricsListen, healthListen        string
	qps                                float32
	burst                              int
	logLevel, logFormat                string
}

func (o *options) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; empty means the pod's own service account")
	f.StringVar(&o.cloudConfig, "cloud-config", cloudconfig.DefaultPath, "azure.json; empty means the environment: CLOUD, TENANT_ID, CLIENT_ID, CLIENT_SECRET, USE_MSI, USER_ASSIGNED_MSI_CLIENT_ID")
	f.StringVar(&o.namespace, "namespace", o.namespace, "mic's own namespace, where it keeps its records (default $POD_NAMESPACE)")
	f.StringVar(&o.election.Namespace, "leader-election-namespace", "", "namespace of the lease; empty means --namespace (config/rbac fits podid-system only)")
	f.StringVar(&o.election.Name, "leader-election-name", mic.DefaultLease, "name of the lease (config/rbac fits "+mic.DefaultLease+" only)")
	f.DurationVar(&o.election.LeaseDuration, "leader-election-lease-duration", 15*time.Second, "how long a lease counts that is not renewed")
	f.DurationVar(&o.election.RenewDeadline, "leader-election-renew-deadline", 0, "how long the leader tries to renew its lease; 0 means two thirds of --leader-election-lease-duration")
	f.DurationVar(&o.election.RetryPeriod, "leader-election-retry-period", 0, "time between tries to get or renew the lease; 0 means a fifth of --leader-election-renew-deadline")
	f.DurationVar(&o.window, "coalesce-window", assignment.DefaultWindow, "how long the first need for a change of a VM or scale set waits for others; 0 means not at all")
	f.StringSliceVar(&o.exceptionNamespaces, "exception-namespaces", nil, "namespaces where an AzurePodIdentityException counts; * means all (default kube-system and --namespace)")
	f.BoolVar(&o.acrossNamespaces, "allow-cross-namespace", false, "let pods match bindings of other namespaces")
	f.StringSliceVar(&o.startupTaints, "startup-taint", nil, "keys of taints that mic takes off a node when its nmi is ready, such as "+taint.DefaultKey+" (config/policy and config/rbac, startup-taint.yaml)")
	f.StringVar(&o.metricsListen, "metrics-listen", ":8888", "address of /metrics; empty means none")
	f.StringVar(&o.healthListen, "health-listen", ":8080", "address of /healthz and /readyz; empty means none")
	f.Float32Var(&o.qps, "kube-api-qps", 100, "requests per second to the API server, those for the lease and for events apart")
	f.IntVar(&o.burst, "kube-api-burst", 200, "how many requests may exceed --kube-api-qps at once")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
}

// check finds what is wrong with the flags by themselves. Its errors name them.
func (o *options) check() error {
	var errs []error
	if o.namespace == "" {
		errs = append(errs, errors.New("--namespace is missing: write mic's own namespace, or set POD_NAMESPACE"))
	}
	if o.window < 0 {
		errs = append(errs, fmt.Errorf("--coalesce-window %s is negative", o.window))
	}
	if o.qps <= 0 || o.burst <= 0 {
		errs = append(errs, errors.New("--kube-api-qps and --kube-api-burst must be greater than 0"))
	}
	return errors.Join(errs...)
}

// run makes a controller and runs it until ctx ends.
func (o *options) run(ctx context.Context) error {
	if err := o.check(); err != nil {
		return usageError{err}
	}
	log, _, err := telemetry.NewLogger(os.Stderr, o.logLevel, o.logFormat)
	if err != nil {
		return usageError{err}
	}
	telemetry.Bridge(log)
	rest, err := o.rest()
	if err != nil {
		return err
	}
	machines, err := o.machines()
	if err != nil {
		return err
	}
	window := o.window
	if window == 0 {
		window = -1 // none; 0 would be the default
	}
	c, err := mic.New(mic.Config{
		REST: rest, Machines: machines, Namespace: o.namespace, Log: log,
		Rules:               identity.Rules{AcrossNamespaces: o.acrossNamespaces},
		ExceptionNamespaces: o.exceptionNamespaces, StartupTaints: o.startupTaints, Window: window, Election: o.election,
		HealthListen: o.healthListen, MetricsListen: o.metricsListen,
	})
	if err != nil {
		return usageError{err}
	}
	log.InfoContext(ctx, "mic starts", "version", telemetry.Version(), "namespace", o.namespace)
	return c.Run(ctx)
}

func (o *options) rest() (*rest.Config, error) {
	c, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the API server (--kubeconfig %q): %w", o.kubeconfig, err)
	}
	c.QPS, c.Burst = o.qps, o.burst
	c.UserAgent = "podid-mic/" + telemetry.Version()
	return c, nil
}

// machines makes the client for Azure.
func (o *options) machines() (*compute.Client, error) {
	c, err := cloudconfig.Read(o.cloudConfig, o.getenv)
	if err != nil {
		return nil, err
	}
	credential, err := entra.ARMCredential(c.ARM)
	if err != nil {
		return nil, err
	}
	return compute.New(compute.Config{Credential: credential, Cloud: c.ARM.Cloud})
}
