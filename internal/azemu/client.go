package azemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// clientTimeout bounds a call of the admin API beside the caller's context.
const clientTimeout = 30 * time.Second

// Client talks to the admin API of an emulator. Its errors name the call and
// hold the sentence that the emulator answered with.
type Client struct {
	base string
	http *http.Client
}

// NewClient makes a client for the admin API at base, such as
// http://127.0.0.1:8444. It never uses a proxy.
func NewClient(base string) *Client {
	return &Client{
		base: strings.TrimSuffix(base, "/"),
		http: &http.Client{Timeout: clientTimeout, Transport: &http.Transport{IdleConnTimeout: clientTimeout}},
	}
}

// CloseIdleConnections closes the connections that no call uses.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// State reads the state, apps' secrets left out.
func (c *Client) State(ctx context.Context) (s State, err error) {
	return s, c.call(ctx, http.MethodGet, "/state", nil, &s)
}

// SetState replaces the state.
func (c *Client) SetState(ctx context.Context, s State) error {
	return c.call(ctx, http.MethodPut, "/state", s, nil)
}

// MergeState merges into the state, as Emulator.MergeState says.
func (c *Client) MergeState(ctx context.Context, s State) error {
	return c.call(ctx, http.MethodPost, "/state", s, nil)
}

// Counters reads the requests so far, by endpoint.
func (c *Client) Counters(ctx context.Context) (counters map[string]Counter, err error) {
	return counters, c.call(ctx, http.MethodGet, "/counters", nil, &counters)
}

// ScopeCounters reads what happened to VMs, scale sets and lists of them, by path
// in lower case.
func (c *Client) ScopeCounters(ctx context.Context) (counters map[string]ScopeCounter, err error) {
	return counters, c.call(ctx, http.MethodGet, "/counters/scopes", nil, &counters)
}

// ResetCounters forgets the requests so far, the log among them.
func (c *Client) ResetCounters(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/counters/reset", nil, nil)
}

// Events reads the log, the oldest first.
func (c *Client) Events(ctx context.Context) (events []Event, err error) {
	return events, c.call(ctx, http.MethodGet, "/log", nil, &events)
}

// Faults reads the faults in force, by endpoint.
func (c *Client) Faults(ctx context.Context) (faults map[string][]Fault, err error) {
	return faults, c.call(ctx, http.MethodGet, "/faults", nil, &faults)
}

// SetFault puts a fault on an endpoint, in place of those it has.
func (c *Client) SetFault(ctx context.Context, endpoint string, f Fault) error {
	return c.call(ctx, http.MethodPut, "/faults/"+url.PathEscape(endpoint), f, nil)
}

// AddFault puts a fault on an endpoint beside those it has.
func (c *Client) AddFault(ctx context.Context, endpoint string, f Fault) error {
	return c.call(ctx, http.MethodPost, "/faults/"+url.PathEscape(endpoint), f, nil)
}

// ClearFault removes the faults of an endpoint.
func (c *Client) ClearFault(ctx context.Context, endpoint string) error {
	return c.call(ctx, http.MethodDelete, "/faults/"+url.PathEscape(endpoint), nil, nil)
}

// Edit has somebody else change a VM or scale set, as Emulator.Edit says.
func (c *Client) Edit(ctx context.Context, x Edit) error {
	return c.call(ctx, http.MethodPost, "/edit", x, nil)
}

// DeleteIdentity deletes a user-assigned identity.
func (c *Client) DeleteIdentity(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, "/identity/delete", Identity{ID: id}, nil)
}

// RecreateIdentity deletes a user-assigned identity and makes another with its id.
func (c *Client) RecreateIdentity(ctx context.Context, id string) (i Identity, err error) {
	return i, c.call(ctx, http.MethodPost, "/identity/recreate", Identity{ID: id}, &i)
}

// CA reads the certificate, in PEM, of the authority behind the TLS listener.
func (c *Client) CA(ctx context.Context) ([]byte, error) {
	return c.do(ctx, http.MethodGet, "/ca.pem", nil)
}

// call sends in as JSON unless it is nil, and decodes the answer into out unless
// that is nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("encode the body of %s %s: %w", method, path, err)
		}
	}
	answer, err := c.do(ctx, method, path, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decode the answer to %s %s: %w", method, path, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	answer, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("emulator: read the answer to %s %s: %w", method, path, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		var e adminError
		if err := json.Unmarshal(answer, &e); err != nil || e.Error == "" {
			e.Error = string(answer[:min(len(answer), 200)])
		}
		return nil, fmt.Errorf("emulator: %s %s: %s: %s", method, path, resp.Status, e.Error)
	}
	return answer, nil
}
