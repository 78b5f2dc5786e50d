package identity_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

const (
	clientA = "aaaaaaaa-0000-0000-0000-000000000000"
	clientB = "bbbbbbbb-0000-0000-0000-000000000000"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world holds identities for lookups.
type world map[string]identity.Identity

func (w world) lookup(namespace, name string) (identity.Identity, bool) {
	id, ok := w[namespace+"/"+name]
	return id, ok
}

func newWorld(ids ...identity.Identity) world {
	w := world{}
	for _, id := range ids {
		w[id.Namespace+"/"+id.Name] = id
	}
	return w
}

func TestMatch(t *testing.T) {
	pod := identity.Pod{Namespace: "team", Name: "web", Selector: "web"}
	a := identity.Identity{Namespace: "team", Name: "a", ClientID: clientA}
	b := identity.Identity{Namespace: "team", Name: "b", ClientID: clientB}
	elsewhere := identity.Identity{Namespace: "other", Name: "c", ClientID: clientA}
	kept := identity.Identity{Namespace: "other", Name: "d", Namespaced: true}
	annotated := identity.Pod{Namespace: "team", Name: "web", NamespaceBinding: "x"}
	both := identity.Pod{Namespace: "team", Name: "web", Selector: "web", NamespaceBinding: "x"}
	bind := func(ns, name, id, selector string, weight int) identity.Binding {
		return identity.Binding{Namespace: ns, Name: name, Identity: id, Selector: selector, Weight: weight}
	}
	tests := map[string]struct {
		pod      identity.Pod
		bindings []identity.Binding
		rules    identity.Rules
		want     []string // names of the identities, the default first
	}{
		"one binding":                           {pod, []identity.Binding{bind("team", "x", "a", "web", 0)}, identity.Rules{}, []string{"a"}},
		"another selector":                      {pod, []identity.Binding{bind("team", "x", "a", "db", 0)}, identity.Rules{}, nil},
		"selectors are compared with case":      {pod, []identity.Binding{bind("team", "x", "a", "Web", 0)}, identity.Rules{}, nil},
		"a binding of another namespace":        {pod, []identity.Binding{bind("other", "x", "c", "web", 0)}, identity.Rules{}, nil},
		"the same, where that is allowed":       {pod, []identity.Binding{bind("other", "x", "c", "web", 0)}, identity.Rules{AcrossNamespaces: true}, []string{"c"}},
		"an identity that keeps to its own":     {pod, []identity.Binding{bind("other", "x", "d", "web", 0)}, identity.Rules{AcrossNamespaces: true}, nil},
		"an identity that is not there":         {pod, []identity.Binding{bind("team", "x", "missing", "web", 0)}, identity.Rules{}, nil},
		"two bindings, by name":                 {pod, []identity.Binding{bind("team", "y", "a", "web", 0), bind("team", "x", "b", "web", 0)}, identity.Rules{}, []string{"b", "a"}},
		"two bindings, by weight":               {pod, []identity.Binding{bind("team", "y", "a", "web", 5), bind("team", "x", "b", "web", 0)}, identity.Rules{}, []string{"a", "b"}},
		"two bindings of one identity":          {pod, []identity.Binding{bind("team", "x", "a", "web", 0), bind("team", "y", "a", "web", 0)}, identity.Rules{}, []string{"a"}},
		"a pod without label, an empty binding": {identity.Pod{Namespace: "team"}, []identity.Binding{bind("team", "x", "a", "", 0)}, identity.Rules{}, nil},

		"by the namespace's annotation, whatever the selector": {annotated, []identity.Binding{bind("team", "x", "a", "db", 0), bind("team", "y", "b", "", 0)}, identity.Rules{}, []string{"a"}},
		"by the annotation, a binding that names no selector":  {annotated, []identity.Binding{bind("team", "x", "a", "", 0)}, identity.Rules{}, []string{"a"}},
		"by the annotation, a binding of another name":         {annotated, []identity.Binding{bind("team", "X", "a", "", 0)}, identity.Rules{}, nil},
		"by the annotation, a binding of another namespace":    {annotated, []identity.Binding{bind("other", "x", "c", "", 0)}, identity.Rules{}, nil},
		"the same, where namespaces may be crossed":            {annotated, []identity.Binding{bind("other", "x", "c", "", 0)}, identity.Rules{AcrossNamespaces: true}, nil},
		"a label wins over the annotation":                     {both, []identity.Binding{bind("team", "x", "a", "db", 0), bind("team", "y", "b", "web", 0)}, identity.Rules{}, []string{"b"}},
		"a label wins also where it matches nothing":           {both, []identity.Binding{bind("team", "x", "a", "db", 0)}, identity.Rules{}, nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, g := range identity.Match(tc.pod, tc.bindings, newWorld(a, b, elsewhere, kept).lookup, tc.rules) {
				got = append(got, g.Identity.Name)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Match() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSelect(t *testing.T) {
	pod := identity.Pod{Namespace: "team", Name: "web", Selector: "web", Created: epoch}
	a := identity.Grant{Identity: identity.Identity{Name: "a", ClientID: clientA, ObjectID: "obj", ResourceID: "/subscriptions/s/a"}, Ready: true}
	b := identity.Grant{Identity: identity.Identity{Name: "b", ClientID: clientB}}
	bare := identity.Grant{Identity: identity.Identity{Name: "bare", ResourceID: "/subscriptions/s/bare"}, Ready: true}
	tests := map[string]struct {
		pod    identity.Pod
		grants []identity.Grant
		want   identity.Selector
		after  time.Duration
		expect identity.Decision
	}{
		"the default":                          {pod, []identity.Grant{a, b}, identity.Selector{}, 0, identity.Decision{Outcome: identity.Selected, Grant: a}},
		"by client id, in another case":        {pod, []identity.Grant{b, a}, identity.Selector{ClientID: "AAAAAAAA-0000-0000-0000-000000000000"}, 0, identity.Decision{Outcome: identity.Selected, Grant: a}},
		"by object id":                         {pod, []identity.Grant{b, a}, identity.Selector{ObjectID: "OBJ"}, 0, identity.Decision{Outcome: identity.Selected, Grant: a}},
		"by resource id, in another case":      {pod, []identity.Grant{b, a}, identity.Selector{ResourceID: "/Subscriptions/S/A"}, 0, identity.Decision{Outcome: identity.Selected, Grant: a}},
		"on its way":                           {pod, []identity.Grant{b}, identity.Selector{}, 0, identity.Decision{Outcome: identity.Pending, Reason: identity.Unassigned, Grant: b}},
		"the default on its way, another not":  {pod, []identity.Grant{b, a}, identity.Selector{}, 0, identity.Decision{Outcome: identity.Pending, Reason: identity.Unassigned, Grant: b}},
		"somebody else's client id":            {pod, []identity.Grant{a}, identity.Selector{ClientID: clientB}, 10 * time.Second, identity.Decision{Outcome: identity.Denied, Reason: identity.NotBound}},
		"the same, of a young pod":             {pod, []identity.Grant{a}, identity.Selector{ClientID: clientB}, 0, identity.Decision{Outcome: identity.NotYet, Reason: identity.NotBound}},
		"an object id that nobody declared":    {pod, []identity.Grant{bare}, identity.Selector{ObjectID: "x"}, 10 * time.Second, identity.Decision{Outcome: identity.Denied, Reason: identity.NotBound}},
		"no label":                             {identity.Pod{Namespace: "team"}, nil, identity.Selector{}, 0, identity.Decision{Outcome: identity.Denied, Reason: identity.NoLabel}},
		"an annotation of the namespace alone": {identity.Pod{Namespace: "team", NamespaceBinding: "x", Created: epoch}, []identity.Grant{a}, identity.Selector{}, 0, identity.Decision{Outcome: identity.Selected, Grant: a}},
		"an annotation that names no binding":  {identity.Pod{Namespace: "team", NamespaceBinding: "x", Created: epoch}, nil, identity.Selector{}, time.Minute, identity.Decision{Outcome: identity.NotYet, Reason: identity.NoBinding}},
		"the same for too long":                {identity.Pod{Namespace: "team", NamespaceBinding: "x", Created: epoch}, nil, identity.Selector{}, 2 * time.Minute, identity.Decision{Outcome: identity.Denied, Reason: identity.NoBinding}},
		"no binding yet":                       {pod, nil, identity.Selector{}, time.Minute, identity.Decision{Outcome: identity.NotYet, Reason: identity.NoBinding}},
		"no binding for too long":              {pod, nil, identity.Selector{}, 2 * time.Minute, identity.Decision{Outcome: identity.Denied, Reason: identity.NoBinding}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := identity.Select(tc.pod, tc.grants, tc.want, epoch.Add(tc.after))
			if diff := cmp.Diff(tc.expect, got); diff != "" {
				t.Errorf("Select() (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNoPodGetsWhatIsNotItsOwn draws whole worlds and asks for everything.
func TestNoPodGetsWhatIsNotItsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		namespaces := rapid.SampledFrom([]string{"red", "blue", "green"})
		names := rapid.SampledFrom([]string{"a", "b", "c"})
		selectors := rapid.SampledFrom([]string{"", "web", "db"})
		clients := rapid.SampledFrom([]string{"", clientA, clientB})
		w := world{}
		for range rapid.IntRange(0, 6).Draw(t, "identities") {
			id := identity.Identity{
				Namespace: namespaces.Draw(t, "ns"), Name: names.Draw(t, "name"),
				ClientID: clients.Draw(t, "client"), Namespaced: rapid.Bool().Draw(t, "namespaced"),
			}
			w[id.Namespace+"/"+id.Name] = id
		}
		var bindings []identity.Binding
		for i := range rapid.IntRange(0, 6).Draw(t, "bindings") {
			bindings = append(bindings, identity.Binding{
				Namespace: namespaces.Draw(t, "ns"), Name: fmt.Sprint(i), Identity: names.Draw(t, "identity"),
				Selector: selectors.Draw(t, "selector"), Weight: rapid.IntRange(0, 2).Draw(t, "weight"),
			})
		}
		pod := identity.Pod{
			Namespace: namespaces.Draw(t, "ns"), Selector: selectors.Draw(t, "selector"),
			NamespaceBinding: rapid.SampledFrom([]string{"", "0", "1"}).Draw(t, "annotation"),
		}
		rules := identity.Rules{AcrossNamespaces: rapid.Bool().Draw(t, "across")}

		grants := identity.Match(pod, bindings, w.lookup, rules)
		seen := map[string]bool{}
		for i, g := range grants {
			key := g.Identity.Namespace + "/" + g.Identity.Name
			switch {
			case pod.Selector != "" && g.Binding.Selector != pod.Selector:
				t.Fatalf("%+v is granted by a selector that the pod does not have", g)
			case pod.Selector == "" && (pod.NamespaceBinding == "" || g.Binding.Name != pod.NamespaceBinding || g.Binding.Namespace != pod.Namespace):
				t.Fatalf("%+v is granted by a binding that the namespace does not name", g)
			case g.Binding.Namespace != g.Identity.Namespace || g.Binding.Identity != g.Identity.Name:
				t.Fatalf("%+v is granted by a binding that does not name it", g)
			case !rules.AcrossNamespaces && g.Identity.Namespace != pod.Namespace:
				t.Fatalf("%+v is granted to a pod of another namespace", g)
			case g.Identity.Namespaced && g.Identity.Namespace != pod.Namespace:
				t.Fatalf("%+v keeps to its namespace and is granted elsewhere", g)
			case seen[key]:
				t.Fatalf("%s is granted twice", key)
			case i > 0 && grants[i-1].Binding.Weight < g.Binding.Weight:
				t.Fatalf("the grants are not in order of weight")
			}
			seen[key] = true
		}
		want := identity.Selector{ClientID: clients.Draw(t, "asked")}
		d := identity.Select(pod, grants, want, epoch)
		if d.Outcome == identity.Pending || d.Outcome == identity.Selected {
			if !seen[d.Grant.Identity.Namespace+"/"+d.Grant.Identity.Name] {
				t.Fatalf("%+v was chosen, which is no grant", d.Grant)
			}
			if want.ClientID != "" && d.Grant.Identity.ClientID != want.ClientID {
				t.Fatalf("asked for %s, chose %s", want.ClientID, d.Grant.Identity.ClientID)
			}
		}
	})
}

func TestFromAPIReadsOldSpellings(t *testing.T) {
	o := &v1.AzureIdentity{Spec: v1.AzureIdentitySpec{OldResourceID: "/Subscriptions/S", OldClientID: "ABC"}}
	o.Namespace, o.Name = "ns", "n"
	want := identity.Identity{Namespace: "ns", Name: "n", ResourceID: "/subscriptions/s", ClientID: "abc"}
	if diff := cmp.Diff(want, identity.FromAPI(o)); diff != "" {
		t.Errorf("FromAPI() (-want +got):\n%s", diff)
	}
}
