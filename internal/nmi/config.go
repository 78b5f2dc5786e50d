package nmi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/podid-io/podid/internal/identity"
	"github.com/podid-io/podid/internal/imds"
	"github.com/podid-io/podid/internal/nodeview"
	"github.com/podid-io/podid/internal/token"
)

// Pods finds pods; *nodeview.View does.
type Pods interface {
	ByIP(addr netip.Addr, link int) (nodeview.Found, <-chan struct{}, error)
	ByName(namespace, name string) (nodeview.Found, <-chan struct{}, error)
	All() ([]nodeview.Found, <-chan struct{})
}

// Tokens gets tokens; *token.Cache does.
type Tokens interface {
	Cached(r *token.Request, a token.Ask) (token.Token, token.How, bool)
	Get(ctx context.Context, r *token.Request, a token.Ask) (token.Token, token.How, error)
	Prefetch(ctx context.Context, r *token.Request) error
}

// Secrets reads Secrets that identities name; *nodeview.Secrets does. The
// channel closes when the answer may be another.
type Secrets interface {
	Get(namespace, name string) (map[string][]byte, <-chan struct{}, error)
}

// Upstream is the real metadata service, for what is passed on.
type Upstream interface {
	Metadata(ctx context.Context, path string, query url.Values) (imds.Answer, error)
	// Tenant is the tenant of the VM's identities.
	Tenant(ctx context.Context) (string, error)
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
	Of(conn net.Conn) (Origin, error)
}

// Host tells of connections that processes of the node make.
type Host interface {
	// OfLoopback reports whether a connection came in by the loopback interface.
	OfLoopback(conn net.Conn) (bool, error)
	// PeerUID is the user at the other end of a loopback connection.
	PeerUID(conn net.Conn) (uint32, error)
}

// Events tells people of a pod, where `kubectl describe pod` shows it.
type Events interface {
	Warn(pod identity.Pod, reason, message string)
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

// Times and rates of Config.
const (
	// MaxHold is the longest that a request is held: the shortest time-out among
	// clients is 60 s, for the Go SDK.
	MaxHold = 55 * time.Second
	// DefaultHold is how long a request is held when Config does not say.
	DefaultHold = 50 * time.Second
	// DefaultPodRate is how many requests a second one pod is served.
	DefaultPodRate = 1000
)

// Config says what a Server works with. Pods, Tokens, Origins, Audit, Metrics
// and Log are required.
type Config struct {
	Pods    Pods
	Tokens  Tokens
	Origins Origins
	Audit   *Audit
	Metrics *Metrics
	Log     *slog.Logger
	// Secrets and Application serve applications (types 1 and 2): the Secret with
	// the credential, and the checked authority of an identity. Without them
	// applications are refused.
	Secrets     Secrets
	Application func(identity.Identity) (authority string, err error)
	// Upstream and PassThrough say what else of the metadata service pods may
	// read. The default is nothing.
	Upstream    Upstream
	PassThrough []imds.Family
	// Host serves /host/token; see ServeHost.
	Host Host
	// Events may be nil.
	Events Events
	// Metadata is where pods believe to connect. Connections to anywhere else
	// are refused. The zero value accepts any, for data planes that redirect by
	// other means (--redirect=none).
	Metadata netip.AddrPort
	// HeaderOptional serves tokens without the header Metadata, as AAD Pod
	// Identity could be told to. The default is false.
	HeaderOptional bool
	// Hold is how long a request waits for an identity on its way. The default
	// is 50 s, the most 55 s.
	Hold time.Duration
	// PodRate is how many requests a second one pod is served; more wait for
	// their turn. The default is 1000.
	PodRate float64
	// Controller is mic.
	Controller Controller
}

// complete fills in defaults and refuses what cannot work.
func (c *Config) complete() error {
	if c.Hold == 0 {
		c.Hold = DefaultHold
	}
	if c.PodRate == 0 {
		c.PodRate = DefaultPodRate
	}
	switch {
	case c.Hold < 0 || c.Hold > MaxHold:
		return fmt.Errorf("hold of %s: write a duration up to %s, since the Go SDK gives up after 60s", c.Hold, MaxHold)
	case c.PodRate < 2*connectionCost:
		return fmt.Errorf("%g requests a second of one pod are too few: write %d or more", c.PodRate, 2*connectionCost)
	case c.Pods == nil || c.Tokens == nil || c.Origins == nil || c.Audit == nil || c.Metrics == nil || c.Log == nil:
		return errors.New("nmi.Config is incomplete")
	case len(c.PassThrough) > 0 && c.Upstream == nil:
		return errors.New("nmi.Config.PassThrough needs Upstream")
	default:
		return nil
	}
}
