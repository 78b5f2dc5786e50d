package churn_test

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/test/churn/model"
)

// podsWith changes what the view finds.
type podsWith struct {
	nmi.Pods
	change  func(*nodeview.Found)
	changed func(<-chan struct{}) <-chan struct{}
}

func (p podsWith) ByIP(a netip.Addr, link int) (nodeview.Found, <-chan struct{}, error) {
	f, changed, err := p.Pods.ByIP(a, link)
	if err == nil && p.change != nil {
		p.change(&f)
	}
	if p.changed != nil {
		changed = p.changed(changed)
	}
	return f, changed, err
}

func deaf(_ *world, v nmi.Pods) nmi.Pods {
	never := make(chan struct{})
	return podsWith{Pods: v, changed: func(<-chan struct{}) <-chan struct{} { return never }}
}

func impatient(_ *world, v nmi.Pods) nmi.Pods {
	return podsWith{Pods: v, change: func(f *nodeview.Found) { f.Pod.Created = f.Pod.Created.Add(-time.Hour) }}
}

// attachedEntitles takes what is attached for a pod for what it is entitled to.
func attachedEntitles(w *world, v nmi.Pods) nmi.Pods {
	return attached(w, v, func(f *nodeview.Found, a *model.Assigned) bool {
		return a.Namespace == f.Pod.Namespace && a.PodName == f.Pod.Name && a.PodUID == f.Pod.UID
	})
}

// attachedToAnyEntitles is attachedEntitles without a look at the pod.
func attachedToAnyEntitles(w *world, v nmi.Pods) nmi.Pods {
	return attached(w, v, func(*nodeview.Found, *model.Assigned) bool { return true })
}

func attached(w *world, v nmi.Pods, of func(*nodeview.Found, *model.Assigned) bool) nmi.Pods {
	return podsWith{Pods: v, change: func(f *nodeview.Found) {
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		for _, key := range sortedKeys(w.api.told.Assigned) {
			if a := w.api.told.Assigned[key]; a.Usable && of(f, &a) {
				id := identity.Identity{Namespace: a.Identity.Namespace, Name: a.Identity.Name, ClientID: a.ClientID, ResourceID: a.ResourceID}
				f.Grants = append(slices.Clip(f.Grants), identity.Grant{Identity: id, Ready: true})
			}
		}
	}}
}

// attachedToAnyIsReady takes an identity for ready that is attached for any pod.
func attachedToAnyIsReady(w *world, v nmi.Pods) nmi.Pods {
	return ready(v, func(id *identity.Identity) bool {
		w.api.mu.Lock()
		defer w.api.mu.Unlock()
		for _, a := range w.api.told.Assigned {
			if a.Usable && a.Identity == (model.Key{Namespace: id.Namespace, Name: id.Name}) && a.ClientID == id.ClientID && a.ResourceID == id.ResourceID {
				return true
			}
		}
		return false
	})
}

// allReady takes every identity for ready, as where there is no mic.
func allReady(_ *world, v nmi.Pods) nmi.Pods {
	return ready(v, func(*identity.Identity) bool { return true })
}

func ready(v nmi.Pods, is func(*identity.Identity) bool) nmi.Pods {
	return podsWith{Pods: v, change: func(f *nodeview.Found) {
		f.Grants = slices.Clone(f.Grants)
		for i := range f.Grants {
			g := &f.Grants[i]
			g.Ready = g.Ready || is(&g.Identity)
		}
	}}
}

// podsBut answers differently of some addresses.
type podsBut struct {
	nmi.Pods
	world *world
	byIP  func(p podsBut, a netip.Addr, f nodeview.Found, err error) (nodeview.Found, error)
}

func (p podsBut) ByIP(a netip.Addr, link int) (nodeview.Found, <-chan struct{}, error) {
	f, changed, err := p.Pods.ByIP(a, link)
	f, err = p.byIP(p, a, f, err)
	return f, changed, err
}

// named finds a pod that the API server has told of; the zero value for none.
func (p podsBut) named(is func(*model.Pod) bool) (nodeview.Found, bool) {
	p.world.api.mu.Lock()
	defer p.world.api.mu.Unlock()
	for _, key := range sortedKeys(p.world.api.told.Pods) {
		pod := p.world.api.told.Pods[key]
		if !is(&pod) {
			continue
		}
		if f, _, err := p.ByName(key.Namespace, key.Name); err == nil && f.Pod.UID == pod.UID {
			return f, true
		}
	}
	return nodeview.Found{}, false
}

// firstOfTwo believes one of those who claim an address.
func firstOfTwo(w *world, v nmi.Pods) nmi.Pods {
	return podsBut{v, w, func(p podsBut, a netip.Addr, f nodeview.Found, err error) (nodeview.Found, error) {
		if errors.Is(err, nodeview.ErrAmbiguous) {
			if first, ok := p.named(func(p *model.Pod) bool { return !p.HostNetwork && (p.Addr == a || p.Second == a) }); ok {
				return first, nil
			}
		}
		return f, err
	}}
}

// lastWordCounts believes the last event that told of an address, of whichever
// pod that was, if the view knows of any.
func lastWordCounts(w *world, v nmi.Pods) nmi.Pods {
	return podsBut{v, w, func(p podsBut, a netip.Addr, f nodeview.Found, err error) (nodeview.Found, error) {
		last, told := w.api.lastOf(a)
		if err != nil || !told || last.gone || last.uid == f.Pod.UID {
			return f, err
		}
		if other, ok := p.named(func(p *model.Pod) bool { return p.UID == last.uid }); ok {
			return other, nil
		}
		return f, err
	}}
}

// lateDeleteCounts has an address be nobody's after a pod is deleted, or ends,
// that is told of with it, until it is told of again.
func lateDeleteCounts(w *world, v nmi.Pods) nmi.Pods {
	return podsBut{v, w, func(_ podsBut, a netip.Addr, f nodeview.Found, err error) (nodeview.Found, error) {
		if last, told := w.api.lastOf(a); err == nil && told && last.gone {
			return nodeview.Found{}, nodeview.ErrUnknown
		}
		return f, err
	}}
}
