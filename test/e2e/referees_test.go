package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/test/localcluster"
)

// referee is a client as teams use it, unmodified.
type referee struct {
	name string
	argv []string
	env  []string
}

// clients are the referees, which ask for a client id unless it is empty.
func clients(t *testing.T, suffix, clientID string) []referee {
	t.Helper()
	var paths [2]string
	for i, program := range []string{"node", "curl"} {
		var err error
		if paths[i], err = exec.LookPath(program); err != nil {
			t.Fatal(err)
		}
	}
	js, err := filepath.Abs("../../examples/clients/js/token.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(js), "node_modules")); err != nil {
		t.Fatalf("run `npm ci` in %s: %v", filepath.Dir(js), err)
	}
	goSDK, nodeSDK := []string{filepath.Join(bin(t), "azidentity")}, []string{paths[0], js}
	var more, env []string
	query := ""
	if clientID != "" {
		more, query, env = []string{"--client-id", clientID}, "&client_id="+clientID, []string{"AZURE_CLIENT_ID=" + clientID}
	}
	with := func(argv []string, args ...string) []string { return append(append([]string{}, argv...), args...) }
	return []referee{
		{"go-managed" + suffix, with(goSDK, more...), nil},
		{"go-default" + suffix, with(goSDK, "-default"), env},
		{"js-managed" + suffix, with(nodeSDK, more...), nil},
		{"js-default" + suffix, with(nodeSDK, with(more, "--default")...), nil},
		{"curl" + suffix, []string{paths[1], "--silent", "--show-error", "--fail-with-body", "--noproxy", "*", "--header", "Metadata: true", tokenURL + query}, nil},
	}
}

// verdict is what a referee's run came to.
type verdict struct {
	out  string
	err  error
	took time.Duration
}

