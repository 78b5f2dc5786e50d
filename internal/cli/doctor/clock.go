package doctor

import (
	"context"
	"fmt"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/podid-io/podid/internal/explain"
)

// skew is how far clocks may be apart: tokens and assertions take five minutes, and
// what comes late for other reasons takes part of that.
const skew = time.Minute

// clock takes the API server's time, which the others are compared with.
func (x *examination) clock(ctx context.Context) error {
	h, err := rest.HTTPClientFor(x.REST)
	if err != nil {
		return err
	}
	base, _, err := rest.DefaultServerUrlFor(x.REST)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("version").String(), nil)
	if err != nil {
		return err
	}
	began := time.Now()
	resp, err := h.Do(req)
	if err != nil {
		return fmt.Errorf("ask the API server %s: %w", x.REST.Host, err)
	}
	_ = resp.Body.Close() // its head alone counts
	server, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		x.unread("clocks", fmt.Errorf("the API server tells no time: %w", err))
		return nil
	}
	if off := server.Sub(began); off > skew || off < -skew {
		x.offset = off
		x.report.add("clocks", explain.Warning, fmt.Sprintf("the clock of this machine is %s apart from the API server's", off.Abs().Round(time.Second)), "set the clock of this machine: times above and below go by the API server's")
	}
	return nil
}

// now is the time by the API server's clock, as far as it is another than this
// machine's.
func (x *examination) now() time.Time { return time.Now().Add(x.offset) }

// nodeClocks compares the nodes' clocks, by which their kubelets renew their Leases,
// with the API server's. One that is behind shows as a Lease that is not renewed in
// time, on a node that is ready all the same.
func (x *examination) nodeClocks(ctx context.Context) {
	const check = "clocks"
	ready := map[string]bool{}
	for i := range x.nodes {
		for _, c := range x.nodes[i].Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				ready[x.nodes[i].Name] = true
			}
		}
	}
	seen, off := 0, 0
	var list coordinationv1.LeaseList
	err := x.ListAll(ctx, &list, func() {
		now := x.now() // each page is held against the time of its own answer
		for i := range list.Items {
			l := &list.Items[i]
			if l.Spec.RenewTime == nil || !ready[l.Name] {
				continue
			}
			seen++
			d := l.Spec.RenewTime.Sub(now)
			if d < skew && d > -2*skew {
				continue
			}
			off++
			x.report.add(check, explain.Broken, fmt.Sprintf("the clock of node %s is about %s apart from the API server's: tokens are not valid yet, or not any more", l.Name, d.Abs().Round(time.Second)), "chronyc tracking   # on the node: is its time synchronised?")
		}
	}, client.InNamespace(corev1.NamespaceNodeLease))
	switch {
	case err != nil:
		x.unread(check, err)
	case off == 0 && seen > 0:
		x.report.add(check, explain.OK, fmt.Sprintf("those of %d nodes go with the API server's", seen), "")
	}
}
