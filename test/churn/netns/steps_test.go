package netns_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/test/churn/model"
	"github.com/podid-io/podid/test/localcluster"
)

const maxPods = 6

// step is one thing that happens. Some are made to happen now and then, so that
// no story goes without them.
func (w *world) step() {
	w.count.steps++
	every := 100
	if w.plant.upsets {
		every = 10
	}
	switch n := w.r.IntN(1000); {
	case w.count.steps%every == every*2/5:
		w.reboot()
	case w.count.steps%every == every*9/10:
		w.restart(w.r.IntN(2) == 0)
	case w.plant.forging != nil && w.count.steps%5 == 0:
		w.forge()
	case n < 20:
		w.make(nowhere)
	case n < 45:
		w.replace()
	case n < 75:
		w.move()
	case n < 110:
		w.relabel()
	case n < 135:
		w.forge()
	case n < 145:
		w.settle()
	case n < 170:
		p := w.anyPod()
		w.inherit(p, w.leave(p))
	case n < 450:
		w.askKept(w.anyPod())
	default:
		w.ask(w.anyPod())
	}
}

// make makes a pod, with a certain address or with any, if there is room.
func (w *world) make(addr netip.Addr) *pod {
	if len(w.pods) == maxPods {
		return nil
	}
	w.made++
	l := labels[w.r.IntN(len(labels))]
	if w.made <= 2 { // no story has but one identity
		l = names[w.made]
	}
	made := object(fmt.Sprint(w.name, "-", w.made))
	made.Labels = map[string]string{v1.LabelBinding: l}
	made.Spec = corev1.PodSpec{NodeName: w.node.Name, Containers: []corev1.Container{{Name: "c", Image: "registry.example/c:1"}}}
	if addr.IsValid() {
		made.Annotations = map[string]string{localcluster.AddressAnnotation: addr.String()}
	}
	p := &pod{labels: []label{{value: l}}}
	w.must(w.Client.Create(w.t.Context(), made))
	p.created = made.CreationTimestamp.Time
	now, err := w.Cluster.Pod(w.t.Context(), namespace, made.Name)
	w.must(err)
	w.pods[made.Name] = p
	w.moved(p, now)
	p.reported = time.Now()
	w.ask(p)
	return p
}

// replace has a pod go, and another take its address at once, and maybe what it
// finds of the connection that the other kept.
func (w *world) replace() {
	p := w.anyPod()
	<-time.After(time.Until(p.reported.Truncate(time.Second).Add(time.Second))) // an address is not given away within the second of the evidence that a pod has it
	w.askKept(p)
	left := w.maybeLeave(p)
	w.remove(p)
	heir := w.make(p.Addr)
	w.inherit(heir, left)
}

// move has the network of a pod made anew, with the same address or another,
// while the API server goes on to tell what was, and asks before it is told.
func (w *world) move() {
	p := w.anyPod()
	w.askKept(p)
	left := w.maybeLeave(p)
	w.Cluster.HoldStatus(w.node.Name)
	addr := nowhere
	if w.r.IntN(2) == 0 {
		bytes := w.node.PodRange.Addr().As4()
		bytes[3] = byte(150 + w.r.IntN(100))
		addr = netip.AddrFrom4(bytes)
	}
	now, err := w.Cluster.ReplaceSandbox(w.t.Context(), p.Pod, addr)
	if errors.Is(err, localcluster.ErrAddress) { // another pod has it
		now, err = w.Cluster.ReplaceSandbox(w.t.Context(), p.Pod, nowhere)
	}
	w.must(err)
	w.moved(p, now)
	w.ask(p)
	w.inherit(p, left)
	w.askKept(p)
	w.report()
}

// report has the kubelet write what it held back, and waits until it has.
func (w *world) report() {
	w.Cluster.ReportStatus(w.node.Name)
	for name, p := range w.pods {
		_, err := w.Cluster.Pod(w.t.Context(), namespace, name)
		w.must(err)
		p.reported = time.Now()
	}
	w.say("the kubelet has reported")
}

// reboot makes all links new and deals out the addresses anew, with the agent
// there or away, and has every pod ask before the API server tells of it: anew,
// and on the connection of whoever had the address before. The machine's boot id
// and boot time stay as they are, and so does what the agent has written down: what
// it sees is all links replaced within one boot.
func (w *world) reboot() {
	away := w.r.IntN(2) == 0
	w.say("the node reboots, the agent is away: %t", away)
	left := map[netip.Addr]*legacy{}
	for _, name := range w.sorted() {
		p := w.pods[name]
		w.askKept(p)
		left[p.Addr] = w.maybeLeave(p)
	}
	if away {
		w.agent.Stop()
	}
	pods, err := w.Cluster.Reboot(w.t.Context(), w.node.Name)
	w.must(err)
	for _, now := range pods {
		w.moved(w.pods[now.Name], now)
	}
	if away {
		w.askNobody()
		w.startAgent()
	}
	for _, now := range pods {
		w.ask(w.pods[now.Name])
		w.inherit(w.pods[now.Name], left[now.Addr])
	}
	w.report()
	w.count.reboots++
}

// restart ends the agent, and starts it again; pods may go meanwhile, and ask.
func (w *world) restart(kill bool) {
	w.say("the agent is ended, killed: %t", kill)
	if kill {
		w.agent.Kill()
	} else {
		w.agent.Stop()
	}
	if w.r.IntN(2) == 0 && len(w.pods) > 2 {
		w.remove(w.anyPod())
	}
	w.askNobody()
	w.startAgent()
	w.askKept(w.anyPod())
	w.count.restarts++
}

// relabel gives a pod another label, and so other identities, on the connection
// that it has as well.
func (w *world) relabel() {
	p := w.anyPod()
	w.askKept(p)
	w.label(p, labels[w.r.IntN(len(labels))])
	w.ask(p)
	w.askKept(p)
}

// label gives a pod a label.
func (w *world) label(p *pod, l string) {
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, v1.LabelBinding, l)
	w.must(w.Client.Patch(w.t.Context(), object(p.Name), client.RawPatch("application/merge-patch+json", patch)))
	p.labels[len(p.labels)-1].until = time.Now()
	p.labels = append(p.labels, label{value: l})
	w.say("%s is labelled %s", p.Name, l)
}

// sorted are the names of the pods.
func (w *world) sorted() []string {
	all := make([]string, 0, len(w.pods))
	for name := range w.pods {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// settle has every pod get its token: what it needs has been written, and the
// agent is there.
func (w *world) settle() {
	w.t.Helper()
	for _, name := range w.sorted() {
		p := w.pods[name]
		deadline := time.Now().Add(served)
		for tick := time.Tick(50 * time.Millisecond); w.wrong == nil; <-tick {
			if w.askFor(p, model.Ask{Resource: vault}) == http.StatusOK {
				break
			}
			if time.Now().After(deadline) {
				w.wrongIf(&model.LawError{Law: model.Served, What: fmt.Sprintf("pod %s at %s has not been served for %s", p.Name, p.Addr, served)})
			}
		}
	}
}
