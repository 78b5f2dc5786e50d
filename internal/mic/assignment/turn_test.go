package assignment

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// reluctant is an API server that does not delete objects, makes none, or changes no
// state, for now.
type reluctant struct {
	*store
	keeps, ending, stays *atomic.Bool
}

func newReluctant() reluctant {
	return reluctant{newStore(), new(atomic.Bool), new(atomic.Bool), new(atomic.Bool)}
}

func (r reluctant) Patch(ctx context.Context, o client.Object, patch client.Patch, opts ...client.PatchOption) error {
	if _, is := o.(*v1.AzureAssignedIdentity); is && r.stays.Load() {
		return errors.New("not now")
	}
	return r.store.Patch(ctx, o, patch, opts...)
}

func (r reluctant) Delete(ctx context.Context, o client.Object, opts ...client.DeleteOption) error {
	if _, is := o.(*v1.AzureAssignedIdentity); is && r.keeps.Load() {
		return errors.New("not now")
	}
	return r.store.Delete(ctx, o, opts...)
}

func (r reluctant) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	if r.ending.Load() {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Reason:  metav1.StatusReasonForbidden,
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}},
		}}
	}
	return r.store.Create(ctx, o, opts...)
}

// playWith runs a scene with an API server of this kind.
func playWith(t *testing.T, c Config, do func(scene, reluctant)) {
	t.Helper()
	r := newReluctant()
	c.Writer = r
	playOn(t, r.store, c, func(l scene) { do(l, r) })
}

func TestNothingIsDetachedOfWhichAnObjectSaysThatItIsThere(t *testing.T) {
	playWith(t, Config{KeepWarm: -1}, func(l scene, api reluctant) {
		l.node()
		l.identity("app")
		l.pod("web", "app")
		l.settle(time.Second)
		api.keeps.Store(true)
		l.remove(&v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app"}})
		l.settle(30 * time.Second)
		if got := l.azure.attached(); !slices.Equal(got, []string{"app"}) || len(l.store.objects()) != 1 {
			t.Errorf("%v is attached and the objects are %v, want both to stay", got, l.store.objects())
		}
		l.settle(2 * time.Minute) // nor for ever
		if got := l.azure.attached(); len(got) > 0 {
			t.Errorf("%v is still attached", got)
		}
		api.keeps.Store(false)
		l.settle(2 * time.Minute)
		if got := l.store.objects(); len(got) > 0 {
			t.Errorf("in the end there is still %v", got)
		}
	})
}

func TestAForgottenScopeStaysForgotten(t *testing.T) {
	play(t, Config{}, func(l scene) {
		for range 3 {
			result, err := l.Reconcile(t.Context(), theScope)
			if _, _, forgotten := l.known(); err != nil || result.RequeueAfter != 0 || !forgotten {
				t.Errorf("Reconcile() = %v, %v, forgotten %v, want nothing more to do", result, err, forgotten)
			}
		}
	})
}

func TestNoNeedIsLeftWhenANodeLosesItsLastObject(t *testing.T) {
	playWith(t, Config{}, func(l scene, api reluctant) {
		n := l.node()
		l.identity("app")
		l.pod("one", "app")
		l.pod("two", "app")
		l.settle(time.Second)
		api.ending.Store(true)
		l.remove(n)
		l.settle(time.Second)
		for _, name := range []string{"two-team-app", "one-team-app"} { // others delete them
			l.remove(&v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}})
			l.settle(time.Second)
		}
		for _, name := range []string{"one", "two"} {
			l.remove(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}})
			l.settle(time.Second)
		}
		if _, owners, _ := l.known(); owners > 0 {
			t.Errorf("%d still need something of the machine, and there is none", owners)
		}
	})
}

func TestAPodThatGoesWithItsNamespacesAnnotationIsLetGo(t *testing.T) {
	play(t, Config{}, func(l scene) {
		annotated := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team", Annotations: map[string]string{v1.AnnotationNamespaceBinding: "app"}}}
		l.store.put(annotated)
		l.node()
		l.identity("app")
		p := l.pod("web", "")
		l.settle(time.Second)
		if len(l.store.objects()) != 1 {
			t.Fatalf("at first there is %v, want one object", l.store.objects())
		}
		bare := annotated.DeepCopy()
		bare.Annotations = nil
		quietly := l.store.changed
		l.store.changed = nil // both are in the cache before either is told
		l.remove(p)
		l.store.put(bare)
		l.store.changed = quietly
		quietly(annotated, bare)
		quietly(p, nil)
		l.settle(time.Second)
		if _, owners, _ := l.known(); len(l.store.objects()) > 0 || owners > 0 {
			t.Errorf("left: %v, and %d who need something", l.store.objects(), owners)
		}
	})
}

