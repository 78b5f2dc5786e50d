package assignment

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
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

// scene is a small cluster with a controller at work, in a bubble of synctest: time
// passes when everybody waits. All nodes are of one scale set.
type scene struct {
	*Reconciler
	t     *testing.T
	store *store
	azure *azure
	told  *told
	// looking is held while the scope is looked at.
	looking *sync.Mutex
}

// play runs a scene.
func play(t *testing.T, c Config, do func(scene)) {
	t.Helper()
	playOn(t, newStore(), c, do)
}

// playOn runs a scene on a cache.
func playOn(t *testing.T, s *store, c Config, do func(scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { do(begin(t, s, newAzure(), c)) })
}

// begin starts a controller, which ends with the bubble.
func begin(t *testing.T, s *store, a *azure, c Config) scene {
	t.Helper()
	if len(s.byKind) == 0 {
		if err := Index(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	recorder := events.NewFakeRecorder(0)
	recorder.Events = nil
	l := scene{t: t, store: s, azure: a, told: &told{problems: make(map[matter]string), forgotten: make(map[matter]bool)}, looking: new(sync.Mutex)}
	c.Cache, c.Live, c.Machines, c.Recorder, c.Status, c.Namespace = s, s, a, recorder, l.told, "podid"
	c.Log = slog.New(slog.DiscardHandler)
	if c.Writer == nil {
		c.Writer = s
	}
	r := newReconciler(c)
	l.Reconciler = r
	r.queue = workqueue.NewTypedRateLimitingQueue(rateLimiter())
	s.changed = l.events()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Start(ctx) }) // ends with ctx, without an error
	running.Go(func() { l.work(ctx) })      // ends when the queue is shut down
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	t.Cleanup(r.queue.ShutDown)
	r.queue.Add(assign.Scope{})
	return l
}

// work does what a controller does with its queue, one scope at a time.
func (l scene) work(ctx context.Context) {
	for {
		scope, ended := l.queue.Get()
		if ended {
			return
		}
		l.looking.Lock()
		result, err := l.Reconcile(ctx, scope)
		l.looking.Unlock()
		switch {
		case err != nil:
			l.queue.AddRateLimited(scope)
		case result.RequeueAfter > 0:
			l.queue.Forget(scope)
			l.queue.AddAfter(scope, result.RequeueAfter)
		default:
			l.queue.Forget(scope)
		}
		l.queue.Done(scope)
	}
}

// events has changes in the cache routed as in Add.
func (l scene) events() func(old, now client.Object) {
	kinds := map[reflect.Type]func(old, now client.Object){
		reflect.TypeFor[*corev1.Node]():              heard(l, l.routeNode, sameNode),
		reflect.TypeFor[*corev1.Pod]():               heard(l, l.routePod, samePod),
		reflect.TypeFor[*corev1.Namespace]():         heard(l, l.routeNamespace, sameNamespace),
		reflect.TypeFor[*v1.AzureAssignedIdentity](): heard(l, l.routeAssigned, sameAssigned),
		reflect.TypeFor[*v1.AzureIdentityBinding]():  heard(l, l.routeBinding, sameBinding),
		reflect.TypeFor[*v1.AzureIdentity]():         heard(l, l.routeIdentity, sameIdentity),
	}
	return func(old, now client.Object) {
		of := now
		if of == nil {
			of = old
		}
		if tell := kinds[reflect.TypeOf(of)]; tell != nil {
			tell(old, now)
		}
	}
}

func heard[T client.Object](l scene, route func(context.Context, T, touches) error, same func(old, now T) bool) func(old, now client.Object) {
	h := routed(l.Reconciler, route, same)
	return func(old, now client.Object) {
		before, _ := old.(T)
		after, _ := now.(T)
		switch {
		case old == nil:
			h.Create(l.t.Context(), event.TypedCreateEvent[T]{Object: after}, l.queue)
		case now == nil:
			h.Delete(l.t.Context(), event.TypedDeleteEvent[T]{Object: before}, l.queue)
		default:
			h.Update(l.t.Context(), event.TypedUpdateEvent[T]{ObjectOld: before, ObjectNew: after}, l.queue)
		}
	}
}

// settle lets time pass: that much, and until everybody waits.
func (l scene) settle(d time.Duration) {
	time.Sleep(d) // in the bubble
	synctest.Wait()
}

// theScope is where all nodes are.
var theScope = assign.Scope{Kind: assign.VMSS, Subscription: "s", ResourceGroup: "g", Name: "pool"}

func (l scene) node() *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}, Spec: corev1.NodeSpec{
		ProviderID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/0",
	}}
	l.store.put(n)
	return n
}

// arm is the ARM id of an identity.
func arm(name string) string {
	return "/subscriptions/s/resourcegroups/apps/providers/microsoft.managedidentity/userassignedidentities/" + name
}

// identity makes one, with a binding for a selector of the same name.
func (l scene) identity(name string) {
	of := metav1.ObjectMeta{Namespace: "team", Name: name}
	l.store.put(&v1.AzureIdentity{ObjectMeta: of, Spec: v1.AzureIdentitySpec{ResourceID: arm(name), ClientID: name}})
	l.store.put(&v1.AzureIdentityBinding{ObjectMeta: of, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: name, Selector: name}})
}

// spec makes another identity of an AzureIdentity.
func (l scene) spec(name, resourceID string) {
	l.store.put(&v1.AzureIdentity{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}, Spec: v1.AzureIdentitySpec{ResourceID: resourceID, ClientID: name},
	})
}

func (l scene) pod(name, selector string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name}, Spec: corev1.PodSpec{NodeName: "node"}}
	if selector != "" {
		p.Labels = map[string]string{v1.LabelBinding: selector}
	}
	l.store.put(p)
	return p
}

func (l scene) remove(objects ...client.Object) {
	l.t.Helper()
	for _, o := range objects {
		if err := l.store.Delete(l.t.Context(), o); err != nil {
			l.t.Fatal(err)
		}
	}
}

// known is how many identities are in quarantine, and how many owners need
// any; forgotten says that nothing is remembered of the scope.
func (l scene) known() (quarantined, owners int, forgotten bool) {
	l.looking.Lock()
	defer l.looking.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.scopes[theScope]
	if s == nil {
		return 0, 0, true
	}
	return s.refusals.Quarantined(), len(s.machine.Owners()), false
}

// record is what the API server has of the record.
func (l scene) record() assign.Record {
	l.t.Helper()
	found, _, err := l.records.load(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	return found[theScope].record
}
