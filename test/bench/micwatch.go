package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	v1 "github.com/podid-io/podid/api/v1"
)

// sightings are when pods were first seen Assigned.
type sightings struct {
	stop func()

	mu   sync.Mutex // guards the rest
	at   map[string]time.Time
	news chan struct{} // closed with the next sighting
}

// watchAssigned watches all pods of a field, until stop is called.
func (f *field) watchAssigned(ctx context.Context) (*sightings, error) {
	all, err := cache.New(f.cp.REST(), cache.Options{Scheme: f.client.Scheme(), DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return nil, err
	}
	informer, err := all.GetInformer(ctx, &v1.AzureAssignedIdentity{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	s := &sightings{at: make(map[string]time.Time), news: make(chan struct{})}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: s.see, UpdateFunc: func(_, now any) { s.see(now) },
	}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { _ = all.Start(ctx) }) // ends with stop, always with nil
	s.stop = func() { cancel(); done.Wait() }
	if !all.WaitForCacheSync(ctx) {
		s.stop()
		return nil, errors.New("AzureAssignedIdentities could not be listed")
	}
	return s, nil
}

func (s *sightings) see(o any) {
	now := time.Now()
	a, ok := o.(*v1.AzureAssignedIdentity)
	if !ok || a.Status.Status != v1.Assigned {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, seen := s.at[a.Spec.Pod]; seen {
		return
	}
	s.at[a.Spec.Pod] = now
	close(s.news)
	s.news = make(chan struct{})
}

// await returns when all of the pods are Assigned, with when the last was.
func (s *sightings) await(ctx context.Context, within time.Duration, pods ...string) (last time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for _, p := range pods {
		for {
			s.mu.Lock()
			at, news := s.at[p], s.news
			s.mu.Unlock()
			if !at.IsZero() {
				if at.After(last) {
					last = at
				}
				break
			}
			select {
			case <-news:
			case <-ctx.Done():
				return last, fmt.Errorf("pod %s was not Assigned within %s: %w", p, within, ctx.Err())
			}
		}
	}
	return last, nil
}
