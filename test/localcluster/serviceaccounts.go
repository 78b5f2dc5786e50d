package localcluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// runServiceAccounts starts what in a cluster is a part of
// kube-controller-manager: every namespace has a service account "default",
// made again when it is deleted. It returns when those of the namespaces that
// are there have been asked for; the API server itself waits a moment for the
// account when it admits a pod.
func runServiceAccounts(ctx context.Context, cfg *rest.Config) (*control, error) {
	c, err := newControl(cfg)
	if err != nil {
		return nil, err
	}
	accounts := c.loop(1, c.giveAccount)
	err = c.on(ctx, &corev1.Namespace{}, accounts.add)
	if err == nil {
		err = c.on(ctx, &corev1.ServiceAccount{}, func(account client.Object) {
			accounts.queue.Add(types.NamespacedName{Name: account.GetNamespace()})
		})
	}
	if err == nil {
		err = c.run(ctx)
	}
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("give namespaces their service accounts: %w", err)
	}
	return c, nil
}

// giveAccount makes the default service account of one namespace.
func (c *control) giveAccount(ctx context.Context, key types.NamespacedName) error {
	var namespace corev1.Namespace
	if err := c.cache.Get(ctx, key, &namespace); err != nil {
		return client.IgnoreNotFound(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: key.Name, Name: "default"}}
	if namespace.DeletionTimestamp != nil || c.cache.Get(ctx, client.ObjectKeyFromObject(account), account) == nil {
		return nil
	}
	if err := c.client.Create(ctx, account); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}
