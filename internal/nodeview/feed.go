package nodeview

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"sync"
	"time"
)

// feed is what feeds a view: the requests of its watches. It sees them pass, so
// that nobody has to ask whether the API server is still there.
type feed struct {
	report func(error)

	mu      sync.Mutex
	failing map[string]error // by path, what is the matter with it; guarded by mu
	live    bool             // everything has been delivered once; guarded by mu
	since   time.Time        // when it was last fed whole; zero while it is. Guarded by mu
}

func newFeed(report func(error)) *feed {
	return &feed{report: report, failing: make(map[string]error), since: time.Now()}
}

// wrap is for rest.Config.Wrap.
func (f *feed) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		r = consistent(r)
		resp, err := next.RoundTrip(r)
		switch {
		case r.Context().Err() != nil: // given up by us
		case !watched(r.URL.Path): // asked once, at the start
		case err != nil:
			f.saw(r.URL.Path, err)
		case resp.StatusCode >= http.StatusBadRequest && resp.StatusCode != http.StatusGone: // 410 asks for a new list, which comes next
			f.saw(r.URL.Path, fmt.Errorf("the API server answered %s to %s", resp.Status, r.URL.Path))
		default:
			f.saw(r.URL.Path, nil)
		}
		return resp, err
	})
}

// consistent has a list of pods be of now and not of some time ago, as the
// library asks for where the API server cannot stream lists: an address may have
// gone to another pod meanwhile.
func consistent(r *http.Request) *http.Request {
	q := r.URL.Query()
	if path.Base(r.URL.Path) != "pods" || q.Get("resourceVersion") != "0" || q.Get("watch") != "" {
		return r
	}
	q.Del("resourceVersion")
	q.Del("resourceVersionMatch")
	r = r.Clone(r.Context())
	r.URL.RawQuery = q.Encode()
	return r
}

// watched reports whether a path is that of one of the watches.
func watched(p string) bool {
	switch path.Base(p) {
	case "pods", "namespaces", "azureidentities", "azureidentitybindings", "azurepodidentityexceptions", "azureassignedidentities":
		return true
	default:
		return false
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// saw notes how a request ended, and reports when that changes anything.
func (f *feed) saw(what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.failing)
	if err != nil {
		f.failing[what] = err
	} else {
		delete(f.failing, what)
	}
	f.mark()
	if f.live && (err != nil || before != len(f.failing)) {
		f.report(f.trouble())
	}
}

// trouble is what is the matter, or nil. f.mu is held.
func (f *feed) trouble() error {
	for _, what := range slices.Sorted(maps.Keys(f.failing)) {
		return fmt.Errorf("the view of the node is not fed: %w", f.failing[what])
	}
	return nil
}

// starting is why not everything has been delivered yet.
func (f *feed) starting() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.trouble(); err != nil {
		return err
	}
	return errors.New("waiting for the first list of pods, namespaces, identities, bindings, exceptions and assigned identities")
}

// delivered says that everything has been delivered.
func (f *feed) delivered() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.live = true
	f.mark()
	f.report(f.trouble())
}

// mark notes since when the view has not been fed whole. f.mu is held.
func (f *feed) mark() {
	switch {
	case !f.live: // since the start
	case len(f.failing) == 0:
		f.since = time.Time{}
	case f.since.IsZero():
		f.since = time.Now()
	}
}

// age is how long the view has not been fed whole; 0 while it is.
func (f *feed) age() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since.IsZero() {
		return 0
	}
	return time.Since(f.since)
}

// Age is how old the view can be: 0 while all watches are up, else the time
// since the first of them failed, or since the start. What it tells of pods that
// it knows goes on to count.
func (v *View) Age() time.Duration { return v.age() }
