package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/telemetry"
)

// oldOptions are flags of AAD Pod Identity's NMI. Each is taken under its old
// name; those that mean something here set the flag that took its place, unless
// that was given too.
type oldOptions struct {
	listenAddress, port          string
	metadataIP, metadataPort     string
	updateInterval               int
	forceNamespaced              bool
	probePort, prometheusPort    string
	created, assigned, pause     int
	profile, block, allowKubenet bool
}

// addFlags adds the flags, hidden from the help and with a line of deprecation.
func (o *oldOptions) addFlags(f *pflag.FlagSet) {
	old := func(name, instead string) { telemetry.Deprecate(f, name, instead) }
	f.StringVar(&o.listenAddress, "nmi-listen-address", "", "")
	old("nmi-listen-address", "use --listen")
	f.StringVar(&o.port, "nmi-port", "", "")
	old("nmi-port", "use --listen and --host-token-port")
	f.StringVar(&o.metadataIP, "metadata-ip", "", "")
	old("metadata-ip", "use --metadata")
	f.StringVar(&o.metadataPort, "metadata-port", "", "")
	old("metadata-port", "use --metadata")
	f.IntVar(&o.updateInterval, "ipt-update-interval-sec", 0, "")
	old("ipt-update-interval-sec", "use --redirect-interval")
	f.BoolVar(&o.forceNamespaced, "forceNamespaced", strings.EqualFold(os.Getenv("FORCENAMESPACED"), "true"), "")
	old("forceNamespaced", "pods match bindings of their own namespace unless --allow-cross-namespace is given")
	f.StringVar(&o.probePort, "http-probe-port", "", "")
	old("http-probe-port", "use --health-listen")
	f.StringVar(&o.prometheusPort, "prometheus-port", "", "")
	old("prometheus-port", "use --metrics-listen")
	f.IntVar(&o.created, "retry-attempts-for-created", 0, "")
	f.IntVar(&o.assigned, "retry-attempts-for-assigned", 0, "")
	f.IntVar(&o.pause, "find-identity-retry-interval", 0, "")
	for _, name := range []string{"retry-attempts-for-created", "retry-attempts-for-assigned", "find-identity-retry-interval"} {
		old(name, "use --hold: requests wait for their identity and are not tried again")
	}
	f.BoolVar(&o.profile, "enableProfile", false, "")
	old("enableProfile", "use --pprof-listen")
	f.BoolVar(&o.block, "block-instance-metadata", false, "")
	old("block-instance-metadata", "instance metadata is blocked unless --pass-through names it")
	f.BoolVar(&o.allowKubenet, "allow-network-plugin-kubenet", false, "")
	old("allow-network-plugin-kubenet", "use --accept-bridged-pods")
	o.addWithoutEffect(f, old)
}

// addWithoutEffect adds those that mean nothing any more.
func (*oldOptions) addWithoutEffect(f *pflag.FlagSet, old func(name, instead string)) {
	telemetry.AddOldLogFlags(f)
	for name, why := range map[string]string{
		"MICNamespace":              "it has no effect: use --mic-service-account",
		"kubelet-config":            "it has no effect: bridges are found by looking at the network",
		"set-retry-after-header":    "it has no effect: a request without an identity is answered 404, which SDKs retry",
		"enable-conntrack-deletion": "it has no effect: old connections always end",
		"enableScaleFeatures":       "it has no effect: only what concerns the node is watched",
	} {
		f.String(name, "", "")
		f.Lookup(name).NoOptDefVal = "true"
		old(name, why)
	}
}

