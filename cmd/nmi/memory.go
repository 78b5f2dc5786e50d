package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// settlePause is how long after a change of what is held in memory the rest is
// given back: changes come in crowds.
const settlePause = 5 * time.Second

// growing is a source that tells of its calls: each leaves a token in memory, and
// several times as much that nobody needs any more.
type growing struct {
	token.Source

	called chan struct{} // holds one element when there were calls
}

func grows(s token.Source) growing { return growing{s, make(chan struct{}, 1)} }

// Token asks the source.
func (g growing) Token(ctx context.Context, r *token.Request) (token.Token, error) {
	select {
	case g.called <- struct{}{}:
	default: // told already
	}
	return g.Source.Token(ctx, r)
}

// giveBack gives memory back to the node a while after pods came or tokens were
// got. Go itself keeps as much again as is in use, for the next burst; on a node,
// of which every agent takes a little, memory is for the pods. It ends with ctx.
func giveBack(ctx context.Context, view *nodeview.View, called <-chan struct{}) error {
	for {
		_, changed := view.Addresses()
		select {
		case <-changed:
		case <-called:
		case <-ctx.Done():
			return nil
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return nil
		}
		runtime.GC()         // once for the pools, whose content outlives one collection
		debug.FreeOSMemory() // and once more
	}
}
