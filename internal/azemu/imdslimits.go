package azemu

import (
	"net/http"
	"sync"
	"time"

	"github.com/podid-io/podid/internal/imds"
)

// limits are those of one machine's metadata service, by category:
// https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service#rate-limiting
type limits struct {
	identity, general category
}

// category are requests that are counted together: at most perSecond in any one
// second, and atOnce at once where that is positive.
type category struct {
	perSecond, atOnce int

	mu     sync.Mutex
	came   []time.Time // the admitted ones of the last second; guarded by mu
	active int         // guarded by mu
}

func newLimits() *limits {
	return &limits{identity: category{perSecond: 20, atOnce: 5}, general: category{perSecond: 5}}
}

// of is the category of an endpoint.
func (l *limits) of(endpoint string) *category {
	if endpoint == EndpointIMDSToken || endpoint == EndpointIMDSInfo {
		return &l.identity
	}
	return &l.general
}

// enter takes a place, and is false when there is none at now. Call leave after.
func (c *category) enter(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.came) > 0 && now.Sub(c.came[0]) >= time.Second {
		c.came = c.came[1:]
	}
	if len(c.came) >= c.perSecond || (c.atOnce > 0 && c.active >= c.atOnce) {
		return false
	}
	c.came = append(c.came, now)
	c.active++
	return true
}

func (c *category) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
}

// limited is h within the limits of one machine, where they are enforced. A
// request that a fault delays holds its place.
func (e *Emulator) limited(m *machine, endpoint string, h http.HandlerFunc) http.HandlerFunc {
	if !e.config.IMDSLimits {
		return h
	}
	c := m.limits.of(endpoint)
	return func(w http.ResponseWriter, r *http.Request) {
		if !c.enter(time.Now()) {
			imds.WriteError(w, imds.Errorf(imds.Overloaded, "Too many requests"))
			return
		}
		defer c.leave()
		h(w, r)
	}
}
