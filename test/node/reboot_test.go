package node_test

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// reboot takes the current from a node with pods of several identities. They
// come up with new links, and addresses are given out anew from the first one
// on, so that a pod may have what was another's a moment ago. Each must get its
// own identity, and none another's, not for a moment.
func reboot(t *testing.T, w *world) {
	t.Helper()
	m := w.full.Machines()[1]
	const each = 2
	before := map[string]int{}
	for i, k := range kinds() {
		for n := range each {
			name := fmt.Sprintf("reboot-%s-%d", k.name, n)
			before[name] = i
			w.create(t, rebooted(name, k.name))
		}
	}
	for name, i := range before {
		w.reports.wantToken(t, name, 0, 2*time.Minute, clientOf(i))
	}
	start := time.Now()
	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, i := range before {
		w.reports.wantToken(t, name, 1, 3*time.Minute, clientOf(i))
	}
	t.Logf("%d pods had their tokens %s after the current was gone", len(before), round(time.Since(start)))
	for name, i := range before {
		for _, one := range w.reports.of(name) {
			if one.ClientID != clientOf(i) {
				t.Errorf("%s got a token of %q, want %s alone", name, one.ClientID, clientOf(i))
			}
		}
	}
	w.awaitRollout(t, time.Minute)
}

// rebooted is one pod on the node that is rebooted, which asks until it gets a
// token each time that it starts.
func rebooted(name, selector string) *appsv1.Deployment {
	k := kind{name: name}
	template := k.template(corev1.RestartPolicyAlways, asks(name, "-again", "-stay"))
	template.Labels[label] = selector
	template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: machineName(1)}
	return &appsv1.Deployment{ObjectMeta: k.meta(), Spec: appsv1.DeploymentSpec{Selector: k.selector(), Template: template}}
}