// judge runs a referee in a pod.
func (r referee) judge(t *testing.T, p *localcluster.Pod) verdict {
	t.Helper()
	start := time.Now()
	cmd := p.Command(t.Context(), r.argv[0], r.argv[1:]...)
	for _, v := range append(os.Environ(), "HOME="+t.TempDir()) {
		if !strings.HasPrefix(v, "AZURE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, r.env...)
	out, err := cmd.CombinedOutput()
	return verdict{string(out), err, time.Since(start)}
}

// judgeAll runs the referees at once, each in its pod.
func judgeAll(t *testing.T, all []referee, pods map[string]*localcluster.Pod) map[string]verdict {
	t.Helper()
	var mu sync.Mutex
	var g sync.WaitGroup
	verdicts := map[string]verdict{}
	for _, r := range all {
		g.Go(func() { // ends with its program
			v := r.judge(t, pods[r.name])
			mu.Lock()
			defer mu.Unlock()
			verdicts[r.name] = v
		})
	}
	g.Wait()
	return verdicts
}

// referees have each client ask while its identity is on its way, when it is
// there, and for what it is not entitled to.
func referees(t *testing.T, w *demo.World) {
	t.Helper()
	const client = "cccccccc-0000-0000-0000-000000000001"
	all := append(clients(t, "", ""), clients(t, "-by-id", client)...)
	merge(t, w, azemu.State{Identities: []azemu.Identity{{ID: identityID("podid-demo", "late"), ClientID: client}}})
	bind(t, w, "late", client)
	pods, strangers := map[string]*localcluster.Pod{}, map[string]*localcluster.Pod{}
	for _, r := range all {
		strangers[r.name] = run(t, w, newPod(w, "default", "stranger-"+r.name, nil))
	}
	// Azure is busy this time: no identity arrives before everybody has asked.
	if err := w.Azure.SetFault(t.Context(), azemu.EndpointVMSSPatch, azemu.Fault{Status: http.StatusConflict, Code: "AnotherOperationInProgress"}); err != nil {
		t.Fatal(err)
	}
	free := func() {
		t.Helper()
		if err := w.Azure.ClearFault(context.WithoutCancel(t.Context()), azemu.EndpointVMSSPatch); err != nil { // the test may have ended
			t.Error(err)
		}
	}
	t.Cleanup(free) // whatever comes: those that follow need Azure
	for _, r := range all {
		pods[r.name] = run(t, w, newPod(w, "default", r.name, map[string]string{v1.LabelBinding: "late"}))
	}
	made := time.Now()
	node := w.Cluster.Nodes()[0]
	t.Run("while the identity is on its way", func(t *testing.T) {
		var verdicts map[string]verdict
		var g sync.WaitGroup
		defer g.Wait()                                     // nobody asks any more when this part ends
		defer free()                                       // what they wait for comes then
		g.Go(func() { verdicts = judgeAll(t, all, pods) }) // ends with the programs
		awaitHeld(t, node, len(all))
		free()
		g.Wait()
		wantTokens(t, verdicts, client)
		wantRequests(t, w.Agent(node), "", all, 1)
		if at, asked := arrived(t, w), firstAsked(t, w.Agent(node), all); at.Before(asked) {
			t.Errorf("the identity arrived at %s, before the last client asked at %s: nothing was shown", at, asked)
		}
	})
	t.Run("when the identity is there", func(t *testing.T) {
		wantTokens(t, judgeAll(t, all, pods), client)
		wantRequests(t, w.Agent(node), "", all, 2)
	})
	t.Run("without the label", func(t *testing.T) {
		wantRefusals(t, all, judgeAll(t, all, strangers), "has no label")
		wantRequests(t, w.Agent(node), "stranger-", all, 1)
	})
	t.Run("for another identity than the pod's", func(t *testing.T) {
		<-time.After(time.Until(made.Add(identity.GraceForMore))) // who is younger is told to ask again
		foreign := clients(t, "-by-id", micClient)
		wantRefusals(t, foreign, judgeAll(t, foreign, pods), "not bound to the identity")
		wantRequests(t, w.Agent(node), "", foreign, 3)
	})
}

// awaitHeld waits until the agent of a node holds so many requests. mic asks Azure
// again within 18 s of when it is busy no more, and nmi holds a request for 50 s.
func awaitHeld(t *testing.T, node *localcluster.Node, want int) {
	t.Helper()
	eventually(t, time.Minute, func() error {
		_, metrics, err := fetch(t.Context(), node.DialContext, "http://127.0.0.1:9090/metrics")
		if err == nil && !strings.Contains(metrics, fmt.Sprintf("\npodid_held_requests %d\n", want)) {
			err = fmt.Errorf("nmi does not hold %d requests: %s", want, regexp.MustCompile("(?m)^podid_held_requests.*").FindString(metrics))
		}
		return err
	})
}

func wantTokens(t *testing.T, verdicts map[string]verdict, client string) {
	t.Helper()
	for name, v := range verdicts {
		if whose, err := read(v.out); v.err != nil || err != nil || whose.ClientID != client {
			t.Errorf("%s: a token of %q (%v, %v) after %s\n%s", name, whose.ClientID, v.err, err, v.took, withoutToken(v.out))
		}
	}
}

// wantRefusals checks that each client was refused. A refusal is final: that none
// asks again, as the SDKs do after a 404 or a 429, wantRequests sees.
func wantRefusals(t *testing.T, all []referee, verdicts map[string]verdict, says string) {
	t.Helper()
	for _, r := range all {
		v := verdicts[r.name]
		if v.err == nil || !strings.Contains(v.out, says) {
			t.Errorf("%s: ended with %v after %s, want a refusal that says %q\n%s", r.name, v.err, v.took, says, withoutToken(v.out))
		}
	}
}

// withoutToken is what a client printed, unless there is a token in it.
func withoutToken(out string) string {
	if strings.Contains(out, "access_token") {
		return "(a token)"
	}
	return out
}

// auditLine is one line of nmi's audit log.
type auditLine struct {
	Time    time.Time `json:"time"`
	Pod     string    `json:"pod"`
	Outcome string    `json:"outcome"`
}

// audited reads the audit log of an agent.
func audited(a *demo.Agent) (lines []auditLine, err error) {
	f, err := os.Open(a.Audit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		var l auditLine
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// wantRequests checks how many requests for tokens each client has made, by the
// audit log, which has the line before the client has its answer (--audit=sync).
func wantRequests(t *testing.T, a *demo.Agent, prefix string, all []referee, want int) {
	t.Helper()
	lines, err := audited(a)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for _, l := range lines {
		asked[l.Pod]++
	}
	for _, r := range all {
		if asked[prefix+r.name] != want {
			t.Errorf("%s has asked %d times, want %d", prefix+r.name, asked[prefix+r.name], want)
		}
	}
}

// firstAsked is when the last of the clients asked for the first time.
func firstAsked(t *testing.T, a *demo.Agent, all []referee) (last time.Time) {
	t.Helper()
	lines, err := audited(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		for _, l := range lines {
			if l.Pod == r.name {
				if l.Time.After(last) {
					last = l.Time
				}
				break
			}
		}
	}
	return last
}

// arrived is when an identity last reached the nodes.
func arrived(t *testing.T, w *demo.World) (at time.Time) {
	t.Helper()
	events, err := w.Azure.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Endpoint == azemu.EndpointOperationEnd {
			at = e.Time
		}
	}
	return at
}
