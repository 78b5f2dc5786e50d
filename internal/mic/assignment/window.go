package assignment

import (
	"slices"
	"time"

	"github.com/podid-io/podid/internal/assign"
)

// longestWindow is for how many windows a PATCH waits while more and more is
// needed.
const longestWindow = 10

// window is how long what is needed waits for more, since a PATCH takes Azure most
// of a minute, and what comes too late waits for two. It is over when nothing more
// has been needed for a while. The zero value is of a scope that needs nothing.
type window struct {
	since, grew time.Time
	ids         []string // what is needed, nil when that was not looked at yet
}

// opened is one that began at a time, if that is one.
func opened(since time.Time) window { return window{since: since, grew: since} }

// notice takes note of what is needed now.
func (w *window) notice(c assign.Changes, now time.Time) {
	ids := slices.Concat(c.Attach, c.Detach)
	if w.since.IsZero() {
		*w = opened(now)
	} else if w.ids != nil && slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(w.ids, id) }) {
		w.grew = now
	}
	w.ids = ids
}

// over is when it ends, of windows that are so long.
func (w *window) over(length time.Duration) time.Time {
	over, latest := w.grew.Add(length), w.since.Add(longestWindow*length)
	if latest.Before(over) {
		return latest
	}
	return over
}
