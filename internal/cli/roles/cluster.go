package roles

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/roles"
)

// page is how many objects one answer of the API server holds.
const page = 500

// cluster reads nodes and AzureIdentities. Notes tell of what does not count.
func (o *options) cluster(ctx context.Context) (c roles.Cluster, notes []string, err error) {
	config, err := o.kube.ToRESTConfig()
	if err != nil {
		return c, nil, fmt.Errorf("kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return c, nil, err
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return c, nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	if c.Nodes, notes, err = nodes(ctx, api); err != nil {
		return c, nil, err
	}
	c.Identities, err = identities(ctx, api)
	return c, notes, err
}

func nodes(ctx context.Context, api client.Client) (scopes map[assign.Scope]int, notes []string, err error) {
	scopes = map[assign.Scope]int{}
	for next := ""; ; {
		var list corev1.NodeList
		if err := api.List(ctx, &list, client.Limit(page), client.Continue(next)); err != nil {
			return nil, nil, fmt.Errorf("list nodes: %w", err)
		}
		for i := range list.Items {
			scope, err := assign.ParseProviderID(list.Items[i].Spec.ProviderID)
			if err != nil {
				notes = append(notes, fmt.Sprintf("left out: node %s: %s", list.Items[i].Name, err))
				continue
			}
			scopes[scope]++
		}
		if next = list.Continue; next == "" {
			break
		}
	}
	if len(scopes) == 0 {
		return nil, nil, errors.New("no node of this cluster is a machine of Azure: is it the right cluster?")
	}
	return scopes, notes, nil
}

// identities are the AzureIdentities of type 0. The others need no role.
func identities(ctx context.Context, api client.Client) ([]roles.Identity, error) {
	var found []roles.Identity
	for next := ""; ; {
		var list v1.AzureIdentityList
		if err := api.List(ctx, &list, client.Limit(page), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("list AzureIdentities: %w", err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			if spec := o.Spec.Canonical(); *spec.Type == v1.UserAssignedMSI {
				found = append(found, roles.Identity{Name: o.Namespace + "/" + o.Name, ResourceID: spec.ResourceID})
			}
		}
		if next = list.Continue; next == "" {
			return found, nil
		}
	}
}
