package assignment

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// troubles are the scopes for which Azure cannot be worked with, and why. A scope
// that is gone, or needs nothing more, has none.
type troubles struct {
	report func(error)

	mu sync.Mutex // guards by, and keeps reports in order
	by map[assign.Scope]error
}

// set takes note of how it went with a scope, and reports the whole. An error
// that is about this one scope or identity is no trouble with Azure.
func (t *troubles) set(scope assign.Scope, err error) {
	e, ok := errors.AsType[*compute.Error](err)
	trouble := ok && (e.Kind == compute.Other || e.Kind == compute.Forbidden)
	t.mu.Lock()
	defer t.mu.Unlock()
	if trouble {
		t.by[scope] = e
	} else {
		delete(t.by, scope)
	}
	t.report(t.whole())
}

// whole is the trouble of the first scope, and how many more have any.
func (t *troubles) whole() error {
	if len(t.by) == 0 {
		return nil
	}
	first := slices.MinFunc(slices.Collect(maps.Keys(t.by)), func(x, y assign.Scope) int { return cmp.Compare(x.ID(), y.ID()) })
	if more := len(t.by) - 1; more > 0 {
		return fmt.Errorf("%w (and %d more)", t.by[first], more)
	}
	return t.by[first]
}
