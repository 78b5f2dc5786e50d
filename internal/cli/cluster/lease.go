package cluster

import (
	"cmp"
	"io"
	"slices"
	"time"

	"github.com/spf13/pflag"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/explain"
)

// leaseName is the name of mic's Lease where no flag says another.
const leaseName = "podid-mic"

// ControllerFlags are the flags of a mic as its pod shows them.
type ControllerFlags struct {
	// Lease is the one that mics lead by.
	Lease client.ObjectKey
	// StartupTaints are the keys of the taints that mic takes off.
	StartupTaints []string
}

// ControllerFlagsOf reads the flags of the first of mic's pods. Without one they
// are the defaults of a mic in the namespace that podid is installed in.
func (c *Cluster) ControllerFlagsOf(pods []corev1.Pod) ControllerFlags {
	f := ControllerFlags{Lease: client.ObjectKey{Namespace: c.System, Name: leaseName}}
	if len(pods) == 0 {
		return f
	}
	own := partOf(&pods[0], Controller)
	if own == nil {
		return f
	}
	var namespace, election string
	s := pflag.NewFlagSet(Controller, pflag.ContinueOnError)
	s.SetOutput(io.Discard)
	s.Usage = func() {}
	s.ParseErrorsAllowlist.UnknownFlags = true
	s.StringVar(&namespace, "namespace", "", "")
	s.StringVar(&election, "leader-election-namespace", "", "")
	s.StringVar(&f.Lease.Name, "leader-election-name", leaseName, "")
	s.StringSliceVar(&f.StartupTaints, "startup-taint", nil, "")
	_ = s.Parse(expand(slices.Concat(own.Command, own.Args), environment(&pods[0], own))) // mic itself says what is wrong with them
	f.Lease.Namespace = cmp.Or(election, namespace, c.System)
	return f
}

// MICOf is what the Lease says of mic.
func MICOf(l *coordinationv1.Lease) explain.MIC {
	var m explain.MIC
	if h := l.Spec.HolderIdentity; h != nil {
		m.Holder = *h
	}
	if t := l.Spec.RenewTime; t != nil {
		m.Renewed = t.Time
	}
	if d := l.Spec.LeaseDurationSeconds; d != nil {
		m.Duration = time.Duration(*d) * time.Second
	}
	return m
}
