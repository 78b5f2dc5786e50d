// Package nmi is the HTTP edge of the node agent: it classifies a request,
// finds out who calls and which identity that may have, gets the token and
// writes the answer. Everything it needs it takes as a small interface.
//
//	Classify -> who (connection) -> which (identity.Select) -> token -> write
package nmi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// Pods finds the pod behind an address; *nodeview.View does.
type Pods interface {
	ByIP(addr netip.Addr, link int) (nodeview.Found, <-chan struct{}, error)
}

// Tokens gets tokens; *token.Cache does.
type Tokens interface {
	Get(context.Context, *token.Request, token.Ask) (token.Token, token.How, error)
}

// Origin is what the kernel knows of an accepted connection.
type Origin struct {
	// Source is the address that the packets came from.
	Source netip.Addr
	// Interface is the index of the interface that the handshake came in by.
	Interface int
	// RouteBack is the index of the interface that Source is on; 0 for none.
	RouteBack int
	// Destination is what the client connected to, before any translation.
	Destination netip.AddrPort
}

// Origins tells where a connection comes from.
type Origins interface {
	Of(net.Conn) (Origin, error)
}

// Controller is mic as nmi knows it: its pods reach the identity of mic, for
// Azure Resource Manager and nothing else.
type Controller struct {
	// Namespace and ServiceAccount of mic's pods. Empty means that there is none.
	Namespace, ServiceAccount string
	// ClientID of the managed identity of mic.
	ClientID string
	// VM says that mic uses the identity of the VM itself, and not ClientID.
	VM bool
	// Resources are the App-ID URIs of Azure Resource Manager, without a
	// trailing slash; compared without one and without case.
	Resources []string
}

// MaxHold is the longest that a request is held: the shortest time-out among
// clients is 60 s, for the Go SDK.
const MaxHold = 55 * time.Second

// DefaultHold is how long a request is held when Config does not say.
const DefaultHold = 50 * time.Second

// Config says what a Server works with. Pods, Tokens, Origins, Audit, Metrics
// and Log are required.
type Config struct {
	Pods    Pods
	Tokens  Tokens
	Origins Origins
	Audit   *Audit
	Metrics *Metrics
	Log     *slog.Logger
	// Metadata is where pods believe to connect. Connections to anywhere else
	// are refused. The zero value accepts any, for data planes that redirect by
	// other means (--redirect=none).
	Metadata netip.AddrPort
	// Hold is how long a request waits for an identity on its way. The default
	// is 50 s, the most 55 s.
	Hold time.Duration
	// Controller is mic.
	Controller Controller
}

// Server answers what pods ask of the metadata service.
type Server struct {
	config Config
	holds  holds
}

// New checks the configuration and makes a server.
func New(c Config) (*Server, error) {
	if c.Hold == 0 {
		c.Hold = DefaultHold
	}
	if c.Hold < 0 || c.Hold > MaxHold {
		return nil, fmt.Errorf("hold of %s: write a duration up to %s, since the Go SDK gives up after 60s", c.Hold, MaxHold)
	}
	if c.Pods == nil || c.Tokens == nil || c.Origins == nil || c.Audit == nil || c.Metrics == nil || c.Log == nil {
		return nil, errors.New("nmi.Config is incomplete")
	}
	return &Server{config: c, holds: holds{by: make(map[netip.Addr]int)}}, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch imds.Classify(r) {
	case imds.TokenRoute:
		s.token(w, r)
	case imds.Probe:
		imds.WriteError(w, errProbe)
	case imds.Blocked, imds.PassThrough:
		imds.WriteError(w, errBlocked)
	case imds.NotFound, imds.HostToken:
		imds.WriteError(w, errNotFound)
	default:
		imds.WriteError(w, errNotFound)
	}
}

// Static answers.
var (
	errProbe    = imds.Errorf(imds.BadRequest, "Required metadata header not specified")
	errBlocked  = imds.Errorf(imds.Forbidden, "pods may not read this part of the metadata service; podid serves %s", imds.TokenPath)
	errNotFound = imds.Errorf(imds.NoSuchPath, "not found; podid serves %s", imds.TokenPath)
)

// Serve answers on l until ctx ends, then drains for at most five seconds.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ConnContext:       withCaller,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       MaxHold + 10*time.Second, // its end would cancel a held request
		WriteTimeout:      MaxHold + 10*time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve pods on %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error { // ends with ctx, and makes Serve end
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // ctx has ended already
		defer cancel()
		if err := server.Shutdown(drain); err != nil {
			return server.Close() // held requests: their clients ask again
		}
		return nil
	})
	return g.Wait()
}
