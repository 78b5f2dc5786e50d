package cluster_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/podid-io/podid/internal/cli/cluster"
)

// TestExecGoesAsKubectlDoes has the exec of a pod served as API servers serve it.
func TestExecGoesAsKubectlDoes(t *testing.T) {
	tests := map[string]struct {
		stdout, stderr, status string
		want, wantErr          string
	}{
		"an answer": {stdout: `{"ready":true}`, status: `{"status":"Success"}`, want: `{"ready":true}`},
		"a failure": {
			stderr: "nmi: unknown command \"explain\"\n", status: `{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"1"}]}}`,
			wantErr: `nmi: unknown command "explain"`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			asked := make(chan string, 1)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- r.URL.String()
				streams := make([]wsstream.ChannelType, 5)
				streams[1], streams[2], streams[3] = wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel
				conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{"v5.channel.k8s.io": {Binary: true, Channels: streams}})
				conn.SetIdleTimeout(time.Minute)
				_, channels, err := conn.Open(w, r)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				for i, text := range map[int]string{1: tc.stdout, 2: tc.stderr} {
					if _, err := io.WriteString(channels[i], text); text != "" && err != nil {
						t.Error(err)
					}
				}
				if _, err := io.WriteString(channels[3], tc.status); err != nil {
					t.Error(err)
				}
			}))
			defer server.Close()
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "podid-system", Name: "podid-nmi-0"}}
			out, err := cluster.Exec(t.Context(), &rest.Config{Host: server.URL, Timeout: time.Minute}, pod, "nmi", []string{"/nmi", "explain", "a/b"})
			if url := <-asked; !strings.HasPrefix(url, "/api/v1/namespaces/podid-system/pods/podid-nmi-0/exec?command=%2Fnmi&command=explain&command=a%2Fb&container=nmi&stderr=true&stdout=true") {
				t.Errorf("asked %s", url)
			}
			if out != tc.want || (err == nil) != (tc.wantErr == "") || err != nil && err.Error() != tc.wantErr {
				t.Errorf("Exec() = %q, %v; want %q, %q", out, err, tc.want, tc.wantErr)
			}
		})
	}
}

func TestExecTellsWhyItMayNot(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"pods \"podid-nmi-0\" is forbidden: User \"u\" cannot create resource \"pods/exec\"","reason":"Forbidden","code":403}`)
	}))
	defer server.Close()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "podid-system", Name: "podid-nmi-0"}}
	_, err := cluster.Exec(t.Context(), &rest.Config{Host: server.URL}, pod, "nmi", []string{"/nmi"})
	if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), `cannot create resource "pods/exec"`) {
		t.Errorf("Exec() = %v, want the API server's words", err)
	}
}

// TestExecWhereNoWebSocketsPass has a server, or a proxy before it, that knows no
// WebSockets.
func TestExecWhereNoWebSocketsPass(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{"v4.channel.k8s.io"}); err != nil {
			t.Error(err)
			return
		}
		streams := make(chan httpstream.Stream, 3)
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if conn == nil {
			t.Error("no connection")
			return
		}
		defer func() { _ = conn.Close() }()
		by := map[string]httpstream.Stream{}
		for range cap(streams) {
			s := <-streams
			by[s.Headers().Get(corev1.StreamType)] = s
		}
		_, out := io.WriteString(by[corev1.StreamTypeStdout], "{}")
		_, status := io.WriteString(by[corev1.StreamTypeError], `{"status":"Success"}`)
		if err := errors.Join(out, status, by[corev1.StreamTypeStdout].Close(), by[corev1.StreamTypeStderr].Close(), by[corev1.StreamTypeError].Close()); err != nil {
			t.Error(err)
		}
		<-conn.CloseChan() // by the client, which has it all
	}))
	defer server.Close()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "podid-system", Name: "podid-nmi-0"}}
	out, err := cluster.Exec(t.Context(), &rest.Config{Host: server.URL, Timeout: time.Minute}, pod, "nmi", []string{"/nmi", "explain", "a/b"})
	if err != nil || out != "{}" {
		t.Errorf("Exec() = %q, %v", out, err)
	}
}
