// Package manifest reads the objects of manifests.
package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Folder reads the objects of the manifests in a folder, in order of their files.
func Folder(files fs.FS, folder string) ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(files, folder+"/*.yaml")
	if err != nil {
		return nil, err
	}
	var list []*unstructured.Unstructured
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		for o, err := range Objects(text) {
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			list = append(list, o)
		}
	}
	return list, nil
}

// Objects are those of one manifest, in YAML or JSON. It ends with the first error.
func Objects(text []byte) iter.Seq2[*unstructured.Unstructured, error] {
	return func(yield func(*unstructured.Unstructured, error) bool) {
		const ahead = 4096 // bytes that tell YAML from JSON
		d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), ahead)
		for {
			o := &unstructured.Unstructured{}
			err := d.Decode(o)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if len(o.Object) > 0 && !yield(o, nil) {
				return
			}
		}
	}
}
