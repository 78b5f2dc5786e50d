package nodeview

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// machine is the kernel of a node: which link an address is on.
type machine struct {
	t *testing.T
	*View
	routes map[netip.Addr]int
}

// newMachine makes a node without pods, which its agent knows.
func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, routes: map[netip.Addr]int{}}
	m.View = newTestView(func(c *Config) { c.LinkOf = func(a netip.Addr) int { return m.routes[a] } })
	return m
}

// at is so many seconds after the first pod's start.
func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// up has the network of a pod made: the address goes to a new link.
func (m *machine) up(link int, seconds float64) {
	m.routes[addr] = link
	m.LinkUp(link, "02:00:00:00:00:01", at(seconds))
}

// down has it taken away.
func (m *machine) down(link int) {
	if m.routes[addr] == link {
		delete(m.routes, addr)
	}
	m.LinkDown(link)
}

// tell is a status of a pod, whose newest evidence is so many seconds after the
// first pod's start.
func (m *machine) tell(uid string, seconds float64, edits ...func(*corev1.Pod)) {
	m.applyPod(pod("pod-"+uid, uid, append([]func(*corev1.Pod){started(at(seconds))}, edits...)...))
}

// has checks who has the address on a link; empty for nobody.
func (m *machine) has(what string, link int, want string, wantErr error) {
	m.t.Helper()
	found, _, err := m.ByIP(addr, link)
	if found.Pod.UID != want || !errors.Is(err, wantErr) {
		m.t.Errorf("%s: ByIP() = %q, %v; want %q, %v", what, found.Pod.UID, err, want, wantErr)
	}
}

func ending(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }

func TestALinkTakesTheClaimWithIt(t *testing.T) {
	m := newMachine(t)
	m.up(8, 0)
	m.tell("1", 1)
	m.has("a pod on its link", 8, "1", nil)
	_, changed, _ := m.ByIP(addr, 8)
	m.down(8)
	select {
	case <-changed:
	default:
		t.Error("the end of the link woke nobody")
	}
	m.has("its link is gone", 8, "", ErrOtherLink)
	m.up(9, 20)
	m.has("somebody is there by another link", 9, "", ErrOtherLink)
	m.tell("1", 1, func(p *corev1.Pod) { p.Labels["x"] = "y" })
	m.has("a late word of the pod", 9, "", ErrOtherLink)
	m.tell("1", 10)
	m.has("a late word that a container had started again", 9, "", ErrOtherLink)
	m.tell("2", 21)
	m.has("the word of the pod that is there, the other one still told of", 9, "2", nil)
	m.tell("1", 10)
	m.has("another late word", 9, "2", nil)
}

func TestANetworkMadeAnew(t *testing.T) {
	m := newMachine(t)
	m.up(8, 0)
	m.tell("1", 1)
	m.down(8)
	m.up(9, 0.5)
	m.has("the same pod with a new network, as the API server knew it", 9, "", ErrOtherLink)
	m.tell("1", 1)
	m.has("the evidence that it had when it lost its link", 9, "", ErrOtherLink)
	_, changed, _ := m.ByIP(addr, 9)
	m.tell("1", 2)
	m.has("newer evidence", 9, "1", nil)
	select {
	case <-changed:
	default:
		t.Error("the evidence woke nobody")
	}
	t.Run("told of before the kernel's word of the old link", func(t *testing.T) {
		m := newMachine(t)
		m.up(8, 0)
		m.tell("1", 1)
		m.routes[addr] = 9
		m.tell("1", 5)
		m.has("the old link is not told of as gone", 9, "", ErrOtherLink)
		m.LinkDown(8)
		m.LinkUp(9, "02:00:00:00:00:09", at(4))
		m.has("the links are told of", 9, "1", nil)
	})
	t.Run("lost and made anew once more", func(t *testing.T) {
		m := newMachine(t)
		m.up(8, 0)
		m.tell("1", 1)
		m.down(8)
		m.up(9, 2)
		m.tell("1", 3)
		m.down(9)
		m.up(10, 3)
		m.tell("1", 3)
		m.has("the evidence for the second", 10, "", ErrOtherLink)
		m.tell("1", 5)
		m.has("evidence for the third", 10, "1", nil)
	})
	t.Run("told of before the kernel's word of the new link", func(t *testing.T) {
		m := newMachine(t)
		m.routes[addr] = 9
		m.tell("1", 5)
		m.has("no such link", 9, "", ErrOtherLink)
		m.LinkUp(9, "02:00:00:00:00:09", at(4))
		m.has("the link is told of", 9, "1", nil)
	})
}

