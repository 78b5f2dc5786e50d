package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Serve serves h on listen (host:port, or unix:PATH) until ctx ends, then drains
// for at most five seconds. An empty listen serves nothing and waits for ctx. An address
// that cannot be had, such as a port in use, is logged and tried again: what is
// served here must not take down what it tells of.
func Serve(ctx context.Context, what, listen string, h http.Handler, log *slog.Logger) error {
	if listen == "" {
		<-ctx.Done()
		return nil
	}
	if err := checkAddress(ctx, listen); err != nil {
		return fmt.Errorf("serve %s on %q: %w", what, listen, err)
	}
	l := awaitListener(ctx, what, listen, log)
	if l == nil {
		return nil
	}
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.InfoContext(ctx, "serving", "what", what, "address", l.Addr().String())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s on %s: %w", what, listen, err)
		}
		return nil
	})
	g.Go(func() error { // ends with ctx, and makes Serve end
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // ctx has ended already
		defer cancel()
		if err := s.Shutdown(stop); err != nil {
			return s.Close() // whoever has not read his answer by now
		}
		return nil
	})
	return g.Wait()
}

// checkAddress refuses what can never be listened on.
func checkAddress(ctx context.Context, listen string) error {
	if path, ok := strings.CutPrefix(listen, unixPrefix); ok {
		if path == "" {
			return errors.New("write unix:PATH")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	_, err = net.DefaultResolver.LookupPort(ctx, "tcp", port)
	return err
}

// awaitListener listens, as soon as that goes; nil when ctx ends before.
func awaitListener(ctx context.Context, what, listen string, log *slog.Logger) net.Listener {
	for wait := time.Second; ; wait = min(2*wait, 5*time.Second) {
		l, err := listenOn(ctx, listen)
		if err == nil {
			return l
		}
		if ctx.Err() == nil {
			log.WarnContext(ctx, "cannot be served yet and is tried again", "what", what, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// unixPrefix is how the address of a Unix socket begins.
const unixPrefix = "unix:"

func listenOn(ctx context.Context, listen string) (net.Listener, error) {
	var lc net.ListenConfig
	path, ok := strings.CutPrefix(listen, unixPrefix)
	if !ok {
		return lc.Listen(ctx, "tcp", listen)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of a run before
		return nil, fmt.Errorf("remove the old socket: %w", err)
	}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // the file may be that of the agent which replaces this one
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Ask asks a server that Serve runs on listen, and returns the status and the
// body of its answer, which has to come in five seconds.
func Ask(ctx context.Context, listen, method, path, body string) (int, string, error) {
	return AskPatiently(ctx, 5*time.Second, listen, method, path, body)
}

// AskPatiently is Ask for what may take longer: at most patience.
func AskPatiently(ctx context.Context, patience time.Duration, listen, method, path, body string) (int, string, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			if socket, ok := strings.CutPrefix(listen, unixPrefix); ok {
				return d.DialContext(ctx, "unix", socket)
			}
			return d.DialContext(ctx, "tcp", listen)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("ask the program at %s: %w", listen, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, string(answer), err
}
