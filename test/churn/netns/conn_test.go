package netns_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/podid-io/podid/internal/cli/demo"
	"github.com/podid-io/podid/test/churn/model"
	"github.com/podid-io/podid/test/localcluster"
)

const (
	metadata = "169.254.169.254:80"
	// idle is how long a connection may lie still: the agent closes it somewhat
	// later.
	idle = model.IdleFor - 30*time.Second
)

// conn is a connection of a pod to the agent.
type conn struct {
	net.Conn
	in     *bufio.Reader
	from   *model.Sandbox // that it was made from
	agent  *demo.Agent    // that it was made to
	pinned bool           // it has had a token
	// astray says that the network has led what was for the pod to another, whose
	// kernel may have reset the connection.
	astray bool
	made   time.Time // when it was asked for; zero once something was answered on it
	sent   time.Time // when the last request had been written to it
	used   time.Time // when what was answered last was asked, or it was asked for
}

// dial connects from a pod; source is an address other than its own to say so,
// or nowhere.
func (w *world) dial(p *pod, source netip.Addr, limit time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	now, dial := time.Now(), p.DialContext
	if source.IsValid() {
		dial = from(p.Pod, source)
	}
	c, err := dial(ctx, "tcp", metadata)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReader(c), from: p.sandbox, agent: w.agent, made: now, used: now}, nil
}

// from connects from a pod by one of its addresses.
func from(p *localcluster.Pod, source netip.Addr) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, to string) (c net.Conn, err error) {
		err = p.Do(func() error {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: source.AsSlice()}}
			c, err = d.DialContext(ctx, network, to)
			return err
		})
		return c, err
	}
}

// alive reports whether there must be somebody at both ends.
func (w *world) alive(c *conn) bool {
	return !c.from.Gone && c.agent == w.agent && !c.astray && time.Since(c.used) < idle
}

// shed reports whether the agent may have closed the connection since nothing had
// been asked on it for long: where a machine is held up for so long, what is asked
// comes too late. What was asked in time has its answer, however late.
func (c *conn) shed(err error) bool {
	return !errors.Is(err, os.ErrDeadlineExceeded) && !c.made.IsZero() && c.sent.Sub(c.made) >= model.SilentFor
}

// exchange asks for a token and reads whose comes. The digest is how the audit
// log names it.
func (c *conn) exchange(a model.Ask, limit time.Duration) (r model.Reply, digest string, err error) {
	query := "api-version=2018-02-01&resource=" + url.QueryEscape(a.Resource)
	if a.ClientID != "" {
		query += "&client_id=" + a.ClientID
	}
	now := time.Now()
	if err := c.SetDeadline(now.Add(limit)); err != nil {
		return r, "", err
	}
	_, err = fmt.Fprintf(c, "GET /metadata/identity/oauth2/token?%s HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n", query)
	c.sent = time.Now() // or it would have been
	if err != nil {
		return r, "", err
	}
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return r, "", err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // read to its end
	if err != nil {
		return r, "", err
	}
	c.made, c.used = time.Time{}, now
	return readReply(response.StatusCode, body)
}

// readReply reads whose token there is in an answer.
func readReply(status int, body []byte) (r model.Reply, digest string, err error) {
	r.Status = status
	if status != http.StatusOK {
		r.Says = string(body)
		return r, "", nil
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	var bearer struct {
		ClientID   string `json:"appid"`
		ResourceID string `json:"xms_mirid"`
		Audience   string `json:"aud"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return r, "", err
	}
	parts := strings.Split(answer.Token+"..", ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return r, "", err
	}
	if err := json.Unmarshal(payload, &bearer); err != nil {
		return r, "", err
	}
	r.Token = model.Token{ClientID: strings.ToLower(bearer.ClientID), ResourceID: strings.ToLower(bearer.ResourceID), Resource: bearer.Audience}
	sum := sha256.Sum256([]byte(answer.Token))
	return r, hex.EncodeToString(sum[:]), nil
}
