package whocan_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/exit"
	cli "github.com/podid-io/podid/internal/cli/whocan"
	"github.com/podid-io/podid/internal/whocan"
)

// admin is a client that may do everything.
func admin(t *testing.T) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	err := errors.Join(corev1.AddToScheme(scheme), rbacv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme), admissionv1.AddToScheme(scheme), v1.AddToScheme(scheme))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(plane.REST(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// apply creates the objects of a text, and deletes them when the test ends.
func apply(t *testing.T, c client.Client, text string) {
	t.Helper()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		keep(t, c, parsed(t, doc))
	}
}

// keep creates an object until the test ends.
func keep(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatalf("%T %s/%s: %v", o, o.GetNamespace(), o.GetName(), err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.WithoutCancel(t.Context()), o, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	})
}

// run runs the command and returns what it wrote and its status.
func run(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := cli.New(command.Config{Getenv: func(string) string { return "" }})
	var out, errs bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(append(args, "--kubeconfig", plane.Kubeconfig()))
	var code exit.Error
	switch err := cmd.ExecuteContext(t.Context()); {
	case errors.As(err, &code):
		status = int(code)
	case err != nil:
		t.Fatal(err)
	}
	return out.String(), errs.String(), status
}

// ask runs the command for its report.
func ask(t *testing.T, args ...string) whocan.Report {
	t.Helper()
	stdout, stderr, status := run(t, append(args, "-o", "json")...)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var r whocan.Report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// allowed asks the API server.
func allowed(t *testing.T, c client.Client, user string, groups []string, a authorizationv1.ResourceAttributes) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, Groups: groups, ResourceAttributes: &a}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// await asks until something is so, of which the API server tells nobody.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	timeout := time.After(3 * time.Minute)
	for !so() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-timeout:
			t.Fatalf("%s: not so after 3 minutes", what)
		}
	}
}

// file is the text of a file of the repository.
func file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parsed is the one object of a text.
func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}
