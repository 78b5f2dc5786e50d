package assignment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// Reasons of the events.
const (
	reasonAssigned = "IdentityAssigned"
	reasonFailed   = "IdentityAssignFailed"
	actionAssign   = "Assign"
)

// reportAssigned tells the pod and the binding that the identity can be used.
func (r *Reconciler) reportAssigned(s *state, o *v1.AzureAssignedIdentity) {
	delete(s.reported[ownerOf(o)], client.ObjectKeyFromObject(o))
	what := "the identity is on the node"
	spec := o.Spec.AzureIdentityRef.Spec.Canonical()
	switch {
	case *spec.Type != v1.UserAssignedMSI:
		what = "nothing to attach: it is no managed identity"
	case spec.ResourceID == "":
		what = "nothing to attach: no resourceID"
	}
	r.tell(o, corev1.EventTypeNormal, reasonAssigned, what)
	r.tellIdentity(s, o, "", "")
}

// reported is the essence of what was told about objects, by pod, so that it is told
// once.
type reported map[assign.Owner]map[types.NamespacedName]string

// reportWaiting tells, once per problem, those of the touched pods who wait for a
// PATCH that failed, and those who wait in vain.
func (r *Reconciler) reportWaiting(ctx context.Context, scope assign.Scope, s *state, plan assign.Plan, t touched) {
	now := make(reported)
	report := func(o *v1.AzureAssignedIdentity, reason, why string) {
		owner, key := ownerOf(o), client.ObjectKeyFromObject(o)
		told := s.reported[owner][key]
		switch {
		case scope == (assign.Scope{}): // it is about a node
		case why == "":
			r.hushOne(scope, s, identityOf(o))
		default:
			r.tellIdentity(s, o, reason, why)
		}
		if is := essence(reason, why); why != "" && told != is {
			told = is
			r.tell(o, corev1.EventTypeWarning, reasonFailed, "the identity cannot be brought to the node: "+why)
		}
		if told == "" {
			return
		}
		if now[owner] == nil {
			now[owner] = make(map[types.NamespacedName]string, 1)
		}
		now[owner][key] = told
	}
	for _, o := range plan.Waiting {
		reason, why := s.why(strings.ToLower(o.Spec.AzureIdentityRef.Spec.Canonical().ResourceID))
		if why != "" && scope == (assign.Scope{}) {
			reason, why = "", r.whyOutside(ctx, o.Spec.NodeName)
		}
		report(o, reason, why)
	}
	for _, i := range plan.Invalid {
		report(i.Object, v1.ReasonInvalid, i.Why)
	}
	for o := range t.pods {
		delete(s.reported, o)
	}
	maps.Copy(s.reported, now)
	r.reportAdvance(scope, s, plan, t)
}

// why says why an identity is not attached, and a reason for conditions; both are
// empty where nothing is wrong.
func (s *state) why(id string) (reason, why string) {
	alone, problem := s.refusals.Why(assign.Step{ID: id})
	if problem == nil {
		problem = s.problem
	}
	switch {
	case problem == nil:
		return "", ""
	case alone:
		return v1.ReasonRefused, about(problem, id, alone)
	default:
		return v1.ReasonNotChanged, about(problem, id, alone)
	}
}

// errOutside is the problem of all nodes of which the scope is not known.
var errOutside = errors.New("it is not known which machine of Azure the node is")

// whyOutside says why the scope of a node is not known.
func (r *Reconciler) whyOutside(ctx context.Context, node string) string {
	var n corev1.Node
	if err := r.config.Cache.Get(ctx, types.NamespacedName{Name: node}, &n); apierrors.IsNotFound(err) {
		return "there is no Node object of that name, so that it is not known which machine of Azure it is"
	} else if err != nil {
		return errOutside.Error()
	}
	if _, err := assign.ParseProviderID(n.Spec.ProviderID); err != nil {
		return err.Error() + ", so that no identity can be attached to it"
	}
	return errOutside.Error()
}

// about is what a failure says to who waits for the identity own, an ARM id. A
// PATCH is for many, unless it is known that it was alone; which identities the
// others use is not told.
func about(err error, own string, alone bool) string {
	e, ok := errors.AsType[*compute.Error](err)
	if !ok {
		return strings.Join(strings.Fields(err.Error()), " ")
	}
	named := compute.IdentitiesIn(e.Reason)
	isOwn := func(id string) bool { return strings.EqualFold(id, own) }
	mine := slices.ContainsFunc(named, isOwn)
	others := slices.ContainsFunc(named, func(id string) bool { return !isOwn(id) })
	switch {
	case mine && others && e.Advice() != "":
		return fmt.Sprintf("%s %s: %s", e.Doing, e.Scope, e.Advice())
	case others, e.Kind == compute.BadIdentity && !mine && !alone:
		return fmt.Sprintf("%s %s: Azure refused the whole change, of which this identity is a part; it is tried again", e.Doing, e.Scope)
	default:
		return e.Error()
	}
}

