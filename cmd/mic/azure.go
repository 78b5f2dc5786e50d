package main

import (
	"context"
	"sync/atomic"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
	"github.com/podid-io/podid/internal/entra"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/mic/cloudconfig"
)

// machines is Azure as the cloud configuration has it now. A call that has begun
// goes on with what it began with.
type machines struct {
	client atomic.Pointer[compute.Client]
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
	client, err := compute.New(compute.Config{Credential: credential, Cloud: c.ARM.Cloud})
	if err != nil {
		return err
	}
	m.client.Store(client)
	return nil
}

// Get reads a scope.
func (m *machines) Get(ctx context.Context, scope assign.Scope) (compute.State, error) {
	return m.client.Load().Get(ctx, scope)
}

// Update changes a scope.
func (m *machines) Update(ctx context.Context, scope assign.Scope, s compute.State, attach, detach []string) (compute.Changes, error) {
	return m.client.Load().Update(ctx, scope, s, attach, detach)
}

// List reads all VMs, or scale sets, of a resource group.
func (m *machines) List(ctx context.Context, kind assign.Kind, subscription, resourceGroup string) (map[assign.Scope]compute.State, error) {
	return m.client.Load().List(ctx, kind, subscription, resourceGroup)
}
