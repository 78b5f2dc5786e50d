package cli_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// terminal is a program that writes to a terminal.
type terminal struct {
	program *exec.Cmd
	screen  *os.File // the terminal's other end
	done    chan struct{}

	mu      sync.Mutex
	shown   strings.Builder // guarded by mu
	changed chan struct{}   // closed when more is shown; guarded by mu
}

// onTerminal runs a program on a terminal:
//
//	terminal start PROGRAM [ARG...]
//	terminal shows PATTERN             waits for it in what was shown, and forgets that
//	terminal interrupt STATUS          ends it as a person does
//	terminal plain                     asserts that nothing shown steers it
func onTerminal(ts *testscript.TestScript, neg bool, args []string) {
	t, _ := ts.Value("terminal").(*terminal)
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: terminal start|shows|interrupt|plain")
	case args[0] == "start" && len(args) > 1:
		t.start(ts, args[1:])
	case args[0] == "shows" && len(args) == 2:
		t.shows(ts, args[1])
	case args[0] == "interrupt" && len(args) == 2:
		t.interrupt(ts, args[1])
	case args[0] == "plain":
		if text := t.text(); strings.Contains(text, "\x1b") {
			ts.Fatalf("it steers the terminal: %q", text)
		}
	default:
		ts.Fatalf("terminal %v: not understood", args)
	}
}

func (t *terminal) start(ts *testscript.TestScript, argv []string) {
	screen, name, err := openTerminal()
	ts.Check(err)
	line, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	ts.Check(err)
	defer func() { _ = line.Close() }() // the program has its own
	path := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if at, err := exec.LookPath(filepath.Join(dir, argv[0])); err == nil && path == "" {
			path = at
		}
	}
	c := exec.Command(path, argv[1:]...)
	c.Dir = ts.Getenv("WORK")
	for _, k := range []string{"HOME", "PATH", "WORK", "KUBECONFIG", "NS", "SYS", "NO_COLOR"} {
		c.Env = append(c.Env, k+"="+ts.Getenv(k))
	}
	c.Env = append(c.Env, "TERM=xterm")
	c.Stdout, c.Stderr = line, line
	ts.Check(c.Start())
	t.program, t.screen, t.done, t.changed = c, screen, make(chan struct{}), make(chan struct{})
	t.shown.Reset()
	go t.read(screen, t.done) // ends when the program has closed its end
	ts.Defer(func() {
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()
		_ = screen.Close()
	})
}

func (t *terminal) read(screen *os.File, done chan<- struct{}) {
	defer close(done)
	b := make([]byte, 4096)
	for {
		n, err := screen.Read(b)
		t.mu.Lock()
		t.shown.Write(b[:n])
		close(t.changed)
		t.changed = make(chan struct{})
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.shown.String()
}

func (t *terminal) shows(ts *testscript.TestScript, pattern string) {
	re, err := regexp.Compile(pattern)
	ts.Check(err)
	timeout := time.After(3 * time.Minute)
	for {
		t.mu.Lock()
		text, changed := t.shown.String(), t.changed
		if at := re.FindStringIndex(text); at != nil {
			t.shown.Reset()
			t.shown.WriteString(text[at[1]:])
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			ts.Fatalf("%q is not shown, but %q", pattern, text)
		}
	}
}

func (t *terminal) interrupt(ts *testscript.TestScript, status string) {
	ts.Check(t.program.Process.Signal(os.Interrupt))
	err := t.program.Wait()
	_, failed := errors.AsType[*exec.ExitError](err)
	if err != nil && !failed {
		ts.Fatalf("%v", err)
	}
	<-t.done
	if want, err := strconv.Atoi(status); err != nil || t.program.ProcessState.ExitCode() != want {
		ts.Fatalf("ended with %d, want %s: %q", t.program.ProcessState.ExitCode(), status, t.text())
	}
}

// openTerminal makes a terminal, and returns its screen and the name of its line.
func openTerminal() (screen *os.File, line string, err error) {
	screen, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, "", err
	}
	fd := int(screen.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		return nil, "", errors.Join(err, screen.Close())
	}
	return screen, fmt.Sprintf("/dev/pts/%d", n), nil
}
