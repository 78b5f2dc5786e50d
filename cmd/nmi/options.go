package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/redirect"
)

// options are the flags as they were given; parse turns them into values.
type options struct {
	stdout io.Writer

	node, kubeconfig             string
	listen, metadata             string
	imdsEndpoint                 string
	redirect                     string
	redirectInterval, hold       time.Duration
	acrossNamespaces             bool
	micServiceAccount, micClient string
	armResources                 []string
	audit, auditFile             string
	healthListen, metricsListen  string
	logLevel, logFormat          string
}

func (o *options) addFlags(f *pflag.FlagSet) {
	o.addRedirectFlags(f)
	f.StringVar(&o.node, "node", o.node, "name of the node (default $NODE_NAME)")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; empty means the pod's own service account")
	f.StringVar(&o.imdsEndpoint, "imds-endpoint", "http://169.254.169.254", "the real metadata service of the node")
	f.StringVar(&o.redirect, "redirect", "nftables", "nftables: redirect the metadata address to nmi; none: something else does")
	f.DurationVar(&o.redirectInterval, "redirect-interval", 5*time.Second, "how often the redirect is checked, apart from netlink events")
	f.DurationVar(&o.hold, "hold", nmi.DefaultHold, "how long a request waits for an identity on its way, at most "+nmi.MaxHold.String())
	f.BoolVar(&o.acrossNamespaces, "allow-cross-namespace", false, "let pods match bindings of other namespaces")
	f.StringVar(&o.micServiceAccount, "mic-service-account", "", "NAMESPACE/NAME of mic's service account, whose pods get mic's identity for Azure Resource Manager; empty means none")
	f.StringVar(&o.micClient, "mic-client-id", "", "client id of mic's managed identity, or "+systemAssigned+" for the identity of the VM; needed with --mic-service-account")
	f.StringSliceVar(&o.armResources, "arm-resource", []string{"https://management.azure.com", "https://management.core.windows.net"}, "what mic may ask a token for")
	f.StringVar(&o.audit, "audit", string(nmi.AuditBuffered), "audit log of tokens: buffered (counts what it drops), sync (loses none) or off")
	f.StringVar(&o.auditFile, "audit-file", "-", "file that the audit log is appended to; - means standard output")
	f.StringVar(&o.healthListen, "health-listen", "127.0.0.1:8085", "address of /healthz and /readyz; empty means none")
	f.StringVar(&o.metricsListen, "metrics-listen", ":9090", "address of /metrics; empty means none")
	f.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&o.logFormat, "log-format", "text", "text or json")
}

func (o *options) addRedirectFlags(f *pflag.FlagSet) {
	f.StringVar(&o.listen, "listen", redirect.DefaultListen.String(), "address of nmi's own, link-local, that pods are redirected to")
	f.StringVar(&o.metadata, "metadata", redirect.DefaultMetadata.String(), "address that pods ask")
}

// systemAssigned is the value of --mic-client-id for the VM's own identity.
const systemAssigned = "system-assigned"

// parsed are the options as values.
type parsed struct {
	listen, metadata netip.AddrPort
	imdsEndpoint     *url.URL
	micNamespace     string
	micAccount       string
	micClient        string
	micVM            bool
	rest             *rest.Config
	redirects        bool
}

// parse checks what was given. Its errors name the flag.
func (o *options) parse() (parsed, error) {
	p, err := o.parseRedirect()
	errs := []error{err}
	if o.node == "" {
		errs = append(errs, errors.New("--node is missing: write the name of the node, or set NODE_NAME"))
	}
	if p.imdsEndpoint, err = url.Parse(o.imdsEndpoint); err != nil {
		errs = append(errs, fmt.Errorf("--imds-endpoint: %w", err))
	}
	switch o.redirect {
	case "nftables":
		p.redirects = true
	case "none":
	default:
		errs = append(errs, fmt.Errorf("--redirect %q is unknown: write nftables or none", o.redirect))
	}
	if o.micServiceAccount != "" {
		var ok bool
		if p.micNamespace, p.micAccount, ok = strings.Cut(o.micServiceAccount, "/"); !ok || p.micNamespace == "" || p.micAccount == "" {
			errs = append(errs, fmt.Errorf("--mic-service-account %q: write NAMESPACE/NAME", o.micServiceAccount))
		}
		switch o.micClient {
		case "":
			errs = append(errs, fmt.Errorf("--mic-client-id is missing: write the client id of mic's managed identity, or %s for the identity of the VM", systemAssigned))
		case systemAssigned:
			p.micVM = true
		default:
			p.micClient = o.micClient
		}
	}
	if err := errors.Join(errs...); err != nil {
		return p, err
	}
	if p.rest, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig); err != nil {
		return p, fmt.Errorf("find the API server (--kubeconfig %q): %w", o.kubeconfig, err)
	}
	return p, nil
}

// parseRedirect checks the flags of the redirect alone.
func (o *options) parseRedirect() (parsed, error) {
	var p parsed
	var err1, err2 error
	if p.listen, err1 = netip.ParseAddrPort(o.listen); err1 != nil {
		err1 = fmt.Errorf("--listen %q: %w", o.listen, err1)
	}
	if p.metadata, err2 = netip.ParseAddrPort(o.metadata); err2 != nil {
		err2 = fmt.Errorf("--metadata %q: %w", o.metadata, err2)
	}
	return p, errors.Join(err1, err2)
}

// openAudit opens the sink of the audit log.
func (o *options) openAudit() (io.WriteCloser, error) {
	if o.auditFile == "-" {
		return stdoutCloser{o.stdout}, nil
	}
	f, err := os.OpenFile(o.auditFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--audit-file: %w", err)
	}
	return f, nil
}

// stdoutCloser leaves standard output open.
type stdoutCloser struct{ io.Writer }

func (stdoutCloser) Close() error { return nil }
