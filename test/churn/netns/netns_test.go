package netns_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/localcluster"
)

var seedFlag = flag.Uint64("seed", 0, "tell the story of this seed again; 0 means a new one")

const (
	// wholeStory is how many steps there are.
	wholeStory = 1000
	maxPods    = 6
)

func TestChurnWithRealLinks(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again: go test ./test/churn/netns -seed %d", seed)
	w := newWorld(t, seed)
	for range 4 {
		w.make(netip.Addr{})
	}
	for w.steps < wholeStory {
		w.step()
	}
	w.settle()
	t.Logf("%d steps, %d tokens, %d refusals, %d without an answer, %d reboots, %d restarts", w.steps, w.tokens, w.refused, w.silent, w.reboots, w.restarts)
	for what, share := range map[string][2]int{
		"tokens": {w.tokens, 300}, "refusals": {w.refused, 5}, "reboots": {w.reboots, 5}, "restarts": {w.restarts, 5},
	} {
		if share[0] < share[1] {
			t.Errorf("%d %s are too few", share[0], what)
		}
	}
}

// step is one thing that happens. The last are made to happen now and then, so
// that no story goes without them.
func (w *world) step() {
	w.steps++
	switch n := w.r.IntN(1000); {
	case w.steps%100 == 40:
		w.reboot()
	case w.steps%100 == 90:
		w.restart(w.r.IntN(2) == 0)
	case n < 20:
		w.make(netip.Addr{})
	case n < 45:
		w.replace()
	case n < 75:
		w.move()
	case n < 100:
		w.relabel()
	case n < 125:
		w.forge()
	case n < 140:
		w.settle()
	default:
		p := w.anyPod()
		c := p.kept
		if w.r.IntN(4) > 0 {
			c = once(p.DialContext)
		}
		w.ask(p, c, 2*time.Second, false)
		c.CloseIdleConnections()
	}
}

// make makes a pod, with a certain address or with any, if there is room.
func (w *world) make(addr netip.Addr) {
	if len(w.pods) == maxPods {
		return
	}
	w.made++
	l := labels[w.r.IntN(len(labels))]
	object := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("pod-", w.made), Labels: map[string]string{v1.LabelBinding: l}},
		Spec:       corev1.PodSpec{NodeName: w.node.Name, Containers: []corev1.Container{{Name: "c", Image: "registry.example/c:1"}}},
	}
	if addr.IsValid() {
		object.Annotations = map[string]string{localcluster.AddressAnnotation: addr.String()}
	}
	p := &pod{labels: []label{{l, time.Now()}}}
	w.must(w.Client.Create(w.t.Context(), object))
	now, err := w.Cluster.Pod(w.t.Context(), "default", object.Name)
	w.must(err)
	w.pods[object.Name] = p
	w.moved(p, now)
	w.ask(p, once(p.DialContext), 2*time.Second, false)
}

// replace has a pod go, and another take its address at once.
func (w *world) replace() {
	p := w.anyPod()
	w.say("%s goes", p.Name)
	later := time.Until(p.sandbox.Born.Truncate(time.Second).Add(time.Second))
	<-time.After(later) // an address is not given away within the second in which it was given
	w.must(w.Client.Delete(w.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: p.Name}}))
	p.sandbox.Gone = true
	delete(w.pods, p.Name)
	w.make(p.Addr)
}

// move has the network of a pod made anew, with the same address or another,
// while the API server goes on to tell what was, and asks before it is told.
func (w *world) move() {
	p := w.anyPod()
	w.Cluster.HoldStatus(w.node.Name)
	addr := netip.Addr{}
	if w.r.IntN(2) == 0 {
		bytes := w.node.PodRange.Addr().As4()
		bytes[3] = byte(150 + w.r.IntN(100))
		addr = netip.AddrFrom4(bytes)
	}
	now, err := w.Cluster.ReplaceSandbox(w.t.Context(), p.Pod, addr)
	if errors.Is(err, localcluster.ErrAddress) { // another pod has it
		now, err = w.Cluster.ReplaceSandbox(w.t.Context(), p.Pod, netip.Addr{})
	}
	w.must(err)
	w.moved(p, now)
	w.ask(p, once(p.DialContext), 2*time.Second, false)
	w.report()
}

