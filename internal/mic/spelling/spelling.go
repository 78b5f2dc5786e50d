// Package spelling is the controller that says, in a condition, what is wrong
// with an object although it works: field names from before AAD Pod Identity
// 1.6, and exceptions in a namespace where they do not count. It writes
// conditions and never a spec.
package spelling

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// Reasons of the conditions, and of the event about an exception that does not
// count.
const (
	reasonOldNames   = "OldFieldNames"
	reasonAllowed    = "NamespaceAllowed"
	reasonNotAllowed = "NamespaceNotAllowed"
)

// pause is how long a write waits for what somebody else has written.
const pause = time.Second

// kind is how the controller handles one of the kinds.
type kind struct {
	name   string
	empty  client.Object
	create func() client.Object
	read   func(client.Object) view
}

// view is what the controller reads and writes of an object.
type view struct {
	spellings  []v1.Spelling
	conditions *[]metav1.Condition
	observed   *int64
}

// Add adds one controller per kind to the manager. The rules say where an
// AzurePodIdentityException counts; of one that does not, the recorder tells.
func Add(m manager.Manager, rules identity.Rules, recorder events.EventRecorder) error {
	kinds := []kind{
		{
			"azureidentity", &v1.AzureIdentity{},
			func() client.Object { return &v1.AzureIdentity{} },
			on(func(o *v1.AzureIdentity) view {
				return view{o.Spec.DeprecatedFields(), &o.Status.Conditions, &o.Status.ObservedGeneration}
			}),
		},
		{
			"azureidentitybinding", &v1.AzureIdentityBinding{},
			func() client.Object { return &v1.AzureIdentityBinding{} },
			on(func(o *v1.AzureIdentityBinding) view {
				return view{o.Spec.DeprecatedFields(), &o.Status.Conditions, &o.Status.ObservedGeneration}
			}),
		},
		{
			"azurepodidentityexception", &v1.AzurePodIdentityException{},
			func() client.Object { return &v1.AzurePodIdentityException{} },
			on(func(o *v1.AzurePodIdentityException) view {
				return view{o.Spec.DeprecatedFields(), &o.Status.Conditions, &o.Status.ObservedGeneration}
			}),
		},
	}
	for _, k := range kinds {
		r := &reconciler{kind: k, client: m.GetClient(), rules: rules, recorder: recorder}
		c, err := controller.New("spelling-"+k.name, m, controller.Options{Reconciler: r})
		if err != nil {
			return fmt.Errorf("make the spelling controller of %s: %w", k.name, err)
		}
		if err := c.Watch(source.Kind(m.GetCache(), k.empty, &handler.EnqueueRequestForObject{}, k.changes())); err != nil {
			return err
		}
	}
	return nil
}

// changes lets through the updates that change what the controller reads.
func (k kind) changes() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		old, now := k.read(e.ObjectOld), k.read(e.ObjectNew)
		return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() || e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			*old.observed != *now.observed || !equality.Semantic.DeepEqual(*old.conditions, *now.conditions)
	}}
}

func on[T client.Object](read func(T) view) func(client.Object) view {
	return func(o client.Object) view {
		t, ok := o.(T)
		if !ok {
			return view{} // never: create makes a T
		}
		return read(t)
	}
}

type reconciler struct {
	kind     kind
	client   client.Client
	rules    identity.Rules
	recorder events.EventRecorder
}

// Reconcile writes the conditions of one object, and for which generation they
// were decided, where they are not as they should be.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	cached := r.kind.create()
	if err := r.client.Get(ctx, req.NamespacedName, cached); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	old := r.kind.read(cached)
	conditions := slices.Clone(*old.conditions)
	r.decide(cached, old.spellings, &conditions)
	if equality.Semantic.DeepEqual(conditions, *old.conditions) && *old.observed == cached.GetGeneration() {
		return reconcile.Result{}, nil
	}
	patch, err := json.Marshal(map[string]any{
		// Conditions are an atomic list to a merge patch: only on what was read.
		"metadata": map[string]any{"resourceVersion": cached.GetResourceVersion()},
		"status":   map[string]any{"observedGeneration": cached.GetGeneration(), "conditions": conditions},
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	answer := r.kind.create()
	answer.SetNamespace(req.Namespace)
	answer.SetName(req.Name)
	if err := r.client.Status().Patch(ctx, answer, client.RawPatch(types.MergePatchType, patch)); apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: pause}, nil // somebody else has written; that is on its way here
	} else if client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("write conditions of %s %s: %w", r.kind.name, req, err)
	}
	// Once: the next time the condition says so already.
	if c := meta.FindStatusCondition(conditions, v1.ConditionEffective); denied(c) && !denied(meta.FindStatusCondition(*old.conditions, v1.ConditionEffective)) {
		r.recorder.Eventf(cached, nil, corev1.EventTypeWarning, reasonNotAllowed, "Check", "%s", c.Message)
	}
	return reconcile.Result{}, nil
}

// decide sets conditions to what they should be.
func (r *reconciler) decide(o client.Object, spellings []v1.Spelling, conditions *[]metav1.Condition) {
	if len(spellings) == 0 {
		meta.RemoveStatusCondition(conditions, v1.ConditionDeprecatedSpelling)
	} else {
		meta.SetStatusCondition(conditions, metav1.Condition{
			Type: v1.ConditionDeprecatedSpelling, Status: metav1.ConditionTrue, ObservedGeneration: o.GetGeneration(),
			Reason: reasonOldNames, Message: message(spellings),
		})
	}
	if _, ok := o.(*v1.AzurePodIdentityException); !ok {
		return
	}
	c := metav1.Condition{
		Type: v1.ConditionEffective, Status: metav1.ConditionTrue, ObservedGeneration: o.GetGeneration(),
		Reason: reasonAllowed, Message: "pods of namespace " + o.GetNamespace() + " with one of the labels reach the metadata service as the node does",
	}
	if !r.rules.ExceptionsCount(o.GetNamespace()) {
		c.Status, c.Reason = metav1.ConditionFalse, reasonNotAllowed
		c.Message = fmt.Sprintf("exceptions of namespace %s do not count: only those of %s do (--exception-namespaces of mic and nmi)",
			o.GetNamespace(), strings.Join(r.rules.ExceptionNamespaces, ", "))
	}
	meta.SetStatusCondition(conditions, c)
}

// denied reports whether the condition says that an exception does not count.
func denied(c *metav1.Condition) bool { return c != nil && c.Reason == reasonNotAllowed }

// message names every old spelling and today's.
func message(spellings []v1.Spelling) string {
	parts := make([]string, 0, len(spellings))
	for _, s := range spellings {
		parts = append(parts, fmt.Sprintf("%s is deprecated: write %s", s.Old, s.New))
	}
	return strings.Join(parts, "; ")
}
