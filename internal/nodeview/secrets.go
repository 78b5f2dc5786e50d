package nodeview

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
)

// Errors of Secrets.Get. Each can end by itself: wait for a change.
var (
	// ErrSecretNotRead means that the Secret is being read for the first time.
	ErrSecretNotRead = errors.New("the secret has not been read yet")
	// ErrNoSecret means that there is no such Secret.
	ErrNoSecret = errors.New("there is no such secret")
	// ErrSecretForbidden means that nmi has no right to read it.
	ErrSecretForbidden = errors.New("nmi may not get, list and watch the secret: bind the ClusterRole podid-nmi-secrets (of a release by another name: NAME-nmi-secrets) to its service account, in that namespace at least")
	// ErrTooManySecrets means that as many are read as may be, in all or of this
	// namespace, until nobody asks for some of them.
	ErrTooManySecrets = errors.New("nmi reads as many secrets as it may already; try again later")
)

const (
	// MaxSecrets is how many Secrets are watched at once.
	MaxSecrets = 256
	// MaxSecretsByNamespace is how many of one namespace, so that none takes the
	// watches of the others.
	MaxSecretsByNamespace = 64
	// secretIdle is how long a Secret is watched that nobody asks for.
	secretIdle = 10 * time.Minute
	// secretIdleEmpty is that for one that there is not, or may not be read.
	secretIdleEmpty = time.Minute
	// secretRetry is how soon after a failure a Secret is asked for again; up to
	// ten times that after several.
	secretRetry = time.Second
)

// Secrets reads Secrets by name, each by a watch of its own, from when it is first
// asked for until nobody has asked for ten minutes. No other Secret is read, and
// one that has changed is known at once.
type Secrets struct {
	client corev1client.SecretsGetter
	log    *slog.Logger
	wanted chan struct{} // holds one element when somebody waits in starting

	mu       sync.Mutex
	watched  map[name]*secret // guarded by mu
	starting []*secret        // those that have no watch yet; guarded by mu
	room     chan struct{}    // closed when one is forgotten; guarded by mu
}

// secret is one that is watched. All but its name is guarded by Secrets.mu.
type secret struct {
	name    name
	data    map[string][]byte // shared: never changed
	err     error             // why there is no data
	used    time.Time
	failing bool          // the last try to list or watch it failed
	changed chan struct{} // closed at the next change
}

// NewSecrets makes a reader that reads once Run is called.
func NewSecrets(config *rest.Config, log *slog.Logger) (*Secrets, error) {
	c, err := corev1client.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for secrets: %w", err)
	}
	return &Secrets{client: c, log: log, wanted: make(chan struct{}, 1), watched: make(map[name]*secret), room: make(chan struct{})}, nil
}

// Get returns what is in a Secret, as it was when the API server last told. The
// content is shared: do not change it. The channel is closed at the next change
// of the Secret; with ErrTooManySecrets, when one is forgotten.
func (s *Secrets) Get(namespace, secretName string) (map[string][]byte, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := name{namespace, secretName}
	e, ok := s.watched[n]
	if !ok {
		if s.full(namespace) {
			return nil, s.room, fmt.Errorf("%s/%s: %w", namespace, secretName, ErrTooManySecrets)
		}
		e = &secret{name: n, err: ErrSecretNotRead, used: time.Now(), changed: make(chan struct{})}
		s.watched[n] = e
		s.starting = append(s.starting, e)
		select {
		case s.wanted <- struct{}{}:
		default: // it will look anyhow
		}
	}
	if e.err != nil { // not used: one that there is not takes no place for long, however often it is asked for
		return nil, e.changed, fmt.Errorf("%s/%s: %w", namespace, secretName, e.err)
	}
	e.used = time.Now()
	return e.data, e.changed, nil
}

// full reports whether there is no place for one more of a namespace. s.mu is
// held.
func (s *Secrets) full(namespace string) bool {
	n := 0
	for other := range s.watched {
		if other.namespace == namespace {
			n++
		}
	}
	return len(s.watched) >= MaxSecrets || n >= MaxSecretsByNamespace
}

