package nmi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid-io/podid/internal/token"
)

// State is what the rest of the agent tells of itself, asked at each scrape.
type State struct {
	// ViewAge is how long ago the view of the node was last fed.
	ViewAge func() time.Duration
	// Tokens tells of the cache.
	Tokens func() token.Stats
	// Redirect and Canary report whether the redirect stands, and whether a
	// connection made to try it arrived. Nil where there is no redirect.
	Redirect, Canary func() bool
}

// RegisterState registers metrics of the agent's state.
func RegisterState(r prometheus.Registerer, s State) {
	gauge := func(name, help string, labels prometheus.Labels, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, value))
	}
	gauge("podid_view_age_seconds", "Time since the view of the node was last fed by the API server; 0 while it is.", nil,
		func() float64 { return s.ViewAge().Seconds() })
	gauge("podid_token_expiry_seconds", "Time until the first of the tokens in use expires; 0 when there is none.", nil, func() float64 {
		if at := s.Tokens().SoonestExpiry; !at.IsZero() {
			return time.Until(at).Seconds()
		}
		return 0
	})
	gauge("podid_refresh_lag_seconds", "How long the oldest renewal of a token is overdue.", nil,
		func() float64 { return s.Tokens().RefreshLag.Seconds() })
	gauge("podid_cached_tokens", "Tokens, and recent failures, held in memory.", nil,
		func() float64 { return float64(s.Tokens().Entries) })
	for class, of := range map[string]func(token.Queued) int{
		"foreground": func(q token.Queued) int { return q.Foreground },
		"refresh":    func(q token.Queued) int { return q.Refresh },
		"prefetch":   func(q token.Queued) int { return q.Prefetch },
	} {
		gauge("podid_upstream_queue", "Calls to Azure that wait for their turn, by class.", prometheus.Labels{"class": class},
			func() float64 { return float64(of(s.Tokens().Queued)) })
	}
	for outcome, of := range map[string]func(token.Outcomes) uint64{
		"issued":      func(o token.Outcomes) uint64 { return o.Issued },
		"unchanged":   func(o token.Outcomes) uint64 { return o.Unchanged },
		"unavailable": func(o token.Outcomes) uint64 { return o.Unavailable },
		"not_there":   func(o token.Outcomes) uint64 { return o.NotThere },
		"rejected":    func(o token.Outcomes) uint64 { return o.Rejected },
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "podid_upstream_requests_total", Help: "Calls to Azure for tokens, by outcome.", ConstLabels: prometheus.Labels{"outcome": outcome},
		}, func() float64 { return float64(of(s.Tokens().Outcomes)) }))
	}
	truth := func(name, help string, is func() bool) {
		if is == nil {
			return
		}
		gauge(name, help, nil, func() float64 {
			if is() {
				return 1
			}
			return 0
		})
	}
	truth("podid_redirect_up", "1 when the redirect of the metadata address stands.", s.Redirect)
	truth("podid_canary_up", "1 when a connection made to try the redirect arrived.", s.Canary)
}
