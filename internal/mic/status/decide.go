package status

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/mic/assignment"
	"github.com/podid-io/podid/internal/shell"
)

// identity decides about an AzureIdentity; the object is nil when there is none.
func (c *Controller) identity(ctx context.Context, name types.NamespacedName) (client.Object, status, error) {
	var o v1.AzureIdentity
	if err := c.cache.Get(ctx, name, &o); err != nil {
		return nil, status{}, c.gone(key{false, name}, err)
	}
	objects, err := c.objects(ctx, assignment.AssignedByIdentity, name)
	if err != nil {
		return nil, status{}, err
	}
	s := newStatus(o.Status.MatchedPods, o.Status.Conditions)
	s.pods = int32(min(len(objects), 1<<30))
	spec := o.Spec.Canonical()
	if len(objects) == 0 || *spec.Type != v1.UserAssignedMSI || spec.ResourceID == "" {
		meta.RemoveStatusCondition(&s.conditions, v1.ConditionAttached)
	} else {
		troubles := c.troublesOf(key{false, name})
		told := troubles != nil
		condition := attached(objects, troubles, spec.ResourceID)
		condition.ObservedGeneration = o.Generation
		if told || !stillTrue(meta.FindStatusCondition(s.conditions, v1.ConditionAttached), condition) {
			meta.SetStatusCondition(&s.conditions, condition)
		}
	}
	return named(&v1.AzureIdentity{}, &o), s, nil
}

// gone forgets what is wrong with an object that could not be read since there is
// none, and returns what else it could not be read for.
func (c *Controller) gone(k key, err error) error {
	if client.IgnoreNotFound(err) == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.troubles, k)
	}
	return client.IgnoreNotFound(err)
}

// troublesOf is what was told of an identity, or a binding in advance, by scope: nil
// when nothing was, and empty troubles where all is well.
func (c *Controller) troublesOf(k key) map[assign.Scope]trouble {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.troubles[k])
}

// allTold reports whether it has been told of all scopes of the nodes that a binding
// selects how it went there.
func (c *Controller) allTold(ctx context.Context, selector labels.Selector, told map[assign.Scope]trouble) (bool, error) {
	var nodes corev1.NodeList
	if err := c.cache.List(ctx, &nodes, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return false, err
	}
	return !slices.ContainsFunc(nodes.Items, func(n corev1.Node) bool {
		scope, err := assign.ParseProviderID(n.Spec.ProviderID)
		_, was := told[scope]
		return err == nil && !was
	}), nil
}

// stillTrue reports whether a condition that a controller before has written stays
// for now: it says what is wrong with the same AzureIdentity, and this one has not
// been told yet how it went.
func stillTrue(before *metav1.Condition, now metav1.Condition) bool {
	return before != nil && before.Status == metav1.ConditionFalse && now.Reason == v1.ReasonAttaching &&
		before.ObservedGeneration == now.ObservedGeneration
}

// attached decides whether an identity is attached where it is needed, from the
// objects for its pods and from what is wrong.
func attached(objects []v1.AzureAssignedIdentity, troubles map[assign.Scope]trouble, id string) metav1.Condition {
	waiting := make(map[assign.Scope]bool)
	for i := range objects {
		// One that is Assigned stands, when the AzureIdentity is edited, until that is there.
		stands := objects[i].Spec.AzureIdentityRef == nil || !strings.EqualFold(objects[i].Spec.AzureIdentityRef.Spec.Canonical().ResourceID, id)
		if objects[i].Status.Status != v1.Assigned || stands {
			scope, _ := assign.ScopeOf(&objects[i]) // zero for nodes outside Azure
			waiting[scope] = true
		}
	}
	maps.DeleteFunc(troubles, func(scope assign.Scope, _ trouble) bool { return !waiting[scope] })
	c := metav1.Condition{Type: v1.ConditionAttached, Status: metav1.ConditionFalse}
	switch {
	case len(waiting) == 0:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1.ReasonAttached, "it is attached wherever a pod needs it"
	case len(waiting) == 1 && waiting[assign.Scope{}]:
		c.Reason, c.Message = v1.ReasonNoMachine, "pods wait for it on nodes of which it is not known which machine of Azure they are: an Event on each pod says why"
	case len(troubles) == 0:
		c.Reason, c.Message = v1.ReasonAttaching, "it is on its way to where pods need it"
	default:
		first, more := firstOf(troubles)
		c.Reason, c.Message = first.reason, first.problem
		if first.reason == v1.ReasonRefused {
			c.Message += fmt.Sprintf(". If it exists: az role assignment create --assignee MIC --role 'Managed Identity Operator' --scope %s, where MIC is the object id of mic's own identity", shell.Quote(id))
		}
		c.Message = cut(more + c.Message)
	}
	return c
}

