package assignment

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

// kept is a record and the resourceVersion of its ConfigMap.
type kept struct {
	record  assign.Record
	version string
}

const (
	recordPrefix     = "podid-scope-"
	managedByLabel   = "app.kubernetes.io/managed-by"
	managedBy        = "podid"
	recordScope      = "scope"
	recordIdentities = "identities"
)

// load reads all records. One that cannot be understood is as good as none: what
// is attached there then counts as somebody else's, and stays.
func (r records) load(ctx context.Context) (map[assign.Scope]kept, error) {
	var list corev1.ConfigMapList
	if err := r.live.List(ctx, &list, client.InNamespace(r.namespace), client.MatchingLabels{managedByLabel: managedBy}); err != nil {
		return nil, fmt.Errorf("read the records of what is attached: %w", err)
	}
	out := make(map[assign.Scope]kept, len(list.Items))
	for i := range list.Items {
		m := &list.Items[i]
		if !strings.HasPrefix(m.Name, recordPrefix) {
			continue
		}
		scope, record, err := parseRecord(m.Data)
		if err != nil {
			r.log.WarnContext(ctx, "a record of what is attached makes no sense and is ignored", "configMap", m.Namespace+"/"+m.Name, "err", err)
			continue
		}
		out[scope] = kept{record: record, version: m.ResourceVersion}
	}
	return out, nil
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

// save writes the record of a scope, replacing the one with that version, and
// returns the new version. An empty record is deleted. Somebody else's write in
// between is overruled: what this process knows is newer.
func (r records) save(ctx context.Context, scope assign.Scope, record assign.Record, version string) (string, error) {
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return "", err
	}
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: r.namespace, Name: recordName(scope), ResourceVersion: version,
			Labels: map[string]string{managedByLabel: managedBy},
		},
		Data: map[string]string{recordScope: scope.ID(), recordIdentities: string(text)},
	}
	switch {
	case len(record) == 0:
		err = client.IgnoreNotFound(r.writer.Delete(ctx, m))
		m.ResourceVersion = ""
	case version == "":
		err = r.create(ctx, m)
	default:
		err = r.update(ctx, m)
	}
	if err != nil {
		return version, fmt.Errorf("write down what is attached to %s: %w", scope, err)
	}
	return m.ResourceVersion, nil
}

func (r records) create(ctx context.Context, m *corev1.ConfigMap) error {
	err := r.writer.Create(ctx, m)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	return r.overrule(ctx, m)
}

func (r records) update(ctx context.Context, m *corev1.ConfigMap) error {
	err := r.writer.Update(ctx, m)
	switch {
	case apierrors.IsNotFound(err):
		m.ResourceVersion = ""
		return r.writer.Create(ctx, m)
	case apierrors.IsConflict(err):
		return r.overrule(ctx, m)
	default:
		return err
	}
}

func (r records) overrule(ctx context.Context, m *corev1.ConfigMap) error {
	var now corev1.ConfigMap
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(m), &now); err != nil {
		return errors.Join(errors.New("it was written by somebody else"), err)
	}
	m.ResourceVersion = now.ResourceVersion
	return r.writer.Update(ctx, m)
}

func recordName(scope assign.Scope) string {
	sum := sha256.Sum256([]byte(scope.ID()))
	return recordPrefix + hex.EncodeToString(sum[:8])
}
