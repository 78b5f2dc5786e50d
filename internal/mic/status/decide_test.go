package status

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

func TestWhatIsInTheWayOfABindingStaysUntilItIsTried(t *testing.T) {
	for sentence, test := range map[string]struct {
		before []metav1.Condition
		want   bool
	}{
		"never written":             {nil, false},
		"refused":                   {[]metav1.Condition{{Type: v1.ConditionPreAssign, Status: metav1.ConditionFalse, Reason: v1.ReasonRefused, ObservedGeneration: 2}}, true},
		"refused, and edited since": {[]metav1.Condition{{Type: v1.ConditionPreAssign, Status: metav1.ConditionFalse, Reason: v1.ReasonRefused, ObservedGeneration: 1}}, false},
		"it was no selector":        {[]metav1.Condition{{Type: v1.ConditionPreAssign, Status: metav1.ConditionFalse, Reason: v1.ReasonInvalid, ObservedGeneration: 2}}, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := newStatus(0, test.before)
			if got := s.untried(2); got != test.want {
				t.Errorf("untried() = %v, want %v", got, test.want)
			}
		})
	}
}
