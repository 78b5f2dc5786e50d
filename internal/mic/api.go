package mic

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	v1 "github.com/podid-io/podid/api/v1"
)

// awaitAPI returns when the API server serves our kinds, or with ctx's error.
// Until then readiness says what is missing.
func (c *Controller) awaitAPI(ctx context.Context) error {
	bounded := rest.CopyConfig(c.config.REST)
	bounded.Timeout = 10 * time.Second // discovery takes no context
	client, err := discovery.NewDiscoveryClientForConfig(bounded)
	if err != nil {
		return fmt.Errorf("make a client for %s: %w", c.config.REST.Host, err)
	}
	return c.insist(ctx, func() error { return served(client) })
}

// insist tries until it goes well, or ctx ends. Until then readiness says why the
// API server is of no use.
func (c *Controller) insist(ctx context.Context, try func() error) error {
	report := c.Report(checkAPI)
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := try()
		if err == nil {
			return nil
		}
		report(fmt.Errorf("API server %s: %w", c.config.REST.Host, err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// served asks whether the API server has our kinds.
func served(client discovery.ServerResourcesInterface) error {
	list, err := client.ServerResourcesForGroupVersion(v1.GroupVersion.String())
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	missing := []string{"azureassignedidentities", "azureidentities", "azureidentitybindings", "azurepodidentityexceptions"}
	if err == nil {
		for _, r := range list.APIResources {
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == r.Name })
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("it has no %s in %s: apply the CRDs (config/crd)", strings.Join(missing, ", "), v1.GroupVersion.Group)
	}
	return nil
}
