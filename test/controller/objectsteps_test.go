package controller_test

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/controller/model"
)

func (w *world) bindingComes() bool {
	b := model.Binding{Name: model.Name{Namespace: one(w, w.names.namespaces), Name: one(w, w.names.defined)}}
	if _, there := w.now.Bindings[b.Name]; there {
		return false
	}
	w.someBinding(&b)
	o := &v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Namespace: b.Namespace, Name: b.Name.Name}}
	w.spell(b, o)
	w.say("binding %+v", b)
	if !w.create(o) {
		return false
	}
	b.UID = string(o.UID)
	next := w.now.Clone()
	next.Bindings[b.Name] = b
	w.extend(next)
	return true
}

// create makes an object of people. To an API server that has not heard of it itself
// a namespace that came back is still going.
func (w *world) create(o client.Object) bool {
	err := w.api.Create(w.t.Context(), o)
	if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		w.fail(err)
	}
	return err == nil
}

// someBinding has a binding say something.
func (w *world) someBinding(b *model.Binding) {
	b.Identity, b.Selector, b.Weight = one(w, w.names.defined), one(w, w.names.selectors), w.r.IntN(2)
	b.Advance, b.Pool = w.r.IntN(8) == 0, ""
	if b.Advance && w.r.IntN(3) > 0 {
		b.Pool = one(w, w.names.pools)
	}
}

// spell writes down what a binding says, in the spelling of today or that of old.
func (w *world) spell(b model.Binding, o *v1.AzureIdentityBinding) {
	o.Spec = v1.AzureIdentityBindingSpec{AzureIdentity: b.Identity, Selector: b.Selector, Weight: b.Weight}
	if w.r.IntN(3) == 0 {
		o.Spec = v1.AzureIdentityBindingSpec{OldAzureIdentity: b.Identity, OldSelector: b.Selector, OldWeight: b.Weight}
	}
	delete(o.Annotations, v1.AnnotationPreAssign)
	switch {
	case b.Advance && b.Pool != "":
		metav1.SetMetaDataAnnotation(&o.ObjectMeta, v1.AnnotationPreAssign, "agentpool="+b.Pool)
	case b.Advance:
		metav1.SetMetaDataAnnotation(&o.ObjectMeta, v1.AnnotationPreAssign, "*")
	}
}

func (w *world) bindingEdited() bool {
	name, ok := pick(w, w.now.Bindings, byName, there)
	if !ok {
		return false
	}
	next := w.now.Clone()
	b := next.Bindings[name]
	if w.r.IntN(3) > 0 { // else it is spelled anew
		w.someBinding(&b)
	}
	next.Bindings[name] = b
	w.say("binding %+v, edited", b)
	says := &v1.AzureIdentityBinding{}
	w.spell(b, says)
	return w.turn(next, func() error {
		return edit(w, &v1.AzureIdentityBinding{}, name.Namespace, name.Name, func(o *v1.AzureIdentityBinding) {
			o.Spec, o.Annotations = says.Spec, says.Annotations
		})
	})
}

func (w *world) bindingGoes() bool {
	name, ok := pick(w, w.now.Bindings, byName, there)
	if !ok {
		return false
	}
	w.say("binding %s goes", name)
	next := w.now.Clone()
	delete(next.Bindings, name)
	return w.turn(next, func() error {
		return w.api.Delete(w.t.Context(), &v1.AzureIdentityBinding{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}})
	})
}

func (w *world) identityComes() bool {
	i := model.Identity{Name: model.Name{Namespace: one(w, w.names.namespaces), Name: one(w, w.names.defined)}}
	if _, there := w.now.Identities[i.Name]; there {
		return false
	}
	w.someIdentity(&i)
	o := &v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: i.Namespace, Name: i.Name.Name}}
	o.Spec = w.spellIdentity(i)
	w.say("identity %s is %s, client %s", i.Name, short(i.Resource), i.Client)
	next := w.now.Clone()
	next.Identities[i.Name] = i
	forget := w.name(next)
	if !w.create(o) {
		forget()
		return false
	}
	i.UID = string(o.UID)
	next.Identities[i.Name] = i
	w.extend(next)
	return true
}

// someIdentity has an AzureIdentity say something.
func (w *world) someIdentity(i *model.Identity) {
	if w.r.IntN(8) > 0 {
		i.Resource = strings.ToLower(one(w, slices.Concat(w.names.identities, []string{w.names.immutable, w.names.immutable})))
	} else {
		i.Resource = "" // on the nodes already
	}
	i.Client = one(w, []string{"client-a", "client-b"})
}

// spellIdentity writes down what an AzureIdentity says, in any case and spelling.
func (w *world) spellIdentity(i model.Identity) v1.AzureIdentitySpec {
	id := ""
	for _, known := range w.names.identities {
		if strings.EqualFold(known, i.Resource) {
			id = anyCase(w.r, known)
		}
	}
	if w.r.IntN(3) == 0 {
		return v1.AzureIdentitySpec{OldType: new(v1.UserAssignedMSI), OldResourceID: id, OldClientID: i.Client}
	}
	return v1.AzureIdentitySpec{ResourceID: id, ClientID: i.Client}
}

func (w *world) identityEdited() bool {
	name, ok := pick(w, w.now.Identities, byName, there)
	if !ok {
		return false
	}
	next := w.now.Clone()
	i := next.Identities[name]
	w.someIdentity(&i)
	next.Identities[name] = i
	w.say("identity %s is now %s, client %s", i.Name, short(i.Resource), i.Client)
	spec := w.spellIdentity(i)
	return w.turn(next, func() error {
		return edit(w, &v1.AzureIdentity{}, name.Namespace, name.Name, func(o *v1.AzureIdentity) { o.Spec = spec })
	})
}

// identityRespelled writes the same in other words.
func (w *world) identityRespelled() bool {
	name, ok := pick(w, w.now.Identities, byName, there)
	if !ok {
		return false
	}
	i := w.now.Identities[name]
	w.say("identity %s is spelled anew", name)
	spec, note := w.spellIdentity(i), one(w, w.names.pods)
	return w.turn(w.now.Clone(), func() error {
		return edit(w, &v1.AzureIdentity{}, name.Namespace, name.Name, func(o *v1.AzureIdentity) {
			o.Spec = spec
			metav1.SetMetaDataAnnotation(&o.ObjectMeta, "example.com/note", note)
		})
	})
}

func (w *world) identityGoes() bool {
	name, ok := pick(w, w.now.Identities, byName, there)
	if !ok {
		return false
	}
	w.say("identity %s goes", name)
	next := w.now.Clone()
	delete(next.Identities, name)
	return w.turn(next, func() error {
		return w.api.Delete(w.t.Context(), &v1.AzureIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}})
	})
}
