package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/manifest"
)

// tryPod reads a pod from a manifest and asks the API server whether it would take
// it.
func (g *gathering) tryPod(ctx context.Context, file string) error {
	text, err := readFile(file)
	if err != nil {
		return err
	}
	pod, err := podIn(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	pod.Namespace = cmp.Or(pod.Namespace, g.Namespace)
	if pod.Name == "" {
		pod.Name = cmp.Or(pod.GenerateName, "pod") + "dry-run"
		pod.GenerateName = ""
	}
	pod.Status = corev1.PodStatus{}
	g.facts.Pod = *pod
	created := pod.DeepCopy()
	err = g.Create(ctx, created, client.DryRunAll)
	switch {
	case err == nil:
		g.facts.Pod = *created // as admission would change it
		g.facts.Pod.UID = ""
	case apierrors.IsAlreadyExists(err): // which is looked at last
		g.facts.Exists = true
	case isNotAllowed(err), !answered(err):
		g.facts.Untried = err
	default:
		g.facts.Refused = err
	}
	return nil
}

// isNotAllowed reports whether the caller may not make pods there: whoever will is
// somebody else. A policy's refusal is Forbidden too, and other words.
func isNotAllowed(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource")
}

// answered reports whether an error is the API server's own word of what it was sent.
func answered(err error) bool {
	s, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && s.ErrStatus.Code < http.StatusInternalServerError && !apierrors.IsTooManyRequests(err) && !apierrors.IsUnauthorized(err)
}

func readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

// podIn finds the first pod in a manifest: a Pod, or the template of what makes
// pods.
func podIn(text []byte) (*corev1.Pod, error) {
	for o, err := range manifest.Objects(text) {
		if err != nil {
			return nil, err
		}
		if o.GetKind() == "Pod" {
			return podFrom(o.Object, o, false)
		}
		for _, path := range [][]string{{"spec", "template"}, {"spec", "jobTemplate", "spec", "template"}} {
			if template, ok, err := unstructured.NestedMap(o.Object, path...); ok && err == nil {
				return podFrom(template, o, true)
			}
		}
	}
	return nil, errors.New("there is no pod in it, and nothing that makes pods")
}

// podFrom reads a pod, or the template of an object.
func podFrom(content map[string]any, of *unstructured.Unstructured, template bool) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, pod); err != nil {
		return nil, fmt.Errorf("%s %s: %w", of.GetKind(), of.GetName(), err)
	}
	if template {
		pod.Namespace, pod.Name = of.GetNamespace(), ""
		pod.GenerateName = of.GetName() + "-"
	}
	return pod, nil
}
