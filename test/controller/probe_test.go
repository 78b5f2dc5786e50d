package controller_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
)

// Probes tell how far mic has read. That the world is as it should be can be by
// chance, while a mic has not heard yet what will have it change things once more.
// So objects that mean nothing are given a new number, one of each kind, and what
// is read by each line is looked through for it.
const probe = "podid-test-probe-"

// probes are the objects, by the resource that they are read as.
func (w *world) probes() map[string]client.Object {
	of := metav1.ObjectMeta{Namespace: w.names.quiet, Name: "probe"}
	return map[string]client.Object{
		"nodes":                 &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.names.quiet}},
		"namespaces":            &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.names.quiet}},
		"pods":                  &corev1.Pod{ObjectMeta: of, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}}},
		"azureidentities":       &v1.AzureIdentity{ObjectMeta: of, Spec: v1.AzureIdentitySpec{ClientID: "nobody"}},
		"azureidentitybindings": &v1.AzureIdentityBinding{ObjectMeta: of, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: "nobody"}},
	}
}

// tellAll writes the next number on all probes.
func (w *world) tellAll() {
	w.t.Helper()
	w.told++
	text := fmt.Appendf(nil, `{"metadata":{"annotations":{"probe":"%s%d."}}}`, probe, w.told)
	for _, o := range w.probes() {
		must(w.t, w.api.Patch(w.t.Context(), o, client.RawPatch("application/merge-patch+json", text)))
	}
}

// heardAll reports whether all mics have read the last number everywhere.
func (w *world) heardAll() bool {
	for _, r := range w.replicas {
		r.mu.Lock()
		read := maps.Clone(r.read)
		r.mu.Unlock()
		for resource := range w.probes() {
			if read[resource] < w.told {
				return false
			}
		}
	}
	return true
}

// reader is what a mic reads of a resource.
type reader struct {
	io.ReadCloser

	line *line
	of   string
	tail []byte // what may be the beginning of a number
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if read := r.line.w.plant.read; read != nil {
		copy(p, read(r.of, p[:n]))
	}
	r.tail = append(r.tail, p[:n]...)
	for {
		_, after, found := bytes.Cut(r.tail, []byte(probe))
		if !found {
			break
		}
		digits, _, whole := bytes.Cut(after, []byte("."))
		if !whole {
			break
		}
		r.tail = after
		if number, err := strconv.Atoi(string(digits)); err == nil {
			r.line.hears(r.of, number)
		}
	}
	r.tail = bytes.Clone(r.tail[max(0, len(r.tail)-len(probe)-10):])
	return n, err
}

func (l *line) hears(resource string, number int) {
	l.mu.Lock()
	l.read[resource] = max(l.read[resource], number)
	l.mu.Unlock()
	l.w.stir()
}