// report has the kubelet write what it held back, and waits until it has.
func (w *world) report() {
	w.Cluster.ReportStatus(w.node.Name)
	for name := range w.pods {
		_, err := w.Cluster.Pod(w.t.Context(), "default", name)
		w.must(err)
	}
	w.say("the kubelet has reported")
}

// reboot makes all links new and deals out the addresses anew, with the agent
// there or away, and has every pod ask before the API server tells of it.
func (w *world) reboot() {
	away := w.r.IntN(2) == 0
	w.say("the node reboots, the agent is away: %t", away)
	if away {
		w.Agent(w.node).Stop()
	}
	pods, err := w.Cluster.Reboot(w.t.Context(), w.node.Name)
	w.must(err)
	for _, now := range pods {
		w.moved(w.pods[now.Name], now)
	}
	if away {
		w.startAgent()
	}
	for _, now := range pods {
		p := w.pods[now.Name]
		w.ask(p, once(p.DialContext), 2*time.Second, false)
	}
	w.report()
	w.reboots++
}

// restart ends the agent, and starts it again; pods may go meanwhile.
func (w *world) restart(kill bool) {
	w.say("the agent is ended, killed: %t", kill)
	if a := w.Agent(w.node); kill {
		a.Kill()
	} else {
		a.Stop()
	}
	if w.r.IntN(2) == 0 && len(w.pods) > 2 {
		p := w.anyPod()
		w.must(client.IgnoreNotFound(w.Client.Delete(w.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: p.Name}})))
		p.sandbox.Gone = true
		delete(w.pods, p.Name)
	}
	w.startAgent()
	w.restarts++
}

// relabel gives a pod another label, and so another identity.
func (w *world) relabel() {
	p := w.anyPod()
	l := labels[w.r.IntN(len(labels))]
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, v1.LabelBinding, l)
	p.labels = append(p.labels, label{l, time.Now()})
	w.must(w.Client.Patch(w.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: p.Name}}, client.RawPatch("application/merge-patch+json", patch)))
	w.say("%s is labelled %s", p.Name, l)
	w.ask(p, once(p.DialContext), 2*time.Second, false)
}

// forge has a pod take a neighbour's address beside its own, and ask by it.
func (w *world) forge() {
	thief, victim := w.anyPod(), w.anyPod()
	if thief == victim {
		return
	}
	address := &netlink.Addr{IPNet: netlink.NewIPNet(victim.Addr.AsSlice())}
	change := func(how func(netlink.Link, *netlink.Addr) error) error {
		return thief.Do(func() error {
			eth0, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return how(eth0, address)
		})
	}
	w.must(change(netlink.AddrAdd))
	w.say("%s asks in the name of %s", thief.Name, victim.Name)
	from, source := thief.Pod, victim.Addr // as they are now: a dial can outlive its request
	dial := func(ctx context.Context, network, to string) (c net.Conn, err error) {
		err = from.Do(func() error {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: source.AsSlice()}}
			c, err = d.DialContext(ctx, network, to)
			return err
		})
		return c, err
	}
	w.ask(thief, once(dial), 300*time.Millisecond, true)
	w.must(change(netlink.AddrDel))
}

// settle has every pod get its token: what it needs has been written, and the
// agent is there.
func (w *world) settle() {
	w.t.Helper()
	for _, p := range w.pods {
		deadline := time.After(served)
		for tick := time.Tick(50 * time.Millisecond); w.ask(p, once(p.DialContext), 2*time.Second, false) != http.StatusOK; <-tick {
			select {
			case <-deadline:
				w.must(fmt.Errorf("pod %s at %s has not been served for %s", p.Name, p.Addr, served))
			default:
			}
		}
	}
}
