package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The exec protocol, over a Unix socket that keeps messages apart: one request
// with the caller's three standard files, one answer. A caller that hangs up
// before the answer ends its command.
type execRequest struct {
	Target string   `json:"target"` // NAMESPACE/POD
	Argv   []string `json:"argv"`
	Dir    string   `json:"dir"` // the caller's working directory
}

type execAnswer struct {
	ExitCode int    `json:"exitCode"`
	Error    string `json:"error,omitempty"` // why no command ran
}

const (
	execMessage     = 128 << 10        // the longest message, in bytes
	requestPatience = 10 * time.Second // for the request, once the caller is there
	podPatience     = time.Minute      // for the pod to run, once its object is there
)

// ServeExec lets [Exec] run commands in the cluster's pods from outside of the
// sandbox, by a Unix socket that only its owner may use. It returns when the
// socket is there, and serves it until ctx is done or the cluster is stopped;
// then the socket is removed and commands that still run are killed.
func (c *Cluster) ServeExec(ctx context.Context, socketPath string) error {
	// The mode that a socket has before it gets its name is its file's mode, so
	// it is never open to others, not for a moment.
	private := func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }), err)
	}
	listener, err := (&net.ListenConfig{Control: private}).Listen(ctx, "unixpacket", socketPath)
	if err != nil {
		return fmt.Errorf("serve commands for pods: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	//nolint:contextcheck // the cluster's end counts, besides the caller's
	context.AfterFunc(c.control.ctx, cancel)
	context.AfterFunc(ctx, func() { _ = listener.Close() }) // ends Accept
	c.control.group.Go(func() {
		defer cancel()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if unixConn, ok := conn.(*net.UnixConn); ok {
				c.control.group.Go(func() { c.serveExec(ctx, unixConn) })
			}
		}
	})
	return nil
}

// serveExec reads one request and answers it.
func (c *Cluster) serveExec(ctx context.Context, conn *net.UnixConn) {
	defer func() { _ = conn.Close() }() // the answer was written, or nobody reads it
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_ = conn.SetReadDeadline(time.Now().Add(requestPatience)) // a fresh connection takes it
	request, files, err := receive(conn)
	defer closeAll(files)
	var answer execAnswer
	if err == nil {
		_ = conn.SetReadDeadline(time.Time{}) // from here on we read for the end alone
		go func() {                           // ends when either side closes the connection
			_, _ = conn.Read(make([]byte, 1))
			cancel()
		}()
		answer.ExitCode, err = c.exec(ctx, request, files)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	if b, err := json.Marshal(answer); err == nil {
		_, _ = conn.Write(b) // the caller may have gone
	}
}

// exec runs the command of a request in its pod.
func (c *Cluster) exec(ctx context.Context, request execRequest, files []*os.File) (int, error) {
	namespace, name, found := strings.Cut(request.Target, "/")
	if !found || len(request.Argv) == 0 || len(files) != 3 {
		return 0, fmt.Errorf("run a command in %q: want NAMESPACE/POD, a command and three files", request.Target)
	}
	waiting, cancel := context.WithTimeout(ctx, podPatience)
	defer cancel()
	err := c.control.client.Get(waiting, client.ObjectKey{Namespace: namespace, Name: name}, &corev1.Pod{})
	if apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("there is no pod %s", request.Target)
	}
	if err != nil {
		return 0, fmt.Errorf("look for pod %s: %w", request.Target, err)
	}
	pod, err := c.Pod(waiting, namespace, name)
	if err != nil {
		return 0, err
	}
	cmd := pod.Command(ctx, request.Argv[0], request.Argv[1:]...)
	cmd.Dir = request.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("run a command in pod %s: %w", request.Target, err)
	}
	defer cmd.unwatch()
	return exitCode(cmd.process)
}

// receive reads a request and the files that came with it.
func receive(conn *net.UnixConn) (execRequest, []*os.File, error) {
	var request execRequest
	message, rights := make([]byte, execMessage), make([]byte, unix.CmsgSpace(3*4))
	n, m, flags, _, err := conn.ReadMsgUnix(message, rights)
	if err != nil {
		return request, nil, fmt.Errorf("read the request: %w", err)
	}
	files, err := passed(rights[:m])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("the request is too long")
	}
	if err == nil {
		err = json.Unmarshal(message[:n], &request)
	}
	return request, files, err
}

// passed returns the files in a control message.
func passed(rights []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // the caller has its own
	}
}

// Exec runs argv in the network of a pod, target being NAMESPACE/POD, of the
// cluster that serves socketPath (see [Cluster.ServeExec]), with the caller's
// working directory and the given files. It returns the command's exit code, 128
// and the signal's number if a signal ended it. The command is killed when ctx is
// done or the caller dies.
func Exec(ctx context.Context, socketPath, target string, argv []string, stdin, stdout, stderr *os.File) (exitCode int, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unixpacket", socketPath)
	if err != nil {
		return 0, fmt.Errorf("no cluster answers at %s: %w", socketPath, err)
	}
	defer func() { _ = conn.Close() }() // nothing is left to be written
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	dir, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	message, err := json.Marshal(execRequest{Target: target, Argv: argv, Dir: dir})
	if err != nil {
		return 0, err
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok || len(message) > execMessage {
		return 0, errors.New("the command is too long")
	}
	rights := unix.UnixRights(int(stdin.Fd()), int(stdout.Fd()), int(stderr.Fd()))
	if _, _, err := unixConn.WriteMsgUnix(message, rights, nil); err != nil {
		return 0, fmt.Errorf("send the command: %w", errors.Join(ctx.Err(), err))
	}
	b := make([]byte, execMessage)
	n, err := conn.Read(b)
	if err != nil {
		return 0, fmt.Errorf("wait for the command's end: %w", errors.Join(ctx.Err(), err))
	}
	var answer execAnswer
	if err := json.Unmarshal(b[:n], &answer); err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	if answer.Error != "" {
		return 0, errors.New(answer.Error)
	}
	return answer.ExitCode, nil
}
