package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/examples"
	"github.com/podid-io/podid/internal/azemu"
)

// Names of the moments of the timeline.
const (
	podBound       = "pod vault-app bound to a node"
	podRunning     = "pod vault-app runs"
	assignCreated  = "AzureAssignedIdentity created"
	patchSent      = "PATCH of the scale set sent"
	patchDone      = "PATCH done: the identity is on the nodes"
	assigned       = "AzureAssignedIdentity says Assigned"
	firstAsked     = "first token asked for (azidentity)"
	firstAnswered  = "first token answered"
	secondAsked    = "second token asked for"
	secondAnswered = "second token answered, from nmi's cache"
)

const (
	vaultResource = "https://vault.azure.net"
	storage       = "https://storage.azure.com/"
)

// answer is what a client in a pod got.
type answer struct {
	token string
	raw   string // what it printed
	took  time.Duration
	err   error
}

// quickstart applies examples/quickstart and checks every claim of the demo.
func (w *World) quickstart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	if err := w.Azure.ResetCounters(ctx); err != nil {
		return err
	}
	line := &timeline{story: w.story}
	watching, err := w.watch(ctx, line)
	if err != nil {
		return err
	}
	defer watching()
	w.story.say("applying examples/quickstart")
	if err := w.applyFS(ctx, examples.Files, "quickstart"); err != nil {
		return err
	}
	keys, err := w.keys(ctx)
	if err != nil {
		return err
	}
	vault, err := w.askAll(ctx, line, keys)
	if err != nil {
		return err
	}
	w.firstTry(ctx)
	if err := w.secondToken(ctx, line, vault); err != nil {
		return err
	}
	if err := w.deprecation(ctx); err != nil {
		return err
	}
	return w.tell(ctx, line)
}

// askAll has every pod ask the moment it runs, and checks what each gets.
func (w *World) askAll(ctx context.Context, line *timeline, keys jose.JSONWebKeySet) (vault answer, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		vault, err = w.askAzidentity(gctx, line)
		w.verify("azidentity in pod default/vault-app", vault, keys, vaultResource, "vault-reader", vaultClient)
		return err
	})
	g.Go(func() error {
		blob, err := w.askCurl(gctx, "default", "blob-app", storage)
		w.verify("curl in pod default/blob-app", blob, keys, storage, "blob-reader", blobClient)
		return err
	})
	g.Go(func() error {
		a, err := w.askCurl(gctx, "default", "unlabelled", vaultResource)
		w.refused("pod default/unlabelled, without the label,", a)
		return err
	})
	g.Go(func() error {
		a, err := w.askCurl(gctx, "other-team", "copycat", vaultResource)
		w.refused("pod other-team/copycat, with a copied label,", a)
		return err
	})
	err = g.Wait()
	return vault, err
}

// firstTry claims, by the audit logs of both nodes, that each token was the
// answer to the first request: SDKs try again where curl does not.
func (w *World) firstTry(ctx context.Context) {
	asked := map[string]int{}
	err := await(ctx, "the audit log", func() error {
		clear(asked)
		for _, n := range w.Cluster.Nodes() {
			b, err := os.ReadFile(w.path("audit-" + n.Name + ".jsonl"))
			if err != nil {
				return err
			}
			for text := range strings.Lines(string(b)) {
				var l struct {
					Pod string `json:"pod"`
				}
				if err := json.Unmarshal([]byte(text), &l); err != nil {
					return err
				}
				asked[l.Pod]++
			}
		}
		if asked["vault-app"] == 0 || asked["blob-app"] == 0 {
			return errors.New("not everything is written yet")
		}
		return nil
	})
	w.story.claim(err == nil && asked["vault-app"] == 1 && asked["blob-app"] == 1,
		"each token came at the first try: nmi's audit log has %d request of vault-app and %d of blob-app", asked["vault-app"], asked["blob-app"])
}

// askAzidentity runs the unmodified SDK in pod vault-app the moment it runs.
func (w *World) askAzidentity(ctx context.Context, line *timeline) (answer, error) {
	pod, err := w.Cluster.Pod(ctx, "default", "vault-app")
	if err != nil {
		return answer{}, err
	}
	line.mark(time.Now(), podRunning)
	bin, err := w.binary("azidentity")
	if err != nil {
		return answer{}, err
	}
	cmd := pod.Command(ctx, bin, "-resource", vaultResource, "-client-id", vaultClient)
	start := time.Now()
	line.mark(start, firstAsked)
	out, err := cmd.CombinedOutput()
	line.mark(time.Now(), firstAnswered)
	return read(out, err, start), nil
}

// askCurl runs curl in a pod the moment it runs.
func (w *World) askCurl(ctx context.Context, namespace, name, resource string) (answer, error) {
	pod, err := w.Cluster.Pod(ctx, namespace, name)
	if err != nil {
		return answer{}, err
	}
	path, err := exec.LookPath("curl")
	if err != nil {
		return answer{}, fmt.Errorf("curl is not installed: %w", err)
	}
	start := time.Now()
	out, err := pod.Command(ctx, path, "--silent", "--show-error", "--max-time", "90", "--noproxy", "*", "--header", "Metadata: true",
		"http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource="+resource).CombinedOutput()
	return read(out, err, start), nil
}

// read makes an answer of what a client printed.
func read(out []byte, err error, start time.Time) answer {
	a := answer{raw: strings.TrimSpace(string(out)), took: time.Since(start), err: err}
	var body struct {
		Token string `json:"access_token"`
	}
	if json.Unmarshal(out, &body) == nil {
		a.token = body.Token
	}
	return a
}

