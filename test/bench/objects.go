package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
)

// seed creates the identities and their bindings.
func (r *rig) seed(ctx context.Context) error {
	for i := range identities {
		name := fmt.Sprintf("id-%d", i)
		meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
		if err := errors.Join(
			r.client.Create(ctx, &v1.AzureIdentity{ObjectMeta: meta, Spec: v1.AzureIdentitySpec{ResourceID: identityID(i), ClientID: clientID(i)}}),
			r.client.Create(ctx, &v1.AzureIdentityBinding{ObjectMeta: meta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: name, Selector: name}}),
		); err != nil {
			return err
		}
	}
	return nil
}

// podIP is the address of a pod of a node: of loopback, so that a client can
// have it.
func podIP(node, pod int) string { return fmt.Sprintf("127.%d.%d.%d", 10+node, pod/200, 1+pod%200) }

// addPods creates n running pods on a node, each bound to one of the
// identities, which is Assigned to it.
func (r *rig) addPods(ctx context.Context, node string, number, n int) error {
	return parallel(n, func(i int) error {
		p := newPod(node, i)
		if err := r.client.Create(ctx, p); err != nil {
			return err
		}
		p.Status.Phase = corev1.PodRunning
		p.Status.PodIP = podIP(number, i)
		p.Status.PodIPs = []corev1.PodIP{{IP: podIP(number, i)}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		if err := r.client.Status().Update(ctx, p); err != nil {
			return err
		}
		return r.client.Create(ctx, newAssigned(p, i))
	})
}

func newPod(node string, i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-pod-%d", node, i),
			Labels: map[string]string{v1.LabelBinding: fmt.Sprintf("id-%d", i%identities)},
		},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "registry.example/c:1"}}},
	}
}

func newAssigned(p *corev1.Pod, i int) *v1.AzureAssignedIdentity {
	i %= identities
	return &v1.AzureAssignedIdentity{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: p.Name + "-assigned",
			Labels: map[string]string{v1.LabelNodeName: v1.NodeLabel(p.Spec.NodeName)},
		},
		Spec: v1.AzureAssignedIdentitySpec{
			Pod: p.Name, PodNamespace: p.Namespace, PodUID: string(p.UID), NodeName: p.Spec.NodeName,
			AzureIdentityRef: &v1.AzureIdentityRef{
				APIVersion: v1.GroupVersion.String(), Kind: "AzureIdentity",
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("id-%d", i)},
				Spec:       v1.AzureIdentitySpec{ResourceID: identityID(i), ClientID: clientID(i)},
			},
		},
		Status: v1.AzureAssignedIdentityStatus{Status: v1.Assigned},
	}
}

// setState patches the state of a pod's AzureAssignedIdentity and returns when
// the API server had answered.
func (r *rig) setState(ctx context.Context, pod string, state v1.AssignedState) (time.Time, error) {
	a := &v1.AzureAssignedIdentity{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod + "-assigned"}}
	patch := fmt.Appendf(nil, `{"status":{"status":%q}}`, state)
	err := r.client.Patch(ctx, a, client.RawPatch(types.MergePatchType, patch))
	return time.Now(), err
}

// parallel runs f for each of n, eight at a time.
func parallel(n int, f func(int) error) error {
	var g sync.WaitGroup
	slots := make(chan struct{}, 8)
	errs := make([]error, n)
	for i := range n {
		slots <- struct{}{}
		g.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(i)
		})
	}
	g.Wait()
	return errors.Join(errs...)
}
