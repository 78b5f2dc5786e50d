package nmi

import (
	"strings"
	"sync"
	"time"

	"github.com/podid-io/podid/internal/identity"
)

// Reasons of Events, as `kubectl describe pod` shows them.
const (
	eventDenied      = "IdentityDenied"
	eventNotReady    = "IdentityNotReady"
	eventUnavailable = "TokenUnavailable"
)

const (
	// eventPause is the least time between two Events about the same.
	eventPause = 5 * time.Minute
	// longestNote is how long the text of an Event gets, in bytes: the API server
	// refuses more than 1,024.
	longestNote = 1000
	// longestTold bounds what is remembered of them.
	longestTold = 1024
)

// teller makes Events of refusals, and not too many of them.
type teller struct {
	events Events

	mu   sync.Mutex
	last map[told]time.Time // guarded by mu
}

// told is what an Event was about.
type told struct {
	uid    string
	event  string
	reason identity.Reason
}

func newTeller(e Events) *teller { return &teller{events: e, last: make(map[told]time.Time)} }

// of makes an Event of an answer without a token.
func (t *teller) of(a *answer) {
	if t.events == nil || a.pod.UID == "" {
		return // nobody to tell it of
	}
	event := eventOf(a.outcome)
	if t.due(told{a.pod.UID, event, a.reason}, time.Now()) {
		t.events.Warn(a.pod, event, cut(a.err.Error()))
	}
}

// cut shortens a text to what an Event takes.
func cut(text string) string {
	if len(text) <= longestNote {
		return text
	}
	return strings.ToValidUTF8(text[:longestNote], "") // it may end within a letter
}

func eventOf(o outcome) string {
	switch o {
	case notReady:
		return eventNotReady
	case unavailable, failed:
		return eventUnavailable
	default:
		return eventDenied
	}
}

// due reports whether the last Event about this was long enough ago.
func (t *teller) due(what told, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.last[what]) < eventPause {
		return false
	}
	if len(t.last) >= longestTold {
		for k, at := range t.last {
			if now.Sub(at) >= eventPause {
				delete(t.last, k)
			}
		}
		if len(t.last) >= longestTold {
			return false
		}
	}
	t.last[what] = now
	return true
}
