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

// curl sends a GET, and prints the answer.
func curl(ctx context.Context, args []string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	url, header, fail, after := "", http.Header{}, false, false
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-s", args[i] == "-S", args[i] == "-q":
		case args[i] == "--noproxy" && i+1 < len(args): // there is none
			i++
		case args[i] == "-w" && i+1 < len(args) && args[i+1] == `\n%{http_code}`:
			i++
			after = true
		case args[i] == "-f":
			fail = true
		case args[i] == "-H" && i+1 < len(args):
			i++
			name, value, _ := strings.Cut(args[i], ":")
			header.Set(name, strings.TrimSpace(value))
		case strings.HasPrefix(args[i], "http://") && url == "":
			url = args[i]
		default:
			return fmt.Errorf("curl: %s is not known here", args[i])
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil) //nolint:gosec // the page says where to
	if err != nil {
		return err
	}
	req.Header = header
	resp, err := (&http.Client{}).Do(req) //nolint:gosec // see above
	if err != nil {
		return err
	}
	_, err = io.Copy(out, resp.Body)
	if after {
		_, _ = fmt.Fprintf(out, "\n%d", resp.StatusCode) // whoever reads has left
	}
	if fail && resp.StatusCode >= http.StatusBadRequest {
		err = errors.Join(err, fmt.Errorf("curl: answered %s", resp.Status))
	}
	return errors.Join(err, resp.Body.Close())
}
