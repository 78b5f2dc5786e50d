package roles

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/roles"
)

// page is how many objects one answer of the API server holds.
const page = 500

// apiTimeout is the deadline of a request to the API server, where --request-timeout
// gives none.
const apiTimeout = 30 * time.Second

// cluster reads nodes and AzureIdentities into the report and the cluster.
func (o *options) cluster(ctx context.Context, r *report) (c roles.Cluster, err error) {
	config, err := o.kube.ToRESTConfig()
	if err != nil {
		return c, fmt.Errorf("kubeconfig: %w", err)
	}
	config.Timeout = cmp.Or(config.Timeout, apiTimeout)
	r.Cluster = config.Host
	if raw, err := o.kube.ToRawKubeConfigLoader().RawConfig(); err == nil {
		r.Context = cmp.Or(*o.kube.Context, raw.CurrentContext)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return c, err
	}
	api, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return c, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	if c.Nodes, err = r.nodes(ctx, api); err != nil {
		return c, err
	}
	c.Identities, err = r.identities(ctx, api)
	return c, err
}

func (r *report) nodes(ctx context.Context, api client.Client) (map[assign.Scope]int, error) {
	scopes := map[assign.Scope]int{}
	for next := ""; ; {
		var list corev1.NodeList
		if err := api.List(ctx, &list, client.Limit(page), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		for i := range list.Items {
			scope, err := assign.ParseProviderID(list.Items[i].Spec.ProviderID)
			if err != nil {
				// A node of another cloud needs nothing of Azure; one of Azure that is
				// misnamed may.
				note := fmt.Sprintf("node %s: %s", list.Items[i].Name, err)
				if strings.HasPrefix(strings.ToLower(list.Items[i].Spec.ProviderID), "azure:") {
					r.leaveOut(note)
				} else {
					r.Notes = append(r.Notes, "left out: "+note)
				}
				continue
			}
			scopes[scope]++
		}
		if next = list.Continue; next == "" {
			break
		}
	}
	if len(scopes) == 0 {
		return nil, errors.New("no node of this cluster is a machine of Azure: is it the right cluster?")
	}
	return scopes, nil
}

// identities are the AzureIdentities: of applications, which mic does not attach, the
// client id alone.
func (r *report) identities(ctx context.Context, api client.Client) ([]roles.Identity, error) {
	var found []roles.Identity
	for next := ""; ; {
		var list v1.AzureIdentityList
		if err := api.List(ctx, &list, client.Limit(page), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("list AzureIdentities: %w", err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			spec := o.Spec.Canonical()
			i := roles.Identity{Name: o.Namespace + "/" + o.Name, ClientID: spec.ClientID}
			if *spec.Type == v1.UserAssignedMSI {
				i.ResourceID = spec.ResourceID
			} else if i.ClientID == "" {
				continue // which names nobody
			}
			found = append(found, i)
		}
		if next = list.Continue; next == "" {
			return found, nil
		}
	}
}
