package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
)

// machines is Azure as the cloud configuration has it now. A call that has begun
// goes on with what it began with.
type machines struct {
	// limits are of Azure, which counts on when the configuration changes.
	limits *compute.Limits
	// waited is told of waits within them; nil for nobody.
	waited func(bucket string, d time.Duration)
	// userAgent is added to the client's own.
	userAgent string

	now atomic.Pointer[inUse]
}

// inUse is what a configuration gave.
type inUse struct {
	client          *compute.Client
	clusterIdentity string
}

func newMachines(userAgent string, waited func(string, time.Duration)) *machines {
	return &machines{limits: compute.NewLimits(), waited: waited, userAgent: userAgent}
}

var (
	_ assignment.Machines = (*machines)(nil)
	_ assignment.Lister   = (*machines)(nil)
)

// use makes a client for a configuration and has the next call use it.
func (m *machines) use(c cloudconfig.Config) error {
	credential, err := entra.ARMCredential(c.ARM)
	if err != nil {
		return err
	}
	client, err := compute.New(compute.Config{
		Credential: credential, Cloud: c.ARM.Cloud, HTTP: c.ARM.Transport,
		Limits: m.limits, Waited: m.waited, UserAgent: m.userAgent,
	})
	if err != nil {
		return err
	}
	m.now.Store(&inUse{client, c.ClusterIdentity})
	return nil
}

// clusterIdentity is the client id of the cluster's own identity, empty for none.
func (m *machines) clusterIdentity() string { return m.now.Load().clusterIdentity }

// Get reads a scope.
func (m *machines) Get(ctx context.Context, scope assign.Scope) (compute.State, error) {
	return m.now.Load().client.Get(ctx, scope)
}

// Update changes a scope.
func (m *machines) Update(ctx context.Context, scope assign.Scope, s compute.State, attach, detach []string) (compute.Changes, error) {
	return m.now.Load().client.Update(ctx, scope, s, attach, detach)
}

// List reads all VMs, or scale sets, of a resource group.
func (m *machines) List(ctx context.Context, kind assign.Kind, subscription, resourceGroup string) (map[assign.Scope]compute.State, error) {
	return m.now.Load().client.List(ctx, kind, subscription, resourceGroup)
}
