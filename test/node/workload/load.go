package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// load asks on four new connections at a time, without a pause for more than a
// moment, as many small clients would, and tells how many got no token, and how
// long one has been waiting.
func (c client) load(ctx context.Context, ask func(context.Context) (Report, error)) error {
	results := make(chan error) // unbuffered: the next request begins when one is counted
	var began [4]atomic.Int64   // in nanoseconds
	for i := range began {
		began[i].Store(time.Now().UnixNano())
		go func() { // ends with ctx, when its request has
			for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
				began[i].Store(time.Now().UnixNano())
				_, err := ask(context.WithoutCancel(ctx))
				select {
				case results <- err:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	reports := c.teller(ctx)
	sum := Report{As: c.as}
	counted, looked := 0, time.Now()
	for second := time.NewTicker(time.Second); ; {
		select {
		case err := <-results:
			if err == nil {
				sum.Good++
				break
			}
			sum.Bad++
			sum.Error = err.Error()
		case <-second.C:
			now := time.Now()
			if sum.Good+sum.Bad == counted {
				sum.Still += now.Sub(looked)
			}
			counted, looked = sum.Good+sum.Bad, now
			sum.Oldest = oldest(began[:])
			replace(reports, sum)
		case <-ctx.Done():
			return nil
		}
	}
}

// teller tells what it is sent, one report after the other, beside the load: one that
// is lost on its way must not keep anybody from asking.
func (c client) teller(ctx context.Context) chan Report {
	reports := make(chan Report, 1)
	go func() { // ends with ctx
		for {
			select {
			case r := <-reports:
				if err := c.tell(ctx, r); err != nil && ctx.Err() == nil {
					fmt.Fprintln(os.Stderr, "tell:", err) // the next one tells the same sums
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return reports
}

// replace sends a report in the place of one that nobody has taken yet.
func replace(reports chan Report, r Report) {
	select {
	case <-reports:
	default:
	}
	reports <- r // there is room: nobody else sends
}

// oldest is the first of some times.
func oldest(times []atomic.Int64) time.Time {
	first := times[0].Load()
	for i := range times {
		first = min(first, times[i].Load())
	}
	return time.Unix(0, first)
}
