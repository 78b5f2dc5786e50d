package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/explain"
	"github.com/podid-io/podid/internal/identity"
)

// examination is the checks, and what several of them look at.
type examination struct {
	*cluster.Cluster

	report     *report
	offset     time.Duration // of the API server's clock from this machine's
	components map[string][]corev1.Pod
	nodes      []corev1.Node
	labelled   []corev1.Pod // those with the label of a binding
	managed    bool
	across     bool               // an nmi matches across namespaces
	taintKeys  []string           // of start-up taints that mic or nmi takes off
	refused    []v1.AzureIdentity // that Azure does not take
	// secretNamespaces are those of Secrets that AzureIdentities name and nmi reads.
	secretNamespaces []string
	// unreadable are the checks, of those that parts reads for, that could not be read.
	unreadable map[string]bool
}

func (x *examination) unread(check string, err error) { x.report.unread(check, err) }

// parts reads what several checks look at. What cannot be read is told of once, and
// is neither there nor missing to any of them.
func (x *examination) parts(ctx context.Context) {
	x.components, x.unreadable = map[string][]corev1.Pod{}, map[string]bool{}
	lacks := func(check string, err error) {
		if err != nil {
			x.unreadable[check] = true
			x.unread(check, err)
		}
	}
	for _, part := range []string{cluster.Controller, cluster.Agent} {
		pods, err := x.Components(ctx, part, "")
		lacks(part, err)
		x.components[part] = pods
	}
	x.flags()
	var nodes corev1.NodeList
	lacks("nodes", x.ListAll(ctx, &nodes, func() { x.nodes = append(x.nodes, nodes.Items...) }))
	var pods corev1.PodList
	lacks("pods", x.ListAll(ctx, &pods, func() { x.labelled = append(x.labelled, pods.Items...) }, client.HasLabels{v1.LabelBinding}))
	var list v1.AzureIdentityList
	err := x.ListAll(ctx, &list, func() {
		for i := range list.Items {
			id := identity.FromAPI(&list.Items[i])
			if ns := id.Application.SecretNamespace; ns != "" && id.Type != v1.UserAssignedMSI && x.readsSecret(&id) && !slices.Contains(x.secretNamespaces, ns) {
				x.secretNamespaces = append(x.secretNamespaces, ns)
			}
			if refusal(&list.Items[i]) != nil {
				x.refused = append(x.refused, list.Items[i])
			}
		}
	})
	if !apierrors.IsNotFound(err) { // without CRDs there are none
		lacks("identities", err)
	}
}

// readsSecret reports whether an nmi would read the Secret that an identity names:
// whoever writes an AzureIdentity says not by himself what nmi is to have a right to.
func (x *examination) readsSecret(id *identity.Identity) bool {
	return id.Application.SecretNamespace == id.Namespace || x.across && !id.Namespaced
}

// flags reads those of mic and nmi that checks go by.
func (x *examination) flags() {
	x.taintKeys = x.ControllerFlagsOf(x.components[cluster.Controller]).StartupTaints
	for i := range x.components[cluster.Agent] {
		f := cluster.FlagsOf(&x.components[cluster.Agent][i])
		x.managed = f.Managed && (i == 0 || x.managed)
		x.across = x.across || f.Rules.AcrossNamespaces
		if f.StartupTaint != "" && !slices.Contains(x.taintKeys, f.StartupTaint) {
			x.taintKeys = append(x.taintKeys, f.StartupTaint)
		}
	}
}

// controller looks at mic.
func (x *examination) controller(ctx context.Context) {
	const check = "mic"
	pods := x.components[cluster.Controller]
	logs := fmt.Sprintf("kubectl logs -n %s -l %s=%s,%s=%s --tail=50", x.System, cluster.NameLabel, cluster.Name, cluster.ComponentLabel, cluster.Controller)
	switch {
	case x.unreadable[check]: // it is told already
		return
	case len(pods) == 0 && x.unreadable[cluster.Agent]:
		x.report.add(check, explain.Unknown, "no pod of mic in namespace "+x.System+"; whether nmi runs in managed mode, where none is needed, could not be read", "")
		return
	case len(pods) == 0 && x.managed:
		x.report.add(check, explain.OK, "there is none, and none is needed: nmi runs in managed mode", "")
		return
	case len(pods) == 0:
		x.report.add(check, explain.Broken, "no pod of mic in namespace "+x.System+", and nmi does not run in managed mode: nothing puts identities on machines", "helm upgrade --install podid charts/podid -n "+x.System+"   # or name the namespace by --podid-namespace")
		return
	}
	for i := range pods {
		if ready, why := explain.Readiness(&pods[i], x.now()); !ready {
			x.report.add(check, explain.Broken, fmt.Sprintf("pod %s is not ready: %s", pods[i].Name, why), fmt.Sprintf("kubectl exec -n %s %s -- /mic ready\n%s", x.System, pods[i].Name, logs))
		}
	}
	var lease coordinationv1.Lease
	name := x.ControllerFlagsOf(pods).Lease
	err := x.Get(ctx, name, &lease)
	m := cluster.MICOf(&lease)
	switch {
	case apierrors.IsNotFound(err):
		x.report.add(check, explain.Broken, "there is no Lease "+name.String()+": no mic has ever led", logs)
	case err != nil:
		x.unread(check, err)
	case !m.Leads(x.now()):
		x.report.add(check, explain.Broken, fmt.Sprintf("nobody leads: %s has renewed the Lease last at %s", cmp.Or(m.Holder, "nobody"), m.Renewed.UTC().Format(time.RFC3339)), logs)
	default:
		x.report.add(check, explain.OK, fmt.Sprintf("%s leads, of %d", m.Holder, len(pods)), "")
	}
}

// few is the beginning of a list.
func few(list []string) string {
	const most = 5
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}
