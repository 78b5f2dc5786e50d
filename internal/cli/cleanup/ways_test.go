package cleanup_test

import (
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// hookJob is what the chart's hook left that failed.
const hookJob = `
apiVersion: batch/v1
kind: Job
metadata: {name: podid-cleanup, labels: {app.kubernetes.io/name: podid, app.kubernetes.io/component: cleanup}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: cleanup, image: podid-io/podid:1}]}}}
`

// TestWayOn: where nmi is gone each uninstall would fail in the same way, so the way on
// is said, once and at the end, and not where going on loses what can still be had.
func TestWayOn(t *testing.T) {
	tests := map[string]struct {
		answers answers
		gone    []client.Object // before
		keep    bool
		hook    bool   // has its Job there
		says    string // beside what is said of redirects
		wayOn   bool
		noNodes bool // and so no roll-back
	}{
		"nmi is gone": {
			gone: []client.Object{&appsv1.DaemonSet{}},
			says: "there is no DaemonSet of nmi in namespace ", wayOn: true,
		},
		"nmi goes meanwhile": {
			answers: answers{nmiVanishes: true},
			says:    "podid-nmi was deleted meanwhile: ", wayOn: true,
		},
		"nmi goes before it is turned": {
			answers: answers{nmiVanishesFirst: true},
			says:    "podid-nmi was deleted meanwhile: ", wayOn: true,
		},
		"nmi is for no node": {
			answers: answers{noNodes: true},
			says:    "podid-nmi selects no node: ", wayOn: true, noNodes: true,
		},
		"nmi is for no node and identities are kept": {
			answers: answers{noNodes: true}, keep: true,
			says: "podid-nmi selects no node: ", wayOn: true, noNodes: true,
		},
		"all of podid is gone": {
			gone: []client.Object{&appsv1.DaemonSet{}, &appsv1.Deployment{}}, hook: true,
			says: "what it attached stays on the machines, and ", wayOn: true,
		},
		"all of podid is gone and what it ran too": {
			gone: []client.Object{&appsv1.DaemonSet{}, &appsv1.Deployment{}},
			says: "name its own by --namespace",
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
			if tt.hook {
				w.create(t, hookJob)
			}
			args := []string{"-n", namespace, "--yes", "--timeout=2m"}
			if tt.keep {
				args = append(args, "--keep-identities")
			}
			_, errs, status := podid(t, args...)
			if status != 1 || !strings.Contains(errs, tt.says) || !strings.Contains(errs, "nodes that it was on have their redirect until they restart") {
				t.Errorf("status %d: %s", status, errs)
			}
			back := "make anew what was deleted, and uninstall again:  helm rollback RELEASE REVISION -n " + namespace
			if tt.noNodes {
				back = "give nmi its nodes back, and uninstall again:     kubectl label node NODE ... (see nmi.nodeSelector, nmi.affinity)"
			}
			want := `
With Helm
  ` + back + `
  or go on without:                                 helm uninstall RELEASE -n ` + namespace + ` --no-hooks
  and, either way, delete the Jobs that failed:     kubectl delete job -n ` + namespace + ` -l app.kubernetes.io/name=podid
`
			if strings.HasSuffix(errs, want) != tt.wayOn || !tt.wayOn && strings.Contains(errs, "helm") {
				t.Errorf("it says %s", errs)
			}
		})
	}
}

// TestWayOnIsSaidToWhoDoesIt: a look alone says none.
func TestWayOnIsSaidToWhoDoesIt(t *testing.T) {
	w := newWorld(t, "looked-at")
	w.create(t, hookJob)
	for _, kind := range []client.Object{&appsv1.DaemonSet{}, &appsv1.Deployment{}} {
		if err := w.client.DeleteAllOf(t.Context(), kind, client.InNamespace(w.namespace)); err != nil {
			t.Fatal(err)
		}
	}
	if _, errs, status := podid(t, "-n", w.namespace); status != 1 || !strings.Contains(errs, "there is no podid in namespace looked-at") || strings.Contains(errs, "helm") {
		t.Errorf("status %d: %s", status, errs)
	}
}

// TestWayOnAfterAConflict has somebody else change the DaemonSet, and then delete it.
func TestWayOnAfterAConflict(t *testing.T) {
	w := newWorld(t, "conflict")
	w.run(t, answers{})
	kubeconfig := between(t, func(rw http.ResponseWriter, r *http.Request) (answered bool) {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/daemonsets/") {
			return false
		}
		if err := w.client.DeleteAllOf(r.Context(), &appsv1.DaemonSet{}, client.InNamespace(w.namespace)); err != nil {
			t.Error(err)
		}
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(http.StatusConflict)
		_, _ = rw.Write([]byte(`{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": 409}`)) // a client that is gone shows
		return true
	})
	_, errs, status := podid(t, "--kubeconfig", kubeconfig, "-n", w.namespace, "--yes", "--timeout=2m")
	if status != 1 || !strings.Contains(errs, "podid-nmi was deleted meanwhile: ") || !strings.Contains(errs, "helm rollback") {
		t.Errorf("status %d: %s", status, errs)
	}
}

// TestTheFirstWordsStay where podid's Jobs cannot be listed.
func TestTheFirstWordsStay(t *testing.T) {
	w := newWorld(t, "first-words")
	for _, kind := range []client.Object{&appsv1.DaemonSet{}, &appsv1.Deployment{}} {
		if err := w.client.DeleteAllOf(t.Context(), kind, client.InNamespace(w.namespace)); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig := between(t, func(rw http.ResponseWriter, r *http.Request) (answered bool) {
		if !strings.HasSuffix(r.URL.Path, "/jobs") {
			return false
		}
		rw.WriteHeader(http.StatusForbidden)
		return true
	})
	_, errs, status := podid(t, "--kubeconfig", kubeconfig, "-n", w.namespace, "--yes")
	if status != 1 || !strings.Contains(errs, "there is no podid in namespace first-words") || !strings.Contains(errs, "\nfind podid's Jobs: ") || strings.Contains(errs, "helm") {
		t.Errorf("status %d: %s", status, errs)
	}
}
