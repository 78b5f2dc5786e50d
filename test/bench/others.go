package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// others are the pods that do not flood.
type others struct {
	agent    *agent
	number   int
	cold     int // resources that were asked for
	rejected int
	last     error
}

func (o *others) address(i int) string { return podIP(o.number, 1+i%floodOthers) }

// ask has the others ask, for tokens that are there and for others that are not.
func (o *others) ask(ctx context.Context, n *noticed) {
	n.warm = append(n.warm, o.forWarm(ctx)...)
	n.cold = append(n.cold, o.forCold(ctx)...)
}

// forWarm has them ask one after the other.
func (o *others) forWarm(ctx context.Context) []time.Duration {
	tick := time.NewTicker(floodGap)
	defer tick.Stop()
	took := make([]time.Duration, floodWarm)
	for i := range took {
		<-tick.C
		start := time.Now()
		o.count(askOnce(ctx, o.agent, o.address(i), vault))
		took[i] = time.Since(start)
	}
	return took
}

// forCold has each of them ask for what nobody has asked for yet, when its time
// has come.
func (o *others) forCold(ctx context.Context) []time.Duration {
	tick := time.NewTicker(floodColdGap)
	defer tick.Stop()
	took, errs := make([]time.Duration, floodCold), make([]error, floodCold)
	var g sync.WaitGroup
	for i := range took {
		<-tick.C
		o.cold++
		resource := fmt.Sprintf("https://other-%d.example", o.cold)
		g.Go(func() {
			start := time.Now()
			errs[i] = askOnce(ctx, o.agent, o.address(i), resource)
			took[i] = time.Since(start)
		})
	}
	g.Wait()
	for _, err := range errs {
		o.count(err)
	}
	return took
}

// count counts an answer that is none.
func (o *others) count(err error) {
	if err != nil {
		o.rejected++
		o.last = err
	}
}
