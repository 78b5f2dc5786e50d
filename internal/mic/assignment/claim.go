package assignment

import (
	"context"
	"maps"
	"strings"

	"github.com/podid-io/podid/internal/assign"
)

// Claim writes down that identities, by ARM id, are podid's to detach, whoever
// attached them, so that Release does. It returns why, for each scope of which it
// could not. Of c it uses Live, Writer, Namespace and Log. Nobody else may work
// meanwhile: hold the Lease.
func Claim(ctx context.Context, c Config, identities map[assign.Scope][]string) (map[assign.Scope]error, error) {
	r := newReconciler(c)
	found, _, err := r.records.load(ctx)
	if err != nil {
		return nil, err
	}
	failed := make(map[assign.Scope]error)
	for scope, ids := range identities {
		k := found[scope]
		record := maps.Clone(k.record)
		if record == nil {
			record = make(assign.Record, len(ids))
		}
		for _, id := range ids {
			if id = strings.ToLower(id); record[id] == "" || record[id] == assign.Found {
				record[id] = assign.Attached
			}
		}
		if maps.Equal(record, k.record) {
			continue
		}
		if _, err := r.records.save(ctx, scope, record, k.made, k); err != nil {
			failed[scope] = err
		}
	}
	return failed, nil
}
