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

const (
	floodRounds  = 10
	floodSamples = 100 // of a round, without the flood and with it
	floodOthers  = 20
	floodGap     = 5 * time.Millisecond   // between two samples
	floodBegins  = 300 * time.Millisecond // until a flood is at its height
	// floodConns and floodRate are what the one pod does. The client shares the
	// processors with nmi and with those who measure, and no cgroup bounds it as
	// one bounds a pod, so its rate is: five times what nmi serves one pod.
	floodConns = 64
	floodRate  = 5000
)

// flooded has one pod flood nmi, for tokens that are there and for others that
// are not, and measures what the other pods of the node notice: each sample is a
// new connection and a request for a token that is there.
func flooded(ctx context.Context, r *rig, out *report) error {
	const node, number = "flood", 7
	if err := r.addPods(ctx, node, number, 1+floodOthers); err != nil {
		return err
	}
	a, err := r.startAgent(ctx, node)
	if err != nil {
		return err
	}
	defer r.end(a.cmd)
	o := others{agent: a, number: number}
	for i := range floodOthers { // every token is there
		if err := askOnce(ctx, a, o.address(i), vault); err != nil {
			return err
		}
	}
	var idle, busy []time.Duration
	for round := range floodRounds {
		idle = append(idle, o.samples(ctx)...)
		stop, err := startFlood(ctx, podIP(number, 0), a.listen)
		if err != nil {
			return err
		}
		busy = append(busy, o.samples(ctx)...)
		// One that nobody has a token for yet must have its turn too.
		o.count(askOnce(ctx, a, o.address(round), fmt.Sprintf("https://other-%d.example", round)))
		stop()
	}
	refused, err := metric(ctx, a.metrics, `podid_denials_total{reason="too_many"}`)
	if err != nil {
		return err
	}
	if refused == 0 {
		return errors.New("the flood was none: nothing of it was refused")
	}
	if o.last != nil {
		fmt.Fprintln(os.Stderr, "flood: another pod was refused:", o.last)
	}
	out.add("flood_refused", refused, "")
	out.add("flood_others_rejected", float64(o.rejected), "0")
	out.add("flood_others_p99_idle_ms", milliseconds(percentile(idle, 0.99)), "")
	out.add("flood_others_p99_ms", milliseconds(percentile(busy, 0.99)), "")
	out.add("flood_others_p99_ratio", float64(percentile(busy, 0.99))/float64(percentile(idle, 0.99)), "<= 2")
	return nil
}

// others are the pods that do not flood.
type others struct {
	agent    *agent
	number   int
	rejected int
	last     error
}

func (o *others) address(i int) string { return podIP(o.number, 1+i%floodOthers) }

// samples has the others ask, one after the other.
func (o *others) samples(ctx context.Context) []time.Duration {
	tick := time.NewTicker(floodGap)
	defer tick.Stop()
	var took []time.Duration
	for i := range floodSamples {
		<-tick.C
		start := time.Now()
		o.count(askOnce(ctx, o.agent, o.address(i), vault))
		took = append(took, time.Since(start))
	}
	return took
}

func (o *others) count(err error) {
	if err != nil {
		o.rejected++
		o.last = err
	}
}

// startFlood starts the flood as a program of its own, and returns when it is at
// its height.
func startFlood(ctx context.Context, from, to string) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "flood", "-from", from, "-to", to)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	select {
	case <-time.After(floodBegins):
	case <-ctx.Done():
	}
	return func() {
		_ = cmd.Process.Kill() // it has nothing to say
		_ = cmd.Wait()
	}, nil
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
