package node_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podid-io/podid/internal/azemu"
)

// startLoad runs a client on every node that asks all the time, and returns when
// all of them have got tokens.
func startLoad(t *testing.T, w *world) {
	t.Helper()
	k := kind{name: "load"}
	template := k.template(corev1.RestartPolicyAlways, corev1.Container{
		Name: "app", Image: curlImage, Args: []string{"load", "-as", "load-$(NODE)"},
		Env: []corev1.EnvVar{{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}}},
	})
	template.Labels[label] = "vault-reader"
	w.create(t, &appsv1.DaemonSet{ObjectMeta: k.meta(), Spec: appsv1.DaemonSetSpec{Selector: k.selector(), Template: template}})
	for i := range 2 {
		w.reports.await(t, "load-"+machineName(i), time.Minute, func(got []report) bool {
			return len(got) > 0 && got[len(got)-1].Good > 0
		})
	}
}

// underLoad does something, and checks that meanwhile and shortly after no
// client was without an answer. It waits for what was asked before it was done, as
// long as a client may wait.
func underLoad(t *testing.T, w *world, do func()) {
	t.Helper()
	var before [2]int
	for i := range before {
		before[i] = len(w.reports.of("load-" + machineName(i)))
	}
	start := time.Now()
	do()
	done := time.Now()
	for i := range before {
		as := "load-" + machineName(i)
		got := w.reports.await(t, as, 3*time.Minute, func(got []report) bool { return got[len(got)-1].Oldest.After(done) })
		got = got[before[i]-1:]
		first, last := got[0], got[len(got)-1]
		t.Logf("%s: %d tokens in %s, of which it stood still for %s", as, last.Good-first.Good, round(time.Since(start)), round(last.Still-first.Still))
		if err := served(got); err != nil {
			t.Errorf("%s: %v", as, err)
		}
	}
}

// mostStill is for how long a client under load may have no answer at all, in seconds
// that have none, within a time: no failure of clients that hardly ask says little.
func mostStill(within time.Duration) time.Duration { return max(5*time.Second, within/4) }

// served checks what a client under load has told, from a report before something
// was done to one after which nothing is unanswered that was asked meanwhile. One
// that started anew has forgotten what went wrong.
func served(got []report) error {
	for i := range got[1:] {
		if was, is := got[i], got[i+1]; is.Good < was.Good || is.Bad < was.Bad || is.Still < was.Still {
			return fmt.Errorf("after %d tokens and %d failures it told of %d and %d: the client started anew", was.Good, was.Bad, is.Good, is.Bad)
		}
	}
	first, last := got[0], got[len(got)-1]
	good, bad := last.Good-first.Good, last.Bad-first.Bad
	if bad != 0 || good <= 0 {
		return fmt.Errorf("%d tokens and %d failures, the last one: %s", good, bad, last.Error)
	}
	within := last.at.Sub(first.at)
	if still := last.Still - first.Still; still > mostStill(within) {
		return fmt.Errorf("%d tokens and no failure, but the load stood still for %s of %s", good, round(still), round(within))
	}
	return nil
}

// restartPrograms kills containerd and kubelet of each node under load and
// starts them again: what runs goes on, and what starts afterwards is served.
func restartPrograms(t *testing.T, w *world) {
	t.Helper()
	startLoad(t, w)
	underLoad(t, w, func() {
		for _, m := range w.full.Machines() {
			m.StopPrograms()
			if err := m.StartPrograms(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			as := "after-restart-" + machineName(i)
			w.create(t, onNode(as, i, kinds()[0].name, asks(as)))
			w.reports.wantToken(t, as, 0, time.Minute, clientOf(0))
		}
	})
}

// onNode is a pod on a node, with an identity.
func onNode(name string, node int, selector string, c corev1.Container) *corev1.Pod {
	k := kind{name: name}
	template := k.template(corev1.RestartPolicyOnFailure, c)
	template.Labels[label] = selector
	template.Spec.NodeName = machineName(node)
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: template.Labels}, Spec: template.Spec}
}

// upgrade replaces mic and nmi by another version under load, while identities
// are needed that nobody has needed before.
func upgrade(t *testing.T, w *world) {
	t.Helper()
	const newcomers = 4
	state := azemu.State{}
	for i := range newcomers {
		name := fmt.Sprintf("newcomer-%d", i)
		state.Identities = append(state.Identities, azemu.Identity{ID: identityID(name), ClientID: clientOf(100 + i)})
		w.create(t, identity("default", name, clientOf(100+i))...)
	}
	if err := w.azure.MergeState(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	underLoad(t, w, func() {
		w.helm(t, "upgrade", "podid", chart, "--namespace", systemNamespace, "--reuse-values", "--set", "image.tag="+secondVersion)
		for i := range newcomers {
			k := kind{name: fmt.Sprintf("newcomer-%d", i)}
			w.create(t, &batchv1.Job{ObjectMeta: k.meta(), Spec: batchv1.JobSpec{Template: k.template(corev1.RestartPolicyNever, asks(k.name))}})
		}
		w.awaitRollout(t, 3*time.Minute)
		w.awaitVersion(t, secondVersion)
		for i := range newcomers {
			w.reports.wantToken(t, fmt.Sprintf("newcomer-%d", i), 0, time.Minute, clientOf(100+i))
		}
	})
}
