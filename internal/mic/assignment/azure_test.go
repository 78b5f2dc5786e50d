package assignment

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/compute"
)

// azure is one scale set. Its fields are to be read while everybody waits, and set
// with be.
type azure struct {
	mu      sync.Mutex // guards the rest
	user    map[string]bool
	made    string // the machine's own id
	patches int
	gets    int
	// takes is how long a PATCH takes, and reads a GET, which shows what there was when
	// it began; refuse what it is refused for; nil for
	// nothing. unread is why it cannot be read.
	takes  time.Duration
	reads  time.Duration
	refuse func(attach, detach []string) error
	unread func() error
	// show edits what is shown; nil for nothing.
	show func(*compute.State)
}

var _ Machines = (*azure)(nil)

func newAzure() *azure { return &azure{user: make(map[string]bool)} }

// be changes it.
func (a *azure) be(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// sent is how many PATCHes there were.
func (a *azure) sent() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.patches
}

func (a *azure) Get(ctx context.Context, _ assign.Scope) (compute.State, error) {
	s, reads, err := a.get()
	select {
	case <-time.After(reads):
		return s, err
	case <-ctx.Done():
		return compute.State{}, ctx.Err()
	}
}

// get is what a GET shows, and how long that takes.
func (a *azure) get() (compute.State, time.Duration, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gets++
	if a.unread != nil {
		return compute.State{}, a.reads, a.unread()
	}
	s := compute.State{ID: a.made, User: maps.Clone(a.user)}
	if a.show != nil {
		a.show(&s)
	}
	return s, a.reads, nil
}

func (a *azure) Update(ctx context.Context, _ assign.Scope, _ compute.State, attach, detach []string) (compute.Changes, error) {
	a.mu.Lock()
	a.patches++
	refuse, takes := a.refuse, a.takes
	a.mu.Unlock()
	ids := slices.Concat(attach, detach)
	if refuse != nil {
		if err := refuse(attach, detach); err != nil {
			return compute.Changes{Not: ids}, err
		}
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return compute.Changes{}, ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range attach {
		a.user[id] = true
	}
	for _, id := range detach {
		delete(a.user, id)
	}
	return compute.Changes{Done: ids}, nil
}

// attached are the names of the identities that are on the scale set.
func (a *azure) attached() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := make([]string, 0, len(a.user))
	for id := range a.user {
		names = append(names, id[len(arm("")):])
	}
	slices.Sort(names)
	return names
}

// refused is that Azure refuses, and names what it does.
func refused(named ...string) error {
	return &compute.Error{Kind: compute.BadIdentity, Scope: theScope, Doing: "change", Refused: true, Identities: named, Reason: "400 FailedIdentityOperation"}
}

// absent is that Azure refuses, since some do not exist.
func absent(named ...string) error {
	return &compute.Error{
		Kind: compute.BadIdentity, Scope: theScope, Doing: "change", Refused: true,
		Identities: named, Missing: named, Reason: "400 FailedIdentityOperation",
	}
}
