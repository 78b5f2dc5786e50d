package mic_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	v1 "github.com/podid-io/podid/api/v1"
	"github.com/podid-io/podid/internal/azemu"
	"github.com/podid-io/podid/internal/mic"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for name, test := range map[string]struct {
		config mic.Config
		want   string
	}{
		"no API server":    {mic.Config{}, "no API server is given"},
		"no Azure":         {mic.Config{REST: &rest.Config{}, Namespace: "x"}, "no client for Azure is given"},
		"no own namespace": {mic.Config{REST: &rest.Config{}, Machines: nowhere{}}, "mic's own namespace is missing: write --namespace, or set POD_NAMESPACE"},
		"a lease that ends before it can be renewed": {
			mic.Config{REST: &rest.Config{}, Machines: nowhere{}, Namespace: "x", Election: mic.Election{LeaseDuration: time.Second, RenewDeadline: time.Second}},
			"the lease's renew deadline (1s) must be shorter than its duration (1s)",
		},
		"a lease that would be written down as another": {
			mic.Config{REST: &rest.Config{}, Machines: nowhere{}, Namespace: "x", Election: mic.Election{LeaseDuration: 1500 * time.Millisecond}},
			"the lease's duration (1.5s) must be whole seconds",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := mic.New(test.config)
			if err == nil || err.Error() != test.want {
				t.Errorf("New() error = %v, want %s", err, test.want)
			}
		})
	}
}

// readiness asks /readyz until the answer holds want. Health has no watch.
func readiness(t *testing.T, address, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	got := ""
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
		must(t, err)
		if answer, err := c.Do(req); err == nil {
			body, _ := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if got = string(body); strings.Contains(got, want) {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("/readyz never said %q; it says:\n%s", want, got)
		case <-tick.C:
		}
	}
}

// anyPort has mic serve at a port that is free; see serving.
const anyPort = "127.0.0.1:0"

// serving is to be called before a mic runs. What it returns waits until that mic
// serves health or metrics, and says where.
func (w *world) serving(what string) (await func() string) {
	w.t.Helper()
	told := func() [][]string {
		return regexp.MustCompile(`msg=serving what=`+what+` address=(\S+)`).FindAllStringSubmatch(w.logged.String(), -1)
	}
	before := len(told())
	return func() string {
		w.t.Helper()
		awaitLog(w.t, w, "msg=serving what="+what, before+1)
		return told()[before][1]
	}
}

func TestReadinessSaysWhatIsMissing(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	for name, test := range map[string]struct {
		change func(*mic.Config)
		want   string
	}{
		"the API server cannot be reached": {
			func(c *mic.Config) { c.REST = &rest.Config{Host: "https://127.0.0.1:1"} },
			"connection refused",
		},
		"a right is missing": {
			func(c *mic.Config) {
				c.REST = plane.REST()
				c.REST.Impersonate.UserName = "nobody"
				c.REST.Impersonate.Groups = []string{"system:authenticated"}
			},
			`cannot list resource`,
		},
		"nothing": {func(*mic.Config) {}, "[+] api-server"},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.config()
			test.change(&c)
			c.HealthListen = anyPort
			health := w.serving("health")
			m, err := mic.New(c)
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- m.Run(ctx) }() // ends with cancel
			readiness(t, health(), test.want)
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run() = %v", err)
			}
		})
	}
}

// brokenOnce is a way to the API server that breaks at the first request for path.
type brokenOnce struct {
	http.RoundTripper

	path   string
	broken *atomic.Bool
}

func (b brokenOnce) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == b.path && b.broken.CompareAndSwap(false, true) {
		return nil, errors.New("the connection broke")
	}
	return b.RoundTripper.RoundTrip(r)
}

func TestAConnectionThatBreaksAtTheStartEndsNobody(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	var broken atomic.Bool
	w.edit = func(c *mic.Config) {
		c.REST.Wrap(func(next http.RoundTripper) http.RoundTripper { return brokenOnce{next, "/api", &broken} })
	}
	w.run()
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	w.awaitStates(map[string]v1.AssignedState{"web-" + w.ns + "-reader": v1.Assigned})
	if !broken.Load() {
		t.Error("nothing broke: the check above proves nothing")
	}
}

func TestAnAzureThatRefusesTurnsReadinessRed(t *testing.T) {
	w := newWorld(t, azemu.Config{Seed: seed([]string{"pool"}, []string{"reader", "writer"})})
	w.apply("", node("node-0", setID("pool")+"/virtualMachines/0"))
	must(t, w.azure.SetFault(azemu.EndpointVMSSGet, azemu.Fault{Status: 403, Code: "AuthorizationFailed", Message: "The client has no authorization."}))
	c := w.config()
	c.HealthListen = anyPort
	serving := w.serving("health")
	m, err := mic.New(c)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }() // ends with cancel
	w.apply(w.ns, append(identity("reader"), pod("web", "node-0", "reader"))...)
	health := serving()
	readiness(t, health, "role Virtual Machine Contributor on resource group mc_group")
	w.azure.ClearFault(azemu.EndpointVMSSGet)
	readiness(t, health, "[+] azure")

	// It turns green again too when nobody needs anything of Azure any more.
	must(t, w.azure.SetFault(azemu.EndpointVMSSGet, azemu.Fault{Status: 403, Code: "AuthorizationFailed"}))
	p := pod("more", "node-0", "writer")
	w.apply(w.ns, append(identity("writer"), p)...)
	readiness(t, health, "[-] azure")
	w.delete(p)
	readiness(t, health, "[+] azure")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run() = %v", err)
	}
}
