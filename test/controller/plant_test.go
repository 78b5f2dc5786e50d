package controller_test

import (
	"context"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// plant is a bug that is planted, to see that it is found. The zero value is none.
type plant struct {
	// machines stands between mic and Azure.
	machines func(azure) azure
}

func (p plant) wrap(a azure) azure {
	if p.machines == nil {
		return a
	}
	return p.machines(a)
}

// plants are the bugs, each under what it is.
func plants() map[string]plant {
	return map[string]plant{
		"nothing is ever sent, and said to be done": {machines: func(a azure) azure { return liar{a} }},
	}
}

// liar is an Azure that does nothing and says that it did.
type liar struct{ azure }

func (liar) Update(_ context.Context, _ assign.Scope, _ compute.State, attach, detach []string) (compute.Changes, error) {
	return compute.Changes{Done: append(append([]string{}, attach...), detach...)}, nil
}
