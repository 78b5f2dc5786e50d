package localcluster

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// ErrAddress means that an address asked for cannot be had.
var ErrAddress = errors.New("the address is taken, or is none for pods")

// addresses hands out the addresses of a node's pods. One that was given back
// is given out again only after all others.
type addresses struct {
	prefix netip.Prefix

	mu   sync.Mutex // guards free
	free []netip.Addr
}

func newAddresses(prefix netip.Prefix) *addresses {
	a := &addresses{prefix: prefix}
	for addr := prefix.Addr().Next(); prefix.Contains(addr.Next()); addr = addr.Next() {
		a.free = append(a.free, addr) // neither the first nor the last
	}
	return a
}

// take returns the address that has been free for the longest time.
func (a *addresses) take() (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) == 0 {
		return netip.Addr{}, fmt.Errorf("all addresses of %s are taken", a.prefix)
	}
	addr := a.free[0]
	a.free = a.free[1:]
	return addr, nil
}

// claim takes a certain address.
func (a *addresses) claim(want string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(want)
	if err != nil {
		return netip.Addr{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.free, addr)
	if i < 0 {
		return netip.Addr{}, fmt.Errorf("%s: %w of %s", addr, ErrAddress, a.prefix)
	}
	a.free = slices.Delete(a.free, i, i+1)
	return addr, nil
}

// giveBack returns an address.
func (a *addresses) giveBack(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, addr)
}
