package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// story is what the demo tells, line by line as it happens.
type story struct {
	out   io.Writer
	start time.Time

	mu     sync.Mutex // one line at a time
	failed int        // claims that did not hold; guarded by mu
}

func newStory(out io.Writer) *story { return &story{out: out, start: time.Now()} }

func (s *story) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line(fmt.Sprintf(format, args...))
}

func (s *story) line(text string) {
	_, _ = fmt.Fprintf(s.out, "%6.1fs  %s\n", time.Since(s.start).Seconds(), text)
}

// claim says whether something held, and counts what did not.
func (s *story) claim(held bool, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark := "ok    "
	if !held {
		mark = "FAILED"
		s.failed++
	}
	s.line(mark + "  " + fmt.Sprintf(format, args...))
}

// failures is how many claims did not hold.
func (s *story) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// Write takes the progress of others, a line at a time.
func (s *story) Write(p []byte) (int, error) {
	for l := range strings.Lines(string(p)) {
		if l = strings.TrimSpace(l); l != "" {
			s.say("%s", l)
		}
	}
	return len(p), nil
}

// moment is something that happened.
type moment struct {
	at   time.Time
	what string
}

// timeline collects moments from everybody who sees some, and tells each as it
// comes.
type timeline struct {
	story *story

	mu      sync.Mutex
	moments []moment // guarded by mu
}

// mark notes that something happened, the first time only.
func (t *timeline) mark(at time.Time, what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.ContainsFunc(t.moments, func(m moment) bool { return m.what == what }) {
		t.moments = append(t.moments, moment{at, what})
		t.story.say("%s", what)
	}
}

// at is when something happened, zero when it did not.
func (t *timeline) at(what string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.moments {
		if m.what == what {
			return m.at
		}
	}
	return time.Time{}
}

// tell prints the moments in order, in milliseconds from the first.
func (t *timeline) tell() {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.moments, func(a, b moment) int { return a.at.Compare(b.at) })
	for _, m := range t.moments {
		t.story.say("    %6d ms  %s", m.at.Sub(t.moments[0].at).Milliseconds(), m.what)
	}
}
