// Command workload is what runs in the containers of the tests on a real node.
//
//	workload pause                   wait for the end
//	workload ask [flags]             ask for a token as curl would, tell whose it is, end
//	workload ask -stay [flags]       the same, then wait for the end
//	workload load [flags]            ask again and again, tell every second how that went
//
// It tells the test by HTTP POST, and never the token itself.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// Report is what the test is told.
type Report struct {
	As       string `json:"as"`                 // who tells
	ClientID string `json:"clientId,omitempty"` // whose the token is
	Audience string `json:"audience,omitempty"`
	Error    string `json:"error,omitempty"`
	Good     int    `json:"good,omitempty"` // answers with a token, under load
	Bad      int    `json:"bad,omitempty"`  // everything else, under load
	// Oldest is when the oldest request began that is not counted yet, under load.
	Oldest time.Time `json:"oldest,omitzero"`
	// Still is for how long, in all, no request was answered for a second or more,
	// under load.
	Still time.Duration `json:"still,omitempty"`
}

// client is who asks, and whom it tells.
type client struct{ as, to, resource, with string }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1) //nolint:gocritic // the deferred stop only lets go of signals
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want pause, ask or load")
	}
	var c client
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	flags.StringVar(&c.as, "as", host, "name in reports")
	flags.StringVar(&c.to, "to", os.Getenv("REPORT_TO"), "URL that reports go to (empty: none)")
	flags.StringVar(&c.with, "with", "", "program that asks in its place, and prints the token in JSON")
	flags.StringVar(&c.resource, "resource", "https://vault.azure.net", "what the token is for")
	stay := flags.Bool("stay", false, "do not end after the answer")
	again := flags.Bool("again", false, "ask until there is a token")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "pause":
	case "ask":
		if err := c.askOnce(ctx, *again); err != nil {
			return err
		}
		if !*stay {
			return nil
		}
	case "load":
		return c.load(ctx, c.ask)
	default:
		return fmt.Errorf("%q is not pause, ask or load", args[0])
	}
	<-ctx.Done()
	return nil
}

// askOnce asks, tells, and ends with an error when it got no token.
func (c client) askOnce(ctx context.Context, again bool) error {
	r, err := c.ask(ctx)
	for tick := time.NewTicker(200 * time.Millisecond); again && err != nil && ctx.Err() == nil; {
		<-tick.C
		r, err = c.ask(ctx)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return errors.Join(err, c.tell(ctx, r))
}

// ask is one request on a connection of its own.
func (c client) ask(ctx context.Context) (Report, error) {
	r := Report{As: c.as}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	if c.with != "" {
		answer, err := exec.CommandContext(ctx, c.with, "-resource", c.resource).Output() //nolint:gosec // the image says which
		if err != nil {
			return r, err
		}
		err = read(answer, &r)
		return r, err
	}
	address := "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + url.QueryEscape(c.resource)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return r, err
	}
	req.Header.Set("Metadata", "true")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return r, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %d: %s", resp.StatusCode, body)
	}
	if err != nil {
		return r, err
	}
	err = read(body, &r)
	return r, err
}

// read reads whose the token in an answer is.
func read(answer []byte, r *Report) error {
	var token struct {
		Value string `json:"access_token"`
	}
	if err := json.Unmarshal(answer, &token); err != nil {
		return err
	}
	parts := strings.Split(token.Value, ".")
	if len(parts) != 3 {
		return fmt.Errorf("no JWT in %d bytes of an answer", len(answer))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	var claims struct {
		AppID    string `json:"appid"`
		Audience string `json:"aud"`
	}
	err = json.Unmarshal(payload, &claims)
	r.ClientID, r.Audience = claims.AppID, claims.Audience
	return err
}

// tell sends a report.
func (c client) tell(ctx context.Context, r Report) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%s\n", text)
	if c.to == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.to, bytes.NewReader(text))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
