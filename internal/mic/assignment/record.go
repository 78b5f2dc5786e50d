package assignment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/assign"
)

// records keeps the record of each scope in a ConfigMap of its own. Only the
// leader writes them, so that it reads them once and knows them from then on.
type records struct {
	live      client.Reader
	writer    client.Writer
	namespace string
	log       *slog.Logger
}

// kept is a record, the machine that it is of, as compute.State.ID has it, and the
// resourceVersion of its ConfigMap.
type kept struct {
	record  assign.Record
	made    string
	version string
}

const (
	recordPrefix     = "podid-scope-"
	managedByLabel   = "app.kubernetes.io/managed-by"
	managedBy        = "podid"
	recordScope      = "scope"
	recordMachine    = "machine"
	recordIdentities = "identities"
)

// load reads all records. One that cannot be understood is as good as none: what
// is attached there then counts as somebody else's, and stays. Those are senseless,
// by the names of their ConfigMaps, and why.
func (r records) load(ctx context.Context) (found map[assign.Scope]kept, senseless map[string]error, err error) {
	var list corev1.ConfigMapList
	if err := r.live.List(ctx, &list, client.InNamespace(r.namespace), client.MatchingLabels{managedByLabel: managedBy}); err != nil {
		return nil, nil, fmt.Errorf("read the records of what is attached: %w", err)
	}
	found, senseless = make(map[assign.Scope]kept, len(list.Items)), make(map[string]error)
	for i := range list.Items {
		m := &list.Items[i]
		if !strings.HasPrefix(m.Name, recordPrefix) {
			continue
		}
		scope, record, err := parseRecord(m.Data)
		if err != nil {
			r.log.WarnContext(ctx, "a record of what is attached makes no sense and is ignored", "configMap", m.Namespace+"/"+m.Name, "err", err)
			senseless[m.Namespace+"/"+m.Name] = err
			continue
		}
		found[scope] = kept{record: record, made: m.Data[recordMachine], version: m.ResourceVersion}
	}
	return found, senseless, nil
}

func parseRecord(data map[string]string) (assign.Scope, assign.Record, error) {
	scope, err := assign.ParseID(data[recordScope])
	if err != nil {
		return scope, nil, err
	}
	var record assign.Record
	if err := json.Unmarshal([]byte(data[recordIdentities]), &record); err != nil {
		return scope, nil, fmt.Errorf("%s: %w", recordIdentities, err)
	}
	return scope, record, nil
}

// errRewritten is the error of save when somebody else has written the record.
var errRewritten = errors.New("somebody else has written it meanwhile")

// save writes the record of a scope, and of which machine it is, in place of old, and returns what the API
// server has from then on. An empty record is deleted. What somebody else has
// written in between is never overwritten: it is returned with errRewritten. With
// any other error what the API server has is not known to have changed.
func (r records) save(ctx context.Context, scope assign.Scope, record assign.Record, made string, old kept) (kept, error) {
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return old, err
	}
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.namespace, Name: recordName(scope), ResourceVersion: old.version,
			Labels: map[string]string{managedByLabel: managedBy},
		},
		Data: map[string]string{recordScope: scope.ID(), recordIdentities: string(text)},
	}
	if made != "" {
		m.Data[recordMachine] = made
	}
	now := kept{record: maps.Clone(record), made: made}
	switch {
	case len(record) == 0 && old.version == "":
	case len(record) == 0:
		err = client.IgnoreNotFound(r.writer.Delete(ctx, m, client.Preconditions{ResourceVersion: &old.version}))
	default:
		err = r.write(ctx, m)
		now.version = m.ResourceVersion
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		now, err = r.reload(ctx, scope, now, old)
	} else if err != nil {
		now = old
	}
	if err != nil {
		return now, fmt.Errorf("write down what is attached to %s: %w", scope, err)
	}
	return now, nil
}

// write makes the object, or replaces the version that it says. One that was
// deleted is made again.
func (r records) write(ctx context.Context, m *corev1.ConfigMap) error {
	if m.ResourceVersion != "" {
		if err := r.writer.Update(ctx, m); !apierrors.IsNotFound(err) {
			return err
		}
		m.ResourceVersion = ""
	}
	return r.writer.Create(ctx, m)
}

// reload reads what was written in between. That it is what was to be written is
// no error: it was us, and the answer was lost.
func (r records) reload(ctx context.Context, scope assign.Scope, ours, old kept) (kept, error) {
	var m corev1.ConfigMap
	if err := r.live.Get(ctx, client.ObjectKey{Namespace: r.namespace, Name: recordName(scope)}, &m); apierrors.IsNotFound(err) {
		return kept{}, errRewritten
	} else if err != nil {
		return old, errors.Join(errRewritten, err)
	}
	of, theirs, err := parseRecord(m.Data)
	if err != nil || of != scope { // as good as none: see load
		r.log.WarnContext(ctx, "a record of what is attached makes no sense and is ignored", "configMap", m.Namespace+"/"+m.Name, "err", err)
		theirs = assign.Record{}
	}
	now := kept{record: theirs, made: m.Data[recordMachine], version: m.ResourceVersion}
	if maps.Equal(theirs, ours.record) && now.made == ours.made {
		return now, nil
	}
	return now, errRewritten
}

func recordName(scope assign.Scope) string {
	sum := sha256.Sum256([]byte(scope.ID()))
	return recordPrefix + hex.EncodeToString(sum[:8])
}
