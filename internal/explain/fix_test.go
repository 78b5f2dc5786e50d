package explain_test

import (
	"encoding/json"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/explain"
)

// hostile is what a person who may write an object would have run by another.
const hostile = "x'\nPWNED $(PWNED) `PWNED` \"; PWNED #"

// TestNoFixRunsWhatObjectsSay breaks the chain in each way, with a hostile text in
// each of the strings of the objects, and has a shell say what it would run.
func TestNoFixRunsWhatObjectsSay(t *testing.T) {
	breaks := map[string]func(*explain.Facts){
		"nothing":     func(*explain.Facts) {},
		"no label":    func(f *explain.Facts) { delete(f.Pod.Labels, v1.LabelBinding) },
		"other label": func(f *explain.Facts) { f.Pod.Labels[v1.LabelBinding] = "wob" },
		"annotation": func(f *explain.Facts) {
			delete(f.Pod.Labels, v1.LabelBinding)
			f.Objects.Namespaces = withAnnotation("team", "gone")
		},
		"elsewhere":   func(f *explain.Facts) { f.Objects.Bindings[0].Namespace = "other" },
		"no identity": func(f *explain.Facts) { f.Objects.Identities[0].Name = "wob" },
		"unassigned":  func(f *explain.Facts) { f.Objects.Assigned = nil },
		"no mic":      func(f *explain.Facts) { f.Objects.Assigned, f.MIC = nil, explain.MIC{} },
		"not on node": func(f *explain.Facts) { refuse(f, "unassigned", "") },
		"no resource id": func(f *explain.Facts) {
			refuse(f, "unassigned", "")
			f.Objects.Identities[0].Spec.ResourceID = ""
			f.Objects.Assigned[0].Spec.AzureIdentityRef.Spec.ResourceID = ""
		},
		"no Secret": func(f *explain.Facts) { application(f); f.NoSecrets = map[string]bool{"team/secret": true} },
		"expired":   func(f *explain.Facts) { application(f); refuse(f, "rejected", "the secret has expired") },
		"bad certificate": func(f *explain.Facts) {
			application(f)
			refuse(f, "rejected", "certificate")
		},
		"bad definition": func(f *explain.Facts) { application(f); refuse(f, "rejected", "check clientID") },
		"other words":    func(f *explain.Facts) { application(f); refuse(f, "rejected", "no") },
		"no such Secret": func(f *explain.Facts) { application(f); refuse(f, "definition", "no"); f.Answer.Retry = true },
		"refused by Azure": func(f *explain.Facts) {
			f.Objects.Assigned[0].Status.Status = v1.Created
			f.Objects.Identities[0].Status.Conditions = []metav1.Condition{{
				Type: v1.ConditionAttached, Status: metav1.ConditionFalse, Reason: v1.ReasonRefused,
				Message: "no. If it exists: az role assignment create --assignee MIC --scope " + hostile,
			}}
		},
		"another client id": func(f *explain.Facts) {
			f.Answer.Claims = &explain.Claims{AppID: "other"}
		},
		"a node that is gone": func(f *explain.Facts) { f.Node = nil },
	}
	for name, spoil := range breaks {
		t.Run(name, func(t *testing.T) {
			for k := range 2 * len(words(healthyAnd(spoil))) {
				f := healthyAnd(spoil)
				list := words(f)
				if one := list[k/2]; k%2 == 0 {
					one.SetString(hostile)
				} else { // and what is meant to be the same
					for _, same := range list {
						if was := one.String(); same != one && same.String() == was {
							same.SetString(hostile)
						}
					}
					one.SetString(hostile)
				}
				for _, s := range explain.Chain(f).Steps {
					harmless(t, s.Fix)
				}
			}
		})
	}
}

func healthyAnd(spoil func(*explain.Facts)) *explain.Facts {
	f := healthy()
	spoil(f)
	return f
}

func withAnnotation(namespace, binding string) []corev1.Namespace {
	return []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: namespace, Annotations: map[string]string{v1.AnnotationNamespaceBinding: binding}}}}
}

// refuse has the agent refuse.
func refuse(f *explain.Facts, reason, says string) {
	f.Answer.Claims, f.Answer.Status, f.Answer.Reason, f.Answer.Says = nil, 404, reason, says
}

