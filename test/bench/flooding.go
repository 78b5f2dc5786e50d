package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// floodConns and floodRate are what the one pod does: as many connections as one
// may have, of which each second one asks for tokens that nobody has, so that as
// many requests as one pod may have wait. The client shares the processors with
// nmi and with those who measure, and no cgroup bounds it as one bounds a pod, so
// its rate is: at most five times what nmi serves one pod, and less where it waits
// for its answers.
const (
	floodConns = 256
	floodRate  = 5000
)

// startFlood starts the flood as a program of its own, and returns when requests
// of it are refused: only then as many wait as may.
func (a *agent) startFlood(ctx context.Context, from string) (stop func(), err error) {
	before, err := a.refused(ctx)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "flood", "-from", from, "-to", a.listen)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill() // it has nothing to say
		_ = cmd.Wait()
	}
	if err := await(ctx, 10*time.Second, func() error {
		now, err := a.refused(ctx)
		if err == nil && now <= before+floodConns {
			err = fmt.Errorf("of the flood %g requests were refused", now-before)
		}
		return err
	}); err != nil {
		stop()
		return nil, fmt.Errorf("the flood is none: %w", err)
	}
	return stop, nil
}

// floodProgram is the pod that floods, until it is killed.
func floodProgram(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("flood", flag.ContinueOnError)
	from := f.String("from", "", "address of the pod")
	to := f.String("to", "", "address of nmi")
	if err := f.Parse(args); err != nil {
		return err
	}
	var g sync.WaitGroup
	var resources atomic.Int64
	for i := range floodConns {
		g.Go(func() { // ends with ctx
			tick := time.NewTicker(floodConns * time.Second / floodRate)
			defer tick.Stop()
			var c *conn
			for ctx.Err() == nil {
				<-tick.C
				if c == nil {
					c, _ = dial(ctx, *from, *to, request(vault)) // refused: again at the next tick
				}
				if c == nil {
					continue
				}
				if i%2 == 0 {
					c.ask = request(fmt.Sprintf("https://flood-%d-%d.example", os.Getpid(), resources.Add(1)))
				}
				if _, err := c.do(nil); err != nil && !errors.Is(err, errAnswer) {
					_ = c.Close()
					c = nil
				}
			}
		})
	}
	g.Wait()
	return nil
}
