package legacy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
)

// reader reads and watches the metadata of Endpoints.
type reader struct{ client metadata.Getter }

func newReader(c *rest.Config) (reader, error) {
	own := rest.CopyConfig(c)
	own.RateLimiter, own.QPS, own.Burst = nil, 10, 20
	own.WarningHandlerWithContext = rest.NoWarnings{} // Endpoints are deprecated; MIC does not know
	client, err := metadata.NewForConfig(own)
	if err != nil {
		return reader{}, fmt.Errorf("make a client for the lock of AAD Pod Identity: %w", err)
	}
	return reader{client.Resource(corev1.SchemeGroupVersion.WithResource("endpoints"))}, nil
}

// read returns what a lock says; empty where there is none.
func (r reader) read(ctx context.Context, lock types.NamespacedName) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	o, err := r.client.Namespace(lock.Namespace).Get(ctx, lock.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return recordOf(o), nil
}

// watch sends what a lock says each time that it changes, until ctx ends.
func (r reader) watch(ctx context.Context, lock types.NamespacedName, to chan<- news, log *slog.Logger) {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, lock.Name).String()
	objects := r.client.Namespace(lock.Namespace)
	send := func(record string) {
		select {
		case to <- news{lock, record}:
		case <-ctx.Done():
		}
	}
	changed := func(o any) {
		if m, ok := o.(*metav1.PartialObjectMetadata); ok {
			send(recordOf(m))
		}
	}
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = only
			return objects.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = only
			return objects.Watch(ctx, options)
		},
	}, &metav1.PartialObjectMetadata{}, 0, toolscache.Indexers{})
	_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *toolscache.Reflector, err error) { // fails only when it runs
		if ctx.Err() == nil {
			log.WarnContext(ctx, "the lock of AAD Pod Identity's MIC cannot be watched and is tried again", "lock", lock.String(), "err", err)
		}
	})
	_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, o any) { changed(o) },
		DeleteFunc: func(any) { send("") },
	})
	if err != nil {
		log.ErrorContext(ctx, "watch the lock of AAD Pod Identity's MIC", "lock", lock.String(), "err", err)
		return
	}
	informer.RunWithContext(ctx)
}
