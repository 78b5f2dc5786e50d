package cleanup_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestWayOn: where nmi is gone each uninstall would fail in the same way, so the way on
// is said, once and at the end, and not where going on loses what can still be had.
func TestWayOn(t *testing.T) {
	tests := map[string]struct {
		answers answers
		gone    []client.Object // before
		keep    bool
		says    string // beside what is said of redirects
		wayOn   bool
	}{
		"nmi is gone": {
			gone: []client.Object{&appsv1.DaemonSet{}},
			says: "there is no DaemonSet of nmi in namespace ", wayOn: true,
		},
		"nmi goes meanwhile": {
			answers: answers{nmiVanishes: true},
			says:    "podid-nmi was deleted meanwhile: ", wayOn: true,
		},
		"nmi is for no node": {
			answers: answers{noNodes: true},
			says:    "podid-nmi selects no node: ", wayOn: true,
		},
		"nmi is for no node and identities are kept": {
			answers: answers{noNodes: true}, keep: true,
			says: "podid-nmi selects no node: ", wayOn: true,
		},
		"all of podid is gone": {
			gone: []client.Object{&appsv1.DaemonSet{}, &appsv1.Deployment{}},
			says: "what it attached stays on the machines, and ", wayOn: true,
		},
		"nmi is gone and mic failed": {
			gone: []client.Object{&appsv1.DaemonSet{}}, answers: answers{jobFails: true}, keep: true,
			says: "mic cleanup left something behind",
		},
		"nmi is for no node and mic failed": {
			answers: answers{noNodes: true, jobFails: true}, keep: true,
			says: "mic cleanup left something behind",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			namespace := "way-on-" + strings.ReplaceAll(name, " ", "-")
			w := newWorld(t, namespace)
			w.run(t, tt.answers)
			for _, kind := range tt.gone {
				if err := w.client.DeleteAllOf(t.Context(), kind, client.InNamespace(namespace)); err != nil {
					t.Fatal(err)
				}
			}
			args := []string{"-n", namespace, "--yes", "--timeout=30s"}
			if tt.keep {
				args = append(args, "--keep-identities")
			}
			_, errs, status := podid(t, args...)
			if status != 1 || !strings.Contains(errs, tt.says) || !strings.Contains(errs, "nodes that it was on have their redirect until they restart") {
				t.Errorf("status %d: %s", status, errs)
			}
			want := `
With Helm
  make anew what was deleted, and uninstall again:  helm rollback RELEASE REVISION -n ` + namespace + `
  or go on without:                                 helm uninstall RELEASE -n ` + namespace + ` --no-hooks
  and, either way, delete the Jobs that failed:     kubectl delete job -n ` + namespace + ` -l app.kubernetes.io/name=podid
`
			if strings.HasSuffix(errs, want) != tt.wayOn || !tt.wayOn && strings.Contains(errs, "helm") {
				t.Errorf("it says %s", errs)
			}
		})
	}
}
