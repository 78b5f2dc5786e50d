package netns_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/churn/model"
	"github.com/podid-io/podid/test/localcluster"
	"github.com/podid-io/podid/test/programs"
)

const (
	namespace = "default"
	group     = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/podid-demo/providers/"
	scaleSet  = group + "Microsoft.Compute/virtualMachineScaleSets/aks-pool-12345678-vmss"
	vault     = "https://vault.azure.net"

	// late is how late the agent may hear of what was written, on a busy machine.
	late = 20 * time.Second
	// served is how soon a pod that is reported is served.
	served = 30 * time.Second
)

// nowhere is no address.
var nowhere netip.Addr

// names are those of the identities, which are on all nodes. Each is bound to the
// pods with a label of that name.
var names = []string{"one", "two", "three", "four"}

// labels are what pods are labelled with. Two of them are bound to two identities
// each: to one of them by weight first, to the others by name.
var labels = append(slices.Clone(names), "weighed", "named")

// bindings are what the labels are bound to.
var bindings = []model.Binding{
	{Key: key("one"), Identity: "one", Selector: "one"},
	{Key: key("two"), Identity: "two", Selector: "two"},
	{Key: key("three"), Identity: "three", Selector: "three"},
	{Key: key("four"), Identity: "four", Selector: "four"},
	{Key: key("weighed-a"), Identity: "one", Selector: "weighed"},
	{Key: key("weighed-b"), Identity: "two", Selector: "weighed", Weight: 5},
	{Key: key("named-a"), Identity: "four", Selector: "named"},
	{Key: key("named-b"), Identity: "three", Selector: "named"},
}

func key(name string) model.Key { return model.Key{Namespace: namespace, Name: name} }

func clientOf(name string) string {
	return fmt.Sprintf("cccccccc-0000-0000-0000-%012d", slices.Index(names, name)+1)
}

func resourceOf(name string) string {
	return group + "Microsoft.ManagedIdentity/userAssignedIdentities/" + name
}

// cluster is what all stories share: identities and bindings, which stay.
type cluster struct {
	*demo.World

	objects *model.Objects
}

