package whocan

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Subject is a User, a Group or a ServiceAccount.
type Subject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// Way is how a subject could come to the identity.
type Way struct {
	Subject Subject `json:"subject"`
	// Could says what the subject could do.
	Could string `json:"could"`
	// Rights are those that it has for it, as "create pods".
	Rights []string `json:"rights"`
	// Names are those that its right is limited to; empty for no limit.
	Names []string `json:"names,omitempty"`
	// Namespace is where it has them; empty for everywhere.
	Namespace string `json:"inNamespace,omitempty"`
	// Binding and Role are what gives them, as KIND NAME or KIND NAMESPACE/NAME.
	Binding string `json:"binding"`
	Role    string `json:"role"`
	// As is the service account that it could act as; see Right.
	As string `json:"as,omitempty"`
}

const (
	serviceAccountUser = "system:serviceaccount:"
	serviceAccounts    = "system:serviceaccounts"
	masters            = "system:masters"
)

// grant is a binding with the rules of its role.
type grant struct {
	namespace     string // empty for a ClusterRoleBinding
	binding, role string
	subjects      []Subject
	rules         []rbacv1.PolicyRule
}

// ways finds everybody whom RBAC gives a way. Who could act as a service account that
// has one has one too, and so on.
func (q *query) ways(takers []Taker) []Way {
	grants := q.grants()
	found := map[string]*Way{}
	collect(found, grants, q.rights(takers))
	direct := q.podNamespaces()
	asked := map[string]bool{}
	for {
		var more []Right
		for _, s := range accounts(found) {
			if !asked[s.Namespace+"/"+s.Name] {
				asked[s.Namespace+"/"+s.Name] = true
				more = append(more, becoming(s, !asked[s.Namespace], !slices.Contains(direct, s.Namespace))...)
				asked[s.Namespace] = true
			}
		}
		if len(more) == 0 {
			break
		}
		collect(found, grants, more)
	}
	list := []Way{{
		Subject: Subject{Kind: rbacv1.GroupKind, Name: masters}, Could: "do everything",
		Rights: []string{"*"}, Binding: "the API server itself", Role: "no role",
	}}
	for _, k := range slices.Sorted(maps.Keys(found)) {
		list = append(list, *found[k])
	}
	slices.SortStableFunc(list[1:], func(x, y Way) int {
		return cmp.Or(
			cmp.Compare(x.Subject.Kind, y.Subject.Kind), cmp.Compare(x.Subject.Namespace, y.Subject.Namespace), cmp.Compare(x.Subject.Name, y.Subject.Name),
			cmp.Compare(x.Binding, y.Binding), cmp.Compare(x.As, y.As), cmp.Compare(x.Could, y.Could),
		)
	})
	return list
}

