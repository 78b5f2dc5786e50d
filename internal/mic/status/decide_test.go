package status

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
)

func TestAttachedIsWhatPodsHave(t *testing.T) {
	pool := assign.Scope{Kind: assign.VMSS, Subscription: "s", ResourceGroup: "g", Name: "pool"}
	object := func(scope assign.Scope, id string, state v1.AssignedState) v1.AzureAssignedIdentity {
		o := v1.AzureAssignedIdentity{
			Spec:   v1.AzureAssignedIdentitySpec{AzureIdentityRef: &v1.AzureIdentityRef{Spec: v1.AzureIdentitySpec{ResourceID: id}}},
			Status: v1.AzureAssignedIdentityStatus{Status: state},
		}
		if scope != (assign.Scope{}) {
			o.Annotations = map[string]string{"podid.io/scope": scope.ID()}
		}
		return o
	}
	refused := map[assign.Scope]trouble{pool: {v1.ReasonRefused, "no such identity"}}
	for sentence, test := range map[string]struct {
		objects  []v1.AzureAssignedIdentity
		troubles map[assign.Scope]trouble
		want     metav1.ConditionStatus
		reason   string
		says     string
	}{
		"all have it": {
			[]v1.AzureAssignedIdentity{object(pool, "NOW", v1.Assigned)}, nil, metav1.ConditionTrue, v1.ReasonAttached, "wherever",
		},
		"one waits": {
			[]v1.AzureAssignedIdentity{object(pool, "now", v1.Assigned), object(pool, "now", v1.Created)}, nil, metav1.ConditionFalse, v1.ReasonAttaching, "on its way",
		},
		"one that waits in vain": {
			[]v1.AzureAssignedIdentity{object(pool, "now", v1.Created)}, refused, metav1.ConditionFalse, v1.ReasonRefused, "no such identity",
		},
		"one has the identity before": {
			[]v1.AzureAssignedIdentity{object(pool, "before", v1.Assigned)}, nil, metav1.ConditionFalse, v1.ReasonAttaching, "on its way",
		},
		"one has the identity before, and waits in vain": {
			[]v1.AzureAssignedIdentity{object(pool, "before", v1.Assigned)}, refused, metav1.ConditionFalse, v1.ReasonRefused, "no such identity",
		},
		"on a node outside Azure": {
			[]v1.AzureAssignedIdentity{object(assign.Scope{}, "now", v1.Created)}, nil, metav1.ConditionFalse, v1.ReasonNoMachine, "not known which machine",
		},
		"on such a node and another": {
			[]v1.AzureAssignedIdentity{object(assign.Scope{}, "now", v1.Created), object(pool, "now", v1.Created)}, refused, metav1.ConditionFalse, v1.ReasonRefused, "no such identity",
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			got := attached(test.objects, test.troubles, "now")
			if got.Status != test.want || got.Reason != test.reason || !strings.Contains(got.Message, test.says) {
				t.Errorf("attached() = %s %s %q, want %s %s and %q", got.Status, got.Reason, got.Message, test.want, test.reason, test.says)
			}
		})
	}
}

// The id is from a spec, and the command is for the shell of an administrator.
func TestTheCommandIsNoMoreThanItSays(t *testing.T) {
	pool := assign.Scope{Kind: assign.VMSS, Subscription: "s", ResourceGroup: "g", Name: "pool"}
	const evil = "/x/$(touch PWNED)'`id`\x1b[2J"
	object := v1.AzureAssignedIdentity{
		Spec:   v1.AzureAssignedIdentitySpec{AzureIdentityRef: &v1.AzureIdentityRef{Spec: v1.AzureIdentitySpec{ResourceID: evil}}},
		Status: v1.AzureAssignedIdentityStatus{Status: v1.Created},
	}
	object.Annotations = map[string]string{"podid.io/scope": pool.ID()}
	got := attached([]v1.AzureAssignedIdentity{object}, map[assign.Scope]trouble{pool: {v1.ReasonRefused, "refused"}}, evil).Message
	if want := ` --scope '/x/$(touch PWNED)'\''` + "`id`" + `[2J', where MIC`; !strings.Contains(got, want) {
		t.Errorf("attached() says %q, want %q in it", got, want)
	}
}

func TestWhatWasWrongStaysUntilItIsTried(t *testing.T) {
	attaching := metav1.Condition{Status: metav1.ConditionFalse, Reason: v1.ReasonAttaching, ObservedGeneration: 2}
	refused := metav1.Condition{Status: metav1.ConditionFalse, Reason: v1.ReasonRefused, ObservedGeneration: 2}
	for sentence, test := range map[string]struct {
		before *metav1.Condition
		now    metav1.Condition
		want   bool
	}{
		"refused, and not tried yet":  {&refused, attaching, true},
		"refused, and there now":      {&refused, metav1.Condition{Status: metav1.ConditionTrue, Reason: v1.ReasonAttached, ObservedGeneration: 2}, false},
		"refused, and edited since":   {&metav1.Condition{Status: metav1.ConditionFalse, ObservedGeneration: 1}, attaching, false},
		"there, and on its way again": {&metav1.Condition{Status: metav1.ConditionTrue, ObservedGeneration: 2}, attaching, false},
		"never written":               {nil, attaching, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := stillTrue(test.before, test.now); got != test.want {
				t.Errorf("stillTrue() = %v, want %v", got, test.want)
			}
		})
	}
}

