// Package screen writes what commands tell for people: in colours on a terminal,
// plain everywhere else.
package screen

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/podid-io/podid/internal/shell"
)

// Screen is where a command writes to.
type Screen struct {
	w        io.Writer
	coloured bool
	err      error
}

// New makes a screen of standard output, or of what stands for it. Colours are for
// terminals, unless NO_COLOR is set or TERM is dumb.
func New(w io.Writer, getenv func(string) string) *Screen {
	f, ok := w.(*os.File)
	return &Screen{w: w, coloured: ok && term.IsTerminal(int(f.Fd())) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

// Terminal reports whether a person looks at it, on a terminal that can be cleared.
func (s *Screen) Terminal() bool { return s.coloured }

// Printf writes a text of ours; what others wrote into it has to be Printable.
func (s *Screen) Printf(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}

// Write writes bytes of ours.
func (s *Screen) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	var n int
	n, s.err = s.w.Write(p)
	return n, s.err
}

// JSON writes a value as JSON.
func (s *Screen) JSON(v any) error {
	e := json.NewEncoder(s.w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // commands are for a shell
	return e.Encode(v)
}

// Err is the first error of writing.
func (s *Screen) Err() error { return s.err }

// Colour is a colour of words.
type Colour string

// The colours that states have.
const (
	Red    Colour = "\x1b[31;1m"
	Green  Colour = "\x1b[32m"
	Yellow Colour = "\x1b[33m"
	Grey   Colour = "\x1b[90m"
	Bold   Colour = "\x1b[1m"
)

// Paint gives a text a colour, where there are colours. What would steer the
// terminal is taken out of the text first.
func (s *Screen) Paint(c Colour, text string) string {
	text = shell.Printable(text)
	if !s.coloured {
		return text
	}
	return string(c) + text + "\x1b[0m"
}

// Clear empties a terminal, for what is shown again.
func (s *Screen) Clear() {
	if s.coloured {
		s.Printf("\x1b[H\x1b[2J")
	}
}
