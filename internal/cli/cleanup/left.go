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

// trace is a kind of what mic makes, or takes off, and would if it were there.
type trace struct {
	what string
	ends string // what ends it
	sure bool   // it is podid's; else it may be
}

// traces are what is found of mic, and what may be there: the chart's hook has the
// rights to look for nothing of it, and must not have more for the rare case that mic
// is gone.
type traces struct {
	found  []trace
	hidden []string // what may not be looked for
}

func (w *work) traces(ctx context.Context) (all traces, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords) // also when the time is up
	defer cancel()
	var errs []error
	for _, kind := range []struct {
		name string
		look func(context.Context) ([]trace, error)
	}{
		{"AzureAssignedIdentities", w.assigned},
		{"records of what is attached (ConfigMaps podid-scope-*)", w.records},
		{"start-up taints", w.taints},
	} {
		found, err := kind.look(ctx)
		switch {
		case apierrors.IsForbidden(err):
			all.hidden = append(all.hidden, kind.name)
		case err != nil:
			errs = append(errs, fmt.Errorf("look for %s: %w", kind.name, err))
		default:
			all.found = append(all.found, found...)
		}
	}
	return all, errors.Join(errs...)
}

// sure are those that are podid's for certain.
func (t traces) sure() []trace {
	return slices.DeleteFunc(slices.Clone(t.found), func(t trace) bool { return !t.sure })
}

// deleteAssigned deletes no AzureAssignedIdentity of AAD Pod Identity's MIC: those have
// a finalizer of its, with which a deletion would wait for it.
const deleteAssigned = `kubectl get azureassignedidentities -A -o go-template='{{range .items}}{{$mic := false}}{{range .metadata.finalizers}}{{if eq . "` + assign.LegacyFinalizer + `"}}{{$mic = true}}{{end}}{{end}}` +
	`{{if not $mic}}{{.metadata.namespace}} {{.metadata.name}}{{"\n"}}{{end}}{{end}}' | xargs -r -L1 kubectl delete azureassignedidentity -n`

// assigned are the AzureAssignedIdentities of podid.
func (w *work) assigned(ctx context.Context) ([]trace, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(v1.GroupVersion.WithKind("AzureAssignedIdentityList"))
	err := w.client.List(ctx, &list)
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) { // of a kind that is not defined there are none
		return nil, nil
	}
	ours := 0
	for i := range list.Items {
		if !slices.Contains(list.Items[i].Finalizers, assign.LegacyFinalizer) {
			ours++
		}
	}
	if err != nil || ours == 0 {
		return nil, err
	}
	all := trace{what: fmt.Sprintf("AzureAssignedIdentities: %d (keep them where another podid runs in this cluster)", ours), ends: deleteAssigned, sure: true}
	if theirs := len(list.Items) - ours; theirs > 0 {
		all.what += fmt.Sprintf(", besides %d of AAD Pod Identity", theirs)
	}
	return []trace{all}, nil
}

// records are the ConfigMaps that say what podid attached.
func (w *work) records(ctx context.Context) ([]trace, error) {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	err := w.client.List(ctx, &list, client.InNamespace(w.namespace), client.MatchingLabels{"app.kubernetes.io/managed-by": "podid"})
	if err != nil || len(list.Items) == 0 {
		return nil, err
	}
	return []trace{{
		what: fmt.Sprintf("ConfigMaps podid-scope-*: %d, which alone say what podid attached to which machine (take that off first, or keep them for a podid that comes back to this namespace)", len(list.Items)),
		ends: fmt.Sprintf("kubectl delete configmap -n %s -l app.kubernetes.io/managed-by=podid", w.namespace),
		sure: true,
	}}, nil
}

// taints are the start-up taints that nodes have, by their keys. Nobody says any more
// which one was podid's; of those that podid may take off, one is no other's.
func (w *work) taints(ctx context.Context) ([]trace, error) {
	var list corev1.NodeList
	if err := w.client.List(ctx, &list); err != nil {
		return nil, err
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
		one := trace{
			what: fmt.Sprintf("nodes with the start-up taint %s: %d (and take it out of the node pools: new nodes have it else)", key, nodes[key]),
			ends: "kubectl taint nodes --all " + key + "-", sure: key == taint.DefaultKey,
		}
		if !one.sure {
			one.what = fmt.Sprintf("nodes with the start-up taint %s: %d; only where startupTaint was this:", key, nodes[key])
		}
		found = append(found, one)
	}
	return found, nil
}

// remains is an error of what mic made, and is not there to delete: another run does not
// delete it either.
type remains struct{ error }

// left names what mic made and is not there to delete. What may be there is left too
// where mic is known to have been there (standard): until an earlier run has taken the
// redirect off, or an uninstall would never end whose hook may not look.
func (w *work) left(ctx context.Context, standard bool) error {
	all, err := w.traces(ctx)
	again := standard && len(all.hidden) > 0 // with the words for who may look
	said := w.told("mic is not there to delete what it made, or to take it off:", all, again)
	switch {
	case said == "":
		return err
	case len(all.sure()) == 0 && !again:
		w.say("%s", said)
		return err
	case err != nil:
		return errors.Join(errors.New(said), err)
	default:
		return remains{errors.New(said)}
	}
}

// told is what is said of traces, below a heading; nothing of none. Before an uninstall
// who may look is told how.
func (w *work) told(heading string, t traces, before bool) string {
	var said []string
	if len(t.found) > 0 {
		said = append(said, heading)
		for _, f := range t.found {
			said = append(said, "  "+f.what, "    "+f.ends)
		}
	}
	if len(t.hidden) > 0 {
		said = append(said, "mic is not there to delete what it made, or to take it off, and what may be left may not be looked for here: "+strings.Join(t.hidden, ", "))
	}
	if len(t.hidden) > 0 && before {
		said = append(said, "  before the next uninstall, whoever may list it is told what to do by:  podid cleanup -n "+w.namespace+" --keep-identities")
	}
	return strings.Join(said, "\n")
}