func TestABindingInAdvanceSaysWhatIsWrong(t *testing.T) {
	pool := assign.Scope{Kind: assign.VMSS, Subscription: "s", ResourceGroup: "g", Name: "pool"}
	spare := assign.Scope{Kind: assign.VMSS, Subscription: "s", ResourceGroup: "g", Name: "spare"}
	for sentence, test := range map[string]struct {
		annotated bool
		troubles  map[assign.Scope]trouble
		want      string // the message; empty for no condition
	}{
		"nothing":                    {true, nil, ""},
		"on one scope":               {true, map[assign.Scope]trouble{pool: {v1.ReasonRefused, "refused"}}, "refused"},
		"on two":                     {true, map[assign.Scope]trouble{pool: {v1.ReasonRefused, "refused"}, spare: {v1.ReasonRefused, "x"}}, "(and on 1 more) refused"},
		"before the annotation went": {false, map[assign.Scope]trouble{pool: {v1.ReasonRefused, "refused"}}, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := newStatus(0, []metav1.Condition{{Type: v1.ConditionPreAssign, Status: metav1.ConditionFalse, Message: "before"}})
			inAdvance(&s, 1, test.annotated, test.troubles)
			got := ""
			for _, c := range s.conditions {
				got = c.Message
			}
			if got != test.want {
				t.Errorf("the condition says %q, want %q", got, test.want)
			}
		})
	}
}

// cached is a cache of one binding and some nodes.
type cached struct {
	binding v1.AzureIdentityBinding
	nodes   []corev1.Node
}

func (c cached) Get(_ context.Context, _ client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	if b, ok := into.(*v1.AzureIdentityBinding); ok {
		c.binding.DeepCopyInto(b)
	}
	return nil
}

func (c cached) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(options)
	if list, ok := into.(*corev1.NodeList); ok {
		for _, n := range c.nodes {
			if o.LabelSelector.Matches(labels.Set(n.Labels)) {
				list.Items = append(list.Items, n)
			}
		}
	}
	return nil
}

func TestWhatIsInTheWayOfABindingStaysUntilItIsTried(t *testing.T) {
	const group = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/"
	var nodes []corev1.Node
	var scopes []assign.Scope
	for _, name := range []string{"one", "two"} {
		nodes = append(nodes, corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"pool": "apps"}},
			Spec:       corev1.NodeSpec{ProviderID: "azure://" + group + name + "/virtualMachines/0"},
		})
		scope, err := assign.ParseProviderID(nodes[len(nodes)-1].Spec.ProviderID)
		if err != nil {
			t.Fatal(err)
		}
		scopes = append(scopes, scope)
	}
	name := types.NamespacedName{Namespace: "apps", Name: "binding"}
	well := func(c *Controller, of ...assign.Scope) {
		for _, scope := range of {
			c.TellAdvance(scope, name, "", "")
		}
	}
	for sentence, test := range map[string]struct {
		selector, reason string
		generation       int64 // for which the condition was written
		tell             func(*Controller)
		want             string // the message; empty for none
	}{
		"nothing is told yet":                               {"pool=apps", v1.ReasonRefused, 2, func(*Controller) {}, "before"},
		"well on one, the other not tried":                  {"pool=apps", v1.ReasonRefused, 2, func(c *Controller) { well(c, scopes[0]) }, "before"},
		"well on both":                                      {"pool=apps", v1.ReasonRefused, 2, func(c *Controller) { well(c, scopes...) }, ""},
		"refused again on one":                              {"pool=apps", v1.ReasonRefused, 2, func(c *Controller) { c.TellAdvance(scopes[1], name, v1.ReasonRefused, "now") }, "now"},
		"well on one, and the other is not for it any more": {"pool=apps", v1.ReasonRefused, 2, func(c *Controller) { well(c, scopes...); c.ForgetAdvance(scopes[1], name) }, "before"},
		"no node is selected any more":                      {"pool=none", v1.ReasonRefused, 2, func(*Controller) {}, ""},
		"the binding was edited since":                      {"pool=apps", v1.ReasonRefused, 1, func(*Controller) {}, ""},
		"it was no selector, which needs no try":            {"pool=apps", v1.ReasonInvalid, 2, func(*Controller) {}, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			b := v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{
				Namespace: name.Namespace, Name: name.Name, Generation: 2, Annotations: map[string]string{v1.AnnotationPreAssign: test.selector},
			}}
			b.Status.Conditions = []metav1.Condition{{
				Type: v1.ConditionPreAssign, Status: metav1.ConditionFalse, Reason: test.reason, ObservedGeneration: test.generation, Message: "before",
			}}
			c := &Controller{cache: cached{b, nodes}, troubles: map[key]map[assign.Scope]trouble{}}
			test.tell(c)
			_, s, err := c.bindingOf(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, condition := range s.conditions {
				got = condition.Message
			}
			if got != test.want {
				t.Errorf("the condition says %q, want %q", got, test.want)
			}
		})
	}
}

// There are as many scopes as there were VMs.
func TestWhatABindingIsNotForAnyMoreIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Controller{troubles: map[key]map[assign.Scope]trouble{}, queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[key]())}
		defer c.queue.ShutDown()
		name := types.NamespacedName{Namespace: "apps", Name: "binding"}
		pool := assign.Scope{Kind: assign.VM, Subscription: "s", ResourceGroup: "g"}
		for i := range 100 {
			pool.Name = fmt.Sprint("vm-", i)
			c.TellAdvance(pool, name, "", "")
			if i > 0 {
				c.ForgetAdvance(pool, name)
			}
		}
		if got := len(c.troublesOf(key{true, name})); got != 1 {
			t.Errorf("%d scopes are remembered, want 1", got)
		}
		c.ForgetAdvance(pool, types.NamespacedName{Namespace: "apps", Name: "untold"})
		time.Sleep(pause) // in the bubble
		synctest.Wait()
		if got := c.queue.Len(); got != 2 {
			t.Errorf("%d bindings are looked at, want both", got)
		}
	})
}