// apply sets, for each old flag, the flag that took its place.
func (o *options) apply() error {
	old, given := &o.old, o.flags.Changed
	o.operationMode = strings.ToLower(o.operationMode) // as NMI took it
	err := o.applyAddresses()
	if old.updateInterval > 0 && !given("redirect-interval") {
		o.redirectInterval = time.Duration(old.updateInterval) * time.Second
	}
	if old.probePort != "" && !given("health-listen") {
		o.healthListen = ":" + old.probePort
	}
	if old.prometheusPort != "" && !given("metrics-listen") {
		o.metricsListen = ":" + old.prometheusPort
	}
	if old.profile && !given("pprof-listen") {
		o.pprofListen = "localhost:6060"
	}
	if old.allowKubenet && !given("accept-bridged-pods") {
		o.acceptBridges = true
	}
	o.applyHold()
	return errors.Join(err, o.applyCompatibility())
}

// applyAddresses puts addresses and ports, which were apart, together.
func (o *options) applyAddresses() error {
	old, given := &o.old, o.flags.Changed
	if !given("listen") {
		host := old.listenAddress
		a, err := netip.ParseAddr(host)
		switch {
		case host == "":
		case err != nil:
			return fmt.Errorf("--nmi-listen-address %q: %w", host, err)
		case a.IsLoopback() || a.IsUnspecified():
			host = "" // 127.0.0.1 was the default, which only a route_localnet of kube-proxy's made work
		}
		o.listen = replaceAddress(o.listen, host, old.port)
	}
	if !given("metadata") {
		o.metadata = replaceAddress(o.metadata, old.metadataIP, old.metadataPort)
	}
	if old.port == "" || given("host-token-port") {
		return nil
	}
	port, err := strconv.ParseUint(old.port, 10, 16)
	if err != nil {
		return fmt.Errorf("--nmi-port %q: write a port number", old.port)
	}
	o.hostTokenPort = uint16(port)
	return nil
}

// replaceAddress replaces host and port, where there is one, in address.
func replaceAddress(address, host, port string) string {
	h, p, err := net.SplitHostPort(address)
	if err != nil {
		return address // its own flag says what is wrong
	}
	if host != "" {
		h = host
	}
	if port != "" {
		p = port
	}
	return net.JoinHostPort(h, p)
}

// applyHold turns attempts and the pause between them into a time.
func (o *options) applyHold() {
	old, given := &o.old, o.flags.Changed
	if given("hold") || (!given("retry-attempts-for-created") && !given("retry-attempts-for-assigned") && !given("find-identity-retry-interval")) {
		return
	}
	value := func(name string, v, otherwise int) int {
		if given(name) {
			return min(max(v, 0), math.MaxInt16)
		}
		return otherwise
	}
	attempts := value("retry-attempts-for-created", old.created, 16) + value("retry-attempts-for-assigned", old.assigned, 4)
	seconds := attempts * value("find-identity-retry-interval", old.pause, 5)
	o.hold = min(nmi.MaxHold, max(time.Second, time.Duration(seconds)*time.Second))
}

// applyCompatibility sets what AAD Pod Identity did by default. What was given
// by a flag of its own stays.
func (o *options) applyCompatibility() error {
	given := o.flags.Changed
	switch o.compatibility {
	case "":
	case compatibleAPI:
		if !given("allow-cross-namespace") {
			o.acrossNamespaces = !o.old.forceNamespaced && o.operationMode != modeManaged
		}
		if !given("pass-through") {
			o.passThrough = nil
			for _, f := range imds.Families() {
				o.passThrough = append(o.passThrough, string(f))
			}
		}
		if !given("exception-namespaces") {
			o.exceptionNamespaces = []string{"*"}
		}
		if !given("host-token") {
			o.hostToken = true
		}
		if !given("remove-redirect-on-exit") {
			o.removeOnExit = true
		}
	default:
		return fmt.Errorf("--compatibility %q is unknown: write %s, or nothing", o.compatibility, compatibleAPI)
	}
	if o.old.block {
		o.passThrough = slices.DeleteFunc(o.passThrough, func(f string) bool {
			return f == string(imds.Instance) || f == string(imds.UserData)
		})
	}
	if o.old.forceNamespaced && o.acrossNamespaces {
		return errors.New("--forceNamespaced and --allow-cross-namespace contradict each other: keep one")
	}
	return nil
}
