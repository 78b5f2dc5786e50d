package controller_test

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// story is what happened, with the time.
type story struct {
	mu    sync.Mutex
	began time.Time // guarded by mu
	lines []string  // guarded by mu
}

func (s *story) add(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.began.IsZero() {
		s.began = time.Now()
	}
	if len(line) > widest {
		line = line[:widest] + "…"
	}
	s.lines = append(s.lines, fmt.Sprintf("%8.3f %s", time.Since(s.began).Seconds(), line))
}

// longest is how many lines of a story are told, and widest how much of one: what
// reads them may not show more.
const (
	longest = 80
	widest  = 300
)

// String is the end of the story.
func (s *story) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "\n  " + strings.Join(s.lines[max(0, len(s.lines)-longest):], "\n  ")
}
