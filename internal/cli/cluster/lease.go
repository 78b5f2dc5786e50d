package cluster

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/podid-io/podid/internal/explain"
)

// LeaseName is the name of mic's Lease.
const LeaseName = "podid-mic"

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
