package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podid-io/podid/test/localcluster"
)

// agent is an nmi under measurement.
type agent struct {
	cmd     *localcluster.Command
	listen  string // where its pods ask
	metrics string
}

// startAgent starts nmi for a node and returns when it is ready. The link that
// clients come by leads them to it: there is no redirect. Flags are added.
func (r *rig) startAgent(ctx context.Context, node string, flags ...string) (*agent, error) {
	listen := r.freePort(nodeAddr)
	a, err := r.launch(ctx, node, append([]string{"--redirect", "none", "--listen", listen}, flags...)...)
	if err == nil {
		a.listen = listen
	}
	return a, err
}

// launch starts nmi for a node and returns when it is ready.
func (r *rig) launch(ctx context.Context, node string, flags ...string) (*agent, error) {
	metrics, health := r.freePort(r.node.Addr), r.freePort(r.node.Addr)
	cmd, err := r.run(ctx, "nmi", nil, append([]string{
		"--node", node, "--kubeconfig", r.cluster.Kubeconfig(), "--accept-bridged-pods",
		"--metrics-listen", metrics, "--health-listen", health,
		"--imds-endpoint", r.ready.Machines[machine],
		"--audit-file", filepath.Join(r.dir, "audit-"+node+".jsonl"),
	}, flags...)...)
	if err != nil {
		return nil, err
	}
	a := &agent{cmd: cmd, metrics: "http://" + metrics + "/metrics"}
	if err := await(ctx, 30*time.Second, func() error { _, err := fetch(ctx, "http://"+health+"/readyz"); return err }); err != nil {
		return nil, fmt.Errorf("nmi for %s: %w", node, err)
	}
	return a, nil
}

// fetch gets a page.
func fetch(ctx context.Context, url string) (string, error) {
	return fetchBy(ctx, &http.Client{Timeout: 5 * time.Second}, url)
}

func fetchBy(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %d: %s", url, resp.StatusCode, b)
	}
	return string(b), err
}

// metric reads one sample, by name and labels as they are printed.
func metric(ctx context.Context, url, name string) (float64, error) {
	page, err := fetch(ctx, url)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", url, name)
}

// cpu is the processor time that a program has used, to the nanosecond: the ticks
// of /proc would be a percent of what a round takes.
func cpu(pid int) (time.Duration, error) {
	const whole = 2 // of the process with all of its threads, as the scheduler counts; see clock_getcpuclockid(3)
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|whole), &used); err != nil { //nolint:gosec // a process id is small
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}

// residentMiB is VmRSS of a program.
func residentMiB(pid int) (float64, error) { return status(pid, "VmRSS") }

// status is a size that /proc tells of a program, in MiB.
func status(pid int, name string) (float64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), name+":"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("no " + name)
}
