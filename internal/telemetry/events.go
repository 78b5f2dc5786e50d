package telemetry

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	eventsv1client "k8s.io/client-go/kubernetes/typed/events/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
)

// PodEvents makes Events on pods.
type PodEvents struct {
	broadcaster events.EventBroadcaster
	recorder    events.EventRecorder
	end         context.CancelFunc
}

// NewPodEvents makes a source of Events in the name of component. Close ends it.
func NewPodEvents(ctx context.Context, config *rest.Config, component string) (*PodEvents, error) {
	client, err := eventsv1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for events: %w", err)
	}
	b := events.NewBroadcaster(&events.EventSinkImpl{Interface: client})
	ctx, cancel := context.WithCancel(ctx)
	if err := b.StartRecordingToSinkWithContext(ctx); err != nil {
		b.Shutdown()
		cancel()
		return nil, fmt.Errorf("send events: %w", err)
	}
	return &PodEvents{broadcaster: b, recorder: b.NewRecorder(scheme.Scheme, component), end: cancel}, nil
}

// Warn makes a Warning about a pod: for what reason, while doing what. It never
// waits for the API server.
func (e *PodEvents) Warn(namespace, name, uid, reason, action, message string) {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)},
	}
	e.recorder.Eventf(pod, nil, corev1.EventTypeWarning, reason, action, "%s", message)
}

// Close ends what NewPodEvents began.
func (e *PodEvents) Close() {
	e.broadcaster.Shutdown()
	e.end()
}