// tell sends an event about the pod, and one about the binding that names the pod.
func (r *Reconciler) tell(o *v1.AzureAssignedIdentity, kind, reason, what string) {
	id, binding := o.Spec.AzureIdentityRef, o.Spec.AzureBindingRef
	pod := &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Pod",
		Namespace: o.Spec.PodNamespace, Name: o.Spec.Pod, UID: types.UID(o.Spec.PodUID),
	}
	bound := &corev1.ObjectReference{
		APIVersion: binding.APIVersion, Kind: binding.Kind,
		Namespace: binding.Namespace, Name: binding.Name, UID: binding.UID,
	}
	send := func(regarding, related *corev1.ObjectReference, note string) {
		r.config.Recorder.Eventf(regarding, related, kind, reason, actionAssign, "%s", cut(note))
	}
	send(pod, bound, fmt.Sprintf("AzureIdentity %s/%s on node %s: %s", id.Namespace, id.Name, o.Spec.NodeName, what))
	send(bound, pod, fmt.Sprintf("pod %s/%s on node %s: %s", o.Spec.PodNamespace, o.Spec.Pod, o.Spec.NodeName, what))
}

// volatile is what of a text is of one occasion: ids of requests, times, ports.
var volatile = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9]+`)

// gist is what stays the same of a problem from one occasion to the next.
func gist(problem string) string { return volatile.ReplaceAllString(problem, "#") }

// essence is what of a problem makes it another one. That is its gist, but all of it
// where it is about what somebody wrote: a number in that may be what is wrong.
func essence(reason, problem string) string {
	if reason == v1.ReasonInvalid {
		return problem
	}
	return gist(problem)
}

// identityOf is the name of the AzureIdentity of an object.
func identityOf(o *v1.AzureAssignedIdentity) types.NamespacedName {
	return types.NamespacedName{Namespace: o.Spec.AzureIdentityRef.Namespace, Name: o.Spec.AzureIdentityRef.Name}
}

// hushOne takes back what was told about an identity: it does not hold any more,
// which does not yet say that all is well.
func (r *Reconciler) hushOne(scope assign.Scope, s *state, identity types.NamespacedName) {
	if _, told := s.problems[identity]; !told {
		return
	}
	delete(s.problems, identity)
	if r.config.Status != nil {
		r.config.Status.Tell(scope, identity, "", "")
	}
}

// hush takes back all that was told of a scope.
func (r *Reconciler) hush(scope assign.Scope, s *state) {
	for identity := range s.problems {
		r.hushOne(scope, s, identity)
	}
	for binding := range s.advance {
		r.leaveAdvance(scope, s, binding)
	}
}

// tellIdentity sends an event about the identity of an object, once per scope and
// problem, and one when there is none any more. The reason is for its condition.
func (r *Reconciler) tellIdentity(s *state, o *v1.AzureAssignedIdentity, reason, problem string) {
	id := o.Spec.AzureIdentityRef
	key, is := identityOf(o), essence(reason, problem)
	if s.problems[key] == is {
		return
	}
	regarding := &corev1.ObjectReference{APIVersion: id.APIVersion, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name, UID: id.UID}
	scope, _ := assign.ScopeOf(o)
	where := scope.String()
	if r.config.Status != nil {
		r.config.Status.Tell(scope, key, reason, problem)
	}
	if problem == "" {
		delete(s.problems, key)
		r.config.Recorder.Eventf(regarding, nil, corev1.EventTypeNormal, reasonAssigned, actionAssign, "%s", where)
		return
	}
	s.problems[key] = is
	r.config.Recorder.Eventf(regarding, nil, corev1.EventTypeWarning, reasonFailed, actionAssign, "%s", cut(where+": "+problem))
}

// longestNote is how many bytes of a note the API server takes.
const longestNote = 1024

func cut(note string) string { return Cut(note, longestNote) }

// Cut is as much of a text as fits into so many bytes, with an ellipsis where that
// is not all.
func Cut(text string, longest int) string {
	const more = "…"
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest-len(more)], "") + more
}
