package demo

import (
	"context"
	"fmt"
	"io/fs"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/cli/manifest"
)

func scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(s)) // cannot fail for a new scheme
	utilruntime.Must(v1.AddToScheme(s))
	return s
}

// applyFS creates every object of the manifests in a folder, in order of their
// files; objects that are there already stay as they are.
func (w *World) applyFS(ctx context.Context, files fs.FS, folder string) error {
	objects, err := manifest.Folder(files, folder)
	if err != nil {
		return err
	}
	for _, namespaces := range []bool{true, false} { // a namespace comes before what it holds
		for _, o := range objects {
			if (o.GetKind() == "Namespace") != namespaces {
				continue
			}
			err := w.Client.Create(ctx, o.DeepCopy())
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("apply %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
			}
		}
	}
	return nil
}

// applyMICPod creates the pod that mic runs in.
func (w *World) applyMICPod(ctx context.Context) error {
	err := w.Client.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: systemNamespace, Name: micPod,
			Labels: map[string]string{"app.kubernetes.io/name": "podid", "app.kubernetes.io/component": "mic"},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: "podid-mic",
			Containers:         []corev1.Container{{Name: "mic", Image: "registry.example/podid/mic:demo"}},
		},
	})
	return client.IgnoreAlreadyExists(err)
}
