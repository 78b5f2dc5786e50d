package nodeview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// Config says which node a View is of, and where it reads.
type Config struct {
	// Node is the name of the node. Required.
	Node string
	// REST reaches the API server. Required.
	REST *rest.Config
	// LinkOf tells the index of the interface that an address is on, or 0 when it
	// is on none of this node's. Required.
	LinkOf func(netip.Addr) int
	// Boot is when the node was booted, by its clock. Required. The links that
	// there are, View.LinkUp must be told of before Run.
	Boot time.Time
	// RunDir is a directory that a boot of the node empties, like /run/podid. What
	// is written down there lets the next agent trust what this one knew of links.
	// Empty means that nothing is.
	RunDir string
	// BootID tells this boot of the node from others. Required with RunDir.
	BootID string
	// Managed means that identities are on the nodes already: what is assigned is
	// not watched, and every identity is ready. The default is false.
	Managed bool
	// Rules are the operator's choices; see identity.Rules.
	Rules identity.Rules
	// Report is told why the view is not complete, and nil when it is. May be nil.
	Report func(error)
	// Log is the logger. Required.
	Log *slog.Logger
}

// Watcher keeps a View up to date.
type Watcher struct {
	config Config
	view   *View
	feed   *feed
}

// New makes an empty view and the watcher that fills it once Run is called.
func New(c Config) (*View, *Watcher, error) {
	switch {
	case c.Node == "":
		return nil, nil, errors.New("the name of the node is missing")
	case c.REST == nil || c.LinkOf == nil || c.Log == nil || c.Boot.IsZero():
		return nil, nil, errors.New("nodeview.Config is incomplete")
	case c.RunDir != "" && c.BootID == "":
		return nil, nil, errors.New("nodeview.Config.BootID is missing")
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	v := newView(c)
	if c.RunDir != "" {
		m, err := readMemory(c.RunDir, c.BootID)
		if err != nil {
			c.Log.Warn("what the agent before wrote down of links is passed over", "err", err)
		}
		v.memory = m
	}
	f := newFeed(c.Report)
	v.age = f.age
	return v, &Watcher{config: c, view: v, feed: f}, nil
}

// Run watches until ctx ends. Whatever is missing at the start (the API server,
// the CRDs, a right) is reported and waited for; it is never an error.
func (w *Watcher) Run(ctx context.Context) error {
	bounded := rest.CopyConfig(w.config.REST)
	bounded.Timeout = 10 * time.Second // discovery takes no context
	dc, err := discovery.NewDiscoveryClientForConfig(bounded)
	if err != nil {
		return fmt.Errorf("make a client for the API server %s: %w", w.config.REST.Host, err)
	}
	if !w.awaitAPI(ctx, dc) {
		return nil
	}
	c, err := w.newCache()
	if err != nil {
		return fmt.Errorf("make the cache of the node's objects: %w", err)
	}
	handled, err := w.handle(ctx, c)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { // ends with ctx
		w.awaitSync(ctx, handled)
		return nil
	})
	if w.config.RunDir != "" {
		g.Go(func() error { // ends with ctx
			w.keepMemory(ctx)
			return nil
		})
	}
	g.Go(func() error {
		if err := c.Start(ctx); err != nil {
			return fmt.Errorf("watch the node's objects: %w", err)
		}
		return nil
	})
	return g.Wait()
}

// awaitAPI waits until the API server serves our kinds; false when ctx ended.
func (w *Watcher) awaitAPI(ctx context.Context, dc *discovery.DiscoveryClient) bool {
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := w.served(ctx, dc)
		if err == nil {
			return true
		}
		w.config.Report(err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// served asks whether the API server has the kinds that a node reads.
func (w *Watcher) served(ctx context.Context, dc *discovery.DiscoveryClient) error {
	list, err := dc.ServerResourcesForGroupVersion(v1.GroupVersion.String())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("API server %s: %w", w.config.REST.Host, err)
	}
	missing := map[string]bool{"azureidentities": true, "azureidentitybindings": true, "azurepodidentityexceptions": true}
	if !w.config.Managed {
		missing["azureassignedidentities"] = true
	}
	if err == nil {
		for _, r := range list.APIResources {
			delete(missing, r.Name)
		}
	}
	for kind := range missing {
		return fmt.Errorf("the API server has no %s.%s: apply the CRDs (config/crd)", kind, v1.GroupVersion.Group)
	}
	return nil
}

// newCache is a cache of this node's pods and assigned identities and of all
// namespaces, identities, bindings and exceptions, each stripped to what is used.
func (w *Watcher) newCache() (cache.Cache, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	config := rest.CopyConfig(w.config.REST)
	config.Wrap(w.feed.wrap)
	return cache.New(config, cache.Options{
		Scheme:                      scheme,
		ReaderFailOnMissingInformer: true,
		DefaultTransform:            cache.TransformStripManagedFields(),
		DefaultWatchErrorHandler: func(ctx context.Context, _ *toolscache.Reflector, err error) {
			w.config.Log.WarnContext(ctx, "a watch failed and is tried again", "err", err)
		},
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {
				Field:     fields.OneTermEqualSelector("spec.nodeName", w.config.Node),
				Transform: stripPod,
			},
			&corev1.Namespace{}: {Transform: stripNamespace},
			&v1.AzureAssignedIdentity{}: {
				Label: labels.SelectorFromSet(labels.Set{v1.LabelNodeName: v1.NodeLabel(w.config.Node)}),
			},
		},
	})
}

// awaitSync reports until everything there was at the start is in the view, and
// then that; from there on the feed reports.
func (w *Watcher) awaitSync(ctx context.Context, handled []toolscache.InformerSynced) {
	for ctx.Err() == nil {
		bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
		synced := toolscache.WaitForCacheSync(bounded.Done(), handled...)
		cancel()
		if synced && ctx.Err() == nil {
			w.view.setSynced()
			w.feed.delivered()
			return
		}
		w.config.Report(w.feed.starting())
	}
}