// newCluster starts a cluster of three nodes that have the identities already.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	localcluster.Require(t)
	bin, dir := t.TempDir(), t.TempDir()
	if err := programs.Build(t.Context(), "../../..", bin, "./cmd/nmi", "./cmd/azemu"); err != nil {
		t.Fatal(err)
	}
	c := &cluster{objects: model.NewObjects()}
	c.objects.Managed = true
	c.World = programs.Start(t, demo.Config{
		Dir: dir, Bin: bin, NoMIC: true, Bridged: true, Out: t.Output(),
		AgentFlags: []string{"--operation-mode=managed", "--hold=300ms", "--run-dir=", "--audit=sync"},
	})
	var state azemu.State
	set := azemu.ScaleSet{ID: scaleSet, Identity: &azemu.Assigned{}}
	for _, name := range names {
		state.Identities = append(state.Identities, azemu.Identity{ID: resourceOf(name), ClientID: clientOf(name)})
		set.Identity.UserAssigned = append(set.Identity.UserAssigned, resourceOf(name))
		c.create(t, &v1.AzureIdentity{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       v1.AzureIdentitySpec{ResourceID: resourceOf(name), ClientID: clientOf(name)},
		})
		c.objects.Identities[key(name)] = model.Identity{Key: key(name), ClientID: clientOf(name), ResourceID: resourceOf(name)}
	}
	for _, b := range bindings {
		c.create(t, &v1.AzureIdentityBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: b.Namespace, Name: b.Name},
			Spec:       v1.AzureIdentityBindingSpec{AzureIdentity: b.Identity, Selector: b.Selector, Weight: b.Weight},
		})
		c.objects.Bindings[b.Key] = b
	}
	state.ScaleSets = []azemu.ScaleSet{set}
	if err := c.Azure.MergeState(t.Context(), state); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) create(t *testing.T, o client.Object) {
	t.Helper()
	if err := c.Client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// world is a node whose pods churn.
type world struct {
	*cluster
	t     *testing.T
	r     *rand.Rand
	node  *localcluster.Node
	plant *plant
	name  string // of the story; what it makes is named after it

	pods   map[string]*pod
	made   int
	agent  *demo.Agent
	agents int
	audit  audit
	runDir string
	story  []string
	wrong  error // the first thing; the story ends
	count  count
}

// count is what there was in a story.
type count struct {
	steps, tokens, refused, kept, chosen, closed int
	forged, inherited, resumed, away, silent     int
	refusedHeirs, due, late                      int
	reboots, restarts                            int
}

// pod is a pod, and what it has been entitled to of late.
type pod struct {
	*localcluster.Pod
	created time.Time
	// reported is when the present network had been reported, at the latest.
	reported time.Time
	sandbox  *model.Sandbox // Up says that the present agent has served it
	labels   []label        // the last is the present one
	kept     *conn          // nil for none
}

// label is what a pod is labelled with; until is when another had been written in
// its place, zero for the present one.
type label struct {
	value string
	until time.Time
}

// newWorld starts an agent on the node of a plant.
func newWorld(t *testing.T, c *cluster, name string, seed uint64, p *plant) *world {
	t.Helper()
	w := &world{
		cluster: c, t: t, r: rand.New(rand.NewPCG(seed, 1)), node: c.Cluster.Nodes()[p.node],
		plant: p, name: name, pods: map[string]*pod{}, runDir: t.TempDir(),
	}
	w.agent = c.Agent(w.node)
	w.agent.Stop()
	t.Cleanup(func() { w.agent.Stop() }) // before its folder goes
	w.startAgent()
	return w
}

// end removes the pods.
func (w *world) end() {
	for _, name := range slices.Sorted(maps.Keys(w.pods)) {
		w.remove(w.pods[name])
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("step %d: %v\nthe last that happened:\n%s", w.count.steps, err, w.last())
	}
}

// wrongIf notes the first thing that is wrong, but what a plant may do on the way.
func (w *world) wrongIf(err *model.LawError) {
	if err == nil || w.wrong != nil {
		return
	}
	w.say("%v", err)
	if !slices.Contains(w.plant.also, err.Law) {
		w.wrong = err
	}
}

func (w *world) say(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%5d %s ", w.count.steps, time.Now().Format("15:04:05.000"))+fmt.Sprintf(format, args...))
}

// last is the end of the story.
func (w *world) last() string {
	return strings.Join(w.story[max(0, len(w.story)-40):], "\n")
}

// startAgent starts the node's agent, with what the one before wrote down.
func (w *world) startAgent() {
	w.t.Helper()
	w.agents++
	flags := append([]string{"--run-dir=" + w.runDir}, w.plant.flags...)
	if w.plant.before != nil {
		w.must(w.plant.before(w))
	}
	var err error
	w.agent, err = w.StartAgent(w.t.Context(), w.node, fmt.Sprint(w.name, "-", w.agents), flags...)
	w.must(err)
	w.audit = audit{file: w.agent.Audit}
	w.must(w.AwaitAgent(w.t.Context(), w.agent))
	for _, p := range w.pods {
		p.sandbox.Up = false
	}
	if w.plant.after != nil {
		w.must(w.plant.after(w))
	}
}

// anyPod is one of the pods.
func (w *world) anyPod() *pod {
	all := slices.Sorted(maps.Keys(w.pods))
	return w.pods[all[w.r.IntN(len(all))]]
}

// object is the pod of a name, to be changed or removed.
func object(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// remove has a pod go.
func (w *world) remove(p *pod) {
	w.say("%s goes", p.Name)
	w.must(client.IgnoreNotFound(w.Client.Delete(w.t.Context(), object(p.Name))))
	p.sandbox.Gone = true
	delete(w.pods, p.Name)
}

// moved notes that a pod has a network, maybe another one.
func (w *world) moved(p *pod, now *localcluster.Pod) {
	if p.sandbox != nil {
		p.sandbox.Gone = true
	}
	p.Pod = now
	p.sandbox = &model.Sandbox{Pod: key(now.Name), UID: string(now.UID), Addr: now.Addr, Born: time.Now()}
	w.say("%s is at %s by %s", now.Name, now.Addr, now.Interface)
}
