package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/podid-io/podid/test/localcluster"
)

// ports are those of the sandbox that this machine's loopback can reach too,
// each over a socket in the folder: sockets cross network namespaces.
//
//nolint:gochecknoglobals // a table
var ports = map[string]uint16{"api": 6443, "azure": azurePort, "admin": adminPort}

func (o *options) socket(name string) string { return filepath.Join(o.dir, name+".sock") }

// relayOutside listens on loopback for each port and writes down where.
func (o *options) relayOutside(ctx context.Context) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for name := range ports {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
		if err != nil {
			stop()
			return nil, fmt.Errorf("listen for %s: %w", name, err)
		}
		stops = append(stops, relay(ctx, l, "unix", o.socket(name)))
		if err := os.WriteFile(filepath.Join(o.dir, name+".addr"), []byte(l.Addr().String()), 0o600); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}

// relayInside listens on the sockets and passes on to the ports of the fabric.
func (w *World) relayInside(ctx context.Context) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for name, port := range ports {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "unix", w.path(name+".sock"))
		if err != nil {
			stop()
			return nil, fmt.Errorf("listen for %s: %w", name, err)
		}
		stops = append(stops, relay(ctx, l, "tcp", fmt.Sprintf("%s:%d", localcluster.FabricAddress, port)))
	}
	return stop, nil
}

// relay passes each connection to l on to an address until it is stopped.
func relay(ctx context.Context, l net.Listener, network, address string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var g sync.WaitGroup
	g.Go(func() { // ends when l is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.Go(func() { pass(ctx, c, network, address) }) // ends with either side, or with ctx
		}
	})
	return func() { cancel(); _ = l.Close(); g.Wait() }
}

// pass copies both ways until both sides have ended, or ctx has.
func pass(ctx context.Context, c net.Conn, network, address string) {
	defer func() { _ = c.Close() }()
	var d net.Dialer
	other, err := d.DialContext(ctx, network, address)
	if err != nil {
		return // the client sees a closed connection
	}
	defer func() { _ = other.Close() }()
	end := context.AfterFunc(ctx, func() { _, _ = c.Close(), other.Close() })
	defer end()
	var g sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, other}, {other, c}} {
		g.Go(func() {
			_, err := io.Copy(way[1], way[0])
			if half, ok := way[1].(interface{ CloseWrite() error }); ok {
				err = errors.Join(err, half.CloseWrite())
			}
			_ = err // whichever side failed, the other ends too
		})
	}
	g.Wait()
}

// writeEnv writes the settings for a person's shell, and a kubeconfig that
// works outside of the sandbox.
func (w *World) writeEnv() error {
	addr := map[string]string{}
	for name := range ports {
		b, err := os.ReadFile(w.path(name + ".addr"))
		if err != nil {
			return err
		}
		addr[name] = string(b)
	}
	inside, err := os.ReadFile(w.Cluster.Kubeconfig())
	if err != nil {
		return err
	}
	outside := strings.ReplaceAll(string(inside), localcluster.FabricAddress+":6443", addr["api"])
	if err := os.WriteFile(w.path("kubeconfig"), []byte(outside), 0o600); err != nil { //nolint:gosec // a folder of the caller's own choice
		return err
	}
	env := fmt.Sprintf(`# The cluster that make up started. Read it with:  . %[1]s
export KUBECONFIG='%[2]s'
export AZEMU_URL='https://%[3]s'
export AZEMU_CA='%[4]s'
export AZEMU_ADMIN_URL='http://%[5]s'
export AZEMU_TENANT='%[6]s'
export AZEMU_SCALE_SET='%[7]s'
export PODID_NAMESPACE='%[8]s'
export PODID_LOGS='%[9]s'
`, w.path(envFile), w.path("kubeconfig"), addr["azure"], w.path("azure-ca.pem"), addr["admin"], tenant, scaleSetID(), systemNamespace, w.dir)
	return os.WriteFile(w.path(envFile), []byte(env), 0o600)
}
