package identity_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

func accounts(list ...string) identity.Allowed   { return identity.Allowed{ServiceAccounts: list} }
func namespaces(list ...string) identity.Allowed { return identity.Allowed{Namespaces: list} }

func TestListsSayWhoMayUseAnIdentity(t *testing.T) {
	both := identity.Allowed{ServiceAccounts: []string{"team/web"}, Namespaces: []string{"team"}}
	web := identity.Pod{Namespace: "team", ServiceAccount: "web", Selector: "web"}
	tests := map[string]struct {
		pod               identity.Pod
		identity, binding identity.Allowed
		rules             identity.Rules
		barredBy          string // empty: allowed
	}{
		"no list":                              {pod: web},
		"its service account":                  {pod: web, identity: accounts("team/web")},
		"its service account among others":     {pod: web, identity: accounts("team/db", "team/web")},
		"its namespace":                        {pod: web, identity: namespaces("team")},
		"both":                                 {pod: web, identity: both},
		"another service account":              {pod: web, identity: accounts("team/db"), barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},
		"one of its name in another namespace": {pod: web, identity: accounts("other/web"), barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},
		"one that begins like its own":         {pod: web, identity: accounts("team/webserver", "team/we"), barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},
		"another case":                         {pod: web, identity: accounts("team/Web"), barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},
		"a star is no pattern":                 {pod: web, identity: accounts("team/*", "*"), barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},
		"another namespace":                    {pod: web, identity: namespaces("other"), barredBy: "spec.allowedNamespaces of AzureIdentity team/app"},
		"its namespace, not its account":       {pod: web, identity: identity.Allowed{ServiceAccounts: []string{"team/db"}, Namespaces: []string{"team"}}, barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},
		"its account, not its namespace":       {pod: web, identity: identity.Allowed{ServiceAccounts: []string{"team/web"}, Namespaces: []string{"other"}}, barredBy: "spec.allowedNamespaces of AzureIdentity team/app"},
		"a pod whose account is not known":     {pod: identity.Pod{Namespace: "team", Selector: "web"}, identity: accounts("team/", "team/web", ""), barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},

		"a binding narrows":                            {pod: web, binding: accounts("team/db"), barredBy: "spec.allowedServiceAccounts of AzureIdentityBinding team/b"},
		"a binding narrows to the pod":                 {pod: web, identity: namespaces("team"), binding: accounts("team/web")},
		"a binding does not widen":                     {pod: web, identity: accounts("team/db"), binding: both, barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},
		"a pod by its namespace's annotation":          {pod: identity.Pod{Namespace: "team", ServiceAccount: "web", NamespaceBinding: "b"}, identity: accounts("team/db"), barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},
		"a pod of another namespace, by its account":   {pod: identity.Pod{Namespace: "other", ServiceAccount: "web", Selector: "web"}, identity: accounts("other/web"), rules: identity.Rules{AcrossNamespaces: true}},
		"a pod of another namespace with the same one": {pod: identity.Pod{Namespace: "other", ServiceAccount: "web", Selector: "web"}, identity: accounts("team/web"), rules: identity.Rules{AcrossNamespaces: true}, barredBy: "spec.allowedServiceAccounts of AzureIdentity team/app"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(identity.Identity{Namespace: "team", Name: "app", ClientID: clientA, Allowed: tc.identity})
			bindings := []identity.Binding{{Namespace: "team", Name: "b", Identity: "app", Selector: "web", Allowed: tc.binding}}
			grants, bars := identity.Match(tc.pod, bindings, w.lookup, tc.rules), identity.Bars(tc.pod, bindings, w.lookup, tc.rules)
			if (len(grants) == 1) != (tc.barredBy == "") || len(grants)+len(bars) != 1 {
				t.Fatalf("Match() = %v and Bars() = %v, want %q", grants, bars, tc.barredBy)
			}
			if len(bars) == 1 && bars[0].By != tc.barredBy {
				t.Errorf("barred by %q, want %q", bars[0].By, tc.barredBy)
			}
		})
	}
}

