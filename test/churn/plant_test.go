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
	laws []model.Law // as one of which it must be found
	// also are laws that it may break before that, and why.
	also reasons

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

// notBound is why who takes a pod for one that is bound may refuse it for good.
const notBound = "a pod without a binding is told to ask again while it is young, and one that is bound to something else is not"

// reasons are why a bug may break a law before it is found by another.
type reasons map[model.Law]string

var (
	// mistaken is for bugs that have one pod be taken for another.
	mistaken = reasons{
		model.OnePod: "what the other is given may be the pod's own identity as well",
		model.Final:  "the pod may be refused what the other has no right to",
		model.Served: "the pod may be told to wait for what the other waits for",
		model.Woken:  "the pod may wait for what the other waits for",
	}
	unpinned = reasons{
		model.Final: "a request that is a connection of its own is the first of its connection, also while two have the address",
	}
	lives = reasons{
		model.Final: "a pod that has ended is told to ask again, and one that lives may be refused for good",
	}
	unbound = reasons{
		model.Final: notBound,
	}
	foreign = reasons{
		model.Final:  notBound,
		model.Served: "the binding of another namespace may come first, and its identity not be attached",
		model.Woken:  "the binding of another namespace may come first, and its identity not be attached",
	}
	asleep = reasons{
		model.Served: "a token is overdue long before a request is",
		model.Woken:  "a token is overdue long before a request is",
		model.Kept:   "an agent that ends hangs up at last on whoever it has not answered",
	}
	unheeded = reasons{
		model.Woken: "who asks before all is delivered waits in vain, as who asks after",
	}
	unwoken = reasons{
		model.Served: "what a request waits for may come in the instant in which it comes itself",
	}
)

// plants are the bugs, each under what it is.
func plants() map[string]*plant {
	entitled := []model.Law{model.Entitled}
	known := []model.Law{model.Served, model.Woken}
	kept := []model.Law{model.Kept}
	return map[string]*plant{
		"links are not told apart":                                  {laws: entitled, oneLink: true, also: mistaken},
		"every status is taken for new evidence":                    {laws: entitled, encode: alwaysNew, also: mistaken},
		"the source address alone is believed":                      {laws: entitled, sourceAlone: true, also: mistaken},
		"what was told before a boot is believed":                   {laws: entitled, oldBoot: true, upsets: 10, also: mistaken},
		"what was written down in one boot is believed in the next": {laws: entitled, oneBoot: true, upsets: 10, also: mistaken},
		"an attached identity is an entitlement":                    {laws: entitled, also: unbound, pods: attachedEntitles},
		"what is attached for another pod is an entitlement":        {laws: entitled, also: unbound, pods: attachedToAnyEntitles},
		"what is attached for another pod is ready for this one":    {laws: entitled, pods: attachedToAnyIsReady},
		"every identity is taken for attached":                      {laws: entitled, pods: allReady},
		"bindings of other namespaces count":                        {laws: entitled, acrossNamespaces: true, also: foreign},
		"exceptions of any namespace count":                         {laws: entitled, allExceptions: true},
		"tokens are kept by resource alone":                         {laws: entitled, tokens: byResource},
		"a pod that has ended is served":                            {laws: entitled, encode: neverEnded, also: lives},
		"of two pods with an address the first is served":           {laws: entitled, pods: firstOfTwo, upsets: 10, also: mistaken},
		"a late status of an old owner takes its address back":      {laws: entitled, pods: lastWordCounts, also: mistaken},
		"a late delete of an old owner takes the new one's address": {laws: known, pods: lateDeleteCounts},
		"a connection is not pinned":                                {laws: []model.Law{model.OnePod}, perRequest: true, also: unpinned},
		"the end of a link is not heard":                            {laws: append(known, model.Entitled, model.Final), noLinkDown: true},
		"the second address of a pod is passed over":                {laws: []model.Law{model.Served}, encode: oneAddress, also: unheeded},
		"no start is heard of, of a container or of a network":      {laws: known, encode: neverReady},
		"whoever waits is not woken":                                {laws: []model.Law{model.Woken}, pods: deaf, also: unwoken},
		"a young pod is refused as an old one is":                   {laws: []model.Law{model.Final}, pods: impatient},
		"whoever has no token yet is turned away as one too many":   {laws: []model.Law{model.Orderly}, tokens: busy},
		"a request in a hundred has the handler panic":              {laws: kept, tokens: nowAndThen(panics)},
		"a request in a hundred is given up without an answer":      {laws: kept, tokens: nowAndThen(aborts)},
		"a request in a hundred waits for ever":                     {laws: []model.Law{model.Answered}, tokens: nowAndThen(sleeps), also: asleep},
		"connections are closed after 20 s, in use or not":          {laws: kept, hangup: shortLived},
		"a new connection has 3 s to ask":                           {laws: kept, hangup: reading(hasty)},
		"a new connection may be silent for ever":                   {laws: []model.Law{model.Shed}, hangup: reading(patient)},
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
