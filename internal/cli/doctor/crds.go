package doctor

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/config"
	"github.com/podid-io/podid/internal/cli/manifest"
	"github.com/podid-io/podid/internal/explain"
)

// crds looks whether the API server has podid's kinds, as this version defines them.
func (x *examination) crds(ctx context.Context) {
	const check = "crds"
	list, err := manifest.Folder(config.Files, "crd")
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
