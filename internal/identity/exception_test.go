package identity_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/identity"
)

func TestExcepted(t *testing.T) {
	pod := identity.Pod{Namespace: "kube-system", Labels: map[string]string{"app": "Agent", "tier": "node"}}
	elsewhere := identity.Pod{Namespace: "team", Labels: pod.Labels}
	except := func(ns, name string, labels ...string) identity.Exception {
		e := identity.Exception{Namespace: ns, Name: name, PodLabels: map[string]string{}}
		for i := 0; i < len(labels); i += 2 {
			e.PodLabels[labels[i]] = labels[i+1]
		}
		return e
	}
	allowed := identity.Rules{ExceptionNamespaces: []string{"kube-system"}}
	tests := map[string]struct {
		pod        identity.Pod
		exceptions []identity.Exception
		rules      identity.Rules
		want       string // the name of the exception
	}{
		"a label":                                {pod, []identity.Exception{except("kube-system", "e", "app", "Agent")}, allowed, "e"},
		"a value in another case":                {pod, []identity.Exception{except("kube-system", "e", "app", "AGENT")}, allowed, "e"},
		"a key in another case":                  {pod, []identity.Exception{except("kube-system", "e", "App", "Agent")}, allowed, ""},
		"one of several labels":                  {pod, []identity.Exception{except("kube-system", "e", "x", "y", "tier", "node")}, allowed, "e"},
		"another value":                          {pod, []identity.Exception{except("kube-system", "e", "app", "web")}, allowed, ""},
		"an empty value for a label that is not": {pod, []identity.Exception{except("kube-system", "e", "missing", "")}, allowed, ""},
		"no labels":                              {pod, []identity.Exception{except("kube-system", "e")}, allowed, ""},
		"several, by name":                       {pod, []identity.Exception{except("kube-system", "z", "app", "agent"), except("kube-system", "a", "tier", "node")}, allowed, "a"},
		"an exception of another namespace":      {pod, []identity.Exception{except("team", "e", "app", "Agent")}, allowed, ""},
		"a namespace that is not allowed":        {elsewhere, []identity.Exception{except("team", "e", "app", "Agent")}, allowed, ""},
		"the same, where all are":                {elsewhere, []identity.Exception{except("team", "e", "app", "Agent")}, identity.Rules{ExceptionNamespaces: []string{"*"}}, "e"},
		"another namespace's, where all are":     {pod, []identity.Exception{except("team", "e", "app", "Agent")}, identity.Rules{ExceptionNamespaces: []string{"*"}, AcrossNamespaces: true}, ""},
		"the zero rules":                         {pod, []identity.Exception{except("kube-system", "e", "app", "Agent")}, identity.Rules{}, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := identity.Excepted(tc.pod, tc.exceptions, tc.rules)
			if got.Name != tc.want || ok != (tc.want != "") {
				t.Errorf("Excepted() = %q, %t; want %q", got.Name, ok, tc.want)
			}
		})
	}
}

func TestExceptionFromAPI(t *testing.T) {
	o := &v1.AzurePodIdentityException{Spec: v1.AzurePodIdentityExceptionSpec{OldPodLabels: map[string]v1.LabelValue{"a": "b"}}}
	o.Namespace, o.Name = "ns", "n"
	want := identity.Exception{Namespace: "ns", Name: "n", PodLabels: map[string]string{"a": "b"}}
	if diff := cmp.Diff(want, identity.ExceptionFromAPI(o)); diff != "" {
		t.Errorf("ExceptionFromAPI() (-want +got):\n%s", diff)
	}
}
