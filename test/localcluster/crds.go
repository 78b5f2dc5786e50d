package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// InstallCRDs creates, or brings up to date, the custom resource definitions in
// the .yaml files of dir, and returns when the API server serves them, within
// three minutes.
func (c *ControlPlane) InstallCRDs(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("install CRDs: no .yaml file in %s", dir)
	}
	api, err := newClient(c.rest)
	if err != nil {
		return err
	}
	var names []string
	for _, file := range files {
		name, err := applyCRD(ctx, api, file)
		if err != nil {
			return fmt.Errorf("install CRD %s: %w", file, err)
		}
		names = append(names, name)
	}
	for _, name := range names {
		if err := awaitEstablished(ctx, api, name); err != nil {
			return fmt.Errorf("wait until CRD %s is served: %w", name, err)
		}
	}
	return nil
}

func applyCRD(ctx context.Context, api client.Client, file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(content, &crd); err != nil {
		return "", err
	}
	err = api.Create(ctx, &crd)
	if !apierrors.IsAlreadyExists(err) {
		return crd.Name, err
	}
	var there apiextensionsv1.CustomResourceDefinition
	if err := api.Get(ctx, client.ObjectKeyFromObject(&crd), &there); err != nil {
		return "", err
	}
	crd.ResourceVersion = there.ResourceVersion
	return crd.Name, api.Update(ctx, &crd)
}

// awaitEstablished watches one CRD; a watch begins with what is there.
func awaitEstablished(ctx context.Context, api client.WithWatch, name string) error {
	w, err := api.Watch(ctx, &apiextensionsv1.CustomResourceDefinitionList{}, client.MatchingFields{"metadata.name": name})
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case event, open := <-w.ResultChan():
			if !open {
				return errors.New("the watch ended")
			}
			if established(event) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func established(event watch.Event) bool {
	crd, ok := event.Object.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return false
	}
	for _, condition := range crd.Status.Conditions {
		if condition.Type == apiextensionsv1.Established {
			return condition.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}
