package explain_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/explain"
)

// healthy is a pod that is an hour old and has all it needs.
func healthy() *explain.Facts {
	now := time.Now()
	old := metav1.NewTime(now.Add(-time.Hour))
	spec := v1.AzureIdentitySpec{ResourceID: "/r", ClientID: "c"}
	f := &explain.Facts{
		Now: now, System: "podid-system", Resource: "https://vault.azure.net", Unread: map[string]error{},
		Pod: corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web", UID: "uid", CreationTimestamp: old, Labels: map[string]string{v1.LabelBinding: "web"}},
			Spec:       corev1.PodSpec{NodeName: "node"},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: podAddr.String()}}},
		},
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}},
		MIC:  explain.MIC{Holder: "mic-0", Renewed: now},
	}
	f.Objects.Identities = []v1.AzureIdentity{{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web"}, Spec: spec}}
	f.Objects.Bindings = []v1.AzureIdentityBinding{{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web"}, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: "web", Selector: "web"}}}
	f.Objects.Assigned = []v1.AzureAssignedIdentity{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web", CreationTimestamp: old},
		Spec: v1.AzureAssignedIdentitySpec{
			Pod: "web", PodNamespace: "team", PodUID: "uid",
			AzureIdentityRef: &v1.AzureIdentityRef{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web"}, Spec: spec},
		},
		Status: v1.AzureAssignedIdentityStatus{Status: v1.Assigned},
	}}
	f.Answer = fine(f)
	return f
}

// dryRun makes the pod one that does not exist yet.
func dryRun(f *explain.Facts) *explain.Facts {
	f.DryRun, f.Answer, f.Node, f.Pod.Spec.NodeName, f.Pod.Status = true, nil, nil, "", corev1.PodStatus{}
	return f
}

var errForbidden = errors.New("forbidden")

func TestChain(t *testing.T) {
	young := func(f *explain.Facts) { f.Pod.CreationTimestamp = metav1.NewTime(f.Now.Add(-5 * time.Second)) }
	tests := map[string]struct {
		change  func(*explain.Facts)
		verdict explain.State
		first   string
		says    string
	}{
		"all is well": {change: func(*explain.Facts) {}, verdict: explain.OK},
		"an identity that the node does not know, for long": {
			func(f *explain.Facts) {
				f.Answer.Claims, f.Answer.Status, f.Answer.Reason, f.Answer.Retry = nil, 404, "unassigned", true
			}, explain.Broken, explain.TokenStep, "says client id c",
		},
		"an identity that the node does not know yet": {
			func(f *explain.Facts) {
				young(f)
				f.Answer.Claims, f.Answer.Status, f.Answer.Reason, f.Answer.Retry = nil, 404, "unassigned", true
			}, explain.Waiting, explain.TokenStep, "says client id c",
		},
		"nothing is assigned, for long":              {func(f *explain.Facts) { f.Objects.Assigned = nil }, explain.Broken, explain.AssignmentStep, "though mic mic-0 is at work"},
		"nothing is assigned yet":                    {func(f *explain.Facts) { f.Objects.Assigned = nil; young(f) }, explain.Waiting, explain.AssignmentStep, "mic mic-0 is at work"},
		"what is assigned is of the identity before": {func(f *explain.Facts) { f.Objects.Identities[0].Spec.ClientID = "new" }, explain.Waiting, explain.AssignmentStep, "before it was edited"},
		"what is assigned is of the pod before":      {func(f *explain.Facts) { f.Objects.Assigned[0].Spec.PodUID = "old" }, explain.Broken, explain.AssignmentStep, "no AzureAssignedIdentity for the pod"},
		"mic's words of a definition before": {func(f *explain.Facts) {
			f.Objects.Assigned[0].Status.Status = v1.Created
			f.Objects.Identities[0].Generation = 2
			f.Objects.Identities[0].Status.Conditions = []metav1.Condition{{Type: v1.ConditionAttached, Status: metav1.ConditionFalse, Reason: v1.ReasonRefused, ObservedGeneration: 1}}
		}, explain.Waiting, explain.AssignmentStep, "says Created"},
		"an address on a link that is not its own, for long": {
			func(f *explain.Facts) { f.Answer.Addresses[0].Trouble = "no pod is known" }, explain.Broken, explain.AgentStep, "no pod is known",
		},
		"an address that is not known yet": {
			func(f *explain.Facts) { young(f); f.Answer.Addresses[0].Trouble = "no pod is known" }, explain.Waiting, explain.AgentStep, "no pod is known",
		},
		"an address that the agent knows of IPv6 alone, for long": {func(f *explain.Facts) { f.Answer.Addresses[0].Address = "fd00::1" }, explain.Broken, explain.AgentStep, "no IPv4 address"},
		"an address that the agent knows of IPv6 alone": {
			func(f *explain.Facts) { young(f); f.Answer.Addresses[0].Address = "fd00::1" }, explain.Waiting, explain.AgentStep, "no IPv4 address",
		},
		"a pod with addresses of IPv6 alone": {
			func(f *explain.Facts) {
				young(f)
				f.Pod.Status.PodIPs = []corev1.PodIP{{IP: "fd00::1"}}
				f.Answer.Addresses[0].Address = "fd00::1"
			}, explain.Broken, explain.PodStep, "has no IPv4 address (fd00::1)",
		},
		"a pod with addresses of both kinds": {
			func(f *explain.Facts) {
				f.Pod.Status.PodIPs = append([]corev1.PodIP{{IP: "fd00::1"}}, f.Pod.Status.PodIPs...)
			}, explain.OK, "", "",
		},
		"a grant by defaults that an exception may turn": {func(f *explain.Facts) {
			f.Unread["agents"], f.Answer, f.Pod.Labels["app"] = errForbidden, nil, "add-on"
			f.Objects.Exceptions = []v1.AzurePodIdentityException{{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "e"}, Spec: v1.AzurePodIdentityExceptionSpec{PodLabels: map[string]v1.LabelValue{"app": "add-on"}}}}
		}, explain.Unknown, explain.LabelStep, "AzurePodIdentityException team/e"},
		"a grant by defaults that another namespace may turn": {func(f *explain.Facts) {
			f.Unread["agents"], f.Answer = errForbidden, nil
			b, id := f.Objects.Bindings[0], f.Objects.Identities[0]
			b.Namespace, id.Namespace, id.Spec.ClientID = "a", "a", "other"
			f.Objects.Bindings, f.Objects.Identities = append(f.Objects.Bindings, b), append(f.Objects.Identities, id)
		}, explain.Unknown, explain.IdentityStep, "it gets AzureIdentity a/web"},
		"a grant that no flag may turn": {func(f *explain.Facts) {
			f.Unread["agents"], f.Answer = errForbidden, nil
		}, explain.Unknown, explain.AgentStep, "cannot be read"},
		"a grant by defaults that other namespaces may turn, which were not read": {func(f *explain.Facts) {
			dryRun(f).Unread["agents"], f.Narrowed = errForbidden, true
		}, explain.Unknown, explain.IdentityStep, "other namespaces could not be read"},
		"a grant by the namespace, where others were not read": {func(f *explain.Facts) {
			dryRun(f).Unread["agents"], f.Narrowed = errForbidden, true
			delete(f.Pod.Labels, v1.LabelBinding)
			f.Objects.Namespaces = withAnnotation("team", "web")
		}, explain.OK, "", ""},
		"nothing assigned, where nmi may run in managed mode": {func(f *explain.Facts) {
			f.Unread["agents"], f.Answer, f.Objects.Assigned, f.MIC = errForbidden, nil, nil, explain.MIC{}
		}, explain.Unknown, explain.AssignmentStep, "managed mode, where none is needed"},
		"Created, where nmi may run in managed mode": {func(f *explain.Facts) {
			f.Unread["agents"], f.Answer, f.Objects.Assigned[0].Status.Status = errForbidden, nil, v1.Created
		}, explain.Unknown, explain.AssignmentStep, "managed mode, where none is needed"},
		"nobody leads, as far as it could be read": {func(f *explain.Facts) {
			f.Unread["mic"], f.Objects.Assigned, f.MIC = errForbidden, nil, explain.MIC{}
		}, explain.Waiting, explain.AssignmentStep, "whether a mic is there to change that, could not be read"},
		"a Secret that may not be looked for": {func(f *explain.Facts) {
			application(f)
			f.Answer.Claims, f.Answer.Outcome = nil, explain.SelectedOutcome
			f.UnreadSecrets = map[string]error{"team/secret": errForbidden}
		}, explain.Unknown, explain.IdentityStep, "whether it is there could not be read"},
		"a Secret that may not be looked for, and a token": {func(f *explain.Facts) {
			application(f)
			f.UnreadSecrets = map[string]error{"team/secret": errForbidden}
		}, explain.OK, "", ""},
		"a node that nmi is not for": {func(f *explain.Facts) {
			f.Answer, f.AgentTemplates = nil, []corev1.PodSpec{{NodeSelector: map[string]string{"podid": "yes"}}}
		}, explain.Broken, explain.AgentStep, "which nmi's nodeSelector (podid=yes) leaves out"},
		"a node that nmi is for, and none is there": {func(f *explain.Facts) {
			f.Answer, f.AgentTemplates = nil, []corev1.PodSpec{{}}
		}, explain.Broken, explain.AgentStep, "no nmi runs on node node"},
		"a pod that would be refused":                  {func(f *explain.Facts) { dryRun(f).Refused = errForbidden }, explain.Broken, explain.PodStep, "the API server refuses the pod: forbidden"},
		"a pod that would be taken":                    {func(f *explain.Facts) { dryRun(f) }, explain.OK, "", ""},
		"a pod of which it could not be asked":         {func(f *explain.Facts) { dryRun(f).Untried = errForbidden }, explain.Unknown, explain.PodStep, "could not be asked: forbidden"},
		"a bridge that is another pod's":               {func(f *explain.Facts) { f.Answer.Ready, f.Answer.Checks = false, []string{"[-] pod-network: others"} }, explain.OK, "", ""},
		"a pod that the agent does not know yet":       {func(f *explain.Facts) { young(f); f.Answer.PodUID = "" }, explain.Waiting, explain.AgentStep, "does not know the pod yet"},
		"a pod that the agent does not know, for long": {func(f *explain.Facts) { f.Answer.PodUID = "" }, explain.Broken, explain.AgentStep, "does not know the pod yet"},
		"another pod of the same name, for long":       {func(f *explain.Facts) { f.Answer.PodUID = "old" }, explain.Broken, explain.AgentStep, "knows another pod"},
		"an agent that chose another identity":         {func(f *explain.Facts) { f.Answer.Identity = "team/other" }, explain.Broken, explain.TokenStep, "AzureIdentity team/other, and by the API server's objects it is team/web"},
		"an agent that chose another, of what is new":  {func(f *explain.Facts) { young(f); f.Answer.Identity = "team/other" }, explain.Waiting, explain.TokenStep, "team/other"},
		"an agent that knows another exception":        {func(f *explain.Facts) { f.Answer.Exception = "team/e" }, explain.Broken, explain.TokenStep, "AzurePodIdentityException team/e"},
		"exceptions that may not be read": {func(f *explain.Facts) {
			f.Unread["azurepodidentityexceptions"], f.Unread["agents"], f.Answer = errForbidden, errForbidden, nil
		}, explain.Unknown, explain.LabelStep, "could not be read"},
		"exceptions that may not be read, and an agent that knows": {func(f *explain.Facts) {
			f.Unread["azurepodidentityexceptions"] = errForbidden
		}, explain.OK, "", ""},
		"a refusal by defaults that flags may turn": {func(f *explain.Facts) {
			f.Unread["agents"], f.Answer, f.Objects.Bindings[0].Namespace, f.Objects.Identities[0].Namespace = errForbidden, nil, "other", "other"
		}, explain.Unknown, explain.BindingStep, "--allow-cross-namespace"},
		"a refusal that no flag may turn": {func(f *explain.Facts) {
			f.Unread["agents"], f.Answer, f.Objects.Bindings = errForbidden, nil, nil
		}, explain.Broken, explain.BindingStep, "no AzureIdentityBinding"},
		"another pod of the same name":   {func(f *explain.Facts) { young(f); f.Answer.PodUID = "old" }, explain.Waiting, explain.AgentStep, "knows another pod"},
		"a node of Windows":              {func(f *explain.Facts) { f.Node.Status.NodeInfo.OperatingSystem = "windows" }, explain.Broken, explain.NodeStep, "runs Windows"},
		"a node that is gone":            {func(f *explain.Facts) { f.Node = nil }, explain.Broken, explain.NodeStep, "is gone"},
		"a node with the start-up taint": {func(f *explain.Facts) { f.Node.Spec.Taints = []corev1.Taint{{Key: "podid.io/agent-not-ready"}} }, explain.Waiting, explain.NodeStep, "has the taint"},
		"a start-up taint with a key of its own": {func(f *explain.Facts) {
			f.StartupTaints = []string{"startup-taint.example/podid"}
			f.Node.Spec.Taints = []corev1.Taint{{Key: "startup-taint.example/podid"}}
		}, explain.Waiting, explain.NodeStep, "has the taint"},
		"a taint of another's agent":   {func(f *explain.Facts) { f.Node.Spec.Taints = []corev1.Taint{{Key: "node.cilium.io/agent-not-ready"}} }, explain.OK, "", ""},
		"a pod that is on its way out": {func(f *explain.Facts) { now := metav1.NewTime(f.Now); f.Pod.DeletionTimestamp = &now }, explain.Warning, explain.PodStep, "is being deleted"},
		"no token was asked for":       {func(f *explain.Facts) { f.Answer.Claims, f.Answer.Outcome = nil, explain.SelectedOutcome }, explain.OK, "", ""},
		"an exception, and no token asked for": {func(f *explain.Facts) {
			f.Answer.Rules.ExceptionNamespaces = []string{"team"}
			f.Objects.Exceptions = []v1.AzurePodIdentityException{{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "e"}, Spec: v1.AzurePodIdentityExceptionSpec{PodLabels: map[string]v1.LabelValue{v1.LabelBinding: "web"}}}}
			f.Answer.Claims, f.Answer.Outcome, f.Answer.Exception, f.Answer.Identity = nil, explain.SelectedOutcome, "team/e", ""
		}, explain.Unknown, explain.TokenStep, "shows when it asks"},
		"a list that does not name the pod": {
			func(f *explain.Facts) { f.Objects.Identities[0].Spec.AllowedNamespaces = []string{"other"} }, explain.Broken, explain.IdentityStep, "spec.allowedNamespaces of AzureIdentity team/web does not name service account",
		},
		"bindings that may not be read": {func(f *explain.Facts) {
			f.Objects.Bindings, f.Unread["azureidentitybindings"] = nil, errForbidden
		}, explain.Unknown, explain.BindingStep, "cannot be read"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			tc.change(f)
			r := explain.Chain(f)
			var first explain.Step
			for _, s := range r.Steps {
				if s.First {
					first = s
				}
			}
			if r.Verdict != tc.verdict || first.Name != tc.first || !strings.Contains(first.Evidence, tc.says) {
				t.Errorf("want %s by %s with %q, got\n%s", tc.verdict, tc.first, tc.says, asJSON(r))
			}
		})
	}
}
