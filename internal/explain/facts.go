package explain

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/nodeview"
)

// Facts are all that was read about a pod. What could not be read is in Unread.
type Facts struct {
	Now time.Time
	// System is the namespace that podid runs in.
	System string
	// Pod is the pod. With DryRun it does not exist, and Refused is what the API
	// server said to its creation, which was tried without effect.
	Pod     corev1.Pod
	DryRun  bool
	Refused error
	// Untried is why the API server could not be asked that. Exists says that it has a
	// pod of the name, and has nothing else against this one.
	Untried error
	Exists  bool
	// Objects are what identities are made of. Pod need not be among its pods.
	Objects nodeview.Objects
	// Agent is how nmi is set up. The agent's own word, in Answer, counts more.
	Agent Settings
	// Want is what the pod asks for; Resource is what a token was asked for, empty
	// for none.
	Want     identity.Selector
	Resource string

	Node *corev1.Node // nil where there is none
	// StartupTaints are the keys of the taints that mic or nmi takes off a node whose
	// nmi is ready, beside taint.DefaultKey.
	StartupTaints []string

	// AgentTemplates are the pods that nmi's DaemonSets make, as far as they are known.
	AgentTemplates []corev1.PodSpec

	MIC       MIC
	AgentPods []corev1.Pod // those of nmi on the pod's node, the one to ask first
	// Answer is the agent's; where there is none, AgentErr says why.
	Answer   *Answer
	AgentErr error
	// NoSecrets are those that identities name and that are not there, as
	// NAMESPACE/NAME.
	NoSecrets map[string]bool
	// UnreadSecrets are those of which that could not be found out, and why.
	UnreadSecrets map[string]error
	Policies      []networkingv1.NetworkPolicy
	// Unread is why something could not be read, by kind, such as "nodes"; "agents" and
	// "mic" are the pods of podid's parts.
	Unread map[string]error
	// Narrowed says that of some kinds the pod's namespace alone could be read.
	Narrowed bool
}

// Settings are those flags of nmi that decide who gets what.
type Settings struct {
	Managed bool
	Rules   identity.Rules
	// MICNamespace and MICAccount are the service account whose pods nmi takes for
	// mic; empty for none.
	MICNamespace, MICAccount string
}

// MIC is what is known of the controller.
type MIC struct {
	// Holder holds the Lease, and has renewed it last at Renewed; it is good for
	// Duration. An empty Holder means that nobody does.
	Holder   string
	Renewed  time.Time
	Duration time.Duration
	// Pods are mic's.
	Pods []corev1.Pod
}

// Leads reports whether somebody holds the Lease. The clock of whoever asks may be
// another than that which the Lease is written by, and so it is given some time.
func (m MIC) Leads(now time.Time) bool {
	return m.Holder != "" && now.Sub(m.Renewed) < max(m.Duration, 15*time.Second)+time.Minute
}

// inquiry is a report that is being made.
type inquiry struct {
	*Facts
	found    nodeview.Found
	decision identity.Decision
	settings Settings
}

// settle takes over what the agent says of itself, and decides as it does.
func settle(f *Facts) *inquiry {
	q := &inquiry{Facts: f, settings: f.Agent}
	if f.Answer != nil {
		q.settings.Managed, q.settings.Rules = f.Answer.Managed, f.Answer.Rules
	}
	objects := f.Objects
	pod := f.Pod
	pod.Status.Phase = corev1.PodRunning // whether it has ended is told apart
	if pod.UID == "" {
		pod.UID = "podid.io/dry-run" // the view tells pods apart by it
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default" // as the API server has it
	}
	objects.Pods = []corev1.Pod{pod}
	view := nodeview.Snapshot(q.settings.Rules, q.settings.Managed, &objects)
	if found, _, err := view.ByName(pod.Namespace, pod.Name); err == nil {
		q.found = found
	}
	q.decision = identity.Select(q.found.Pod, q.found.Grants, f.Want, f.Now).Because(q.found.Barred, f.Want)
	return q
}

// isMIC reports whether nmi takes the pod for mic.
func (q *inquiry) isMIC() bool {
	s := &q.settings
	return s.MICAccount != "" && q.Pod.Spec.ServiceAccountName == s.MICAccount && q.Pod.Namespace == s.MICNamespace
}

// special says that the pod gets its token by another way than a binding, and which.
func (q *inquiry) special() string {
	switch {
	case q.isMIC():
		return "it runs as mic, which gets its own identity for Azure Resource Manager"
	case q.found.Exception != nil:
		return "it falls under AzurePodIdentityException " + q.found.Exception.Namespace + "/" + q.found.Exception.Name + ", and is answered as the node itself would be"
	case q.Answer != nil && q.Answer.Exception != "" && q.Unread["azurepodidentityexceptions"] != nil:
		return "nmi says that it falls under AzurePodIdentityException " + q.Answer.Exception + ", and is answered as the node itself would be"
	default:
		return ""
	}
}

// grant is the identity that the pod gets or waits for, if any.
func (q *inquiry) grant() (identity.Grant, bool) {
	d := q.decision
	return d.Grant, d.Outcome == identity.Selected || d.Outcome == identity.Pending
}

// object finds the AzureIdentity of a grant.
func (q *inquiry) object(g identity.Grant) *v1.AzureIdentity {
	for i := range q.Objects.Identities {
		if o := &q.Objects.Identities[i]; o.Namespace == g.Identity.Namespace && o.Name == g.Identity.Name {
			return o
		}
	}
	return nil
}

func (q *inquiry) podName() string { return q.Pod.Namespace + "/" + q.Pod.Name }
