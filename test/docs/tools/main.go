// Command tools is what the pages run in a pod, in an image that has nothing
// else: by the name that it is called by it is sleep, which never ends, or curl,
// with the few flags that the pages and podid give it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, filepath.Base(os.Args[0]), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(22) //nolint:gocritic // the deferred stop only lets go of signals
	}
}

func run(ctx context.Context, name string, args []string, out io.Writer) error {
	switch {
	case name == "sleep" && slices.Equal(args, []string{"infinity"}):
		<-ctx.Done()
		return nil
	case name == "curl":
		return curl(ctx, args, out)
	}
	return fmt.Errorf("%s %q: only sleep infinity and curl are known here", name, args)
}

// request is what curl's arguments say.
type request struct {
	url         string
	header      http.Header
	fail, after bool // -f, and -w with the status
}

// read reads the arguments.
func read(args []string) (request, error) {
	r := request{header: http.Header{}}
	for len(args) > 0 {
		arg, value := args[0], ""
		args = args[1:]
		if arg == "-H" || arg == "--noproxy" || arg == "-w" {
			if len(args) == 0 {
				return r, fmt.Errorf("curl: %s has no value", arg)
			}
			value, args = args[0], args[1:]
		}
		switch {
		case arg == "-s", arg == "-S", arg == "-q", arg == "--noproxy": // there is no proxy
		case arg == "-f":
			r.fail = true
		case arg == "-H":
			name, value, _ := strings.Cut(value, ":")
			r.header.Set(name, strings.TrimSpace(value))
		case arg == "-w" && value == `\n%{http_code}`:
			r.after = true
		case strings.HasPrefix(arg, "http://") && r.url == "":
			r.url = arg
		default:
			return r, fmt.Errorf("curl: %s %s is not known here", arg, value)
		}
	}
	return r, nil
}

// curl sends a GET, and prints the answer.
func curl(ctx context.Context, args []string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	r, err := read(args)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return err
	}
	req.Header = r.header
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, resp.Body)
	if r.after && err == nil {
		_, err = fmt.Fprintf(out, "\n%d", resp.StatusCode)
	}
	if r.fail && resp.StatusCode >= http.StatusBadRequest {
		err = errors.Join(err, fmt.Errorf("curl: answered %s", resp.Status))
	}
	return errors.Join(err, resp.Body.Close())
}
