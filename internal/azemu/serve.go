package azemu

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// writeTimeout bounds an answer, and so what a fault may delay.
const writeTimeout = 10 * time.Minute

// drainTimeout is how long the requests in flight may take when Serve stops.
const drainTimeout = 5 * time.Second

// ServeConfig says where an emulator listens. Addresses are host:port; port 0
// takes a free one, which Ready names.
type ServeConfig struct {
	Config

	// Listen is for Resource Manager and Entra ID, with TLS. AdminListen is for
	// the admin API. Both are needed.
	Listen, AdminListen string
	// IMDSListen is for the metadata service that knows callers by their
	// addresses. The default is none.
	IMDSListen string
	// IMDSMachines are listeners that answer as one machine's metadata service,
	// by name of the machine.
	IMDSMachines map[string]string
	// CAFile and ReadyFile are files to write: the authority in PEM, and Ready as
	// JSON once all listeners are up. The default is none.
	CAFile, ReadyFile string
	// Out gets Ready as one line of JSON. The default is nowhere.
	Out io.Writer
}

// Ready names what listens.
type Ready struct {
	// Azure is the https URL of Resource Manager and Entra ID, Admin that of the
	// admin API, IMDS the metadata service that knows callers by address.
	Azure string `json:"azure"`
	Admin string `json:"admin"`
	IMDS  string `json:"imds,omitempty"`
	// Machines are the metadata services of single machines.
	Machines map[string]string `json:"machines,omitempty"`
	// CAFile is the file with the authority, where one was asked for.
	CAFile string `json:"caFile,omitempty"`
}

// Serve runs an emulator until ctx ends, then answers what is in flight for at
// most five seconds. Ending with ctx is no error.
func Serve(ctx context.Context, c ServeConfig) error {
	e, err := New(c.Config)
	if err != nil {
		return err
	}
	defer e.Close()
	ls := &listeners{log: e.log}
	defer ls.close()
	ready, err := ls.open(ctx, e, c)
	if err != nil {
		return err
	}
	if c.CAFile != "" {
		if err := writeFile(c.CAFile, e.CA(), 0o644); err != nil {
			return err
		}
	}
	line, err := json.Marshal(ready)
	if err != nil {
		return fmt.Errorf("encode what listens: %w", err)
	}
	line = append(line, '\n')
	if c.ReadyFile != "" { // after CAFile: who sees this file finds the other
		if err := writeFile(c.ReadyFile, line, 0o600); err != nil {
			return err
		}
	}
	if c.Out != nil {
		if _, err := c.Out.Write(line); err != nil {
			return fmt.Errorf("write what listens: %w", err)
		}
	}
	e.log.InfoContext(ctx, "serving", "azure", ready.Azure, "admin", ready.Admin, "imds", ready.IMDS)
	return ls.serve(ctx, e)
}

// writeFile writes the whole file or nothing: a reader never sees half of it.
func writeFile(name string, content []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // is gone already when all went well
	_, err = tmp.Write(content)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(tmp.Name(), name)
}

// listeners are the servers of one emulator, each with its open socket.
type listeners struct {
	log     *slog.Logger
	servers []*http.Server
	sockets []net.Listener
}

// open listens on everything that c names and returns the URLs.
func (ls *listeners) open(ctx context.Context, e *Emulator, c ServeConfig) (Ready, error) {
	ready := Ready{CAFile: c.CAFile, Machines: map[string]string{}}
	var err error
	if ready.Azure, err = ls.add(ctx, "Resource Manager and Entra ID", c.Listen, e.Azure(), e.TLS()); err != nil {
		return Ready{}, err
	}
	if ready.Admin, err = ls.add(ctx, "the admin API", c.AdminListen, e.Admin(), nil); err != nil {
		return Ready{}, err
	}
	if c.IMDSListen != "" {
		if ready.IMDS, err = ls.add(ctx, "IMDS", c.IMDSListen, e.IMDS(), nil); err != nil {
			return Ready{}, err
		}
	}
	for machine, address := range c.IMDSMachines {
		if ready.Machines[machine], err = ls.add(ctx, "IMDS of "+machine, address, e.IMDSOf(machine), nil); err != nil {
			return Ready{}, err
		}
	}
	return ready, nil
}

// add opens one listener and returns its URL.
func (ls *listeners) add(ctx context.Context, what, address string, h http.Handler, t *tls.Config) (string, error) {
	var lc net.ListenConfig
	socket, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("serve %s: %w", what, err)
	}
	ls.sockets = append(ls.sockets, socket)
	ls.servers = append(ls.servers, &http.Server{
		Handler: h, TLSConfig: t,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
		WriteTimeout: writeTimeout, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(ls.log.Handler(), slog.LevelDebug),
	})
	scheme := "http"
	if t != nil {
		scheme = "https"
	}
	return scheme + "://" + socket.Addr().String(), nil
}

// serve runs the servers until ctx ends or one of them fails.
func (ls *listeners) serve(ctx context.Context, e *Emulator) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range ls.servers {
		g.Go(func() error { // ends when the goroutine below shuts the server down
			serve := s.Serve
			if s.TLSConfig != nil {
				serve = func(l net.Listener) error { return s.ServeTLS(l, "", "") }
			}
			if err := serve(ls.sockets[i]); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve on %s: %w", ls.sockets[i].Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error { // ends with ctx
		<-ctx.Done()
		e.Close()                                                                     // lets go of the requests that faults hold
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout) // ctx has ended already
		defer cancel()
		for _, s := range ls.servers {
			if err := s.Shutdown(stop); err != nil {
				_ = s.Close() // what does not end in time is cut off
			}
		}
		return nil
	})
	return g.Wait()
}

// close closes the sockets that no server did.
func (ls *listeners) close() {
	for _, s := range ls.sockets {
		_ = s.Close() // most are closed already
	}
}
