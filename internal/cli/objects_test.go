package cli_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// api is the API server, for an administrator.
func api(ts *testscript.TestScript) client.Client {
	c, err := client.New(plane.REST(), client.Options{})
	ts.Check(err)
	return c
}

// apply makes what manifests hold, status included, or changes it: what is there is
// replaced. Variables in them are expanded.
func apply(ts *testscript.TestScript, _ bool, files []string) {
	c := api(ts)
	for _, f := range files {
		d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(os.Expand(ts.ReadFile(f), ts.Getenv))), 4096)
		for {
			o := &unstructured.Unstructured{}
			if err := d.Decode(o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				ts.Fatalf("%s: %v", f, err)
			}
			applyOne(ts, c, o)
		}
	}
}

func applyOne(ts *testscript.TestScript, c client.Client, o *unstructured.Unstructured) {
	ctx := context.Background()
	if ns := o.GetNamespace(); ns != "" {
		err := c.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": ns},
		}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			ts.Fatalf("namespace %s: %v", ns, err)
		}
		needAccount(ts, c, ns)
	}
	status, told := o.Object["status"]
	err := c.Create(ctx, o.DeepCopy())
	switch {
	case apierrors.IsAlreadyExists(err) && o.GetKind() == "Pod": // the spec of a pod stays
		err = nil
	case apierrors.IsAlreadyExists(err):
		err = update(ctx, c, o, func(now *unstructured.Unstructured) {
			o.SetResourceVersion(now.GetResourceVersion())
			now.Object = o.DeepCopy().Object
		}, c.Update)
	}
	if err == nil && told && o.GetKind() != "AzureAssignedIdentity" {
		err = update(ctx, c, o, func(now *unstructured.Unstructured) { now.Object["status"] = status }, func(ctx context.Context, now client.Object, _ ...client.UpdateOption) error {
			return c.Status().Update(ctx, now)
		})
	}
	if err != nil {
		ts.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
	}
}

// needAccount makes the service account that pods of a namespace run as.
func needAccount(ts *testscript.TestScript, c client.Client, namespace string) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
	if err := c.Create(context.Background(), account); err != nil && !apierrors.IsAlreadyExists(err) {
		ts.Fatalf("service account of %s: %v", namespace, err)
	}
}

// update reads an object, changes it and writes it.
func update(ctx context.Context, c client.Client, o *unstructured.Unstructured, change func(*unstructured.Unstructured), write func(context.Context, client.Object, ...client.UpdateOption) error) error {
	now := &unstructured.Unstructured{}
	now.SetGroupVersionKind(o.GroupVersionKind())
	if err := c.Get(ctx, client.ObjectKeyFromObject(o), now); err != nil {
		return err
	}
	change(now)
	return write(ctx, now)
}

// remove deletes objects: delete KIND.VERSION.GROUP NAMESPACE NAME.
func remove(ts *testscript.TestScript, _ bool, args []string) {
	o := named(args[0], args[1], args[2])
	zero := int64(0)
	ts.Check(api(ts).Delete(context.Background(), o, &client.DeleteOptions{GracePeriodSeconds: &zero}))
}

// uid puts the uid of an object into a variable: uid VARIABLE KIND NAMESPACE NAME.
func uid(ts *testscript.TestScript, _ bool, args []string) {
	o := named(args[1], args[2], args[3])
	ts.Check(api(ts).Get(context.Background(), client.ObjectKeyFromObject(o), o))
	ts.Setenv(args[0], string(o.GetUID()))
}

func named(kind, namespace, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	gvk := schema.GroupVersionKind{Version: "v1", Kind: kind}
	switch {
	case strings.HasPrefix(kind, "Azure"):
		gvk.Group = "aadpodidentity.k8s.io"
	case strings.HasPrefix(kind, "Validating"):
		gvk.Group = "admissionregistration.k8s.io"
	}
	o.SetGroupVersionKind(gvk)
	o.SetNamespace(namespace)
	o.SetName(name)
	return o
}