// TestAListIsTheReasonOfARefusal asks a second after the pod was made, and when it
// is old: the list changes what is said, and never how final it is.
func TestAListIsTheReasonOfARefusal(t *testing.T) {
	pod := identity.Pod{Namespace: "team", Name: "web", Selector: "web", Created: epoch}
	a := identity.Grant{Identity: identity.Identity{Name: "a", ClientID: clientA}, Ready: true}
	barred := []identity.Barred{{Grant: identity.Grant{Identity: identity.Identity{Name: "b", ClientID: clientB}}, By: "a list"}}
	listed := identity.Decision{Outcome: identity.NotYet, Reason: identity.NotAllowed, By: "a list"}
	tests := map[string]struct {
		grants []identity.Grant
		barred []identity.Barred
		want   identity.Selector
		expect identity.Decision
	}{
		"kept from its only identity":                     {nil, barred, identity.Selector{}, listed},
		"kept from the one that it asks for":              {[]identity.Grant{a}, barred, identity.Selector{ClientID: clientB}, listed},
		"kept from one, and asks for none in particular":  {[]identity.Grant{a}, barred, identity.Selector{}, identity.Decision{Outcome: identity.Selected, Grant: a}},
		"kept from one, and asks for another that it has": {[]identity.Grant{a}, barred, identity.Selector{ClientID: clientA}, identity.Decision{Outcome: identity.Selected, Grant: a}},
		"kept from one, and asks for somebody else's":     {[]identity.Grant{a}, barred, identity.Selector{ClientID: "c"}, identity.Decision{Outcome: identity.NotYet, Reason: identity.NotBound}},
		"kept from nothing":                               {nil, nil, identity.Selector{}, identity.Decision{Outcome: identity.NotYet, Reason: identity.NoBinding}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := identity.Select(pod, tc.grants, tc.want, epoch.Add(time.Second)).Because(tc.barred, tc.want)
			if diff := cmp.Diff(tc.expect, got); diff != "" {
				t.Errorf("Because() (-want +got):\n%s", diff)
			}
			final := tc.expect
			if final.Outcome == identity.NotYet {
				final.Outcome = identity.Denied
			}
			got = identity.Select(pod, tc.grants, tc.want, epoch.Add(time.Hour)).Because(tc.barred, tc.want)
			if diff := cmp.Diff(final, got); diff != "" {
				t.Errorf("Because() of an old pod (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAStrangersListIsToldOfLast is of another namespace's binding, of more weight,
// that has the label of the pod.
func TestAStrangersListIsToldOfLast(t *testing.T) {
	w := newWorld(
		identity.Identity{Namespace: "away", Name: "app", Allowed: namespaces("away")},
		identity.Identity{Namespace: "team", Name: "app", Allowed: accounts("team/db")})
	pod := identity.Pod{Namespace: "team", Name: "web", ServiceAccount: "web", Selector: "web", Created: epoch}
	strangers := identity.Binding{Namespace: "away", Name: "b", Identity: "app", Selector: "web", Weight: 9}
	own := identity.Binding{Namespace: "team", Name: "b", Identity: "app", Selector: "web"}
	tests := map[string]struct {
		bindings []identity.Binding
		by       string
	}{
		"with one of its own": {[]identity.Binding{strangers, own}, "spec.allowedServiceAccounts of AzureIdentity team/app"},
		"alone":               {[]identity.Binding{strangers}, "spec.allowedNamespaces of AzureIdentity away/app"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			barred := identity.Bars(pod, tc.bindings, w.lookup, identity.Rules{AcrossNamespaces: true})
			got := identity.Select(pod, nil, identity.Selector{}, epoch.Add(time.Second)).Because(barred, identity.Selector{})
			want := identity.Decision{Outcome: identity.NotYet, Reason: identity.NotAllowed, By: tc.by}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Because() (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAListOnlyTakesAway draws worlds with lists: what a pod gets is what it would
// get without them, less what a list does not name it for.
func TestAListOnlyTakesAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"red", "blue"})
		lists := rapid.Custom(func(t *rapid.T) identity.Allowed {
			return identity.Allowed{
				ServiceAccounts: rapid.SliceOfN(rapid.SampledFrom([]string{"red/x", "red/y", "blue/x", "blue/y"}), 0, 2).Draw(t, "accounts"),
				Namespaces:      rapid.SliceOfN(names, 0, 2).Draw(t, "namespaces"),
			}
		})
		names3 := rapid.SampledFrom([]string{"a", "b", "c"})
		closed, open := world{}, world{}
		for range rapid.IntRange(0, 4).Draw(t, "identities") {
			id := identity.Identity{Namespace: names.Draw(t, "ns"), Name: names3.Draw(t, "name")}
			open[id.Namespace+"/"+id.Name] = id
			id.Allowed = lists.Draw(t, "allowed")
			closed[id.Namespace+"/"+id.Name] = id
		}
		var narrow, wide []identity.Binding
		for _, name := range []string{"0", "1", "2"} {
			b := identity.Binding{Namespace: names.Draw(t, "ns"), Name: name, Identity: names3.Draw(t, "identity"), Selector: "web"}
			wide = append(wide, b)
			b.Allowed = lists.Draw(t, "allowed")
			narrow = append(narrow, b)
		}
		pod := identity.Pod{Namespace: names.Draw(t, "ns"), ServiceAccount: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "account"), Selector: "web"}
		rules := identity.Rules{AcrossNamespaces: rapid.Bool().Draw(t, "across")}
		names2 := func(a identity.Allowed) bool {
			return (len(a.Namespaces) == 0 || slices.Contains(a.Namespaces, pod.Namespace)) &&
				(len(a.ServiceAccounts) == 0 || pod.ServiceAccount != "" && slices.Contains(a.ServiceAccounts, pod.Namespace+"/"+pod.ServiceAccount))
		}

		got := map[string]bool{}
		for _, g := range identity.Match(pod, narrow, closed.lookup, rules) {
			if !names2(g.Identity.Allowed) || !names2(g.Binding.Allowed) {
				t.Fatalf("%+v is granted past a list to %+v", g, pod)
			}
			got[g.Identity.Namespace+"/"+g.Identity.Name] = true
		}
		before := identity.Match(pod, wide, open.lookup, rules)
		for key := range got {
			if !slices.ContainsFunc(before, func(g identity.Grant) bool { return g.Identity.Namespace+"/"+g.Identity.Name == key }) {
				t.Fatalf("%s is granted with lists, and not without", key)
			}
		}
		for _, b := range identity.Bars(pod, narrow, closed.lookup, rules) {
			if names2(b.Identity.Allowed) && names2(b.Binding.Allowed) {
				t.Fatalf("%+v is kept from %+v by no list", b, pod)
			}
		}
	})
}

func TestFromAPIReadsTheLists(t *testing.T) {
	o := &v1.AzureIdentity{Spec: v1.AzureIdentitySpec{AllowedServiceAccounts: []string{"web", "other/db"}, AllowedNamespaces: []string{"team"}}}
	o.Namespace = "team"
	want := identity.Allowed{ServiceAccounts: []string{"team/web", "other/db"}, Namespaces: []string{"team"}}
	if diff := cmp.Diff(want, identity.FromAPI(o).Allowed); diff != "" {
		t.Errorf("FromAPI() (-want +got):\n%s", diff)
	}
	b := &v1.AzureIdentityBinding{Spec: v1.AzureIdentityBindingSpec{AllowedServiceAccounts: []string{"web"}}}
	b.Namespace = "team"
	if diff := cmp.Diff(identity.Allowed{ServiceAccounts: []string{"team/web"}}, identity.BindingFromAPI(b).Allowed); diff != "" {
		t.Errorf("BindingFromAPI() (-want +got):\n%s", diff)
	}
}

func TestWhichNamespacesCanHaveAllowedPods(t *testing.T) {
	tests := map[string]struct {
		allowed identity.Allowed
		want    bool
	}{
		"no list":                     {identity.Allowed{}, true},
		"by name":                     {namespaces("team"), true},
		"another by name":             {namespaces("other"), false},
		"by an account":               {accounts("other/x", "team/x"), true},
		"by accounts of others":       {accounts("other/x", "teams/x"), false},
		"by an account, not by name":  {identity.Allowed{ServiceAccounts: []string{"team/x"}, Namespaces: []string{"other"}}, false},
		"by name, and by no accounts": {identity.Allowed{ServiceAccounts: []string{"other/x"}, Namespaces: []string{"team"}}, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.allowed.Namespace("team"); got != tc.want {
				t.Errorf("Namespace() = %v, want %v", got, tc.want)
			}
		})
	}
}
