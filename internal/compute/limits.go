package compute

import (
	"net/http"
	"strings"

	"golang.org/x/time/rate"
)

// limit is a token bucket as Azure documents it: what flows in each minute, and
// how much it holds.
type limit struct{ perMinute, most int }

// half is for what others in the same subscription use too.
func (l limit) half() limit { return limit{l.perMinute / 2, l.most / 2} }

// careful is for what is ours alone, less one request: on its way to Azure one
// can come closer to the one before it.
func (l limit) careful() limit { return limit{l.perMinute, l.most - 1} }

func (l limit) limiter() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(l.perMinute)/60, l.most)
}

// operationGroup is a kind of request that Azure counts together, for each
// resource and for each subscription. Zero is no limit.
type operationGroup struct {
	name                      string
	perResource, subscription limit
}

// frontDoor is the group of a request at Resource Manager itself, which has limits
// for each subscription:
// https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
func frontDoor(method string) operationGroup {
	if method == http.MethodGet {
		return operationGroup{name: "reads", subscription: limit{25 * 60, 250}}
	}
	return operationGroup{name: "writes", subscription: limit{10 * 60, 200}}
}

// polls is the group of questions how far an operation is.
const polls = "operation.get"

// pollShare is what these may have of the subscription's reads, of which half is
// podid's: with many operations under way they would take all, and a machine that
// is new would wait behind them.
func pollShare() limit { return limit{10 * 60, 60} }

// groupOf is the group of a request at the compute service, by the type of the
// resource; of a list, whether it is one. False is for what podid does not ask.
// https://learn.microsoft.com/azure/virtual-machines/compute-throttling-limits
func groupOf(method, kind string, list bool) (operationGroup, bool) {
	what := method + " " + kind
	if list {
		what += " list"
	}
	switch what {
	case "GET virtualmachines":
		return operationGroup{"vm.get", limit{12, 36}, limit{8000, 24000}}, true
	case "GET virtualmachines list":
		return operationGroup{"vm.list", limit{}, limit{300, 900}}, true
	case "PATCH virtualmachines":
		return operationGroup{"vm.update", limit{4, 12}, limit{500, 1500}}, true
	case "GET virtualmachinescalesets":
		return operationGroup{"vmss.get", limit{12, 36}, limit{800, 2400}}, true
	case "GET virtualmachinescalesets list":
		return operationGroup{"vmss.list", limit{10, 30}, limit{360, 1080}}, true
	case "PATCH virtualmachinescalesets":
		return operationGroup{"vmss.update", limit{4, 12}, limit{500, 1500}}, true
	case "GET operations":
		return operationGroup{polls, limit{15, 45}, limit{5000, 15000}}, true
	default:
		return operationGroup{}, false
	}
}

// place is where a bucket is: of a resource, or with an empty resource of the
// whole subscription.
type place struct{ group, subscription, resource string }

// bucket is the name of the buckets of one kind: the group, and whether each
// resource has one or the subscription.
func (p place) bucket() string {
	if p.resource == "" {
		return p.group + ".subscription"
	}
	return p.group + ".resource"
}

// charge is a bucket that a request takes a token from.
type charge struct {
	place
	limit limit
}

// chargesOf are the buckets of a request, those of the resource first. Of what
// podid does not ask for there are none but Resource Manager's own.
func chargesOf(r *http.Request) []charge {
	path := strings.ToLower(strings.Trim(r.URL.Path, "/"))
	parts := strings.Split(path, "/")
	if len(parts) < 2 || parts[0] != "subscriptions" {
		return nil
	}
	var charges []charge
	if len(parts) == 7 || len(parts) == 8 { // a list in a resource group; a resource, or an operation of a location
		if group, ok := groupOf(r.Method, parts[6], len(parts) == 7); ok {
			if group.perResource != (limit{}) {
				charges = append(charges, charge{place{group.name, parts[1], path}, group.perResource.careful()})
			}
			if group.name == polls {
				charges = append(charges, charge{place{"polls", parts[1], ""}, pollShare()})
			}
			charges = append(charges, charge{place{group.name, parts[1], ""}, group.subscription.half()})
		}
	}
	own := frontDoor(r.Method)
	return append(charges, charge{place{own.name, parts[1], ""}, own.subscription.half()})
}

// throttledIn says where there have been too many requests, of an answer 429 to a
// request with these charges. Azure tells how many are left, and has a policy
// for each resource and one for the subscription; older policies, such as
// HighCostGet3Min, are of the subscription. Where it does not tell it was the
// resource.
func throttledIn(h http.Header, charges []charge) []place {
	if len(charges) == 0 {
		return nil
	}
	front := charges[len(charges)-1].place
	if h.Get("X-Ms-Ratelimit-Remaining-Subscription-"+front.group) == "0" {
		return []place{front}
	}
	for policy := range strings.SplitSeq(strings.Join(h.Values("X-Ms-Ratelimit-Remaining-Resource"), ","), ",") {
		name, left, _ := strings.Cut(strings.TrimSpace(policy), ";")
		if left == "0" && !strings.HasSuffix(name, "Resource") && len(charges) > 1 {
			return []place{charges[len(charges)-2].place}
		}
	}
	return []place{charges[0].place}
}