// Run watches what is asked for until ctx ends, and returns when all watches have
// ended.
func (s *Secrets) Run(ctx context.Context) error {
	var watches sync.WaitGroup
	defer watches.Wait()
	for {
		for _, e := range s.take() {
			watches.Go(func() { s.watch(ctx, e) }) // ends with ctx or when nobody asks
		}
		select {
		case <-s.wanted:
		case <-ctx.Done():
			return nil
		}
	}
}

// take returns the Secrets that have no watch yet.
func (s *Secrets) take() []*secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.starting
	s.starting = nil
	return list
}

// watch watches one Secret until ctx ends or nobody has asked for long.
func (s *Secrets) watch(ctx context.Context, e *secret) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { s.follow(ctx, e) }) // ends with ctx
	for wait := secretIdleEmpty; wait > 0; wait = s.left(e) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// follow lists and watches one Secret, again and again, until ctx ends.
func (s *Secrets) follow(ctx context.Context, e *secret) {
	r := toolscache.NewReflectorWithOptions(s.only(e), &corev1.Secret{}, content{s, e}, toolscache.ReflectorOptions{})
	for wait := secretRetry; ; wait = min(2*wait, 10*secretRetry) {
		began := time.Now()
		if err := r.ListAndWatchWithContext(ctx); err != nil {
			s.failed(ctx, e, err)
		}
		if time.Since(began) > time.Minute {
			wait = secretRetry
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// left is for how long the Secret is watched yet if nobody asks; when that is
// over, it is forgotten. What there is of one is kept while the API server is
// away: it could not be read again.
func (s *Secrets) left(e *secret) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	idle := secretIdle
	if e.data == nil {
		idle = secretIdleEmpty
	}
	wait := time.Until(e.used.Add(idle))
	switch {
	case wait > 0:
		return wait
	case e.failing && e.data != nil:
		return idle
	}
	delete(s.watched, e.name)
	close(e.changed) // who waits for it asks again, and has it watched again
	e.changed = make(chan struct{})
	close(s.room)
	s.room = make(chan struct{})
	return 0
}

// only lists and watches that one Secret.
func (s *Secrets) only(e *secret) toolscache.ListerWatcher {
	api := s.client.Secrets(e.name.namespace)
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, e.name.name).String()
	return &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = selector
			return api.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = selector
			return api.Watch(ctx, o)
		},
	}
}

// content is where a Reflector puts what it reads of one Secret.
type content struct {
	secrets *Secrets
	of      *secret
}

var _ toolscache.ReflectorStore = content{}

// Add takes the content of a Secret that has come.
func (c content) Add(o any) error { return c.Update(o) }

// Update takes the content of a Secret that has changed.
func (c content) Update(o any) error {
	if full, ok := o.(*corev1.Secret); ok && full.Namespace == c.of.name.namespace && full.Name == c.of.name.name {
		c.secrets.set(c.of, full.Data, nil)
	}
	return nil
}

// Delete notes that the Secret is gone.
func (c content) Delete(any) error {
	c.secrets.set(c.of, nil, ErrNoSecret)
	return nil
}

// Replace takes a list, of the one Secret or of none.
func (c content) Replace(list []any, _ string) error {
	if len(list) == 0 {
		return c.Delete(nil)
	}
	return c.Update(list[0])
}

// Resync does nothing: nothing is left to do again.
func (c content) Resync() error { return nil }

// failed notes that a Secret cannot be watched. What was read before goes on to
// serve while the API server is away, but not when the right to read it is gone.
func (s *Secrets) failed(ctx context.Context, e *secret, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	e.failing = true
	s.mu.Unlock()
	s.log.WarnContext(ctx, "the watch of a secret failed and is tried again", "secret", e.name.namespace+"/"+e.name.name, "err", err)
	if apierrors.IsForbidden(err) {
		s.set(e, nil, ErrSecretForbidden)
	}
}

// set records what is known of a Secret and wakes who waits for it.
func (s *Secrets) set(e *secret, data map[string][]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.data, e.err, e.failing = data, err, false
	close(e.changed)
	e.changed = make(chan struct{})
}
