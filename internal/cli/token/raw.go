package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/podid-io/podid/internal/cli/cluster"
	"github.com/podid-io/podid/internal/cli/command"
	"github.com/podid-io/podid/internal/cli/exit"
	"github.com/podid-io/podid/internal/explain"
)

// rawTimeout is how long the pod may wait for its token: nmi holds a request for
// as long as its flag --hold says, 55 seconds at most.
const rawTimeout = 75 * time.Second

// longestWords bounds what is shown of a container's own words, in bytes.
const longestWords = 500

// defaultContainer is the annotation that says which container kubectl means.
const defaultContainer = "kubectl.kubernetes.io/default-container"

// raw prints the token that the pod itself gets. No agent is asked: a container of
// the pod sends the request, with a program of its own and past every proxy, so
// that what comes is what a client there would have, and nmi's audit log tells so.
func (o *options) raw(c *cobra.Command, args []string) error {
	token, err := o.fetch(c.Context(), args)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.OutOrStdout(), token)
	return err
}

// fetch gets the token.
func (o *options) fetch(ctx context.Context, args []string) (string, error) {
	if o.Output.JSON() {
		return "", errors.New("--raw prints the token alone: leave --output out")
	}
	cl, pod, err := o.pod(ctx, args)
	if err != nil {
		return "", err
	}
	if pod.Spec.HostNetwork {
		return "", command.Fail(errRefused, fmt.Errorf("pod %s/%s is on the node's own network: nmi does not see its requests, and what it would get are the tokens of the node", pod.Namespace, pod.Name))
	}
	container, err := o.containerOf(pod)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, rawTimeout)
	defer cancel()
	for _, argv := range programs(o.ask) {
		out, err := cl.Ask(ctx, cl.REST, pod, container, argv)
		switch {
		case err == nil:
			return read(out, pod)
		case !missing(err):
			return "", command.Fail(said(err), fmt.Errorf("ask in container %s of pod %s/%s: %s; podid explain pod/%[3]s -n %[2]s says more", container, pod.Namespace, pod.Name, brief(err.Error())))
		}
	}
	return "", fmt.Errorf("container %s of pod %s/%s has no curl and no wget to ask with: name another with --container, or lend it one: kubectl debug -n %[2]s %[3]s -it --image=IMAGE-WITH-CURL, and name that container", container, pod.Namespace, pod.Name)
}

// containerOf is the container to ask in: that of --container, or the one that
// kubectl would take.
func (o *options) containerOf(pod *corev1.Pod) (string, error) {
	var names []string
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.InitContainers { // one that restarts always is there too
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.EphemeralContainers {
		names = append(names, c.Name)
	}
	want := o.container
	if want == "" {
		want = pod.Annotations[defaultContainer]
	}
	switch {
	case want == "" && len(names) > 0:
		return names[0], nil
	case slices.Contains(names, want):
		return want, nil
	}
	return "", fmt.Errorf("pod %s/%s has no container %q, but %s", pod.Namespace, pod.Name, want, strings.Join(names, ", "))
}

// programs are the commands that can ask, the better one first: curl tells what a
// refusal says, wget its status alone. Neither sends the request to a proxy, whose
// machine's token would come back: not to one of the environment, and not to one of
// a file of their own.
func programs(q cluster.Question) [][]string {
	v := url.Values{"api-version": {"2018-02-01"}, "resource": {q.Resource}}
	for name, value := range map[string]string{"client_id": q.ClientID, "object_id": q.ObjectID, "msi_res_id": q.ResourceID} {
		if value != "" {
			v.Set(name, value)
		}
	}
	u := "http://" + explain.MetadataAddress + "/metadata/identity/oauth2/token?" + v.Encode()
	return [][]string{
		{"curl", "-q", "-s", "-S", "--noproxy", "*", "-H", "Metadata: true", "-w", `\n%{http_code}`, u},
		{"wget", "-O", "-", "--proxy=off", "--header", "Metadata: true", u},
	}
}

// missing says whether a container has no such program, in the words of a runtime.
func missing(err error) bool {
	return strings.Contains(err.Error(), "executable file") && strings.Contains(err.Error(), "not found")
}

// httpStatus is a status as wget tells it: GNU's "ERROR 404: Not Found", BusyBox'
// "HTTP/1.1 404 Not Found".
var httpStatus = regexp.MustCompile(`(?:ERROR|HTTP/1\.[01]) ([0-9]{3})\b`)

// said is the status that the command ends with where a program failed: what wget
// says that was answered counts.
func said(err error) exit.Error {
	all := httpStatus.FindAllStringSubmatch(err.Error(), -1)
	if len(all) == 0 {
		return command.ErrNotFoundOut
	}
	return statusOf(all[len(all)-1][1])
}

// brief is the end of what a container says, where that is long.
func brief(words string) string {
	words = strings.Join(strings.Fields(words), " ")
	if len(words) <= longestWords {
		return words
	}
	return "…" + words[len(words)-longestWords:]
}

// read finds the token in what a program has printed. No error has any of it but
// the words of a refusal: the token may be in the rest.
func read(out string, pod *corev1.Pod) (string, error) {
	var a struct {
		Token string `json:"access_token"`
		Error string `json:"error"`
		Says  string `json:"error_description"`
	}
	d := json.NewDecoder(strings.NewReader(out))
	if d.Decode(&a) != nil || a.Token == "" && a.Error == "" {
		return "", fmt.Errorf("what answers pod %s/%s at %s is not nmi, and no metadata service of Azure: its answer is no JSON that has a token or an error", pod.Namespace, pod.Name, explain.MetadataAddress)
	}
	if a.Error != "" {
		return "", command.Fail(statusOf(out[d.InputOffset():]), fmt.Errorf("pod %s/%s gets no token: %s; podid explain pod/%[2]s -n %[1]s says more", pod.Namespace, pod.Name, brief(a.Says)))
	}
	if strings.Trim(a.Token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=") != "" {
		return "", fmt.Errorf("what answers pod %s/%s at %s gives something as a token that has other characters than one (RFC 6750, section 2.1)", pod.Namespace, pod.Name, explain.MetadataAddress)
	}
	return a.Token, nil
}

// statusOf is the status that a refusal ends the command with, by its HTTP status,
// which curl writes behind it. One of those that clients try again after may end.
func statusOf(after string) exit.Error {
	status, _ := strconv.Atoi(strings.TrimSpace(after)) // 0 for none, which is a refusal
	switch {
	case status == http.StatusNotFound, status == http.StatusGone, status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		return errWaiting
	default:
		return errRefused
	}
}
