package whocan

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/config"
	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/whocan"
)

// reading is what is being read, and what of it could not be.
type reading struct {
	*cluster.Cluster

	incomplete bool
	notes      []string
}

// leaveOut tells of what could not be read.
func (r *reading) leaveOut(what string) {
	r.incomplete = true
	r.notes = append(r.notes, "left out: "+what)
}

// read reads everything that the question is about. What the reader may not read
// is left out.
func (r *reading) read(ctx context.Context) (*whocan.Cluster, error) {
	var c whocan.Cluster
	for _, read := range []func(context.Context) error{
		all(r, &v1.AzureIdentityList{}, &c.Identities),
		all(r, &v1.AzureIdentityBindingList{}, &c.Bindings),
		all(r, &v1.AzurePodIdentityExceptionList{}, &c.Exceptions),
		all(r, &v1.AzureAssignedIdentityList{}, &c.Assigned),
		all(r, &corev1.NamespaceList{}, &c.Namespaces),
		all(r, &corev1.PodList{}, &c.Pods),
		all(r, &corev1.NodeList{}, &c.Nodes),
		all(r, &rbacv1.ClusterRoleList{}, &c.ClusterRoles),
		all(r, &rbacv1.ClusterRoleBindingList{}, &c.ClusterRoleBindings),
		all(r, &rbacv1.RoleList{}, &c.Roles),
		all(r, &rbacv1.RoleBindingList{}, &c.RoleBindings),
		func(ctx context.Context) (err error) { c.DefineAsked, err = r.defineAsked(ctx); return err },
	} {
		if err := read(ctx); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

// all lists every object of a kind.
func all[T any](r *reading, list client.ObjectList, into *[]T) func(context.Context) error {
	return func(ctx context.Context) error {
		var errs error
		err := r.ListAll(ctx, list, func() {
			errs = errors.Join(errs, meta.EachListItem(list, func(o runtime.Object) error {
				if t, ok := any(o).(*T); ok {
					*into = append(*into, *t)
				}
				return nil
			}))
		})
		if apierrors.IsForbidden(err) {
			r.leaveOut(err.Error())
			return nil
		}
		if err := errors.Join(err, errs); err != nil {
			return fmt.Errorf("list objects of %T: %w", list, err)
		}
		return nil
	}
}

// defineAsked reports whether the API server asks for the verb define. Where that may
// not be read it is taken not to, which lists more.
func (r *reading) defineAsked(ctx context.Context) (bool, error) {
	shipped, err := shippedPolicy()
	if err != nil {
		return false, err
	}
	var policy admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	for _, o := range []client.Object{&policy, &binding} {
		err := r.Get(ctx, types.NamespacedName{Name: whocan.DefinePolicy}, o)
		switch {
		case apierrors.IsNotFound(err):
			return false, nil
		case apierrors.IsForbidden(err):
			r.leaveOut(err.Error())
			return false, nil
		case err != nil:
			return false, fmt.Errorf("read the policy %s: %w", whocan.DefinePolicy, err)
		}
	}
	asked := whocan.Asked(shipped, &policy, &binding)
	if !asked {
		r.notes = append(r.notes, "the policy "+whocan.DefinePolicy+" is not the one that this version of podid ships, and is not counted on")
	}
	return asked, nil
}

// shippedPolicy is the policy as this program carries it.
func shippedPolicy() (*admissionv1.ValidatingAdmissionPolicy, error) {
	text, err := config.Files.ReadFile("policy/define.yaml")
	if err != nil {
		return nil, err
	}
	first, _, _ := bytes.Cut(text, []byte("\n---\n"))
	var p admissionv1.ValidatingAdmissionPolicy
	if err := yaml.UnmarshalStrict(first, &p); err != nil {
		return nil, fmt.Errorf("policy/define.yaml: %w", err)
	}
	return &p, nil
}