// unseenBefore is an API server that has an object that the cache does not show.
type unseenBefore struct {
	client.Reader
	client.Writer
	has, written *v1.AzureAssignedIdentity
}

func (*unseenBefore) Create(_ context.Context, o client.Object, _ ...client.CreateOption) error {
	return apierrors.NewAlreadyExists(schema.GroupResource{}, o.GetName())
}

func (u *unseenBefore) Get(_ context.Context, _ client.ObjectKey, o client.Object, _ ...client.GetOption) error {
	if into, ok := o.(*v1.AzureAssignedIdentity); ok {
		u.has.DeepCopyInto(into)
	}
	return nil
}

func (u *unseenBefore) Update(_ context.Context, o client.Object, _ ...client.UpdateOption) error {
	u.written, _ = o.(*v1.AzureAssignedIdentity)
	return nil
}

func TestWhatOthersPutOnAnUnseenObjectStays(t *testing.T) {
	api := &unseenBefore{has: &v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{
		ResourceVersion: "42", Labels: map[string]string{"of": "others"}, Finalizers: []string{assign.LegacyFinalizer, "others/finalizer"},
	}}}
	r := newReconciler(Config{Live: api, Writer: api, Log: slog.New(slog.DiscardHandler)})
	o := &v1.AzureAssignedIdentity{Spec: v1.AzureAssignedIdentitySpec{NodeName: "node"}}
	if err := r.create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	got := api.written
	if got.ResourceVersion != "42" || got.Labels["of"] != "others" || got.Labels[v1.LabelNodeName] != "node" || !slices.Equal(got.Finalizers, []string{"others/finalizer"}) {
		t.Errorf("written: %+v", got.ObjectMeta)
	}
}

func TestEachDetachmentWaitsForItsOwnObjects(t *testing.T) {
	playWith(t, Config{KeepWarm: -1}, func(l scene, api reluctant) {
		l.node()
		l.identity("app")
		l.pod("web", "app")
		l.settle(time.Second)
		binding := &v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "app"}}
		api.keeps.Store(true)
		l.remove(binding.DeepCopy())
		l.settle(10 * time.Second)
		l.identity("app") // needed again
		api.keeps.Store(false)
		l.settle(10 * time.Minute)
		api.keeps.Store(true)
		l.remove(binding.DeepCopy())
		l.settle(30 * time.Second)
		if got := l.azure.attached(); !slices.Equal(got, []string{"app"}) {
			t.Errorf("%v is attached while the objects are %v", got, l.store.objects())
		}
		l.settle(2 * time.Minute) // nor for ever
		if got := l.azure.attached(); len(got) > 0 {
			t.Errorf("%v is still attached", got)
		}
	})
}

func TestADetachmentDoesNotWaitForTheClockOfAnother(t *testing.T) {
	playWith(t, Config{KeepWarm: -1}, func(l scene, api reluctant) {
		l.node()
		for _, name := range []string{"a", "b"} {
			l.identity(name)
			l.pod("web-"+name, name)
		}
		l.settle(time.Second)
		api.keeps.Store(true)
		for _, test := range []struct {
			name  string
			after time.Duration
			want  []string
		}{
			{"a", 55 * time.Second, []string{"a", "b"}},
			{"b", 50 * time.Second, []string{"b"}}, // a is gone, and b still has time
		} {
			l.remove(&v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: test.name}})
			if l.settle(test.after); !slices.Equal(l.azure.attached(), test.want) {
				t.Errorf("%s after nobody needs %s %v are attached, want %v", test.after, test.name, l.azure.attached(), test.want)
			}
		}
		l.settle(2 * time.Minute) // nor for ever
		if got := l.azure.attached(); len(got) > 0 {
			t.Errorf("%v are still attached", got)
		}
	})
}
