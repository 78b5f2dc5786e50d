package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	upgradeClients = 8
	upgradePause   = 2 * time.Millisecond // of each client, between two requests
)

// traffic are clients that ask without end.
type traffic struct {
	to               *agent
	answered, failed atomic.Int64
	// retried are the requests that crossed the end of a kept connection on their
	// way, see staying; reset are those of them that had come to the node, where the
	// agent closed the connection with the request unread.
	retried, reset atomic.Int64
	last           atomic.Pointer[error]
}

// begin starts the clients; the function that it returns ends them.
func (t *traffic) begin(ctx context.Context, number int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var g sync.WaitGroup
	for i := range upgradeClients {
		g.Go(func() {
			if i%2 == 0 {
				t.connecting(ctx, podIP(number, i))
			} else {
				t.staying(ctx, podIP(number, i))
			}
		})
	}
	return func() { cancel(); g.Wait() }
}

// connecting makes a connection for each request.
func (t *traffic) connecting(ctx context.Context, from string) {
	for ctx.Err() == nil {
		t.count(askOnce(context.WithoutCancel(ctx), t.to, from, vault))
		pause(ctx)
	}
}

// staying keeps its connection for as long as the agent does, as HTTP clients do.
//
// An agent that ends closes the connections that are idle, and a client that sees
// it makes another. nmi has those that are used close with an answer that
// says so, half a second before. On another a request may be on its way at that
// moment: it fails without a byte of an answer. Clients send a GET
// again then, over a new connection, as RFC 9110 section 9.2.2 lets them; so does
// this one, and counts it apart: for each connection that is kept at most one when
// an agent ends. Any other failure counts, also that of the second try.
func (t *traffic) staying(ctx context.Context, from string) {
	k := keeper{from: from, to: t.to.listen}
	defer k.drop()
	for ctx.Err() == nil {
		kept, err := k.ask(ctx)
		if mayRetry(kept, err) {
			t.retried.Add(1)
			if errors.Is(err, syscall.ECONNRESET) {
				t.reset.Add(1)
			}
			_, err = k.ask(ctx)
		}
		t.count(err)
		pause(ctx)
	}
}

// mayRetry reports whether a failure is one that HTTP clients do not tell of: the
// server had closed a kept connection before it knew of the request.
func mayRetry(kept bool, err error) bool { return kept && errors.Is(err, errUnanswered) }

// keeper is a client that keeps its connection.
type keeper struct {
	from, to string
	conn     *conn // nil until there is one
}

// ask sends one request, whole: the end of ctx does not cut it. It reports whether
// the connection was there before.
func (k *keeper) ask(ctx context.Context) (kept bool, err error) {
	if k.conn != nil && k.conn.ended() {
		k.drop()
	}
	if kept = k.conn != nil; !kept {
		if k.conn, err = dial(context.WithoutCancel(ctx), k.from, k.to, request(vault)); err != nil {
			return false, err
		}
	}
	if _, err = k.conn.do(nil); err != nil || k.conn.closing {
		k.drop()
	}
	return kept, err
}

func (k *keeper) drop() {
	if k.conn != nil {
		_ = k.conn.Close() // the agent may have closed it already
		k.conn = nil
	}
}

func (t *traffic) count(err error) {
	if err != nil {
		t.failed.Add(1)
		t.last.Store(&err)
		return
	}
	t.answered.Add(1)
}

func pause(ctx context.Context) {
	select {
	case <-time.After(upgradePause):
	case <-ctx.Done():
	}
}