func TestEvidence(t *testing.T) {
	none := func(p *corev1.Pod) { p.Status.ContainerStatuses = nil }
	condition := func(kind corev1.PodConditionType, status corev1.ConditionStatus, seconds float64) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses = nil
			p.Status.Conditions = []corev1.PodCondition{{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(at(seconds))}}
		}
	}
	running := []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at(10))}}}}
	over := []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.NewTime(at(10)), FinishedAt: metav1.NewTime(at(11))}}}}
	tests := map[string]struct {
		edit func(*corev1.Pod)
		want bool // believed on a link that came 10.4 s after the start
	}{
		"a container that started later":             {started(at(12)), true},
		"a container that started in that second":    {started(at(10)), true},
		"a container that started a second before":   {started(at(9)), false},
		"an address and nothing else":                {none, false},
		"the network is ready":                       {condition(corev1.PodReadyToStartContainers, corev1.ConditionTrue, 11), true},
		"the network was ready before":               {condition(corev1.PodReadyToStartContainers, corev1.ConditionTrue, 9), false},
		"the network is lost":                        {condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, 11), false},
		"Ready, which the control plane sets too":    {condition(corev1.PodReady, corev1.ConditionTrue, 11), false},
		"Initialized, which says nothing of it":      {condition(corev1.PodInitialized, corev1.ConditionTrue, 11), false},
		"an init container of a pending pod":         {func(p *corev1.Pod) { none(p); phase(corev1.PodPending)(p); p.Status.InitContainerStatuses = running }, true},
		"an ephemeral container":                     {func(p *corev1.Pod) { none(p); p.Status.EphemeralContainerStatuses = running }, true},
		"a container that has ended":                 {func(p *corev1.Pod) { none(p); p.Status.ContainerStatuses = over }, false},
		"a start in the control plane's own writing": {func(p *corev1.Pod) { none(p); p.Status.StartTime = new(metav1.NewTime(at(11))) }, false},
		"a write that is young by somebody's clock": {func(p *corev1.Pod) {
			none(p)
			p.ManagedFields = []metav1.ManagedFieldsEntry{{Time: new(metav1.NewTime(at(11)))}}
		}, false},
		"a pod on its way out": {func(p *corev1.Pod) { started(at(12))(p); ending(p) }, false},
		"the newest of several counts, wherever it is": {func(p *corev1.Pod) {
			p.Status.InitContainerStatuses = over
			p.Status.EphemeralContainerStatuses = running
		}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.up(8, 10.4)
			m.applyPod(pod("web", "1", tc.edit))
			_, _, err := m.ByIP(addr, 8)
			if got := err == nil; got != tc.want {
				t.Errorf("believed: %t (%v), want %t", got, err, tc.want)
			}
		})
	}
}

func TestDuplicates(t *testing.T) {
	m := newMachine(t)
	m.up(8, 0)
	m.tell("1", 1)
	m.applyPod(pod("pod-2", "2", func(p *corev1.Pod) { p.Status.ContainerStatuses = nil }))
	m.has("another pod merely says so", 8, "1", nil)
	m.tell("3", 2, ending)
	m.has("another pod says so on its way out", 8, "1", nil)
	m.tell("4", 3)
	m.has("two pods with evidence", 8, "", ErrAmbiguous)
	m.tell("1", 4)
	m.has("newer evidence of one of them", 8, "", ErrAmbiguous)
	m.deletePod("4")
	m.has("one of them is gone", 8, "1", nil)
	m.tell("1", 4, ending)
	m.has("a pod on its way out keeps what it has", 8, "1", nil)
	m.tell("1", 4, ending, phase(corev1.PodFailed))
	m.has("it has ended", 8, "", ErrOtherLink)
}

func TestAfterABoot(t *testing.T) {
	routes := map[netip.Addr]int{addr: 3}
	v := newView(Config{Boot: at(100.7), LinkOf: func(a netip.Addr) int { return routes[a] }})
	m := &machine{t: t, View: v, routes: routes}
	v.LinkUp(3, "02:00:00:00:00:03", time.Time{})
	m.tell("1", 1)
	m.tell("2", 99, func(p *corev1.Pod) { p.Status.PodIPs[0].IP = "10.224.4.11" })
	v.setSynced()
	m.has("the API server tells what was before the boot", 3, "", ErrOtherLink)
	m.tell("2", 102)
	m.has("another pod has the address now", 3, "2", nil)
	m.tell("1", 1)
	m.has("and once more what was before", 3, "2", nil)
}

func TestALinkThatIsNotWhatItWas(t *testing.T) {
	m := newMachine(t)
	m.up(8, 0)
	m.tell("1", 1)
	m.LinkUp(8, "02:00:00:00:00:01", at(50))
	m.has("the same link told of again", 8, "1", nil)
	m.LinkUp(8, "02:00:00:00:00:fe", at(50))
	m.has("the same link with another hardware address, as udev sets it", 8, "1", nil)
	m.LinkDown(8)
	m.LinkUp(8, "02:00:00:00:00:ff", at(50))
	m.has("its index has gone to another", 8, "", ErrOtherLink)
	m.tell("1", 51)
	m.has("with evidence for that", 8, "1", nil)
	m.down(8)
	m.LinkUp(8, "02:00:00:00:00:ff", time.Time{})
	m.routes[addr] = 8
	m.tell("1", 52)
	m.has("nothing was there before the agent once it is at work", 8, "", ErrOtherLink)
}

func TestALinkThatTwoPodsClaim(t *testing.T) {
	other := netip.MustParseAddr("10.224.4.11")
	says := func(p *corev1.Pod) { p.Status.PodIPs[0].IP = other.String() }
	tests := map[string]struct {
		hardware string
		want     string
		wantErr  error
	}{
		"a pair of which one pod has the other end": {"02:00:00:00:00:01", "", ErrAmbiguous},
		"a bridge": {"", "1", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.LinkUp(8, tc.hardware, at(0))
			m.routes[addr], m.routes[other] = 8, 8
			m.tell("1", 1)
			m.has("one pod", 8, "1", nil)
			m.tell("2", 1, says)
			m.has("two pods", 8, tc.want, tc.wantErr)
			m.deletePod("2")
			m.has("one pod again", 8, "1", nil)
		})
	}
}

func TestAPodOnItsWayOutHasNoAddressThatIsShared(t *testing.T) {
	m := newMachine(t)
	m.LinkUp(8, "", at(0))
	m.routes[addr] = 8
	m.tell("1", 1)
	m.tell("1", 1, ending)
	m.has("its address may be another's already", 8, "", ErrUnknown)
}

func TestARouteThatComesLate(t *testing.T) {
	m := newMachine(t)
	m.up(8, 0)
	m.routes[addr] = 0
	m.tell("1", 1)
	m.has("no route yet", 8, "", ErrOtherLink)
	m.routes[addr] = 8
	m.RoutesChanged()
	m.has("the route is there", 8, "1", nil)
}
