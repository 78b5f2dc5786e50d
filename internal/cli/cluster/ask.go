package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"

	"github.com/podid-io/podid/internal/explain"
)

// askTimeout is how long an agent may take to answer, its token included.
const askTimeout = 40 * time.Second

// longestAnswer bounds what is taken of an agent's answer, in bytes.
const longestAnswer = 1 << 20

// Asker runs a command in a container of a pod, and returns what it has written to
// standard output. The error has what it wrote to standard error.
type Asker func(ctx context.Context, config *rest.Config, pod *corev1.Pod, container string, argv []string) (string, error)

// Question is what an agent is asked about a pod. Resource is what a token is to be
// got for; empty for none. The rest is as a pod asks for one of its identities.
type Question struct {
	Namespace, Pod                 string
	Resource                       string
	ClientID, ObjectID, ResourceID string
}

// AddFlags adds the flags that say for which of its identities a pod asks.
func (q *Question) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&q.ClientID, "client-id", "", "ask for the identity with this client id, as the pod's client does")
	f.StringVar(&q.ObjectID, "object-id", "", "ask for the identity with this object id")
	f.StringVar(&q.ResourceID, "resource-id", "", "ask for the identity with this ARM id")
}

// Check refuses a question for several identities.
func (q *Question) Check() error {
	named := 0
	for _, v := range []string{q.ClientID, q.ObjectID, q.ResourceID} {
		if v != "" {
			named++
		}
	}
	if named > 1 {
		return errors.New("write one of --client-id, --object-id and --resource-id: a request names one identity")
	}
	return nil
}

// Explain asks the nmi that runs in a pod, which is one of Components.
func (c *Cluster) Explain(ctx context.Context, agent *corev1.Pod, q Question) (*explain.Answer, error) {
	container, probe := nmiOf(agent)
	if container == nil {
		return nil, fmt.Errorf("pod %s/%s has no container", agent.Namespace, agent.Name)
	}
	argv := []string{"nmi", "explain", q.Namespace + "/" + q.Pod}
	if len(probe) > 0 { // it says by which name the program goes, and where it is asked
		argv[0] = probe[0]
		argv = append(argv, slices.DeleteFunc(slices.Clone(probe[1:]), func(a string) bool { return !strings.HasPrefix(a, "--health-listen=") })...)
	}
	for _, f := range []struct{ name, value string }{
		{"--resource=", q.Resource}, {"--client-id=", q.ClientID}, {"--object-id=", q.ObjectID}, {"--resource-id=", q.ResourceID},
	} {
		if f.value != "" {
			argv = append(argv, f.name+f.value)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out, err := c.Ask(ctx, c.REST, agent, container.Name, argv)
	if err != nil {
		return nil, fmt.Errorf("ask nmi in pod %s/%s: %w", agent.Namespace, agent.Name, err)
	}
	var a explain.Answer
	if err := json.Unmarshal([]byte(out), &a); err != nil {
		return nil, fmt.Errorf("nmi in pod %s/%s answers in other words than this podid knows: are they of one version? %w", agent.Namespace, agent.Name, err)
	}
	return &a, nil
}

// nmiOf is nmi's container, and the command of its readiness probe.
func nmiOf(pod *corev1.Pod) (*corev1.Container, []string) {
	c := partOf(pod, Agent)
	if c == nil || c.ReadinessProbe == nil || c.ReadinessProbe.Exec == nil || !slices.Contains(c.ReadinessProbe.Exec.Command, "ready") {
		return c, nil
	}
	return c, c.ReadinessProbe.Exec.Command
}

// partOf is the container of a part of podid's in its pod: the one whose readiness
// the part itself tells, or that has its name, or the first; nil for none.
func partOf(pod *corev1.Pod, part string) *corev1.Container {
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if p := c.ReadinessProbe; p != nil && p.Exec != nil && slices.Contains(p.Exec.Command, "ready") {
			return c
		}
	}
	if i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == part }); i >= 0 {
		return &pod.Spec.Containers[i]
	}
	if len(pod.Spec.Containers) > 0 {
		return &pod.Spec.Containers[0]
	}
	return nil
}

// Exec is the Asker of a cluster: it goes by the API server and the kubelet, as
// kubectl exec does, and takes the same right.
func Exec(ctx context.Context, config *rest.Config, pod *corev1.Pod, container string, argv []string) (string, error) {
	patient := rest.CopyConfig(config)
	patient.Timeout = 0 // the context's deadline counts
	set, err := kubernetes.NewForConfig(patient)
	if err != nil {
		return "", err
	}
	u := set.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: argv, Stdout: true, Stderr: true}, clientgoscheme.ParameterCodec).URL()
	byWebSocket, err := remotecommand.NewWebSocketExecutor(patient, "GET", u.String())
	if err != nil {
		return "", err
	}
	bySPDY, err := remotecommand.NewSPDYExecutor(patient, "POST", u)
	if err != nil {
		return "", err
	}
	e, err := remotecommand.NewFallbackExecutor(byWebSocket, bySPDY, func(err error) bool {
		return ctx.Err() == nil && (httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err))
	})
	if err != nil {
		return "", err
	}
	out, complaint := &bounded{}, &bounded{}
	if err := e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: out, Stderr: complaint}); err != nil {
		if said := strings.TrimSpace(complaint.String()); said != "" {
			return "", errors.New(said)
		}
		return "", err
	}
	return out.String(), nil
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := longestAnswer - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}