// firstOf is the trouble of the first scope, and how many more there are.
func firstOf(troubles map[assign.Scope]trouble) (first trouble, more string) {
	where := slices.SortedFunc(maps.Keys(troubles), func(x, y assign.Scope) int { return cmp.Compare(x.ID(), y.ID()) })
	if n := len(where) - 1; n > 0 {
		more = fmt.Sprintf("(and on %d more) ", n)
	}
	return troubles[where[0]], more
}

// How many bytes the message of a condition, and the note of an Event, may have.
const (
	longestMessage = 32768
	longestNote    = 1024
)

func cut(message string) string { return assignment.Cut(message, longestMessage) }

// bindingOf decides about a binding; the object is nil when there is none.
func (c *Controller) bindingOf(ctx context.Context, name types.NamespacedName) (client.Object, status, error) {
	var o v1.AzureIdentityBinding
	if err := c.cache.Get(ctx, name, &o); err != nil {
		return nil, status{}, c.gone(key{true, name}, err)
	}
	objects, err := c.objects(ctx, assignment.AssignedByBinding, name)
	if err != nil {
		return nil, status{}, err
	}
	s := newStatus(o.Status.MatchedPods, o.Status.Conditions)
	s.pods = int32(min(len(objects), 1<<30))
	if nodes, err := assignment.Nodes(&o); err == nil {
		troubles := c.troublesOf(key{true, name})
		all := nodes == nil || !s.untried(o.Generation)
		if !all {
			if all, err = c.allTold(ctx, nodes, troubles); err != nil {
				return nil, status{}, err
			}
		}
		maps.DeleteFunc(troubles, func(_ assign.Scope, t trouble) bool { return t.problem == "" })
		if all || len(troubles) > 0 {
			inAdvance(&s, o.Generation, nodes != nil, troubles)
		}
	} else if meta.SetStatusCondition(&s.conditions, metav1.Condition{
		Type: v1.ConditionPreAssign, Status: metav1.ConditionFalse, ObservedGeneration: o.Generation, Reason: v1.ReasonInvalid,
		Message: cut(fmt.Sprintf("annotation %s is no selector of nodes: write one like agentpool=apps, or * for all (%v)", v1.AnnotationPreAssign, err)),
	}) {
		why := meta.FindStatusCondition(s.conditions, v1.ConditionPreAssign).Message
		s.done = func() {
			c.recorder.Eventf(&o, nil, corev1.EventTypeWarning, "InvalidSelector", "PreAssign", "%s", assignment.Cut(why, longestNote))
		}
	}
	return named(&v1.AzureIdentityBinding{}, &o), s, nil
}

// untried reports whether a controller before has written what is in the way of the
// same binding, which stays until this one is told of all its scopes. That it is no selector, or that
// its AzureIdentity is wrong, is not among that: it is known without trying.
func (s *status) untried(generation int64) bool {
	c := meta.FindStatusCondition(s.conditions, v1.ConditionPreAssign)
	return c != nil && c.Status == metav1.ConditionFalse && c.ObservedGeneration == generation && c.Reason != v1.ReasonInvalid
}

// inAdvance decides about a binding whose annotation makes sense, if it has one.
func inAdvance(s *status, generation int64, annotated bool, troubles map[assign.Scope]trouble) {
	if !annotated || len(troubles) == 0 {
		meta.RemoveStatusCondition(&s.conditions, v1.ConditionPreAssign)
		return
	}
	first, more := firstOf(troubles)
	meta.SetStatusCondition(&s.conditions, metav1.Condition{
		Type: v1.ConditionPreAssign, Status: metav1.ConditionFalse, ObservedGeneration: generation,
		Reason: first.reason, Message: cut(more + first.problem),
	})
}

// named gives the empty object into which an answer is read the name of another,
// which is shared, and its version.
func named(empty, o client.Object) client.Object {
	empty.SetNamespace(o.GetNamespace())
	empty.SetName(o.GetName())
	empty.SetResourceVersion(o.GetResourceVersion())
	return empty
}

// objects are those of podid in an index.
func (c *Controller) objects(ctx context.Context, index string, name types.NamespacedName) ([]v1.AzureAssignedIdentity, error) {
	var list v1.AzureAssignedIdentityList
	if err := c.cache.List(ctx, &list, client.MatchingFields{index: name.String()}); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(o v1.AzureAssignedIdentity) bool {
		return o.Spec.PodUID == "" || o.DeletionTimestamp != nil
	}), nil
}