// accounts are the service accounts among those who have a way.
func accounts(found map[string]*Way) []Subject {
	var list []Subject
	for _, k := range slices.Sorted(maps.Keys(found)) {
		s := found[k].Subject
		if ns, ok := strings.CutPrefix(s.Name, serviceAccounts+":"); ok && s.Kind == rbacv1.GroupKind {
			s = Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: Anywhere}
		} else if s.Name == serviceAccounts && s.Kind == rbacv1.GroupKind {
			s = Subject{Kind: rbacv1.ServiceAccountKind, Namespace: Anywhere, Name: Anywhere}
		}
		if s.Kind == rbacv1.ServiceAccountKind && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// becoming are the rights to act as a service account: to have its token, and, once
// for its namespace, to run pods there, to enter them, and to read Secrets, in which
// tokens can be. Where pods of the namespace may have the identity anyway, pods have
// been asked for.
func becoming(s Subject, first, pods bool) []Right {
	name := s.Name
	if name == Anywhere {
		name = ""
	}
	list := []Right{{Verbs: []string{"create"}, Resource: "serviceaccounts/token", Namespace: s.Namespace, Name: name}}
	if first && pods {
		list = slices.Concat(list, running(s.Namespace, ""), entering(s.Namespace, ""))
	}
	if first {
		list = append(list, Right{Verbs: []string{"get", "list", "watch"}, Resource: "secrets", Namespace: s.Namespace})
	}
	for i := range list {
		list[i].Could, list[i].As = actAsAccount, s.Namespace+"/"+s.Name
	}
	return list
}

// collect adds the ways that grants give by rights.
func collect(found map[string]*Way, grants []grant, rights []Right) {
	byNamespace := map[string][]Right{}
	seen := map[string]bool{}
	var once []Right // for the whole cluster it is no matter where
	for _, r := range rights {
		byNamespace[r.Namespace] = append(byNamespace[r.Namespace], r)
		if k := strings.Join(append([]string{r.Could, r.Group, r.Resource, r.Name, r.As}, r.Verbs...), "\x00"); !seen[k] {
			seen[k] = true
			once = append(once, r)
		}
	}
	for _, g := range grants {
		asked := once
		if g.namespace != "" {
			asked = slices.Concat(byNamespace[g.namespace], byNamespace[Anywhere])
		}
		for _, r := range asked {
			for _, rule := range g.rules {
				if verbs := r.coveredBy(rule); len(verbs) > 0 {
					g.give(found, r, verbs, rule.ResourceNames)
				}
			}
		}
	}
}

// coveredBy are the verbs of the right that a rule gives.
func (r Right) coveredBy(rule rbacv1.PolicyRule) []string {
	var verbs []string
	asked := rbacv1.PolicyRule{APIGroups: []string{r.Group}, Resources: []string{r.Resource}}
	if r.Name == "" {
		rule.ResourceNames = nil
	} else {
		asked.ResourceNames = []string{r.Name}
	}
	for _, verb := range r.Verbs {
		asked.Verbs = []string{verb}
		if ok, _ := validation.Covers([]rbacv1.PolicyRule{rule}, []rbacv1.PolicyRule{asked}); ok {
			verbs = append(verbs, verb)
		}
	}
	return verbs
}

// give notes that the subjects of the grant have verbs of a right, on some names or,
// where there are none, on all.
func (g grant) give(found map[string]*Way, r Right, verbs, names []string) {
	resource := r.Resource
	if r.Group != "" {
		resource += "." + r.Group
	}
	for _, s := range g.subjects {
		key := strings.Join([]string{s.Kind, s.Namespace, s.Name, g.binding, g.role, r.Could, r.As}, "\x00")
		w, ok := found[key]
		if !ok {
			w = &Way{Subject: s, Could: r.Could, Namespace: g.namespace, Binding: g.binding, Role: g.role, As: r.As, Names: slices.Clone(names)}
			found[key] = w
		}
		for _, verb := range verbs {
			w.Rights = with(w.Rights, verb+" "+resource)
		}
		if len(names) == 0 || len(w.Names) == 0 {
			w.Names = nil
			continue
		}
		for _, n := range names {
			w.Names = with(w.Names, n)
		}
	}
}

// grants are all bindings with the rules of their roles, as they are stored. One of
// a role that is not there gives nothing.
func (q *query) grants() []grant {
	cluster := map[string][]rbacv1.PolicyRule{}
	for i := range q.ClusterRoles {
		cluster[q.ClusterRoles[i].Name] = q.ClusterRoles[i].Rules
	}
	local := map[name][]rbacv1.PolicyRule{}
	for i := range q.Roles {
		local[name{q.Roles[i].Namespace, q.Roles[i].Name}] = q.Roles[i].Rules
	}
	var list []grant
	for i := range q.ClusterRoleBindings {
		b := &q.ClusterRoleBindings[i]
		list = append(list, grant{
			binding: "ClusterRoleBinding " + b.Name, role: "ClusterRole " + b.RoleRef.Name,
			subjects: subjects(b.Subjects, ""), rules: cluster[b.RoleRef.Name],
		})
	}
	for i := range q.RoleBindings {
		b := &q.RoleBindings[i]
		g := grant{
			namespace: b.Namespace, binding: "RoleBinding " + b.Namespace + "/" + b.Name, role: "ClusterRole " + b.RoleRef.Name,
			subjects: subjects(b.Subjects, b.Namespace), rules: cluster[b.RoleRef.Name],
		}
		if b.RoleRef.Kind == "Role" {
			g.role, g.rules = "Role "+b.Namespace+"/"+b.RoleRef.Name, local[name{b.Namespace, b.RoleRef.Name}]
		}
		list = append(list, g)
	}
	return list
}

// subjects are those of a binding. A service account that is written as a user is
// one all the same.
func subjects(list []rbacv1.Subject, namespace string) []Subject {
	out := make([]Subject, 0, len(list))
	for _, s := range list {
		read := Subject{Kind: s.Kind, Name: s.Name}
		if s.Kind == rbacv1.ServiceAccountKind {
			read.Namespace = cmp.Or(s.Namespace, namespace)
		}
		if account, ok := strings.CutPrefix(s.Name, serviceAccountUser); ok && s.Kind == rbacv1.UserKind {
			if ns, n, ok := strings.Cut(account, ":"); ok {
				read = Subject{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: n}
			}
		}
		out = append(out, read)
	}
	return out
}
