package churn_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/podid-io/podid/test/churn/model"
)

// conn is a connection of a pod to the agent, kept alive.
type conn struct {
	wire   *wire
	near   net.Conn
	asks   chan model.Ask
	call   *model.Call // under way; nil for none
	pinned bool        // it has had a token
}

// reply is what came back on a connection; err is that it was closed.
type reply struct {
	conn *conn
	got  model.Reply
	err  error
}

// replies gathers what comes back.
type replies struct {
	mu   sync.Mutex
	list []reply // guarded by mu
}

func (r *replies) add(one reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, one)
}

func (r *replies) take() []reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.list
	r.list = nil
	return list
}

// serve sends what is asked and reads what is answered, until the connection
// is closed.
func (c *conn) serve(to *replies) {
	in := bufio.NewReader(c.near)
	for a := range c.asks {
		got, err := c.exchange(in, a)
		to.add(reply{c, got, err})
	}
}

func (c *conn) exchange(in *bufio.Reader, a model.Ask) (model.Reply, error) {
	query := "api-version=2018-02-01&resource=" + url.QueryEscape(a.Resource)
	if a.ClientID != "" {
		query += "&client_id=" + a.ClientID
	}
	if _, err := fmt.Fprintf(c.near, "GET /metadata/identity/oauth2/token?%s HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n", query); err != nil {
		return model.Reply{}, err
	}
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return model.Reply{}, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // read to its end
	if err != nil {
		return model.Reply{}, err
	}
	return readReply(response.StatusCode, body), nil
}

// readReply reads the token that source made.
func readReply(status int, body []byte) model.Reply {
	r := model.Reply{Status: status}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		r.Says = string(body)
		return r
	}
	parts := append(strings.Split(answer.AccessToken, "|"), "", "", "", "")
	r.Token = model.Token{ClientID: parts[0], ResourceID: parts[1], Resource: parts[2]}
	r.Owner = parts[3]
	return r
}

// dial connects from a sandbox; source is the address that the packets say they
// come from.
func (w *world) dial(from *model.Sandbox, source netip.Addr) *conn {
	w.ports++
	far := &wire{
		remote: netip.AddrPortFrom(source, uint16(1024+w.ports%60000)),
		from:   from, source: source, link: from.Link,
	}
	near, err := w.agent.pods.dial(w.ctx, far)
	if err != nil {
		w.fail(fmt.Errorf("connect to the agent: %w", err))
		return nil
	}
	c := &conn{wire: far, near: near, asks: make(chan model.Ask, 1)}
	w.conns = append(w.conns, c)
	w.clients.Go(func() { c.serve(&w.replies) }) // ends with hangUp
	return c
}

// hangUp closes a connection; what is under way on it is not judged.
func (w *world) hangUp(drop func(*conn) bool) {
	kept := w.conns[:0]
	for _, c := range w.conns {
		if !drop(c) {
			kept = append(kept, c)
			continue
		}
		c.call = nil
		close(c.asks)
		_ = c.near.Close() // nobody reads it any more
	}
	clear(w.conns[len(kept):])
	w.conns = kept
}

// ask sends a request, and does not wait.
func (w *world) ask(c *conn, a model.Ask) {
	c.call = &model.Call{Ask: a, From: c.wire.from, Forged: c.wire.source != c.wire.from.Addr, Pinned: c.pinned, Sent: time.Now()}
	c.call.See(&w.node, w.api.told, time.Now())
	w.count.requests++
	c.asks <- a
}

// see has every call under way take in what is right now.
func (w *world) see() {
	now := time.Now()
	for _, c := range w.conns {
		if c.call != nil {
			c.call.See(&w.node, w.api.told, now)
		}
	}
}

// judge takes the replies that are there and holds them against the model.
func (w *world) judge() {
	for _, r := range w.replies.take() {
		call := r.conn.call
		r.conn.call = nil
		if r.err != nil {
			w.count.closed++
			w.hangUp(func(c *conn) bool { return c == r.conn })
			continue
		}
		if call == nil {
			continue // of a connection that was closed meanwhile
		}
		switch r.got.Status {
		case http.StatusOK:
			w.count.tokens++
			r.conn.pinned = true
		case http.StatusBadRequest:
			w.count.denied++
		case http.StatusNotFound:
			w.count.later++
		}
		if call.Sent.Before(time.Now()) && r.got.Status == http.StatusOK {
			w.count.held++
		}
		w.wrongIf(call.Judge(r.got))
	}
	now := time.Now()
	for _, c := range w.conns {
		if c.call == nil {
			continue
		}
		if late := c.call.Overdue(now); late != nil {
			found, _, err := w.agent.view.ByIP(c.wire.source, c.wire.link)
			w.say("the view of who is at %s by link %d: %+v, %v", c.wire.source, c.wire.link, found, err)
			w.wrongIf(late)
		}
	}
}
