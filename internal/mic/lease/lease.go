// Package lease lets one of several processes work: the one that holds a Lease.
package lease

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Config says which Lease, and how it is held.
type Config struct {
	// REST reaches the API server. It is not shared with anybody whose requests
	// could hold up a renewal.
	REST *rest.Config
	// Namespace and Name of the Lease.
	Namespace, Name string
	// Duration is how long the Lease counts that is not renewed.
	Duration time.Duration
	// RenewDeadline is how long the holder tries to renew it, and RetryPeriod the
	// time between tries.
	RenewDeadline, RetryPeriod time.Duration
	// Report is told why the Lease cannot be read or written, and nil when it can.
	// May be nil.
	Report func(error)
	// Log is the logger.
	Log *slog.Logger
}

// Lease is a Lease that this process may come to hold, under a name of its own.
type Lease struct {
	config Config
	lock   resourcelock.Interface
}

// New makes a Lease. It calls nobody.
func New(c Config) (*Lease, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("find a name for the holder of the lease: %w", err)
	}
	limits := rest.CopyConfig(c.REST)
	limits.RateLimiter, limits.QPS, limits.Burst, limits.Timeout = nil, 10, 20, c.RenewDeadline/2
	client, err := coordinationv1client.NewForConfig(limits)
	if err != nil {
		return nil, fmt.Errorf("make a client for the lease: %w", err)
	}
	if c.Report == nil {
		c.Report = func(error) {}
	}
	return &Lease{config: c, lock: &reporting{&resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: c.Namespace, Name: c.Name},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}, c.Report}}, nil
}

// Lead waits for the Lease, works while it is held, and gives it back. work's
// context ends with ctx, and when the Lease is lost; Lead returns when work has
// returned, with its error. Until then the Lease is renewed, also after the end
// of ctx: who holds it next finds nobody at work.
func (l *Lease) Lead(ctx context.Context, work func(context.Context) error) error {
	renewed, stop := context.WithCancel(logr.NewContext(context.WithoutCancel(ctx), // ends with stop, below
		logr.FromSlogHandler(l.config.Log.Handler()).V(4))) // what it calls info is debug to us
	defer stop()
	held := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: l.lock, Name: l.config.Name,
		LeaseDuration: l.config.Duration, RenewDeadline: l.config.RenewDeadline, RetryPeriod: l.config.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { held <- ctx },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("lease %s/%s: %w", l.config.Namespace, l.config.Name, err)
	}
	ended := make(chan struct{})
	go func() { // ends with stop, or when the Lease is lost
		defer close(ended)
		elector.Run(renewed)
	}()
	select {
	case <-ctx.Done():
	case holding := <-held:
		err = l.work(ctx, holding, work)
	}
	stop()
	<-ended
	// Work that has not ended in time may be going on: then nobody is to be let in.
	if elector.IsLeader() && !errors.Is(err, context.DeadlineExceeded) {
		l.release(ctx)
	}
	return err
}

// LongestWait is how long Lead waits at most for a Lease that nobody renews. It
// counts from when it was seen to be renewed, and then there is the next try, of
// which one may fail, and take half of RenewDeadline to do so. Two tries are up to
// 2.2 times RetryPeriod apart, since the elector adds up to 1.2 times as much; so
// was the one that saw it renewed.
func (l *Lease) LongestWait() time.Duration {
	return l.config.Duration + 7*l.config.RetryPeriod + l.config.RenewDeadline/2
}

// work works while ctx goes on and the Lease is held.
func (l *Lease) work(ctx, holding context.Context, work func(context.Context) error) error {
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(holding, cancel)()
	err := work(working)
	if ctx.Err() == nil && holding.Err() != nil {
		l.config.Log.WarnContext(ctx, "lost the lease: another leads, or the API server could not be reached in time to renew it", "lease", l.config.Namespace+"/"+l.config.Name)
	}
	return err
}

// release gives the Lease back, where it is still ours. Written by hand: that of
// the elector goes by what it saw last, and could take it from who has it since.
func (l *Lease) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.config.RenewDeadline/2) // ctx has ended, mostly
	defer cancel()
	record, _, err := l.lock.Get(ctx)
	if err == nil && record.HolderIdentity != l.lock.Identity() {
		return
	}
	if err == nil {
		now := metav1.Now()
		err = l.lock.Update(ctx, resourcelock.LeaderElectionRecord{
			LeaderTransitions: record.LeaderTransitions, LeaseDurationSeconds: 1, RenewTime: now, AcquireTime: now,
		})
	}
	if err != nil {
		l.config.Log.WarnContext(ctx, "the lease is not given back: who leads next has to wait until it expires", "err", err)
	}
}

// Holder is who holds the Lease as far as the API server knows; empty for nobody.
func (l *Lease) Holder(ctx context.Context) (string, error) {
	holder, _, err := l.read(ctx)
	return holder, err
}

// read returns who holds the Lease, and all that it says.
func (l *Lease) read(ctx context.Context) (holder string, raw []byte, err error) {
	record, raw, err := l.lock.Get(ctx)
	if apierrors.IsNotFound(err) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("read the lease %s/%s: %w", l.config.Namespace, l.config.Name, err)
	}
	return record.HolderIdentity, raw, nil
}

// Leader is who holds the Lease and renews it; empty for nobody. It waits until
// that is known: who ended without giving the Lease back is still its holder. Who
// cannot wait so long is told the holder. The Lease is read as often as who waits
// for it reads it, since mic has no right to watch it.
func (l *Lease) Leader(ctx context.Context) (string, error) {
	holder, first, err := l.read(ctx)
	if err != nil || holder == "" {
		return "", err
	}
	expired := time.NewTimer(l.LongestWait())
	defer expired.Stop()
	for tick := time.NewTicker(l.config.RetryPeriod); ; {
		select {
		case <-ctx.Done():
			return holder, nil
		case <-expired.C:
			return "", nil
		case <-tick.C:
		}
		now, raw, err := l.read(ctx)
		if ctx.Err() == nil && (err != nil || !bytes.Equal(first, raw)) {
			return now, err
		}
	}
}

// reporting is a lock that tells what is wrong with it. That another has it, or
// is about to, is not.
type reporting struct {
	resourcelock.Interface
	report func(error)
}

func (r *reporting) tell(ctx context.Context, err error) {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return
	}
	if err != nil {
		err = fmt.Errorf("lease %s: %w", r.Describe(), err)
	}
	r.report(err)
}

// Get reads the Lease.
func (r *reporting) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := r.Interface.Get(ctx)
	r.tell(ctx, err)
	return record, raw, err
}

// Create makes the Lease.
func (r *reporting) Create(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := r.Interface.Create(ctx, record)
	r.tell(ctx, err)
	return err
}

// Update writes the Lease.
func (r *reporting) Update(ctx context.Context, record resourcelock.LeaderElectionRecord) error {
	err := r.Interface.Update(ctx, record)
	r.tell(ctx, err)
	return err
}
