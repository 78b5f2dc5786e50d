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
	asked  bool        // something has been asked on it
	aside  bool        // the story goes on without it: see meanwhile
	doubt  bool        // two had its address when that was
	silent bool        // nothing will be asked on it
	hung   bool        // we have hung up
	used   time.Time   // when it last had an answer, or was made
}

// reply is what came back on a connection; err is that it was closed.
type reply struct {
	conn *conn
	got  model.Reply
	err  error
	at   time.Time
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

// send sends what is asked, until asks is closed. That the connection is closed,
// listen tells.
func (c *conn) send() {
	for a := range c.asks {
		query := "api-version=2018-02-01&resource=" + url.QueryEscape(a.Resource)
		if a.ClientID != "" {
			query += "&client_id=" + a.ClientID
		}
		_, _ = fmt.Fprintf(c.near, "GET /metadata/identity/oauth2/token?%s HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n", query)
	}
}

// listen reads what is answered until the connection is closed, also while
// nothing has been asked: so it is known when that was.
func (c *conn) listen(to *replies) {
	in := bufio.NewReader(c.near)
	for {
		got, err := readAnswer(in)
		to.add(reply{c, got, err, time.Now()})
		if err != nil {
			return
		}
	}
}

func readAnswer(in *bufio.Reader) (model.Reply, error) {
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
	c := &conn{wire: far, near: near, asks: make(chan model.Ask, 1), used: time.Now()}
	w.conns = append(w.conns, c)
	w.clients.Go(c.send)                          // ends with hangUp
	w.clients.Go(func() { c.listen(&w.replies) }) // ends with hangUp, or when the agent hangs up
	return c
}

// hangUp closes connections; what is under way on them is not judged, and counted.
func (w *world) hangUp(drop func(*conn) bool) {
	kept := w.conns[:0]
	for _, c := range w.conns {
		if !drop(c) {
			kept = append(kept, c)
			continue
		}
		if c.call != nil {
			w.count.dropped++
		}
		c.call, c.hung = nil, true
		close(c.asks)
		_ = c.near.Close() // nobody reads it any more
	}
	clear(w.conns[len(kept):])
	w.conns = kept
}

// ask sends a request, and does not wait.
func (w *world) ask(c *conn, a model.Ask) {
	if !c.asked {
		c.asked = true
		c.doubt, _ = w.node.Twins(c.wire.from, c.wire.source, w.api.told)
	}
	now := time.Now()
	c.call = &model.Call{
		Ask: a, From: c.wire.from, Source: c.wire.source, Forged: !c.wire.from.Has(c.wire.source),
		Doubted: c.doubt, Pinned: c.pinned, Idle: now.Sub(c.used), Sent: now,
	}
	c.call.See(&w.node, w.api.told, now)
	w.count.requests++
	if c.wire.source.Is6() {
		w.count.bySecond++
	}
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
		switch {
		case r.conn.hung: // by us; it was counted then
		case r.err != nil:
			w.closed(r)
		default:
			w.answered(r)
		}
	}
	now := time.Now()
	for _, c := range w.conns {
		if c.silent {
			w.wrongIf(model.StillSilent(c.wire.from, now.Sub(c.used)))
		}
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

// closed judges that the agent has hung up.
func (w *world) closed(r reply) {
	call := r.conn.call
	r.conn.call = nil
	switch {
	case call != nil:
		w.wrongIf(call.Closed())
	case w.ending: // it has said goodbye to everybody
	case r.conn.silent:
		w.count.silent++
		w.wrongIf(model.ClosedSilent(r.conn.wire.from, r.at.Sub(r.conn.used)))
	default:
		w.count.idle++
		w.wrongIf(model.ClosedIdle(r.conn.wire.from, r.at.Sub(r.conn.used)))
	}
	w.hangUp(func(c *conn) bool { return c == r.conn })
}

// answered judges an answer.
func (w *world) answered(r reply) {
	call := r.conn.call
	r.conn.call, r.conn.used = nil, r.at
	if call == nil {
		w.fail(fmt.Errorf("%s was answered without having asked", r.conn.wire.from.UID))
		return
	}
	late := call.Sent.Before(r.at)
	switch r.got.Status {
	case http.StatusOK:
		w.count.tokens++
		r.conn.pinned = true
		if late {
			w.count.held++
		}
	case http.StatusBadRequest:
		w.count.denied++
	case http.StatusNotFound:
		w.count.later++
		if late {
			w.count.inVain++
		}
	}
	w.say("%s is answered %d %s %s %s", call.From.UID, r.got.Status, r.got.Says, r.got.Owner, r.got.Token.ClientID)
	w.wrongIf(call.Judge(r.got))
	if r.conn.aside {
		w.hangUp(func(c *conn) bool { return c == r.conn })
	}
}
