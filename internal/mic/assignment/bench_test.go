package assignment

import (
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

// The size that the controller is made for.
const (
	manyPods, manyBindings, manyNodes, manyNamespaces = 10_000, 1_000, 30, 20
	manyScopes                                        = 3
)

// large is a cluster of that size.
type large struct {
	*Reconciler
	store *store
	queue queue
}

func largePod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: fmt.Sprintf("team-%d", i%manyNamespaces), Name: fmt.Sprintf("app-%d", i),
			Labels: map[string]string{v1.LabelBinding: fmt.Sprintf("selector-%d", i%manyBindings)},
		},
		Spec: corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", i%manyNodes)},
	}
}

func newLarge(tb testing.TB) large {
	tb.Helper()
	s := newStore()
	if err := Index(tb.Context(), s); err != nil {
		tb.Fatal(err)
	}
	recorder := events.NewFakeRecorder(0)
	recorder.Events = nil
	r := newReconciler(Config{Cache: s, Live: s, Writer: s, Recorder: recorder, Log: slog.New(slog.DiscardHandler), Window: -1})
	r.loaded.Store(true)
	r.queue = workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[assign.Scope]())
	tb.Cleanup(r.queue.ShutDown)
	l := large{r, s, r.queue}
	records := make(map[assign.Scope]assign.Record)
	for i := range manyNodes {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)}, Spec: corev1.NodeSpec{
			ProviderID: fmt.Sprintf("azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool-%d/virtualMachines/%d", i%manyScopes, i),
		}}
		s.put(n)
		records[scopeOf(n)] = assign.Record{}
	}
	for i := range manyBindings {
		of := metav1.ObjectMeta{Namespace: fmt.Sprintf("team-%d", i%manyNamespaces), Name: fmt.Sprintf("identity-%d", i)}
		id := fmt.Sprintf("/subscriptions/11111111-1111-1111-1111-111111111111/resourcegroups/apps/providers/microsoft.managedidentity/userassignedidentities/identity-%d", i)
		s.put(&v1.AzureIdentity{ObjectMeta: of, Spec: v1.AzureIdentitySpec{ResourceID: id, ClientID: of.Name}})
		s.put(&v1.AzureIdentityBinding{ObjectMeta: of, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: of.Name, Selector: fmt.Sprintf("selector-%d", i)}})
		for scope := range records {
			records[scope][id] = assign.Attached
		}
	}
	for i := range manyPods {
		s.put(largePod(i))
	}
	for scope, record := range records {
		l.scopes[scope] = l.newState(kept{record: record, version: "1"})
		l.scopes[scope].kept.record = maps.Clone(record)
		l.reconcile(tb, scope)
	}
	if len(s.objects()) != manyPods {
		tb.Fatalf("%d objects, want one for each of %d pods", len(s.objects()), manyPods)
	}
	return l
}

// reconcile looks at a scope until nothing of it is left.
func (l large) reconcile(tb testing.TB, scope assign.Scope) {
	tb.Helper()
	for {
		if _, err := l.Reconcile(tb.Context(), scope); err != nil {
			tb.Fatal(err)
		}
		if s := l.scopes[scope]; s == nil || len(s.backlog)+len(l.pending[scope]) == 0 {
			return
		}
	}
}

// drain reconciles all scopes that are queued.
func (l large) drain(tb testing.TB) {
	tb.Helper()
	for l.queue.Len() > 0 {
		scope, _ := l.queue.Get()
		l.reconcile(tb, scope)
		l.queue.Done(scope)
	}
}

func (l large) assigned(tb testing.TB, o *v1.AzureAssignedIdentity) {
	tb.Helper()
	now := o.DeepCopy()
	now.ResourceVersion += "0"
	h := routed(l.Reconciler, l.routeAssigned, sameAssigned)
	h.Update(tb.Context(), event.TypedUpdateEvent[*v1.AzureAssignedIdentity]{ObjectOld: o, ObjectNew: now}, l.queue)
	l.drain(tb)
}

// BenchmarkAnEventThatChangesNothing is an object that was touched without reason.
func BenchmarkAnEventThatChangesNothing(b *testing.B) {
	l := newLarge(b)
	var objects []*v1.AzureAssignedIdentity
	for _, o := range l.store.kind(&v1.AzureAssignedIdentity{}).List() {
		objects = append(objects, o.(*v1.AzureAssignedIdentity)) //nolint:forcetypeassert // of this kind
	}
	writes := l.store.writes
	for i := 0; b.Loop(); i++ {
		l.assigned(b, objects[i%len(objects)])
	}
	if l.store.writes != writes {
		b.Errorf("%d writes, want none", l.store.writes-writes)
	}
}

// BenchmarkAnEventThatBinds is a pod that comes and whose identity is there, with
// what comes of it, and its going.
func BenchmarkAnEventThatBinds(b *testing.B) {
	l := newLarge(b)
	h := routed(l.Reconciler, l.routePod, samePod)
	i := manyPods
	for b.Loop() {
		p := largePod(i)
		i++
		l.store.put(p)
		h.Create(b.Context(), event.TypedCreateEvent[*corev1.Pod]{Object: p}, l.queue)
		l.drain(b)
		var o v1.AzureAssignedIdentity
		if err := l.store.Get(b.Context(), client.ObjectKey{Namespace: p.Namespace, Name: p.Name + "-" + p.Namespace + "-identity-" + strconv.Itoa((i-1)%manyBindings)}, &o); err != nil {
			b.Fatal(err)
		}
		l.assigned(b, &o)
		if err := l.store.kind(p).Delete(p); err != nil {
			b.Fatal(err)
		}
		h.Delete(b.Context(), event.TypedDeleteEvent[*corev1.Pod]{Object: p}, l.queue)
		l.drain(b)
	}
}

// BenchmarkALook is the whole of one of the scopes.
func BenchmarkALook(b *testing.B) {
	l := newLarge(b)
	for b.Loop() {
		l.doubt()
		l.drain(b)
	}
}

// TestTheMemoryOfALargeCluster says what the heap holds; -v shows it.
func TestTheMemoryOfALargeCluster(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	l := newLarge(t)
	took := time.Since(began)
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap := (after.HeapAlloc - before.HeapAlloc) >> 20
	t.Logf("%d pods, %d bindings: %d MiB, made in %s", manyPods, manyBindings, heap, took)
	if heap > 100 {
		t.Errorf("%d MiB, want at most 100", heap)
	}
	runtime.KeepAlive(l)
}
