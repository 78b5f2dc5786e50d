package localcluster

import (
	"bytes"
	"context"
	"os/exec"
	"syscall"
)

// process is a child program that never outlives this one.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended and was waited for
	err  error         // what Wait said; read it after done
}

// place is where a program can be started: a network namespace, or a machine.
// It runs fn on a thread of its own that is there.
type place interface{ locked(fn func() error) error }

// startProcess starts cmd at a place (a nil namespace: the caller's own).
//
// The kernel sends the parent-death signal when the thread that forked the
// child ends, not when the process does, and a thread of a Go program may end
// early. So each child has a goroutine of its own, locked to the thread that
// forked, which stays until the child is gone. It also means that the thread
// keeps the child's network namespace and gives it back only after that.
func startProcess(cmd *exec.Cmd, at place) (*process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if _, inside := at.(*machineSpace); !inside {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	} // else it dies with the machine's first process, and sees no parent
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		p.err = at.locked(func() error {
			err := cmd.Start()
			started <- err
			if err != nil {
				return err
			}
			return cmd.Wait()
		})
		select {
		case started <- p.err: // the namespace could not be entered
		default:
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, err
	}
	return p, nil
}

// wait returns when the child has ended, with what Wait said.
func (p *process) wait() error {
	<-p.done
	return p.err
}

// kill ends the child and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended
	<-p.done
}

// Command is an [exec.Cmd] whose program runs in the network namespace of a
// node or a pod, or the caller's own. The program dies with this process, and with its pod.
type Command struct {
	*exec.Cmd

	at      place
	ns      *namespace // whose end is the program's; nil: none
	process *process
	unwatch func() bool
}

// NewCommand prepares a program that runs where the caller does, in no node and
// no pod.
func NewCommand(ctx context.Context, name string, args ...string) *Command {
	return (*namespace)(nil).command(ctx, name, args...)
}

// command prepares a program for ns.
func (n *namespace) command(ctx context.Context, name string, args ...string) *Command {
	return &Command{Cmd: exec.CommandContext(ctx, name, args...), at: n, ns: n}
}

// Start starts the program in its namespace.
func (c *Command) Start() error {
	p, err := startProcess(c.Cmd, c.at)
	if err != nil {
		return err
	}
	c.process = p
	if c.ns == nil {
		c.unwatch = func() bool { return true } // nothing goes from under it
		return nil
	}
	c.unwatch = context.AfterFunc(c.ns.gone, func() { _ = p.cmd.Process.Kill() })
	return nil
}

// Wait waits for the program to end; see [exec.Cmd.Wait].
func (c *Command) Wait() error {
	defer c.unwatch()
	return c.process.wait()
}

// Run starts the program and waits for it.
func (c *Command) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns what it wrote to standard output.
func (c *Command) Output() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout = &out
	err := c.Run()
	return out.Bytes(), err
}

// CombinedOutput runs the program and returns all that it wrote.
func (c *Command) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}
