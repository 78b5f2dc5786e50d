package nodeview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	// Node is the name of the node.
	Node string
	// REST reaches the API server.
	REST *rest.Config
	// LinkOf tells the index of the interface that an address is on, or 0 when it
	// is on none of this node's.
	LinkOf func(netip.Addr) int
	// Rules are the operator's choices; see identity.Rules.
	Rules identity.Rules
	// Report is told why the view is not complete, and nil when it is. May be nil.
	Report func(error)
	// Log is the logger.
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
	if c.Node == "" {
		return nil, nil, errors.New("the name of the node is missing")
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	if c.LinkOf == nil {
		return nil, nil, errors.New("nodeview.Config.LinkOf is missing")
	}
	v := newView(c.Rules, c.LinkOf)
	return v, &Watcher{config: c, view: v, feed: newFeed(c.Report)}, nil
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
		err := served(ctx, dc, w.config.REST.Host)
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
func served(ctx context.Context, dc *discovery.DiscoveryClient, host string) error {
	list, err := dc.ServerResourcesForGroupVersion(v1.GroupVersion.String())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("API server %s: %w", host, err)
	}
	missing := map[string]bool{"azureidentities": true, "azureidentitybindings": true, "azureassignedidentities": true}
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
// identities and bindings, each stripped to what is used.
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

// handle has every event of the cache applied to the view. The functions that
// it returns tell whether the first list of each kind has been applied: the
// cache has it earlier.
func (w *Watcher) handle(ctx context.Context, c cache.Cache) ([]toolscache.InformerSynced, error) {
	v := w.view
	pods, err1 := on(ctx, c, &corev1.Pod{}, v.applyPod, func(p *corev1.Pod) { v.deletePod(string(p.UID)) })
	identities, err2 := on(ctx, c, &v1.AzureIdentity{},
		func(o *v1.AzureIdentity) { v.setIdentity(identity.FromAPI(o)) },
		func(o *v1.AzureIdentity) { v.deleteIdentity(nameOf(o)) })
	bindings, err3 := on(ctx, c, &v1.AzureIdentityBinding{},
		func(o *v1.AzureIdentityBinding) { v.setBinding(identity.BindingFromAPI(o)) },
		func(o *v1.AzureIdentityBinding) { v.deleteBinding(nameOf(o)) })
	assigned, err4 := on(ctx, c, &v1.AzureAssignedIdentity{},
		func(o *v1.AzureAssignedIdentity) { v.setAssigned(nameOf(o), assignmentFromAPI(o)) },
		func(o *v1.AzureAssignedIdentity) { v.deleteAssigned(nameOf(o)) })
	return []toolscache.InformerSynced{pods, identities, bindings, assigned}, errors.Join(err1, err2, err3, err4)
}

// on calls set and gone for the events of one kind, and returns whether the
// first list has been applied.
func on[T client.Object](ctx context.Context, c cache.Cache, kind T, set, gone func(T)) (toolscache.InformerSynced, error) {
	informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", kind, err)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if t, ok := o.(T); ok {
				set(t)
			}
		},
		UpdateFunc: func(before, now any) {
			old, ok1 := before.(T)
			t, ok2 := now.(T)
			if ok1 && ok2 && old.GetUID() != t.GetUID() {
				gone(old) // deleted and made again while the watch was away
			}
			if ok2 {
				set(t)
			}
		},
		DeleteFunc: func(o any) {
			if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			if t, ok := o.(T); ok {
				gone(t)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch %T: %w", kind, err)
	}
	return registration.HasSynced, nil
}

func nameOf(o metav1.Object) name { return name{o.GetNamespace(), o.GetName()} }

// applyPod records a pod by its addresses. A pod that has ended, one that
// shares the node's network and one without an address have none.
func (v *View) applyPod(p *corev1.Pod) {
	var addrs []netip.Addr
	if !p.Spec.HostNetwork && (p.Status.Phase == corev1.PodRunning || p.Status.Phase == corev1.PodPending) {
		for _, ip := range p.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				addrs = append(addrs, a.Unmap())
			}
		}
	}
	v.setPod(identity.Pod{
		Namespace: p.Namespace, Name: p.Name, UID: string(p.UID),
		ServiceAccount: p.Spec.ServiceAccountName,
		Node:           p.Spec.NodeName,
		Selector:       p.Labels[v1.LabelBinding],
		Created:        p.CreationTimestamp.Time,
	}, addrs, p.DeletionTimestamp != nil)
}

func assignmentFromAPI(o *v1.AzureAssignedIdentity) assignment {
	a := assignment{
		podUID: o.Spec.PodUID,
		pod:    name{o.Spec.PodNamespace, o.Spec.Pod},
		// No state is how AAD Pod Identity before 1.5 wrote "assigned".
		usable: o.Status.Status == v1.Assigned || o.Status.Status == "",
	}
	if ref := o.Spec.AzureIdentityRef; ref != nil {
		spec := ref.Spec.Canonical()
		a.identity = name{ref.Namespace, ref.Name}
		a.resourceID = strings.ToLower(spec.ResourceID)
		a.clientID = strings.ToLower(spec.ClientID)
	}
	return a
}

// stripPod keeps of a pod what applyPod reads.
func stripPod(o any) (any, error) {
	p, ok := o.(*corev1.Pod)
	if !ok {
		return o, nil
	}
	stripped := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: p.Namespace, Name: p.Name, UID: p.UID,
			ResourceVersion:   p.ResourceVersion,
			CreationTimestamp: p.CreationTimestamp,
			DeletionTimestamp: p.DeletionTimestamp,
		},
		Spec: corev1.PodSpec{
			NodeName:           p.Spec.NodeName,
			ServiceAccountName: p.Spec.ServiceAccountName,
			HostNetwork:        p.Spec.HostNetwork,
		},
		Status: corev1.PodStatus{Phase: p.Status.Phase, PodIPs: p.Status.PodIPs},
	}
	if l, ok := p.Labels[v1.LabelBinding]; ok {
		stripped.Labels = map[string]string{v1.LabelBinding: l}
	}
	return stripped, nil
}
