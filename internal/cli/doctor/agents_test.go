package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/explain"
)

// lister is an API server that has nothing but what it is told to list.
type lister struct {
	client.Client

	list func(client.ObjectList) error
}

func (l lister) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	return l.list(list)
}

// examined is an examination of n Linux nodes, each with an nmi that is ready or not.
func examined(n int, ready corev1.ConditionStatus, args ...string) *examination {
	x := &examination{
		Cluster: &cluster.Cluster{Client: lister{list: func(client.ObjectList) error { return nil }}, System: "podid-system"},
		report:  &report{}, components: map[string][]corev1.Pod{}, unreadable: map[string]bool{},
	}
	for i := range n {
		name := fmt.Sprintf("node-%02d", i)
		x.nodes = append(x.nodes, corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
		})
		x.components[cluster.Agent] = append(x.components[cluster.Agent], corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "podid-system", Name: "nmi-" + name},
			Spec:       corev1.PodSpec{NodeName: name, Containers: []corev1.Container{{Name: "nmi", Args: args}}},
			Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
		})
	}
	return x
}

func TestWhatIsSaidOfAgentsThatAreReady(t *testing.T) {
	for name, tc := range map[string]struct {
		x    *examination
		want string
	}{
		"with the redirect":          {examined(2, corev1.ConditionTrue), "ready on all 2 Linux nodes, redirect included"},
		"without a redirect of ours": {examined(2, corev1.ConditionTrue, "--redirect=none"), "ready on all 2 Linux nodes, 2 of them without a redirect of podid's (--redirect=none)"},
		"without a node":             {examined(0, corev1.ConditionTrue), "no Linux node could be seen that nmi is for"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.x.agents(t.Context())
			if f := tc.x.report.Findings; len(f) != 1 || f[0].Says != tc.want || f[0].State == explain.Broken {
				t.Errorf("%+v, want %q", f, tc.want)
			}
		})
	}
}

// TestNodesThatAreLeftOut: nmi is for nodes with a label, which the last ones lack.
func TestNodesThatAreLeftOut(t *testing.T) {
	away := func(change func(*corev1.Pod)) []corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "away"}, Spec: corev1.PodSpec{NodeName: "left-out"}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
		change(&p)
		return []corev1.Pod{p}
	}
	for name, tc := range map[string]struct {
		nodes    int
		labelled []corev1.Pod
		want     []explain.State
		says     string
	}{
		"without pods that need nmi":   {1, nil, []explain.State{explain.Warning, explain.OK}, "left out by nmi's nodeSelector (podid=yes): left-out"},
		"with a pod that needs it":     {1, away(func(*corev1.Pod) {}), []explain.State{explain.Broken, explain.OK}, "1 of them have the label of a binding: team/away"},
		"with a pod that begins":       {1, away(func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }), []explain.State{explain.Broken, explain.OK}, "team/away"},
		"with a pod that has ended":    {1, away(func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), []explain.State{explain.Warning, explain.OK}, ""},
		"with a pod that has failed":   {1, away(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), []explain.State{explain.Warning, explain.OK}, ""},
		"with one on its host network": {1, away(func(p *corev1.Pod) { p.Spec.HostNetwork = true }), []explain.State{explain.Warning, explain.OK}, ""},
		"with one on another node":     {1, away(func(p *corev1.Pod) { p.Spec.NodeName = "node-00" }), []explain.State{explain.Warning, explain.OK}, ""},
		"and nmi runs nowhere":         {0, nil, []explain.State{explain.Warning, explain.Broken}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := examined(tc.nodes, corev1.ConditionTrue)
			x.nodes = append(x.nodes, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "left-out"}})
			x.labelled = tc.labelled
			x.Client = lister{list: func(list client.ObjectList) error {
				set := appsv1.DaemonSet{}
				set.Spec.Template.Spec.NodeSelector = map[string]string{"podid": "yes"}
				list.(*appsv1.DaemonSetList).Items = []appsv1.DaemonSet{set} //nolint:forcetypeassert // nothing else is listed
				return nil
			}}
			x.agents(t.Context())
			var got []explain.State
			for _, f := range x.report.Findings {
				got = append(got, f.State)
			}
			if !slices.Equal(got, tc.want) || !strings.Contains(x.report.Findings[0].Says, tc.says) || strings.Contains(x.report.Findings[0].Says, "have the label") != (tc.want[0] == explain.Broken) {
				t.Errorf("%+v, want %v with %q", x.report.Findings, tc.want, tc.says)
			}
		})
	}
}

