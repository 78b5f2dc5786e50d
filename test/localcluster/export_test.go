package localcluster

import (
	"net/netip"
	"path/filepath"
	"time"
)

// HoldPort is how an API server's port is held until release is called.
func HoldPort(address netip.Addr) (at netip.AddrPort, release func(), err error) {
	p, err := holdPort(address)
	return p.AddrPort, p.release, err
}

// TrySandbox is the trial of [Supported], with a limit.
func TrySandbox(limit time.Duration) error { return trySandbox(limit) }

// Cgroups are control groups of version 2 in a folder of a test's own.
type Cgroups struct{ *cgroups }

// NewCgroups has them enable controllers.
func NewCgroups(dir string, enabled ...string) Cgroups {
	return Cgroups{&cgroups{
		roots: []string{filepath.Join(dir, "root")}, unified: true, enabled: enabled, note: filepath.Join(dir, "note"),
	}}
}

// Make makes the folders of a machine.
func (c Cgroups) Make(machine string) error { return c.make(machine) }

// Remove removes those of all machines.
func (c Cgroups) Remove() { c.remove("") }
