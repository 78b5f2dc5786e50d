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

// seedIdentities creates identities, each with a binding.
func seedIdentities(ctx context.Context, c client.Client, n int) error {
	return parallel(n, func(i int) error {
		name := fmt.Sprintf("id-%d", i)
		meta := metav1.ObjectMeta{Namespace: namespace, Name: name}
		return errors.Join(
			c.Create(ctx, &v1.AzureIdentity{ObjectMeta: meta, Spec: v1.AzureIdentitySpec{ResourceID: identityID(i), ClientID: clientID(i)}}),
			c.Create(ctx, &v1.AzureIdentityBinding{ObjectMeta: meta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: name, Selector: name}}),
		)
	})
}

// podIP is the address of a pod of a node: in podRange, so that a client can
// have it.
func podIP(node, pod int) string { return fmt.Sprintf("10.%d.%d.%d", 64+node, pod/200, 1+pod%200) }

// pods are those of one node: which identity each is bound to, and what is
// special of it.
type pods struct {
	node     string
	number   int                    // of the node; see podIP
	identity func(i int) int        // nil: the shared ones, by turns
	edit     func(*corev1.Pod, int) // may be nil
}

// addPods creates n running pods on a node, each bound to one of the shared
// identities, which is Assigned to it.
func (r *rig) addPods(ctx context.Context, node string, number, n int) error {
	return r.add(ctx, pods{node: node, number: number}, 0, n)
}

// add creates running pods, from one number to before another.
func (r *rig) add(ctx context.Context, c pods, from, to int) error {
	return r.create(ctx, c, from, to, func(p *corev1.Pod, i int) error { return r.starts(ctx, c, p, i) })
}

// create creates pods, from one number to before another, each of which is begun
// and has its identity Assigned then.
func (r *rig) create(ctx context.Context, c pods, from, to int, begin func(*corev1.Pod, int) error) error {
	if c.identity == nil {
		c.identity = func(i int) int { return i % identities }
	}
	return parallel(to-from, func(i int) error {
		i += from
		p := newPod(c.node, i, c.identity(i))
		if c.edit != nil {
			c.edit(p, i)
		}
		if err := r.client.Create(ctx, p); err != nil {
			return err
		}
		if err := begin(p, i); err != nil {
			return err
		}
		return r.client.Create(ctx, newAssigned(p, c.identity(i)))
	})
}

// starts has a pod run, and gives it its address, as the kubelet does.
func (r *rig) starts(ctx context.Context, c pods, p *corev1.Pod, i int) error {
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIP = podIP(c.number, i)
	p.Status.PodIPs = []corev1.PodIP{{IP: podIP(c.number, i)}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	return r.client.Status().Update(ctx, p)
}

func newPod(node string, i, identity int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-pod-%d", node, i),
			Labels: map[string]string{v1.LabelBinding: fmt.Sprintf("id-%d", identity)},
		},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "registry.example/c:1"}}},
	}
}

func newAssigned(p *corev1.Pod, i int) *v1.AzureAssignedIdentity {
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