// TestAgentsThatHang are asked a few at once, and within one deadline.
func TestAgentsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := examined(asked+3, corev1.ConditionFalse)
		var now, most atomic.Int32
		x.Ask = func(ctx context.Context, _ *rest.Config, _ *corev1.Pod, _ string, _ []string) (string, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			<-ctx.Done()
			return "", ctx.Err()
		}
		began := time.Now()
		x.agents(t.Context())
		if took := time.Since(began); took > askTime {
			t.Errorf("it took %s", took)
		}
		if most.Load() != askedAtOnce {
			t.Errorf("%d were asked at once, want %d", most.Load(), askedAtOnce)
		}
		if f := x.report.Findings; len(f) != asked+1 || f[asked].Says != "3 more are not ready" || !strings.HasPrefix(f[1].Says, "nmi on node node-01 is not ready: since") {
			t.Errorf("%+v", f)
		}
	})
}

// TestAClockIsComparedWithItsOwnTime has the cluster take its time before the Leases
// are listed.
func TestAClockIsComparedWithItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := examined(1, corev1.ConditionTrue)
		renewed := time.Duration(0)
		x.Client = lister{list: func(list client.ObjectList) error {
			time.Sleep(5 * time.Minute)
			at := metav1.NewMicroTime(time.Now().Add(renewed))
			leases := list.(*coordinationv1.LeaseList) //nolint:forcetypeassert // nothing else is listed
			leases.Items = []coordinationv1.Lease{{ObjectMeta: metav1.ObjectMeta{Name: "node-00"}, Spec: coordinationv1.LeaseSpec{RenewTime: &at}}}
			return nil
		}}
		for _, tc := range []struct {
			renewed time.Duration
			want    explain.State
		}{{0, explain.OK}, {-30 * time.Second, explain.OK}, {-10 * time.Minute, explain.Broken}, {5 * time.Minute, explain.Broken}} {
			x.report = &report{}
			renewed = tc.renewed
			x.nodeClocks(t.Context())
			if f := x.report.Findings; len(f) != 1 || f[0].State != tc.want {
				t.Errorf("renewed %s ago: %+v, want %s", -tc.renewed, f, tc.want)
			}
		}
	})
}

// TestTheClockOfThisMachine is held against that of the API server.
func TestTheClockOfThisMachine(t *testing.T) {
	for _, off := range []time.Duration{0, -time.Hour} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		}))
		x := examined(0, corev1.ConditionTrue)
		x.REST = &rest.Config{Host: server.URL}
		err := x.clock(t.Context())
		server.Close()
		if err != nil || (len(x.report.Findings) == 0) != (off == 0) || (x.offset-off).Abs() > 5*time.Second {
			t.Errorf("%s apart: offset %s, %v, %+v", off, x.offset, err, x.report.Findings)
		}
	}
}

// TestWhatCannotBeReadIsNotBroken leaves one thing after the other unread.
func TestWhatCannotBeReadIsNotBroken(t *testing.T) {
	for _, what := range []string{"mic", "nmi", "nodes", "pods"} {
		x := examined(2, corev1.ConditionTrue)
		x.unreadable[what] = true
		switch what {
		case "nmi":
			delete(x.components, cluster.Agent)
		case "nodes":
			x.nodes = nil
		}
		x.managed = what != "nmi"
		for _, check := range []func(context.Context){x.controller, x.agents, x.taints, x.pods} {
			check(t.Context())
		}
		for _, f := range x.report.Findings {
			if f.State == explain.Broken || f.State == explain.OK && f.Check == what {
				t.Errorf("with %s unread: %+v", what, f)
			}
		}
	}
}

// TestDaemonSetsThatMayNotBeRead: whether nmi is for a node is unknown then.
func TestDaemonSetsThatMayNotBeRead(t *testing.T) {
	x := examined(1, corev1.ConditionTrue)
	x.Client = lister{list: func(list client.ObjectList) error {
		if _, ok := list.(*appsv1.DaemonSetList); ok {
			return errors.New("no")
		}
		return nil
	}}
	delete(x.components, cluster.Agent)
	x.agents(t.Context())
	for _, f := range x.report.Findings {
		if f.State != explain.Unknown {
			t.Errorf("%+v", f)
		}
	}
	if len(x.report.Findings) == 0 {
		t.Error("nothing is said")
	}
}
