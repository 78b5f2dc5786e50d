package explain

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

// binding looks for the bindings that the pod's label selects.
func (q *inquiry) binding() Step {
	switch {
	case q.special() != "":
		return skipped("none is needed")
	case !q.found.Pod.Labelled():
		return skipped("there is no label to look for one by")
	case q.Unread["azureidentitybindings"] != nil:
		return unknown("AzureIdentityBindings cannot be read: %v", q.Unread["azureidentitybindings"])
	}
	mine := q.bindings()
	if len(mine) == 0 {
		return q.noBinding()
	}
	var said []string
	for _, b := range mine {
		said = append(said, fmt.Sprintf("%s/%s (for AzureIdentity %s)", b.Namespace, b.Name, b.Identity))
	}
	return ok("AzureIdentityBinding %s", few(said))
}

// bindings are those whose selector, or name, is the pod's, and that count for its
// namespace. Whether they entitle it, identity.Match says.
func (q *inquiry) bindings() []identity.Binding {
	var mine []identity.Binding
	for i := range q.Objects.Bindings {
		b := identity.BindingFromAPI(&q.Objects.Bindings[i])
		p := &q.found.Pod
		byLabel := p.Selector != "" && b.Selector == p.Selector && (b.Namespace == p.Namespace || q.settings.Rules.AcrossNamespaces)
		byNamespace := p.Selector == "" && b.Namespace == p.Namespace && b.Name == p.NamespaceBinding
		if byLabel || byNamespace {
			mine = append(mine, b)
		}
	}
	return mine
}

// noBinding says what comes nearest.
func (q *inquiry) noBinding() Step {
	p := &q.found.Pod
	if p.Selector == "" {
		return broken("namespace %s has no AzureIdentityBinding %q, which its annotation %s names", p.Namespace, p.NamespaceBinding, v1.AnnotationNamespaceBinding).
			mend("kubectl annotate namespace %s --overwrite %s=BINDING   # one of: kubectl get azureidentitybindings -n %s", p.Namespace, v1.AnnotationNamespaceBinding, p.Namespace)
	}
	s := broken("no AzureIdentityBinding of namespace %s has the selector %q", p.Namespace, p.Selector)
	for i := range q.Objects.Bindings {
		b := identity.BindingFromAPI(&q.Objects.Bindings[i])
		if b.Selector == p.Selector && b.Namespace != p.Namespace {
			s.Evidence += fmt.Sprintf("; %s/%s has it, but in another namespace: pod, binding and identity must share one", b.Namespace, b.Name)
			return s.mend("%s", copyTo(p.Namespace, b))
		}
	}
	selectors := q.selectors(p.Namespace)
	if near := nearest(p.Selector, selectors); near != "" {
		s.Evidence += fmt.Sprintf("; there is %q", near)
		return s.mend("%s", q.setLabel(near))
	}
	if len(selectors) > 0 {
		s.Evidence += "; selectors there: " + few(selectors)
		return s.mend("%s", q.setLabel(selectors[0]))
	}
	s.Evidence += "; it has no AzureIdentityBinding at all"
	return s.mend("%s", newBinding(p.Namespace, p.Selector, "IDENTITY"))
}

// copyTo brings a binding and its identity to a namespace.
func copyTo(namespace string, b identity.Binding) command {
	return script("make the AzureIdentity %s in namespace %s too, then:\n%s", b.Identity, namespace, newBinding(namespace, b.Selector, b.Identity))
}

// newBinding is the command that makes a binding.
func newBinding(namespace, selector, id string) command {
	name := id
	if name == "IDENTITY" {
		name = "BINDING"
	}
	manifest := fmt.Sprintf(`{"apiVersion":%q,"kind":"AzureIdentityBinding","metadata":{"name":%q,"namespace":%q},"spec":{"azureIdentity":%q,"selector":%q}}`,
		v1.GroupVersion.String(), name, namespace, id, selector)
	return apply(manifest)
}

// nearest is the one of a list that differs from a word in case or by two letters
// at most; empty for none.
func nearest(word string, list []string) string {
	for _, w := range list {
		if strings.EqualFold(strings.TrimSpace(w), strings.TrimSpace(word)) {
			return w
		}
	}
	for _, w := range list {
		if len(word) > 2 && distance(word, w) <= 2 {
			return w
		}
	}
	return ""
}

// distance is how many letters have to be changed, put in or left out.
func distance(a, b string) int {
	if d := len(a) - len(b); d > 2 || d < -2 {
		return 3 // far enough
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := slices.Clone(row)
		row[0] = i + 1
		for j := range len(b) {
			change := before[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, before[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
