package roles

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/roles"
)

// safe refuses a principal whose identity pods may have as well: with mic's roles
// they could change every machine. nmi asks for tokens by the client id where there
// is one, whatever the resource id next to it is.
func safe(p principal, identities []roles.Identity) error {
	for _, i := range identities {
		if p.Identity != "" && strings.EqualFold(p.Identity, i.ResourceID) || p.clientID != "" && strings.EqualFold(p.clientID, i.ClientID) {
			return shared(p, i)
		}
	}
	return nil
}

func shared(p principal, i roles.Identity) error {
	who := p.Identity
	if who == "" {
		who = p.ID
	}
	return fmt.Errorf("%s is the identity of AzureIdentity %s too: pods that have it would have mic's roles. Give mic an identity of its own", who, i.Name)
}

// safeByObject does so for principals of which Azure has shown no client id: it reads
// the identities that AzureIdentities name, and compares object ids. azure.json may be
// there for the cloud alone, and name another than mic; so of a principal that was
// told by its object id nobody here can say whose a client id is that none of those
// has: then it is told.
func (az *azure) safeByObject(ctx context.Context, r *report, identities []roles.Identity) error {
	mics := slices.DeleteFunc(slices.Clone(r.Principals), func(p principal) bool { return p.Identity != "" && p.clientID != "" })
	if len(mics) == 0 {
		return nil
	}
	read, errs := az.readAll(ctx, identities)
	unknown := slices.ContainsFunc(mics, func(p principal) bool { return p.Identity == "" || p.clientID == "" })
	var strange []string
	for n, i := range identities {
		for _, p := range mics {
			if read[n].ID != "" && strings.EqualFold(p.ID, read[n].ID) {
				return shared(p, i)
			}
		}
		if errs[n] != nil {
			r.leaveOut(fmt.Sprintf("whether AzureIdentity %s names mic's own identity: %s", i.Name, errs[n]))
		}
		if unknown && i.ClientID != "" && !strings.EqualFold(i.ClientID, read[n].clientID) {
			strange = append(strange, i.Name)
		}
	}
	if len(strange) > 0 {
		slices.Sort(strange)
		r.Notes = append(r.Notes, fmt.Sprintf("make sure that the clientID of these AzureIdentities is not that of mic's own identity, which is not known here: %s", strings.Join(strange, ", ")))
	}
	return nil
}

// readAll reads the identities that AzureIdentities name, each once. It is nobody
// where none is named or there is none.
func (az *azure) readAll(ctx context.Context, identities []roles.Identity) (read []principal, errs []error) {
	read, errs = make([]principal, len(identities)), make([]error, len(identities))
	first := map[string]int{}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for n, i := range identities {
		key := strings.ToLower(i.ResourceID)
		if _, again := first[key]; again || roles.CheckIdentity(i.ResourceID) != nil { // which is told with the needs
			continue
		}
		first[key] = n
		g.Go(func() error { // ends with its request
			if p, err := az.userAssigned(ctx, i.ResourceID); err == nil {
				read[n] = p
			} else if !gone(err) {
				errs[n] = plain(err)
			}
			return nil
		})
	}
	_ = g.Wait() // there are no errors but those that are returned
	for n, i := range identities {
		if at, ok := first[strings.ToLower(i.ResourceID)]; ok {
			read[n] = read[at]
		}
	}
	return read, errs
}
