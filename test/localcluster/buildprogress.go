package localcluster

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// buildCounter reads what "go build -v" writes, a package or a module a line,
// and tells a person how far it is.
type buildCounter struct {
	out   io.Writer
	what  string // is compiled
	start time.Time

	mu       sync.Mutex // guards what follows
	partial  []byte     // a line not yet ended
	packages int
	modules  int
	last     []string // the last other lines, for when the build breaks
}

func newBuildCounter(out io.Writer, what string) *buildCounter {
	return &buildCounter{out: out, what: what, start: time.Now()}
}

// Write counts the lines in p.
func (c *buildCounter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.partial = append(c.partial, p...)
	for {
		line, rest, found := bytes.Cut(c.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		c.count(string(line))
		c.partial = rest
	}
}

func (c *buildCounter) count(line string) {
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		c.modules++
	case !strings.ContainsAny(line, " #"):
		c.packages++
	default:
		c.last = append(c.last, line)
		c.last = c.last[max(0, len(c.last)-20):]
	}
}

// report writes one line about the build so far.
func (c *buildCounter) report() {
	c.mu.Lock()
	defer c.mu.Unlock()
	took := time.Since(c.start).Round(time.Second)
	if c.packages == 0 {
		_, _ = fmt.Fprintf(c.out, "preparing to compile %s: %d modules fetched so far, %s\n", c.what, c.modules, took)
		return
	}
	_, _ = fmt.Fprintf(c.out, "compiling %s: %d packages so far, %s (once; it takes minutes)\n", c.what, c.packages, took)
}

// finish writes the line that ends a build that anybody was told about.
func (c *buildCounter) finish() {
	_, _ = fmt.Fprintf(c.out, "compiled %s in %s\n", c.what, time.Since(c.start).Round(time.Second))
}

// tail is the last that the go command said.
func (c *buildCounter) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(append(c.last, string(c.partial)), "\n")
}
