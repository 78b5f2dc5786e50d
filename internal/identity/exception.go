package identity

import (
	"slices"
	"strings"

	v1 "github.com/podid-io/podid/api/v1"
)

// EveryNamespace in Rules.ExceptionNamespaces stands for all of them.
const EveryNamespace = "*"

// Exception is an AzurePodIdentityException, read through its canonical spelling.
type Exception struct {
	Namespace, Name string
	// PodLabels excepts a pod that has any one of them.
	PodLabels map[string]string
}

// ExceptionFromAPI reads an AzurePodIdentityException.
func ExceptionFromAPI(o *v1.AzurePodIdentityException) Exception {
	e := Exception{Namespace: o.Namespace, Name: o.Name}
	if labels := o.Spec.Canonical().PodLabels; len(labels) > 0 {
		e.PodLabels = make(map[string]string, len(labels))
		for k, value := range labels {
			e.PodLabels[k] = string(value)
		}
	}
	return e
}

// ExceptionsCount reports whether exceptions of a namespace count.
func (r Rules) ExceptionsCount(namespace string) bool {
	return slices.Contains(r.ExceptionNamespaces, namespace) || slices.Contains(r.ExceptionNamespaces, EveryNamespace)
}

// Excepted finds the exception that a pod falls under, the first by name. An
// exception is for pods of its own namespace, under any rules, and counts only
// where the operator allows it. A label's key is compared exactly, its value
// without case; an exception without labels excepts nobody.
func Excepted(pod Pod, exceptions []Exception, rules Rules) (Exception, bool) {
	if !rules.ExceptionsCount(pod.Namespace) {
		return Exception{}, false
	}
	var first Exception
	found := false
	for _, e := range exceptions {
		if e.Namespace != pod.Namespace || !e.covers(pod) {
			continue
		}
		if !found || e.Name < first.Name {
			first, found = e, true
		}
	}
	return first, found
}

func (e Exception) covers(pod Pod) bool {
	for k, value := range e.PodLabels {
		if has, ok := pod.Labels[k]; ok && strings.EqualFold(has, value) {
			return true
		}
	}
	return false
}
