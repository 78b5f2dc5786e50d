package churn_test

import (
	"bufio"
	"compress/gzip"
	"errors"
	"os"
	"strings"
	"testing"
)

// story is what happened: the last of it at hand, and all of it in a file, since
// a seed alone may not tell it again.
type story struct {
	lines [100]string
	next  int
	file  *os.File
	zip   *gzip.Writer
	text  *bufio.Writer
	err   error // the first of writing
}

// newStory begins one. Where the test fails its file is kept, and named.
func newStory(t *testing.T) *story {
	t.Helper()
	f, err := os.CreateTemp("", "churn-*.txt.gz") //nolint:usetesting // the folder of a test goes with it
	if err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	s := &story{file: f, zip: zip, text: bufio.NewWriter(zip)}
	t.Cleanup(func() {
		if err := errors.Join(s.err, s.text.Flush(), s.zip.Close(), s.file.Close()); err != nil {
			t.Errorf("write the story: %v", err)
		}
		if t.Failed() {
			t.Logf("the whole story: %s", f.Name())
		} else if err := os.Remove(f.Name()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *story) add(line string) {
	s.lines[s.next%len(s.lines)] = line
	s.next++
	if s.err == nil {
		_, s.err = s.text.WriteString(line + "\n")
	}
}

// String is the end of the story.
func (s *story) String() string {
	var text strings.Builder
	for i := range s.lines {
		if line := s.lines[(s.next+i)%len(s.lines)]; line != "" {
			text.WriteString("\n  " + line)
		}
	}
	return text.String()
}