// application makes the identity one that nmi signs in as itself.
func application(f *explain.Facts) {
	kind := v1.ServicePrincipal
	f.Objects.Identities[0].Spec = v1.AzureIdentitySpec{
		Type: &kind, ClientID: "c", TenantID: "t.example", ClientPassword: &v1.SecretReference{Name: "secret", Namespace: "team"},
	}
}

// words are the strings that authors of the objects choose freely, and what the
// agent says.
func words(f *explain.Facts) []reflect.Value {
	var list []reflect.Value
	for i := range f.Objects.Identities {
		list = append(list, stringsOf(reflect.ValueOf(&f.Objects.Identities[i].Spec))...)
		list = append(list, stringsOf(reflect.ValueOf(&f.Objects.Identities[i].Status))...)
	}
	for i := range f.Objects.Bindings {
		list = append(list, stringsOf(reflect.ValueOf(&f.Objects.Bindings[i].Spec))...)
	}
	for i := range f.Objects.Assigned {
		list = append(list, stringsOf(reflect.ValueOf(&f.Objects.Assigned[i].Spec))...)
	}
	return append(list, stringsOf(reflect.ValueOf(f.Answer))...)
}

func stringsOf(v reflect.Value) []reflect.Value {
	var list []reflect.Value
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return stringsOf(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			list = append(list, stringsOf(field)...)
		}
	case reflect.Slice:
		for i := range v.Len() {
			list = append(list, stringsOf(v.Index(i))...)
		}
	case reflect.String:
		if v.CanSet() {
			list = append(list, v)
		}
	default:
	}
	return list
}

// harmless has a shell run what mends, without a single program.
func harmless(t *testing.T, fix string) {
	t.Helper()
	if !strings.Contains(fix, "PWNED") {
		return
	}
	for line := range strings.Lines(fix) {
		if strings.HasPrefix(line, "PWNED") {
			t.Fatalf("a line that is not ours:\n%s", fix)
		}
	}
	c := exec.CommandContext(t.Context(), "/bin/sh", "-c", "PWNED() { echo RAN >&2; }\n"+fix)
	c.Env = []string{"PATH=/nowhere"}
	var stderr strings.Builder
	c.Stderr = &stderr
	_ = c.Run() // kubectl is not found
	if strings.Contains(stderr.String(), "RAN") {
		t.Fatalf("a shell runs what an object says:\n%s", fix)
	}
}

// TestAPolicyOfOursLimitsNobodyElse: what lets a pod ask selects no pod that no
// policy had selected.
func TestAPolicyOfOursLimitsNobodyElse(t *testing.T) {
	policy := func(name string, s metav1.LabelSelector) networkingv1.NetworkPolicy {
		return networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name},
			Spec:       networkingv1.NetworkPolicySpec{PodSelector: s, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}},
		}
	}
	f := healthy()
	f.Pod.Labels["app"] = "web"
	f.Policies = []networkingv1.NetworkPolicy{
		policy("web", metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}),
		policy("other", metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}),
		policy("tier", metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"web", "db"}}}}),
	}
	r := explain.Chain(f)
	fix := r.Step(explain.NetworkStep).Fix
	if r.Verdict != explain.Warning || fix == "" {
		t.Fatalf("%s", asJSON(r))
	}
	var list networkingv1.NetworkPolicyList
	text := strings.TrimSuffix(strings.TrimPrefix(fix, "echo '"), "' | kubectl apply -f -")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	var names []string
	for i := range list.Items {
		p := &list.Items[i]
		names = append(names, p.Namespace+"/"+p.Name)
		s, err := metav1.LabelSelectorAsSelector(&p.Spec.PodSelector)
		if err != nil || s.Matches(labels.Set{"app": "free"}) || s.Matches(labels.Set{}) || s.Matches(labels.Set{"app": "other"}) {
			t.Errorf("%v, %s selects a pod that it is not for", err, p.Name)
		}
	}
	if diff := cmp.Diff([]string{"team/podid-metadata-web", "team/podid-metadata-tier"}, names); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if limiting, missing := explain.Egress(slices.Concat(f.Policies, list.Items), f.Pod.Labels); missing != "" {
		t.Errorf("%v: %s is missing still", limiting, missing)
	}
}
