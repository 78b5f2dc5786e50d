package netns_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/churn/model"
	"github.com/podid-io/podid/test/localcluster"
)

const (
	group    = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/podid-demo/providers/"
	scaleSet = group + "Microsoft.Compute/virtualMachineScaleSets/aks-pool-12345678-vmss"
	tokenURL = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + vault
	vault    = "https://vault.azure.net"

	// late is how late the agent may hear of what was written.
	late = 5 * time.Second
	// served is how soon a pod that is reported is served.
	served = 15 * time.Second
)

// world is a node whose pods churn.
type world struct {
	*demo.World
	t    *testing.T
	r    *rand.Rand
	node *localcluster.Node

	objects *model.Objects // identities and bindings, which stay
	pods    map[string]*pod
	made    int
	agents  int
	runDir  string
	story   []string

	steps, tokens, refused, silent, reboots, restarts int
}

// pod is a pod, and what it has been entitled to of late.
type pod struct {
	*localcluster.Pod
	sandbox *model.Sandbox
	labels  []label // the last is the present one
	kept    *http.Client
}

type label struct {
	value string
	since time.Time
}

// labels are what pods are labelled with: each is bound to an identity.
var labels = []string{"one", "two", "three", "four"}

func clientOf(label string) string {
	return fmt.Sprintf("cccccccc-0000-0000-0000-%012d", slices.Index(labels, label)+1)
}

func resourceOf(label string) string {
	return group + "Microsoft.ManagedIdentity/userAssignedIdentities/" + label
}

// newWorld starts a cluster with an agent that serves identities which are on
// the node already.
func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	localcluster.Require(t)
	d, err := demo.Start(t.Context(), demo.Config{
		Dir: t.TempDir(), Bin: programs(t), NoMIC: true, Out: t.Output(),
		AgentFlags: []string{"--operation-mode=managed", "--hold=300ms", "--run-dir="},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Stop)
	w := &world{
		World: d, t: t, r: rand.New(rand.NewPCG(seed, 1)), node: d.Cluster.Nodes()[0],
		objects: model.NewObjects(), pods: map[string]*pod{}, runDir: t.TempDir(),
	}
	var state azemu.State
	set := azemu.ScaleSet{ID: scaleSet, Identity: &azemu.Assigned{}}
	for _, l := range labels {
		state.Identities = append(state.Identities, azemu.Identity{ID: resourceOf(l), ClientID: clientOf(l)})
		set.Identity.UserAssigned = append(set.Identity.UserAssigned, resourceOf(l))
		meta := metav1.ObjectMeta{Namespace: "default", Name: l}
		w.must(d.Client.Create(t.Context(), &v1.AzureIdentity{ObjectMeta: meta, Spec: v1.AzureIdentitySpec{ResourceID: resourceOf(l), ClientID: clientOf(l)}}))
		w.must(d.Client.Create(t.Context(), &v1.AzureIdentityBinding{ObjectMeta: meta, Spec: v1.AzureIdentityBindingSpec{AzureIdentity: l, Selector: l}}))
		key := model.Key{Namespace: "default", Name: l}
		w.objects.Identities[key] = model.Identity{Key: key, ClientID: clientOf(l)}
		w.objects.Bindings[key] = model.Binding{Key: key, Identity: l, Selector: l}
	}
	state.ScaleSets = []azemu.ScaleSet{set}
	w.must(d.Azure.MergeState(t.Context(), state))
	d.Agent(w.node).Stop()
	w.startAgent()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("step %d: %v\nthe last that happened:\n%s", w.steps, err, strings.Join(w.story[max(0, len(w.story)-40):], "\n"))
	}
}

func (w *world) say(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%5d %s ", w.steps, time.Now().Format("15:04:05.000"))+fmt.Sprintf(format, args...))
}

// startAgent starts the node's agent, with what the one before wrote down.
func (w *world) startAgent() {
	w.t.Helper()
	w.agents++
	a, err := w.StartAgent(w.t.Context(), w.node, fmt.Sprint("agent-", w.agents), "--run-dir="+w.runDir)
	w.must(err)
	w.must(w.AwaitAgent(w.t.Context(), a))
}

// anyPod is one of the pods.
func (w *world) anyPod() *pod {
	names := slices.Sorted(maps.Keys(w.pods))
	if len(names) == 0 {
		return nil
	}
	return w.pods[names[w.r.IntN(len(names))]]
}

// moved notes that a pod has a network, maybe another one.
func (w *world) moved(p *pod, now *localcluster.Pod) {
	if p.sandbox != nil {
		p.sandbox.Gone = true
	}
	p.Pod = now
	p.sandbox = &model.Sandbox{Pod: model.Key{Namespace: now.Namespace, Name: now.Name}, UID: string(now.UID), Addr: now.Addr, Born: time.Now()}
	p.kept = &http.Client{Transport: &http.Transport{DialContext: now.DialContext}}
	w.say("%s is at %s by %s", now.Name, now.Addr, now.Interface)
}

// right is what a request of the pod may be answered with, by what has been so
// within the last seconds.
func (w *world) right(p *pod, forged bool) *model.Call {
	now := time.Now()
	call := &model.Call{Ask: model.Ask{Resource: vault}, From: p.sandbox, Forged: forged, Sent: now}
	call.See(&model.Node{}, w.objects, now) // the agent may not know the pod yet
	for i, l := range p.labels {
		if i+1 < len(p.labels) && p.labels[i+1].since.Add(late).Before(now) {
			continue
		}
		told := *w.objects
		told.Pods = map[model.Key]model.Pod{p.sandbox.Pod: {Key: p.sandbox.Pod, UID: p.sandbox.UID, HasSelector: true, Selector: l.value}}
		call.SeeAll(&told)
	}
	return call
}

// ask asks for a token and holds the answer against what is right; the status is
// 0 for no answer.
func (w *world) ask(p *pod, c *http.Client, limit time.Duration, forged bool) int {
	w.t.Helper()
	call := w.right(p, forged)
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	status, client, err := token(ctx, c)
	if err != nil {
		w.silent++
		return 0
	}
	w.say("%s asks and is answered %d %s", p.Name, status, client)
	switch status {
	case http.StatusOK:
		w.tokens++
	default:
		w.refused++
	}
	reply := model.Reply{Status: status, Token: model.Token{ClientID: client, Resource: vault}, Owner: p.sandbox.UID}
	if wrong := call.Judge(reply); wrong != nil {
		w.must(wrong)
	}
	return status
}

// token asks for a token, and returns whose it is.
func token(ctx context.Context, c *http.Client) (status int, client string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, tokenURL, nil)
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Metadata", "true")
	response, err := c.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }() // only read from
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return response.StatusCode, "", err
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	var bearer struct {
		ClientID string `json:"appid"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, "", err
	}
	parts := strings.Split(answer.Token+"..", ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0, "", err
	}
	err = json.Unmarshal(payload, &bearer)
	return response.StatusCode, bearer.ClientID, err
}

// once is a client whose connections are for one request each.
func once(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}
