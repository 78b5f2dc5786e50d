package cleanup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/assign"
	"github.com/podid-io/podid/internal/taint"
)

// trace is a kind of what mic makes, and would delete if it were there.
type trace struct {
	what string
	ends string // the command that deletes it
	sure bool   // it is there; else it may be
}

// traces are what is found of mic, or may be there: the chart's hook has the rights to
// none of these, and must not have more for the rare case that mic is gone.
func (w *work) traces(ctx context.Context) ([]trace, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords) // also when the time is up
	defer cancel()
	var found []trace
	var errs []error
	for _, look := range []func(context.Context) ([]trace, error){w.assigned, w.records, w.taints} {
		some, err := look(ctx)
		found, errs = append(found, some...), append(errs, err)
	}
	return found, errors.Join(errs...)
}

// assigned are the AzureAssignedIdentities of podid.
func (w *work) assigned(ctx context.Context) ([]trace, error) {
	all := trace{ends: "kubectl delete azureassignedidentities -A --all"}
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(v1.GroupVersion.WithKind("AzureAssignedIdentityList"))
	err := w.client.List(ctx, &list)
	switch {
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err): // of a kind that is not defined there are none
		return nil, nil
	case apierrors.IsForbidden(err):
		all.what = "AzureAssignedIdentities, if there are any (of AAD Pod Identity too)"
		return []trace{all}, nil
	case err != nil:
		return nil, fmt.Errorf("look for AzureAssignedIdentities: %w", err)
	}
	ours := slices.DeleteFunc(slices.Clone(list.Items), func(o metav1.PartialObjectMetadata) bool {
		return slices.Contains(o.Finalizers, assign.LegacyFinalizer)
	})
	if len(ours) == 0 {
		return nil, nil
	}
	all.what, all.sure = fmt.Sprintf("AzureAssignedIdentities: %d", len(ours)), true
	if theirs := len(list.Items) - len(ours); theirs > 0 {
		all.what += fmt.Sprintf(", and %d of AAD Pod Identity, which the command deletes too", theirs)
	}
	return []trace{all}, nil
}

// records are the ConfigMaps that say what podid attached.
func (w *work) records(ctx context.Context) ([]trace, error) {
	all := trace{ends: fmt.Sprintf("kubectl delete configmap -n %s -l app.kubernetes.io/managed-by=podid", w.namespace)}
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	err := w.client.List(ctx, &list, client.InNamespace(w.namespace), client.MatchingLabels{"app.kubernetes.io/managed-by": "podid"})
	if apierrors.IsForbidden(err) {
		all.what = "records of what is attached, if there are any (ConfigMaps podid-scope-*)"
		return []trace{all}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for records of what is attached: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, nil
	}
	all.what, all.sure = fmt.Sprintf("records of what is attached (ConfigMaps podid-scope-*): %d", len(list.Items)), true
	return []trace{all}, nil
}

// taints are the start-up taints that nodes have, by their keys. Nobody says any more
// which one was podid's; of those that podid may take off, one is no other's.
func (w *work) taints(ctx context.Context) ([]trace, error) {
	of := func(key string) trace { return trace{ends: "kubectl taint nodes --all " + key + "-"} }
	var list corev1.NodeList
	err := w.client.List(ctx, &list)
	if apierrors.IsForbidden(err) {
		all := of(taint.DefaultKey)
		all.what = "start-up taints, if there are any (by this key, or that of startupTaint)"
		return []trace{all}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for start-up taints: %w", err)
	}
	nodes := map[string]int{}
	for i := range list.Items {
		for _, t := range list.Items[i].Spec.Taints {
			if t.Key == taint.DefaultKey || strings.HasPrefix(t.Key, "startup-taint.") {
				nodes[t.Key]++
			}
		}
	}
	var found []trace
	for _, key := range slices.Sorted(maps.Keys(nodes)) {
		one := of(key)
		one.what, one.sure = fmt.Sprintf("nodes with the start-up taint %s: %d", key, nodes[key]), key == taint.DefaultKey
		if !one.sure {
			one.what += ", if it is podid's"
		}
		found = append(found, one)
	}
	return found, nil
}

// left names what mic made and is not there to delete. What may be there is left too
// where mic is known to have been there (standard): until an earlier run has taken the
// redirect off, or an uninstall would never end whose hook may not look.
func (w *work) left(ctx context.Context, standard bool) error {
	found, err := w.traces(ctx)
	if len(found) == 0 {
		return err
	}
	if !standard && !slices.ContainsFunc(found, func(t trace) bool { return t.sure }) {
		w.say("%s", told("what mic would have made, if it was there before, nobody deletes:", found))
		return err
	}
	return errors.Join(errors.New(told("mic is not there to delete what it made. Delete it, and uninstall again:", found)), err)
}

// told is a list of traces, below what is said of them.
func told(said string, found []trace) string {
	for _, t := range found {
		said += "\n  " + t.what + "\n    " + t.ends
	}
	return said
}
