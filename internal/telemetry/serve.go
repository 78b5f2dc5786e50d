package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Serve serves h on listen (host:port) until ctx ends, then drains for at most
// five seconds. An empty listen serves nothing and waits for ctx. An address
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
		return s.Shutdown(stop)
	})
	return g.Wait()
}

// checkAddress refuses what can never be listened on.
func checkAddress(ctx context.Context, listen string) error {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	_, err = net.DefaultResolver.LookupPort(ctx, "tcp", port)
	return err
}

// awaitListener listens, as soon as that goes; nil when ctx ends before.
func awaitListener(ctx context.Context, what, listen string, log *slog.Logger) net.Listener {
	var lc net.ListenConfig
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		l, err := lc.Listen(ctx, "tcp", listen)
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
