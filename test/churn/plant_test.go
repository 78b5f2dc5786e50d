package churn_test

import (
	"encoding/json"
	"net"
	"net/netip"
	"time"

	"github.com/podid-io/podid/internal/nmi"
	"github.com/podid-io/podid/test/churn/model"
)

// plant is a bug that is planted, to see that it is found. The zero value is
// none.
type plant struct {
	laws []model.Law // which the model may report

	oldBoot          bool // nobody knows when the node was booted
	oneBoot          bool // the memory of one boot is that of the next
	noLinkDown       bool // nobody hears of links that go
	oneLink          bool // links are not told apart
	sourceAlone      bool // an address is believed wherever it comes by
	acrossNamespaces bool // bindings of other namespaces count
	allExceptions    bool // exceptions of every namespace count
	perRequest       bool // every request is a connection of its own

	upsets int // how much more often the rare happens, in thousandths of the steps

	pods   func(*world, nmi.Pods) nmi.Pods
	tokens func(*world, nmi.Tokens) nmi.Tokens
	hangup func(net.Listener) net.Listener
	encode func(object any, version int) json.RawMessage
}

// plants are the bugs, each under what it is.
func plants() map[string]*plant {
	entitled := []model.Law{model.Entitled}
	known := []model.Law{model.Served, model.Woken}
	answered := []model.Law{model.Answered}
	return map[string]*plant{
		"links are not told apart":                                  {laws: entitled, oneLink: true},
		"every status is taken for new evidence":                    {laws: entitled, encode: alwaysNew},
		"the source address alone is believed":                      {laws: entitled, sourceAlone: true},
		"what was told before a boot is believed":                   {laws: entitled, oldBoot: true, upsets: 10},
		"what was written down in one boot is believed in the next": {laws: entitled, oneBoot: true, upsets: 10},
		"an attached identity is an entitlement":                    {laws: entitled, pods: attachedEntitles},
		"what is attached for another pod is an entitlement":        {laws: entitled, pods: attachedToAnyEntitles},
		"what is attached for another pod is ready for this one":    {laws: entitled, pods: attachedToAnyIsReady},
		"every identity is taken for attached":                      {laws: entitled, pods: allReady},
		"bindings of other namespaces count":                        {laws: entitled, acrossNamespaces: true},
		"exceptions of any namespace count":                         {laws: entitled, allExceptions: true},
		"tokens are kept by resource alone":                         {laws: entitled, tokens: byResource},
		"a pod that has ended is served":                            {laws: entitled, encode: neverEnded},
		"of two pods with an address the first is served":           {laws: entitled, pods: firstOfTwo, upsets: 10},
		"a late status of an old owner takes its address back":      {laws: entitled, pods: lastWordCounts},
		"a late delete of an old owner takes the new one's address": {laws: known, pods: lateDeleteCounts},
		"a connection is not pinned":                                {laws: []model.Law{model.OnePod}, perRequest: true},
		"the end of a link is not heard":                            {laws: known, noLinkDown: true},
		"the second address of a pod is passed over":                {laws: known, encode: oneAddress},
		"no start is heard of, of a container or of a network":      {laws: known, encode: neverReady},
		"whoever waits is not woken":                                {laws: []model.Law{model.Woken}, pods: deaf},
		"a young pod is refused as an old one is":                   {laws: []model.Law{model.Final}, pods: impatient},
		"whoever has no token yet is turned away as one too many":   {laws: []model.Law{model.Orderly}, tokens: busy},
		"a request in a hundred has the handler panic":              {laws: answered, tokens: nowAndThen(panics)},
		"a request in a hundred is given up without an answer":      {laws: answered, tokens: nowAndThen(aborts)},
		"a request in a hundred waits for ever":                     {laws: answered, tokens: nowAndThen(sleeps)},
		"connections are closed after 20 s, in use or not":          {laws: answered, hangup: shortLived},
	}
}

func (p *plant) wrapPods(w *world, v nmi.Pods) nmi.Pods {
	if p.pods == nil {
		return v
	}
	return p.pods(w, v)
}

func (p *plant) wrapTokens(w *world, t nmi.Tokens) nmi.Tokens {
	if p.tokens == nil {
		return t
	}
	return p.tokens(w, t)
}

// alwaysNew has every status say that the pod has just got its network.
func alwaysNew(object any, version int) json.RawMessage {
	if p, ok := object.(model.Pod); ok && p.Addr.IsValid() {
		p.Ready = time.Now().Unix()
		object = p
	}
	return encode(object, version)
}

// oneAddress hides the second address.
func oneAddress(object any, version int) json.RawMessage {
	if p, ok := object.(model.Pod); ok {
		p.Second = netip.Addr{}
		object = p
	}
	return encode(object, version)
}

// neverReady hides the starts of containers and of networks.
func neverReady(object any, version int) json.RawMessage {
	if p, ok := object.(model.Pod); ok {
		p.Ready, p.Started = 0, 0
		object = p
	}
	return encode(object, version)
}

// neverEnded has every pod that ends be told of as one that runs.
func neverEnded(object any, version int) json.RawMessage {
	if p, ok := object.(model.Pod); ok && p.Ended {
		p.Ended = false
		object = p
	}
	return encode(object, version)
}
