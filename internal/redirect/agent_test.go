package redirect_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/internal/redirect"
	"github.com/podid-io/podid/test/localcluster"
)

// agentHelper is an agent with nothing in it but its redirect: it repeats each
// line that a client sends, behind its name. It does what it is told on standard
// input and tells on standard output how it fares.
func agentHelper(name string) int {
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Fprintf(os.Stdout, format+"\n", args...)
	}
	r, err := redirect.New(redirect.Config{
		Interval: time.Second, CanaryInterval: time.Second,
		Report:       func(err error) { say("report %v", err) },
		ReportCanary: func(err error) { say("canary %v", err) },
		Log:          slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		say("%v", err)
		return 1
	}
	l, err := r.Listen(context.Background())
	if err != nil {
		say("%v", err)
		return 1
	}
	served, err := r.Served()
	say("listens at %s, served %t %v", l.Addr(), served, err)
	go repeat(l, name)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for words := bufio.NewScanner(os.Stdin); words.Scan(); {
		switch words.Text() {
		case "run":
			running.Go(func() { say("run %v", r.Run(ctx)) })
		case "yield":
			say("yield %v", r.Yield())
		case "deafen":
			say("deafen %v", l.Close())
		}
	}
	stop()
	running.Wait()
	return 0
}

// repeat serves until l is closed.
func repeat(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			for lines := bufio.NewScanner(c); lines.Scan(); {
				if _, err := fmt.Fprintf(c, "%s %s\n", name, lines.Text()); err != nil {
					return
				}
			}
		}()
	}
}

// agent is a running agentHelper.
type agent struct {
	t    *testing.T
	born string // the line that it began with
	cmd  *localcluster.Command
	in   io.WriteCloser
	said chan string // closed when it ends
}

// startAgent starts an agent on the node, by means of a wrapper if there is one,
// and waits until it listens.
func startAgent(t *testing.T, node *localcluster.Node, name string, wrapper ...string) *agent {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	words := slices.Concat(wrapper, []string{self})
	a := &agent{t: t, cmd: node.Command(t.Context(), words[0], words[1:]...), said: make(chan string, 1000)}
	a.cmd.Env = append(os.Environ(), helperEnv+"=agent "+name)
	a.cmd.Stderr = os.Stderr
	out, outEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, inEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	a.cmd.Stdout, a.cmd.Stdin, a.in = outEnd, in, inEnd
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = outEnd.Close(), in.Close()
	go func() { // ends with the agent
		defer close(a.said)
		defer func() { _ = out.Close() }()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			a.said <- lines.Text()
		}
	}()
	t.Cleanup(a.stop)
	a.born = a.await("listens at")
	return a
}

// tell has the agent do something.
func (a *agent) tell(word string) {
	a.t.Helper()
	if _, err := io.WriteString(a.in, word+"\n"); err != nil {
		a.t.Fatal(err)
	}
}

// answer is how long a busy machine may take for what must come; who must not be
// answered is given less.
const answer = 30 * time.Second

// await waits for a line that begins so, and returns it.
func (a *agent) await(prefix string) string {
	a.t.Helper()
	var last []string
	deadline := time.After(time.Minute)
	for {
		select {
		case line, ok := <-a.said:
			if !ok {
				a.t.Fatalf("the agent ended before it said %q; at last: %q", prefix, last)
			}
			if strings.HasPrefix(line, prefix) {
				return line
			}
			if last = append(last, line); len(last) > 5 {
				last = last[1:]
			}
		case <-deadline:
			a.t.Fatalf("the agent does not say %q; at last: %q", prefix, last)
		}
	}
}

// forget drops what the agent said up to now.
func (a *agent) forget() {
	for {
		select {
		case <-a.said:
		default:
			return
		}
	}
}

// awaitCanary waits for a canary that was sent after now: the next one that is told
// of may have been on its way.
func (a *agent) awaitCanary() {
	a.t.Helper()
	a.await("canary <nil>")
	a.await("canary <nil>")
}

// stop ends the agent in order; kill at once.
func (a *agent) stop() {
	_ = a.in.Close()
	for range a.said {
		continue // until it ends
	}
	_ = a.cmd.Wait()
}

func (a *agent) kill() {
	_ = a.cmd.Process.Kill()
	a.stop()
}

// talk is a connection of a pod to an agent.
type talk struct {
	conn  net.Conn
	lines *bufio.Reader
}

func dialAgent(ctx context.Context, p *localcluster.Pod) (*talk, error) {
	c, err := p.DialContext(ctx, "tcp4", redirect.DefaultMetadata.String())
	if err != nil {
		return nil, err
	}
	return newTalk(c), nil
}

func newTalk(c net.Conn) *talk { return &talk{conn: c, lines: bufio.NewReader(c)} }

// ask sends a word and returns who answers.
func (c *talk) ask(word string) (string, error) {
	return c.askFor(answer, word)
}

// askFor is ask for what is expected to be dropped.
func (c *talk) askFor(limit time.Duration, word string) (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintln(c.conn, word); err != nil {
		return "", err
	}
	answer, err := c.lines.ReadString('\n')
	if err != nil {
		return "", err
	}
	who, echo, _ := strings.Cut(strings.TrimSpace(answer), " ")
	if echo != word {
		return "", fmt.Errorf("answered %q to %q", answer, word)
	}
	return who, nil
}

// whoAnswers asks once over a new connection.
func whoAnswers(t *testing.T, p *localcluster.Pod, patience time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := dialAgent(ctx, p)
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err): // ctx may not know yet that it has ended
		return "nobody"
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	default:
		return err.Error()
	}
	defer func() { _ = c.conn.Close() }()
	who, err := c.ask("hello")
	if err != nil {
		return err.Error()
	}
	return who
}
