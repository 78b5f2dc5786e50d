package spelling

import (
	"context"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	v1 "github.com/podid-io/podid/api/v1"
)

// written is an API server where somebody else has written an exception meanwhile.
type written struct{ client.Client }

func (written) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	o.SetGeneration(2)
	return nil
}

func (written) Status() client.SubResourceWriter { return writtenStatus{} }

type writtenStatus struct{ client.SubResourceWriter }

func (writtenStatus) Patch(context.Context, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
	return apierrors.NewConflict(schema.GroupResource{}, "", nil)
}

func TestWhatSomebodyElseWroteIsWaitedFor(t *testing.T) {
	r := &reconciler{client: written{}, kind: kind{
		create: func() client.Object { return &v1.AzurePodIdentityException{} },
		read: on(func(o *v1.AzurePodIdentityException) view {
			return view{nil, &o.Status.Conditions, &o.Status.ObservedGeneration}
		}),
	}}
	got, err := r.Reconcile(t.Context(), reconcile.Request{})
	if err != nil || got.RequeueAfter != pause {
		t.Errorf("Reconcile() = %v, %v, want to be called again after %s", got, err, pause)
	}
}
