package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/config"
	"github.com/podid-io/podid/internal/explain"
)

// manifests are the objects in a folder of podid's own, of which this program has a
// copy.
func manifests(folder string) ([]*unstructured.Unstructured, error) {
	names, err := fs.Glob(config.Files, folder+"/*.yaml")
	if err != nil {
		return nil, err
	}
	var list []*unstructured.Unstructured
	for _, name := range names {
		text, err := fs.ReadFile(config.Files, name)
		if err != nil {
			return nil, err
		}
		d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
		for {
			o := &unstructured.Unstructured{}
			if err := d.Decode(o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if len(o.Object) > 0 {
				list = append(list, o)
			}
		}
	}
	return list, nil
}

// crds looks whether the API server has podid's kinds, as this version defines them.
func (x *examination) crds(ctx context.Context) {
	const check = "crds"
	list, err := manifests("crd")
	if err != nil {
		x.unread(check, err)
		return
	}
	before := len(x.report.Findings)
	for _, want := range list {
		have := &unstructured.Unstructured{}
		have.SetGroupVersionKind(want.GroupVersionKind())
		err := x.Get(ctx, client.ObjectKeyFromObject(want), have)
		switch {
		case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
			x.report.add(check, explain.Broken, "the API server has no CustomResourceDefinition "+want.GetName(), "kubectl apply --server-side -f config/crd   # or upgrade the chart with its CRDs")
		case err != nil:
			x.unread(check, fmt.Errorf("CustomResourceDefinition %s: %w", want.GetName(), err))
		case !established(have):
			x.report.add(check, explain.Broken, "CustomResourceDefinition "+want.GetName()+" is not established", "kubectl describe crd "+want.GetName())
		default:
			if where := difference(want.Object["spec"], have.Object["spec"], "spec"); where != "" {
				x.report.add(check, explain.Warning, fmt.Sprintf("CustomResourceDefinition %s is of another version of podid: it differs at %s", want.GetName(), where),
					"kubectl apply --server-side --force-conflicts -f config/crd   # of the version that is installed; or use its podid")
			}
		}
	}
	if len(x.report.Findings) == before {
		x.report.add(check, explain.OK, fmt.Sprintf("all %d CustomResourceDefinitions are there, of this version", len(list)), "")
	}
}

func established(crd *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, ok := c.(map[string]any)
		return ok && m["type"] == "Established" && m["status"] == "True"
	})
}

// difference is where have lacks something that want has; empty for nowhere. What
// have has beside that, such as defaults of the API server, makes none.
func difference(want, have any, where string) string {
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return where
		}
		for k, v := range w {
			if d := difference(v, h[k], where+"."+k); d != "" {
				return d
			}
		}
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return where
		}
		for i := range w {
			if d := difference(w[i], h[i], fmt.Sprintf("%s[%d]", where, i)); d != "" {
				return d
			}
		}
	default:
		if !reflect.DeepEqual(want, have) && fmt.Sprint(want) != fmt.Sprint(have) { // numbers are of two kinds
			return where
		}
	}
	return ""
}

// policies looks whether the admission policies are there and bound.
func (x *examination) policies(ctx context.Context) {
	const check = "policies"
	list, err := manifests("policy")
	if err != nil {
		x.unread(check, err)
		return
	}
	var missing []string
	for _, want := range list {
		if !strings.HasPrefix(want.GetKind(), "ValidatingAdmissionPolicy") || strings.Contains(want.GetName(), "startup-taint") && len(x.taintKeys) == 0 {
			continue
		}
		have := &unstructured.Unstructured{}
		have.SetGroupVersionKind(want.GroupVersionKind())
		err := x.Get(ctx, client.ObjectKeyFromObject(want), have)
		switch {
		case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
			missing = append(missing, want.GetKind()+" "+want.GetName())
		case err != nil:
			x.unread(check, err)
			return
		}
	}
	if len(missing) > 0 {
		x.report.add(check, explain.Warning, "not there: "+strings.Join(missing, ", ")+"; "+without(missing), "kubectl apply --server-side -f config/policy   # or switch them on in the chart's values")
		return
	}
	x.report.add(check, explain.OK, "podid's admission policies are there and bound", "")
}

// without says what it means that policies are not there. Two of them nobody but the
// API server holds; the others nmi holds too.
func without(missing []string) string {
	var open []string
	lacks := func(name string) bool {
		return slices.ContainsFunc(missing, func(m string) bool { return strings.HasSuffix(m, name) })
	}
	if lacks("-define") {
		open = append(open, "OPEN: whoever may write an AzureIdentity may name any identity of Azure in it, and nothing else asks whether they may")
	}
	if lacks("-startup-taint") {
		open = append(open, "OPEN: the right to change nodes, by which start-up taints are taken off, is not limited to these taints")
	}
	if len(open) == 0 {
		return "nmi refuses the same, but the API server does not say so to authors"
	}
	return strings.Join(open, "; ")
}
