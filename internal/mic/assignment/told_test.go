package assignment

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/podid-io/podid/internal/assign"
)

// matter is what something is told about: an identity on a scope, or a binding in
// advance.
type matter struct {
	binding bool
	scope   assign.Scope
	name    types.NamespacedName
}

// told is who is told about identities.
type told struct {
	mu        sync.Mutex // guards the rest
	times     int
	problems  map[matter]string
	forgotten map[matter]bool
}

var _ Status = (*told)(nil)

func (t *told) Tell(scope assign.Scope, identity types.NamespacedName, _, problem string) {
	t.tell(matter{false, scope, identity}, problem)
}

func (t *told) TellAdvance(scope assign.Scope, binding types.NamespacedName, _, problem string) {
	t.tell(matter{true, scope, binding}, problem)
}

func (t *told) ForgetAdvance(scope assign.Scope, binding types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := matter{true, scope, binding}
	t.forgotten[m] = true
	delete(t.problems, m)
}

func (t *told) tell(m matter, problem string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times++
	t.problems[m] = problem
}

// of is what was told last about an AzureIdentity of the team on the scale set.
func (t *told) of(name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.problems[onTheScope(false, name)]
}

// onTheScope is an AzureIdentity of the team on the scale set, or a binding.
func onTheScope(binding bool, name string) matter {
	return matter{binding, theScope, types.NamespacedName{Namespace: "team", Name: name}}
}
