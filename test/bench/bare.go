package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/podid-io/podid/test/localcluster"
)

// bare is the server that nmi is compared with: net/http and nothing else,
// returning the bytes of a file as nmi returns a token.
func bare(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("bare", flag.ContinueOnError)
	listen := f.String("listen", "", "address")
	stats := f.String("stats", "", "address of the allocation counter")
	file := f.String("file", "", "body of every answer")
	if err := f.Parse(args); err != nil {
		return err
	}
	body, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Server", "IMDS/podid")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})
	count := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_, _ = fmt.Fprintf(w, "go_memstats_mallocs_total %d\n", m.Mallocs)
	})
	failed := make(chan error, 2)
	for addr, h := range map[string]http.Handler{*listen: answer, *stats: count} {
		s := &http.Server{
			Addr: addr, Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute,
			WriteTimeout: time.Minute, IdleTimeout: time.Minute,
		}
		go func() { failed <- s.ListenAndServe() }() // ends with the program
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// bareServer is a bare server as a program of its own.
type bareServer struct {
	cmd           *localcluster.Command
	listen, stats string
}

func (r *rig) startBare(ctx context.Context, file string) (*bareServer, error) {
	b := &bareServer{listen: r.freePort(nodeAddr), stats: r.freePort(r.node.Addr)}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if b.cmd, err = r.run(ctx, self, nil, "bare", "-listen", b.listen, "-stats", b.stats, "-file", file); err != nil {
		return nil, err
	}
	return b, await(ctx, 5*time.Second, func() error { _, err := fetch(ctx, "http://"+b.stats+"/"); return err })
}
