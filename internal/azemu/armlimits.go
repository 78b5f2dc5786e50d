package azemu

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// armPolicy is how many requests Azure takes: so many each minute, and so many at
// once after a rest.
type armPolicy struct{ perMinute, most int }

// computePolicy is a policy of the compute service, for each resource and for all
// of a subscription; see
// https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits
// There they hold for one region, here for all together.
type computePolicy struct {
	name             string
	resource, across armPolicy
}

func computePolicyOf(endpoint string) (computePolicy, bool) {
	switch endpoint {
	case EndpointVMGet:
		return computePolicy{"LowCostGet", armPolicy{12, 36}, armPolicy{8000, 24000}}, true
	case EndpointVMList:
		return computePolicy{"VMList", armPolicy{}, armPolicy{300, 900}}, true
	case EndpointVMPatch:
		return computePolicy{"UpdateVM", armPolicy{4, 12}, armPolicy{500, 1500}}, true
	case EndpointVMSSGet:
		return computePolicy{"GetVMScaleSet", armPolicy{12, 36}, armPolicy{800, 2400}}, true
	case EndpointVMSSList:
		return computePolicy{"VMScaleSetList", armPolicy{10, 30}, armPolicy{360, 1080}}, true
	case EndpointVMSSPatch:
		return computePolicy{"UpdateVMScaleSet", armPolicy{4, 12}, armPolicy{500, 1500}}, true
	case EndpointOperationGet:
		return computePolicy{"GetOperation", armPolicy{15, 45}, armPolicy{5000, 15000}}, true
	default:
		return computePolicy{}, false
	}
}

// frontPolicy is the policy of Resource Manager itself, for one caller in one
// subscription.
func frontPolicy(method string) (kind string, p armPolicy) {
	switch method {
	case http.MethodGet, http.MethodHead:
		return "Reads", armPolicy{25 * 60, 250}
	case http.MethodDelete:
		return "Deletes", armPolicy{10 * 60, 200}
	default:
		return "Writes", armPolicy{10 * 60, 200}
	}
}

// mostBuckets is how many buckets there are before those that are full, and so
// the same as new ones, are forgotten.
const mostBuckets = 1 << 12

// armLimits counts the requests to Resource Manager.
type armLimits struct {
	mu      sync.Mutex // guards buckets
	buckets map[string]*rate.Limiter
}

func newARMLimits() *armLimits { return &armLimits{buckets: map[string]*rate.Limiter{}} }

// armBucket is one that a request takes from, and the header that tells what is
// left of it.
type armBucket struct {
	*rate.Limiter

	header, prefix string
	policy         armPolicy
	front          bool // of Resource Manager itself
}

// bucket returns the bucket with this key. The caller holds mu.
func (l *armLimits) bucket(key string, p armPolicy, now time.Time) *rate.Limiter {
	if b, ok := l.buckets[key]; ok {
		return b
	}
	if len(l.buckets) >= mostBuckets {
		for k, b := range l.buckets {
			if b.TokensAt(now) >= float64(b.Burst()) {
				delete(l.buckets, k)
			}
		}
	}
	b := rate.NewLimiter(rate.Limit(p.perMinute)/60, p.most)
	l.buckets[key] = b
	return b
}

// of are the buckets of a request. The caller holds mu.
func (l *armLimits) of(endpoint string, c *armCall, now time.Time) []armBucket {
	parts := strings.Split(strings.ToLower(c.r.URL.Path), "/") // the first is empty
	if len(parts) < 3 {
		return nil
	}
	subscription := parts[2]
	kind, policy := frontPolicy(c.r.Method)
	buckets := []armBucket{{
		Limiter: l.bucket(kind+" "+c.caller+" "+subscription, policy, now),
		header:  "X-Ms-Ratelimit-Remaining-Subscription-" + kind, policy: policy, front: true,
	}}
	p, ok := computePolicyOf(endpoint)
	if !ok {
		return buckets
	}
	const header = "X-Ms-Ratelimit-Remaining-Resource"
	buckets = append(buckets, armBucket{
		Limiter: l.bucket(p.name+" "+subscription, p.across, now),
		header:  header, prefix: "Microsoft.Compute/" + p.name + "SubscriptionMaximum;", policy: p.across,
	})
	if p.resource != (armPolicy{}) {
		buckets = append(buckets, armBucket{
			Limiter: l.bucket(p.name+" "+strings.ToLower(c.r.URL.Path), p.resource, now),
			header:  header, prefix: "Microsoft.Compute/" + p.name + "Resource;", policy: p.resource,
		})
	}
	return buckets
}

// admit counts a request, writes the headers that tell what is left, and is false
// when it was answered with 429. A request that is refused costs nothing.
func (e *Emulator) admit(w http.ResponseWriter, endpoint string, c *armCall) bool {
	now := time.Now()
	l := e.armLimits
	l.mu.Lock()
	defer l.mu.Unlock()
	buckets := l.of(endpoint, c, now)
	var empty *armBucket
	for i := range buckets {
		if empty == nil && buckets[i].TokensAt(now) < 1 {
			empty = &buckets[i]
		}
	}
	refused := empty != nil && e.config.ARMLimits
	for _, b := range buckets {
		if !refused {
			b.AllowN(now, 1)
		}
		w.Header().Add(b.header, b.prefix+strconv.Itoa(max(0, int(b.TokensAt(now)))))
	}
	if refused {
		writeThrottled(w, c, empty, now)
	}
	return !refused
}

// writeThrottled answers with 429: in the words of Resource Manager, or in those
// of the compute service.
func writeThrottled(w http.ResponseWriter, c *armCall, b *armBucket, now time.Time) {
	missing := 1 - b.TokensAt(now)
	wait := max(1, int(math.Ceil(missing*60/float64(b.policy.perMinute))))
	w.Header().Set("Retry-After", strconv.Itoa(wait))
	if b.front {
		writeARMError(w, &armError{http.StatusTooManyRequests, "SubscriptionRequestsThrottled", fmt.Sprintf(
			"Number of requests of client '%s' in this subscription exceeds the limit. Please try again after '%d' seconds after additional tokens are available.", c.caller, wait)})
		return
	}
	group := strings.TrimSuffix(strings.TrimPrefix(b.prefix, "Microsoft.Compute/"), ";")
	type detail struct {
		Code    string `json:"code"`
		Target  string `json:"target"`
		Message string `json:"message"`
	}
	noteCode(w, "OperationNotAllowed")
	writeJSON(w, http.StatusTooManyRequests, map[string]any{"error": map[string]any{
		"code":    "OperationNotAllowed",
		"message": "The server rejected the request because too many requests have been received for this subscription.",
		"details": []detail{{
			Code: "TooManyRequests", Target: group,
			Message: fmt.Sprintf(`{"operationGroup":%q,"startTime":%q,"endTime":%q,"allowedRequestCount":%d,"measuredRequestCount":%d}`,
				group, now.Add(-time.Minute).UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), b.policy.most, b.policy.most+1),
		}},
	}})
}