// notHeld is shorter than nmi holds a request for, and longer than curl takes to
// start on a busy machine.
const notHeld = 20 * time.Second

// refused claims that a client was refused in the words of IMDS, and not held.
func (w *World) refused(who string, a answer) {
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	err := json.Unmarshal([]byte(a.raw), &body)
	held := err == nil && a.err == nil && body.Error != "" && body.Description != "" && a.token == "" && a.took < notHeld
	said := body.Description
	if !held {
		said = fmt.Sprintf("%s (%v)", withoutToken(a), a.err)
	}
	w.story.claim(held, "%s is refused in %d ms: %s", who, a.took.Milliseconds(), said)
}

// withoutToken is what a client printed, unless it is a token.
func withoutToken(a answer) string {
	if a.token != "" {
		return "it got a token"
	}
	return a.raw
}

// secondToken claims that the same pod gets the same token again, from memory.
func (w *World) secondToken(ctx context.Context, line *timeline, first answer) error {
	before, err := w.Azure.Counters(ctx)
	if err != nil {
		return err
	}
	line.mark(time.Now(), secondAsked)
	again, err := w.askCurl(ctx, "default", "vault-app", vaultResource)
	if err != nil {
		return err
	}
	line.mark(time.Now(), secondAnswered)
	after, err := w.Azure.Counters(ctx)
	if err != nil {
		return err
	}
	calls := after[azemu.EndpointIMDSToken].Calls - before[azemu.EndpointIMDSToken].Calls
	w.story.claim(again.token != "" && again.token == first.token && calls == 0,
		"the second token comes from nmi's cache in %d ms, curl's start included; calls to IMDS: %d", again.took.Milliseconds(), calls)
	return nil
}

// deprecation claims that the old spelling is taken and that its objects say so.
func (w *World) deprecation(ctx context.Context) error {
	var message string
	err := await(ctx, "the condition on AzureIdentity blob-reader", func() error {
		var id v1.AzureIdentity
		if err := w.Client.Get(ctx, types.NamespacedName{Namespace: "default", Name: "blob-reader"}, &id); err != nil {
			return err
		}
		c := meta.FindStatusCondition(id.Status.Conditions, v1.ConditionDeprecatedSpelling)
		if c == nil || c.Status != "True" {
			return fmt.Errorf("no condition %s", v1.ConditionDeprecatedSpelling)
		}
		message = c.Message
		return nil
	})
	w.story.claim(err == nil, "AzureIdentity blob-reader, in the old spelling, works and warns: %s", message)
	return nil
}

// tell prints the timeline and what it cost, and claims what they show.
func (w *World) tell(ctx context.Context, line *timeline) error {
	if err := w.markPatches(ctx, line); err != nil {
		return err
	}
	asked, done, answered := line.at(firstAsked), line.at(patchDone), line.at(firstAnswered)
	w.story.claim(!done.IsZero() && asked.Before(done) && done.Before(answered),
		"the first token was asked for %d ms before the identity was on the node, and answered %d ms after",
		done.Sub(asked).Milliseconds(), answered.Sub(done).Milliseconds())
	counters, err := w.Azure.Counters(ctx)
	if err != nil {
		return err
	}
	w.story.say("what happened:")
	line.tell()
	w.story.say("what it cost: %d PATCH of the scale set, %d token calls to IMDS (2 pods, 2 tokens; the rest is mic's own and asking while the identity is on its way)",
		counters[azemu.EndpointVMSSPatch].Calls, counters[azemu.EndpointIMDSToken].Calls)
	return nil
}

// markPatches notes what Azure's log tells.
func (w *World) markPatches(ctx context.Context, line *timeline) error {
	events, err := w.Azure.Events(ctx)
	if err != nil {
		return err
	}
	for _, e := range events {
		switch e.Endpoint {
		case azemu.EndpointVMSSPatch:
			line.mark(e.Time, patchSent)
		case azemu.EndpointOperationEnd:
			line.mark(e.Time, patchDone)
		}
	}
	return nil
}

// watch notes what happens to pod vault-app, its AzureAssignedIdentity and the
// scale set.
func (w *World) watch(ctx context.Context, line *timeline) (stop func(), err error) {
	pods, err := w.Client.Watch(ctx, &corev1.PodList{}, client.InNamespace("default"))
	if err != nil {
		return nil, err
	}
	aais, err := w.Client.Watch(ctx, &v1.AzureAssignedIdentityList{}, client.InNamespace("default"))
	if err != nil {
		pods.Stop()
		return nil, err
	}
	var g sync.WaitGroup
	g.Go(func() { // ends when its watch is stopped
		for e := range pods.ResultChan() {
			if p, ok := e.Object.(*corev1.Pod); ok && p.Name == "vault-app" && p.Spec.NodeName != "" {
				line.mark(time.Now(), podBound)
			}
		}
	})
	g.Go(func() { // ends when its watch is stopped
		for e := range aais.ResultChan() {
			a, ok := e.Object.(*v1.AzureAssignedIdentity)
			if !ok || a.Spec.Pod != "vault-app" {
				continue
			}
			line.mark(time.Now(), assignCreated)
			if a.Status.Status == v1.Assigned {
				line.mark(time.Now(), assigned)
			}
		}
	})
	ctx, cancel := context.WithCancel(ctx)
	g.Go(func() { // ends with ctx: azemu has no watch
		for tick := time.Tick(50 * time.Millisecond); ctx.Err() == nil; <-tick {
			_ = w.markPatches(ctx, line) // the last one, in tell, counts
		}
	})
	return func() { cancel(); pods.Stop(); aais.Stop(); g.Wait() }, nil
}
