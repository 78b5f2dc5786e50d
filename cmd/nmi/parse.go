package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/telemetry"
)

// parsed are the options as values.
type parsed struct {
	listen, metadata netip.AddrPort
	imdsEndpoint     *url.URL
	passThrough      []imds.Family
	micNamespace     string
	micAccount       string
	micClient        string
	micVM            bool
	managed          bool
	rest             *rest.Config
	redirects        bool
}

// parse checks what was given. Its errors name the flag.
func (o *options) parse() (parsed, error) {
	err0 := o.apply()
	p, err := o.parseRedirect()
	errs := []error{err0, err}
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
	errs = append(errs, o.parseMode(&p), o.parseFamilies(&p), o.parseController(&p), o.checkProfile())
	if err := errors.Join(errs...); err != nil {
		return p, err
	}
	if p.rest, err = clientcmd.BuildConfigFromFlags("", o.kubeconfig); err != nil {
		return p, fmt.Errorf("find the API server (--kubeconfig %q): %w", o.kubeconfig, err)
	}
	p.rest.UserAgent = strings.TrimSpace(rest.DefaultKubernetesUserAgent() + " " + o.userAgent)
	return p, nil
}

func (o *options) parseMode(p *parsed) error {
	switch strings.ToLower(o.operationMode) {
	case modeStandard:
	case modeManaged:
		p.managed = true
		if o.acrossNamespaces {
			return errors.New("--allow-cross-namespace does not go with --operation-mode=managed: there pods match bindings of their own namespace")
		}
	default:
		return fmt.Errorf("--operation-mode %q is unknown: write %s or %s", o.operationMode, modeStandard, modeManaged)
	}
	if o.startupTaint != "" && !p.managed {
		return errors.New("--startup-taint is for --operation-mode=managed: in standard mode mic takes the taint off")
	}
	return nil
}

func (o *options) parseFamilies(p *parsed) error {
	for _, name := range o.passThrough {
		f := imds.Family(strings.ToLower(name))
		if !slices.Contains(imds.Families(), f) {
			return fmt.Errorf("--pass-through %q is unknown: write some of %v", name, imds.Families())
		}
		p.passThrough = append(p.passThrough, f)
	}
	return nil
}

func (o *options) parseController(p *parsed) error {
	if o.micServiceAccount == "" {
		return nil
	}
	var errs []error
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
	return errors.Join(errs...)
}

// checkProfile refuses to show profiles, which hold secrets, to anybody else.
func (o *options) checkProfile() error {
	if err := telemetry.CheckLoopback(o.pprofListen); err != nil {
		return fmt.Errorf("--pprof-listen %w", err)
	}
	return nil
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
	if err2 == nil && !p.metadata.Addr().Is4() {
		err2 = fmt.Errorf("--metadata %q: write an IPv4 address and a port", o.metadata)
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
