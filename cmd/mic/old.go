package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/podid-io/podid/internal/telemetry"
)

// oldOptions are flags of AAD Pod Identity's MIC. Each is taken under its old
// name; those that mean something here set the flag that took its place, unless
// that was given too.
type oldOptions struct {
	cloudConfig               string
	forceNamespaced           bool
	leaseDuration             time.Duration
	probePort, prometheusPort string
	profile                   bool
	qps                       float32
	reconcileInterval         time.Duration
}

// addFlags adds the flags, hidden from the help and with a line of deprecation.
func (o *oldOptions) addFlags(f *pflag.FlagSet, getenv func(string) string) {
	old := func(name, instead string) { telemetry.Deprecate(f, name, instead) }
	f.StringVar(&o.cloudConfig, "cloudconfig", "", "")
	old("cloudconfig", "use --cloud-config")
	f.BoolVar(&o.forceNamespaced, "forceNamespaced", strings.EqualFold(getenv("FORCENAMESPACED"), "true"), "")
	old("forceNamespaced", "pods match bindings of their own namespace unless --allow-cross-namespace is given")
	f.DurationVar(&o.leaseDuration, "leader-election-duration", 0, "")
	old("leader-election-duration", "use --leader-election-lease-duration")
	f.StringVar(&o.probePort, "http-probe-port", "", "")
	old("http-probe-port", "use --health-listen")
	f.StringVar(&o.prometheusPort, "prometheus-port", "", "")
	old("prometheus-port", "use --metrics-listen")
	f.BoolVar(&o.profile, "enableProfile", false, "")
	old("enableProfile", "use --pprof-listen")
	f.Float32Var(&o.qps, "clientQps", 0, "")
	old("clientQps", "use --kube-api-qps and --kube-api-burst")
	f.DurationVar(&o.reconcileInterval, "identity-assignment-reconcile-interval", 0, "")
	old("identity-assignment-reconcile-interval", "use --drift-interval")
	o.addWithoutEffect(f, old)
}

// addWithoutEffect adds those that mean nothing any more.
func (*oldOptions) addWithoutEffect(f *pflag.FlagSet, old func(name, instead string)) {
	telemetry.AddOldLogFlags(f)
	for name, why := range map[string]string{
		"syncRetryDuration":              "it has no effect: what fails is tried again by itself, and everything is looked at again from time to time",
		"leader-election-instance":       "it has no effect: each process has a name of its own",
		"createDeleteBatch":              "it has no effect: writes are bounded by --kube-api-qps",
		"update-user-msi-max-retry":      "it has no effect: an identity that Azure refuses is set apart and tried again by itself",
		"update-user-msi-retry-interval": "it has no effect: an identity that Azure refuses is set apart and tried again by itself",
		"config-map-name":                "it has no effect: nothing is rewritten",
		"type-upgrade-status-key":        "it has no effect: nothing is rewritten",
	} {
		f.String(name, "", "")
		old(name, why)
	}
	for name, why := range map[string]string{ // those that may stand alone
		"enableScaleFeatures": "it has no effect: pods are always found by an index",
		"enable-type-upgrade": "it has no effect: old spellings are read as they are",
	} {
		f.String(name, "", "")
		f.Lookup(name).NoOptDefVal = "true"
		old(name, why)
	}
}

// compatibleAPI is the value of --compatibility.
const compatibleAPI = "aad-pod-identity"

// apply sets, for each old flag, the flag that took its place.
func (o *options) apply() error {
	old, given := &o.old, o.flags.Changed
	if given("cloudconfig") && !given("cloud-config") {
		o.cloudConfig = old.cloudConfig
	}
	if old.leaseDuration > 0 && !given("leader-election-lease-duration") {
		o.election.LeaseDuration = old.leaseDuration
	}
	o.applyPorts()
	if old.qps > 0 && !given("kube-api-qps") {
		o.qps = old.qps
	}
	if old.qps > 0 && !given("kube-api-burst") {
		o.burst = max(1, int(old.qps))
	}
	if given("identity-assignment-reconcile-interval") && !given("drift-interval") {
		o.driftInterval = max(old.reconcileInterval, 0)
	}
	return o.applyCompatibility()
}

// applyPorts sets what is served where.
func (o *options) applyPorts() {
	old, given := &o.old, o.flags.Changed
	if old.probePort != "" && !given("health-listen") {
		o.healthListen = ":" + old.probePort
	}
	if old.prometheusPort != "" && !given("metrics-listen") {
		o.metricsListen = ":" + old.prometheusPort
	}
	if old.profile && !given("pprof-listen") {
		o.pprofListen = "localhost:6060"
	}
}

// applyCompatibility sets what AAD Pod Identity did by default. What was given
// by a flag of its own stays.
func (o *options) applyCompatibility() error {
	given := o.flags.Changed
	switch o.compatibility {
	case "":
	case compatibleAPI:
		if !given("allow-cross-namespace") {
			o.acrossNamespaces = !o.old.forceNamespaced
		}
		if !given("exception-namespaces") {
			o.exceptionNamespaces = []string{"*"}
		}
		if !given("cloud-config") && !given("cloudconfig") {
			o.cloudConfig = ""
		}
	default:
		return fmt.Errorf("--compatibility %q is unknown: write %s, or nothing", o.compatibility, compatibleAPI)
	}
	if o.old.forceNamespaced && o.acrossNamespaces {
		return errors.New("--forceNamespaced and --allow-cross-namespace contradict each other: keep one")
	}
	return nil
}
