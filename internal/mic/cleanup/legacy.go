package cleanup

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/mic/assignment"
)

// legacy is what the objects of AAD Pod Identity say that its MIC attached. MIC
// keeps no other record, so that this is written down as podid's before they go.
type legacy struct {
	scopes     map[string]assign.Scope // of nodes, by name
	identities map[string]bool         // ARM ids, in lower case, that AzureIdentities name
	attached   map[assign.Scope][]string
	from       map[assign.Scope][]types.UID // objects that say so
}

// claim takes over what AAD Pod Identity attached. Objects of which that fails
// stay: nothing else says what they say.
func (r *run) claim(ctx context.Context) {
	const what = "what AAD Pod Identity attached to machines"
	l, err := r.readLegacy(ctx)
	if err != nil {
		r.leave(what, err)
		r.keepLegacy = true
		return
	}
	failed, err := assignment.Claim(ctx, assignment.Config{
		Live: r.api, Writer: r.api, Namespace: r.config.Namespace, Log: r.config.Log,
	}, l.attached)
	if err != nil {
		r.leave(what, err)
		r.keepLegacy = true
		return
	}
	for scope, err := range failed {
		r.leave(fmt.Sprintf("%s: what AAD Pod Identity attached to it", scope), err)
		for _, uid := range l.from[scope] {
			r.keep[uid] = true
		}
	}
}

// readLegacy reads the cluster.
func (r *run) readLegacy(ctx context.Context) (legacy, error) {
	l := legacy{
		scopes: map[string]assign.Scope{}, identities: map[string]bool{},
		attached: map[assign.Scope][]string{}, from: map[assign.Scope][]types.UID{},
	}
	var nodes corev1.NodeList
	if err := r.api.List(ctx, &nodes); err != nil {
		return l, err
	}
	for i := range nodes.Items {
		if scope, err := assign.ParseProviderID(nodes.Items[i].Spec.ProviderID); err == nil {
			l.scopes[nodes.Items[i].Name] = scope
		}
	}
	var identities v1.AzureIdentityList
	if err := r.api.List(ctx, &identities); err != nil {
		return l, err
	}
	for i := range identities.Items {
		l.identities[strings.ToLower(identities.Items[i].Spec.Canonical().ResourceID)] = true
	}
	var list v1.AzureAssignedIdentityList
	for next := ""; ; {
		list = v1.AzureAssignedIdentityList{}
		if err := r.api.List(ctx, &list, client.Limit(page), client.Continue(next)); err != nil {
			return l, err
		}
		for i := range list.Items {
			r.take(l, &list.Items[i])
		}
		if next = list.Continue; next == "" {
			return l, nil
		}
	}
}

// take takes up what one object says, as MIC would when it takes off what it
// attached. An identity of which there is no AzureIdentity is not believed: who
// may write these objects need not be who may say what an identity is.
func (r *run) take(l legacy, o *v1.AzureAssignedIdentity) {
	if !assign.AttachedByMIC(o) {
		return
	}
	id := strings.ToLower(o.Spec.AzureIdentityRef.Spec.Canonical().ResourceID)
	stays := func(why string) {
		r.say("AzureAssignedIdentity %s/%s: %s, so that %s stays where it is", o.Namespace, o.Name, why, id)
	}
	scope, ok := l.scopes[o.Spec.NodeName]
	switch {
	case !ok:
		stays(fmt.Sprintf("there is no node %q of Azure", o.Spec.NodeName))
	case !l.identities[id]:
		stays("there is no AzureIdentity with that resourceID")
	default:
		if !slices.Contains(l.attached[scope], id) {
			l.attached[scope] = append(l.attached[scope], id)
		}
		l.from[scope] = append(l.from[scope], o.UID)
	}
}
