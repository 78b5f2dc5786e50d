// Package nmi is the HTTP edge of the node agent: it classifies a request,
// finds out who calls and which identity that may have, gets the token and
// writes the answer. Everything it needs it takes as a small interface.
//
//	Classify -> who (connection) -> which (identity.Select) -> token -> write
package nmi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/imds"
)

// Server answers what pods ask of the metadata service.
type Server struct {
	config      Config
	fair        *fairness
	history     *history
	credentials *credentials
	tell        *teller
	draining    atomic.Bool
}

// New checks the configuration and makes a server.
func New(c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	return &Server{
		config: c, fair: newFairness(c.PodRate), history: newHistory(), credentials: newCredentials(), tell: newTeller(c.Events),
	}, nil
}

// ServeHTTP answers one request of a pod.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.drains(w)
	switch imds.Classify(r) {
	case imds.TokenRoute:
		s.token(w, r)
	case imds.Probe:
		if s.config.HeaderOptional && r.URL.RawQuery != "" {
			s.token(w, r)
			return
		}
		imds.WriteError(w, errProbe)
	case imds.PassThrough:
		s.metadata(w, r)
	case imds.Info:
		s.info(w, r)
	case imds.NotFound, imds.HostToken:
		imds.WriteError(w, errNotFound)
	default:
		imds.WriteError(w, errNotFound)
	}
}

// Static answers.
var (
	errProbe    = imds.Errorf(imds.BadRequest, "Required metadata header not specified")
	errNotFound = imds.Errorf(imds.NoSuchPath, "not found; podid serves %s", imds.TokenPath)
	errTooMany  = &imds.Error{Kind: imds.Overloaded, Description: "too many requests of this pod wait already; try again", RetryAfter: 2 * time.Second}
)

// Serve answers pods on l until ctx ends, then drains: requests that are held
// are answered, for as long as they may be held, and other connections close. It
// closes a connection on which nothing has been asked for 90 s since the last
// answer, or for 5 s since the beginning, and those over the limits; nothing that
// happens to a pod or to its address closes one.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := s.server(s)
	server.ConnContext = s.withCaller
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			s.gone(c)
		}
	}
	return serve(ctx, server, l, s.config.Hold+5*time.Second)
}

// Drain has every connection of a pod close with its next answer from now on,
// which says so: clients that keep theirs come again to whoever serves then. A
// connection that is closed between two requests, as Serve does in the end, can
// take a request with it that is on its way.
func (s *Server) Drain() { s.draining.Store(true) }

// drains has an answer that is about to be sent say that its connection closes,
// when it is to.
func (s *Server) drains(w http.ResponseWriter) {
	if s.draining.Load() {
		w.Header().Set("Connection", "close")
	}
}

// server is an HTTP server with limits.
func (s *Server) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       MaxHold + 10*time.Second, // its end would cancel a held request
		WriteTimeout:      MaxHold + 10*time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
	}
}

// serve serves until ctx ends, and then for at most drain what it has.
func serve(ctx context.Context, server *http.Server, l net.Listener, drain time.Duration) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return errors.Join(errors.New("serve on "+l.Addr().String()), err)
		}
		return nil
	})
	g.Go(func() error { // ends with ctx, and makes Serve end
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain) // ctx has ended already
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			return server.Close() // their clients ask again
		}
		return nil
	})
	return g.Wait()
}
